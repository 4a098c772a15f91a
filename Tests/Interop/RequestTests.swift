// Requests by hand: those no library sends.

import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct Requests {
        private static let invalid: UInt32 = 22
        private static let largestPayload = 32 << 20

        private let bystander: Bystander
        private let raw: RawNBD

        init() throws {
            bystander = try Bystander()
            raw = try RawNBD(HoldfastUp.current.socket)
            try raw.enter("vol0")
        }

        private func expectStillServed(
            _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            raw.send(RawNBD.request(Wire.Command.read, cookie: 0xFEED, length: 2))
            #expect(
                try raw.receiveReply() == (0, 0xFEED), comment, sourceLocation: sourceLocation)
            #expect(try raw.receive(2) == [0x77, 0x77], comment, sourceLocation: sourceLocation)
        }

        /// Expects that a connection's end was logged with its reason, to `up`'s standard error.
        private func expectLogged(
            _ reason: String, sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let up = try HoldfastUp.current
            let line = up.supervisor.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains(reason)
            }
            #expect(line != nil, "no \(reason)\(up.log)", sourceLocation: sourceLocation)
        }

        @Test func unknownCommandsAreInvalidAndTheConnectionGoesOn() throws {
            for command in [9, 100, 0xFFFF] as [UInt16] {
                raw.send(RawNBD.request(command, cookie: UInt64(command)))
                #expect(try raw.receiveReply() == (Self.invalid, UInt64(command)))
            }
            try expectStillServed("unknown commands")
        }

        @Test func blockStatusWithoutItsNegotiationIsInvalid() throws {
            raw.send(RawNBD.request(Wire.Command.blockStatus, cookie: 2, length: 4096))
            #expect(try raw.receiveReply() == (Self.invalid, 2))
            try expectStillServed("BLOCK_STATUS")
        }

        @Test func unknownFlagsAreInvalidAndTheConnectionGoesOn() throws {
            raw.send(RawNBD.request(Wire.Command.read, flags: 0x8000, cookie: 3, length: 4))
            #expect(try raw.receiveReply() == (Self.invalid, 3))
            raw.send(
                RawNBD.request(Wire.Command.write, flags: 0x4000, cookie: 4, length: 4)
                    + [1, 2, 3, 4])
            #expect(try raw.receiveReply() == (Self.invalid, 4))
            try expectStillServed("unknown flags")
        }

        @Test func cookiesComeBackAsTheyWere() throws {
            for cookie in [0, .max, 0x0123_4567_89AB_CDEF] as [UInt64] {
                raw.send(RawNBD.request(Wire.Command.flush, cookie: cookie))
                #expect(try raw.receiveReply() == (0, cookie))
            }
        }

        @Test func aRefusedWritesPayloadIsNotTakenForRequests() throws {
            let trap = RawNBD.request(Wire.Command.disconnect, cookie: 666)
            raw.send(
                RawNBD.request(
                    Wire.Command.write, cookie: 8, offset: 256 << 20, length: UInt32(trap.count))
                    + trap)
            let reply = try raw.receiveReply()
            #expect(reply.cookie == 8 && reply.error == 28)
            try expectStillServed("a write past the end")
        }

        @Test func aReadOfMoreThanTheLargestPayloadIsRefused() throws {
            raw.send(
                RawNBD.request(
                    Wire.Command.read, cookie: 9, length: UInt32(Self.largestPayload + 1)))
            #expect(try raw.receiveReply() == (Self.invalid, 9))
            try expectStillServed("a read of 32 MiB and a byte")
        }

        @Test func aWriteOfMoreThanTheLargestPayloadCloses() throws {
            let length = Self.largestPayload + 1
            raw.send(
                RawNBD.request(Wire.Command.write, cookie: 10, length: UInt32(length)))
            raw.send([UInt8](repeating: 0, count: 65536))
            #expect(throws: HarnessError.self) { try raw.receiveReply() }
            #expect(raw.isClosedByServer())
            try expectLogged("\(length) bytes")
            bystander.expectUndisturbed("a write of 32 MiB and a byte")
        }

        @Test func aWriteThatClaimsFourGibibytesHurtsNobody() throws {
            raw.send(RawNBD.request(Wire.Command.write, cookie: 11, length: .max))
            raw.send([UInt8](repeating: 0, count: 1 << 20))
            raw.finishSending()
            #expect(raw.isClosedByServer())
            bystander.expectUndisturbed("a write of 4 GiB")
        }

        @Test func badMagicCloses() throws {
            raw.send(RawNBD.request(Wire.Command.read, length: 512, magic: 0xDEAD_BEEF))
            #expect(raw.isClosedByServer())
            try expectLogged("0xdeadbeef")
            bystander.expectUndisturbed("bad magic")
        }

        @Test func garbageCloses() throws {
            raw.send((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 1) })
            #expect(raw.isClosedByServer())
            bystander.expectUndisturbed("garbage")
        }

        @Test(arguments: [1, 4, 27])
        func halfARequestThenSilenceCloses(count: Int) throws {
            raw.send(Array(RawNBD.request(Wire.Command.read, length: 512).prefix(count)))
            raw.finishSending()
            #expect(raw.isClosedByServer())
            bystander.expectUndisturbed("\(count) bytes of a request")
        }

        @Test func halfAPayloadLeavesEachBlockOldOrNew() throws {
            let other = try NBDConnection(HoldfastUp.current.uri)
            let old = [UInt8](repeating: 0x11, count: 1 << 20)
            try other.write(old, at: 1 << 20)
            raw.send(
                RawNBD.request(Wire.Command.write, cookie: 12, offset: 1 << 20, length: 1 << 20))
            raw.send([UInt8](repeating: 0x22, count: 300_000))
            raw.finishSending()
            #expect(raw.isClosedByServer())
            let found = try other.read(1 << 20, at: 1 << 20)
            for block in 0..<256 {
                let bytes = found[block * 4096..<(block + 1) * 4096]
                #expect(Set(bytes).count == 1, "block \(block) is torn")
            }
            #expect(found[300_000...].allSatisfy { $0 == 0x11 }, "never sent, yet written")
            bystander.expectUndisturbed("half a payload")
        }

        @Test func disconnectFinishesWhatIsInFlight() throws {
            let data = [UInt8](repeating: 0x5A, count: 65536)
            for index in 0..<16 {
                raw.send(
                    RawNBD.request(
                        Wire.Command.write, cookie: UInt64(index),
                        offset: 4 << 20 + UInt64(index) * 65536, length: 65536) + data)
            }
            raw.send(RawNBD.request(Wire.Command.disconnect))
            #expect(raw.isClosedByServer())
            // The protocol does not say that the close comes last.
            let other = try NBDConnection(HoldfastUp.current.uri)
            let isWritten = try eventually(atMost: .seconds(10)) {
                try other.read(1 << 20, at: 4 << 20).allSatisfy { $0 == 0x5A } ? true : nil
            }
            #expect(isWritten == true)
        }

        @Test func aClientThatReadsNoRepliesHoldsNobodyUp() throws {
            for cookie in 0..<64 {
                raw.send(
                    RawNBD.request(
                        Wire.Command.read, cookie: UInt64(cookie), length: UInt32(1 << 20)))
            }
            bystander.expectUndisturbed("a client that reads no replies")
            // And it gets them all once it does read.
            var cookies: Set<UInt64> = []
            for _ in 0..<64 {
                let reply = try raw.receiveReply()
                #expect(reply.error == 0)
                cookies.insert(reply.cookie)
                _ = try raw.receive(1 << 20)
            }
            #expect(cookies.count == 64)
        }

        @Test func manyClientsThatVanishLeaveNothingBehind() throws {
            let socket = try HoldfastUp.current.socket
            for _ in 0..<100 {
                let raw = try RawNBD(socket)
                try raw.enter("vol0")
                raw.send(RawNBD.request(Wire.Command.read, length: 1 << 20))
            }
            bystander.expectUndisturbed("clients that vanish")
        }
    }
}
