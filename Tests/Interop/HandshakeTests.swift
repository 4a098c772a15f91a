// Negotiation by hand: every option's answer, and what no client should send.

import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct Handshake {
        private let bystander: Bystander
        private let socket: String
        private let raw: RawNBD

        init() throws {
            bystander = try Bystander()
            socket = try HoldfastUp.current.socket
            raw = try RawNBD(socket)
        }

        // MARK: What the protocol demands

        @Test func unknownOptionsAreSkippedWithTheirPayload() throws {
            try raw.greet()
            for length in [0, 1, 1000, 4096] {
                let reply = try raw.ask(0x4242, [UInt8](repeating: 7, count: length))
                #expect(reply.type == Wire.Reply.errorUnsupported)
            }
            #expect(try raw.ask(Wire.Option.list).type == Wire.Reply.ack)
        }

        @Test func listTakesNoPayload() throws {
            try raw.greet()
            #expect(try raw.ask(Wire.Option.list, [1]).type == Wire.Reply.errorInvalid)
            raw.sendOption(Wire.Option.list)
            let first = try raw.receiveOptionReply()
            #expect(first.type == Wire.Reply.server)
            #expect(first.payload.starts(with: bigEndian(UInt32(4)) + Array("vol0".utf8)))
            #expect(try raw.receiveOptionReply().type == Wire.Reply.ack)
        }

        @Test func abortIsAcknowledgedAndCloses() throws {
            try raw.greet()
            #expect(try raw.ask(Wire.Option.abort).type == Wire.Reply.ack)
            #expect(raw.isClosedByServer())
        }

        @Test func infoTellsAndGoesOnNegotiating() throws {
            try raw.greet()
            let request = RawNBD.exportRequest(Array("vol0".utf8), information: [1, 2, 3, 99])
            raw.sendOption(Wire.Option.info, request)
            var kinds: [UInt16: [UInt8]] = [:]
            while true {
                let reply = try raw.receiveOptionReply()
                guard reply.type == Wire.Reply.info else {
                    #expect(reply.type == Wire.Reply.ack)
                    break
                }
                kinds[UInt16(reply.payload[0]) << 8 | UInt16(reply.payload[1])] =
                    Array(reply.payload.dropFirst(2))
            }
            let export = try #require(kinds[0])
            #expect(Array(export.prefix(8)) == bigEndian(UInt64(256 << 20)))
            #expect(kinds[1] == Array("vol0".utf8))
            #expect(kinds[2]?.isEmpty == false)
            let sizes = [UInt32(1), 4096, 32 << 20].flatMap { bigEndian($0) }
            #expect(kinds[3] == sizes)
            #expect(try raw.ask(Wire.Option.go, request).type == Wire.Reply.ack)
        }

        @Test func theEmptyNameIsTheOnlyVolumeOrUnknown() throws {
            try raw.greet()
            let reply = try raw.ask(Wire.Option.info, RawNBD.exportRequest([]))
            #expect([Wire.Reply.ack, Wire.Reply.errorUnknown].contains(reply.type))
        }

        @Test(arguments: [UInt32(1), 3])
        func exportNameEntersTransmission(flags: UInt32) throws {
            try raw.greet(flags: flags)
            raw.sendOption(Wire.Option.exportName, Array("vol0".utf8))
            #expect(try raw.receive(UInt64.self) == 256 << 20)
            #expect(try raw.receive(UInt16.self) & 1 == 1)
            if flags & 2 == 0 {
                #expect(try raw.receive(124).allSatisfy { $0 == 0 })
            }
            raw.send(RawNBD.request(Wire.Command.read, cookie: 5, length: 16))
            let reply = try raw.receiveReply()
            #expect(reply == (0, 5))
            #expect(try raw.receive(16) == [UInt8](repeating: 0x77, count: 16))
        }

        @Test func exportNameOfNothingCloses() throws {
            try raw.greet()
            raw.sendOption(Wire.Option.exportName, Array("nothing".utf8))
            #expect(raw.isClosedByServer())
            bystander.expectUndisturbed("EXPORT_NAME of nothing")
        }

        @Test func goOfNothingIsUnknownAndGoesOn() throws {
            try raw.greet()
            let request = RawNBD.exportRequest(Array("nothing".utf8))
            #expect(try raw.ask(Wire.Option.go, request).type == Wire.Reply.errorUnknown)
            let snapshot = RawNBD.exportRequest(Array("vol0@nothing".utf8))
            #expect(try raw.ask(Wire.Option.go, snapshot).type == Wire.Reply.errorUnknown)
            let volume = RawNBD.exportRequest(Array("vol0".utf8))
            #expect(try raw.ask(Wire.Option.go, volume).type == Wire.Reply.ack)
        }

        @Test func bytesMayComeOneByOne() throws {
            try raw.greet()
            let option =
                bigEndian(Wire.optionMagic) + bigEndian(Wire.Option.go)
                + bigEndian(UInt32(10)) + RawNBD.exportRequest(Array("vol0".utf8))
            for byte in option { raw.send([byte]) }
            while try raw.receiveOptionReply().type == Wire.Reply.info {}
            for byte in RawNBD.request(Wire.Command.read, cookie: 6, length: 1) {
                raw.send([byte])
            }
            #expect(try raw.receiveReply() == (0, 6))
            #expect(try raw.receive(1) == [0x77])
        }

        @Test func requestsMayFollowTheHandshakeInOneGulp() throws {
            let go = RawNBD.exportRequest(Array("vol0".utf8))
            raw.send(
                bigEndian(UInt32(3)) + bigEndian(Wire.optionMagic) + bigEndian(Wire.Option.go)
                    + bigEndian(UInt32(go.count)) + go
                    + RawNBD.request(Wire.Command.read, cookie: 7, length: 4))
            _ = try raw.receive(18)
            while try raw.receiveOptionReply().type == Wire.Reply.info {}
            #expect(try raw.receiveReply() == (0, 7))
            #expect(try raw.receive(4) == [0x77, 0x77, 0x77, 0x77])
        }

        // MARK: What no client should send

        /// Malformed payloads of GO and INFO; each gets an error, and negotiation goes on.
        private static let badExportRequests: [(String, [UInt8])] = [
            ("nothing at all", []),
            ("a length and no name", bigEndian(UInt32(4))),
            (
                "a name longer than the option",
                bigEndian(UInt32(400)) + Array("vol0".utf8) + [0, 0]
            ),
            ("a name of 4 GiB", bigEndian(UInt32.max) + Array("vol0".utf8) + [0, 0]),
            ("no count of requests", bigEndian(UInt32(4)) + Array("vol0".utf8)),
            ("more requests than said", RawNBD.exportRequest(Array("vol0".utf8)) + [0, 3]),
            ("fewer requests than said", bigEndian(UInt32(4)) + Array("vol0".utf8) + [0, 9, 0, 3]),
            ("a name with NUL", RawNBD.exportRequest(Array("vol0\0".utf8))),
            ("a name that is not UTF-8", RawNBD.exportRequest([0xFF, 0xFE, 0x80])),
            ("a name of 4097 bytes", RawNBD.exportRequest([UInt8](repeating: 97, count: 4097))),
        ]

        @Test func malformedExportRequestsAreRefused() throws {
            try raw.greet()
            for (name, payload) in Self.badExportRequests {
                for option in [Wire.Option.info, Wire.Option.go] {
                    let reply = try raw.ask(option, payload)
                    #expect(reply.type >= 1 << 31, "\(name)")
                }
            }
            let request = RawNBD.exportRequest(Array("vol0".utf8))
            #expect(try raw.ask(Wire.Option.go, request).type == Wire.Reply.ack)
            bystander.expectUndisturbed("malformed GO")
        }

        /// What closes the connection, how it is sent after the greeting, and what of it the log
        /// must tell (nothing when the client just left).
        private static let fatal: [(String, logged: String?, @Sendable (RawNBD) throws -> Void)] = [
            ("unknown client flags", "0x80000003", { $0.send(bigEndian(UInt32(0x8000_0003))) }),
            ("garbage for flags", "0xabababab", { $0.send([UInt8](repeating: 0xAB, count: 4096)) }),
            (
                "an option of bad magic", "magic 0x0",
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.send([UInt8](repeating: 0, count: 16))
                }
            ),
            (
                "a request for an option", "magic 0x2560951300000000",
                { raw in
                    raw.send(bigEndian(UInt32(3)) + RawNBD.request(Wire.Command.read, length: 4096))
                }
            ),
            (
                "an unknown option of 4 GiB", "4294967295 bytes",
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.sendOption(0x4242, [UInt8](repeating: 1, count: 8), length: .max)
                    raw.finishSending()
                }
            ),
            (
                "GO of 1 GiB", "1073741824 bytes",
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.sendOption(Wire.Option.go, [0, 0, 0, 4], length: 1 << 30)
                    raw.finishSending()
                }
            ),
            (
                "EXPORT_NAME of 1 MiB", "1048576 bytes",
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.sendOption(
                        Wire.Option.exportName, [UInt8](repeating: 97, count: 1 << 20))
                }
            ),
            (
                "EXPORT_NAME with NUL", "export name",
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.sendOption(Wire.Option.exportName, Array("vol0\0".utf8))
                }
            ),
            (
                "half the flags", nil,
                { raw in
                    raw.send([0, 0])
                    raw.finishSending()
                }
            ),
            (
                "half an option", nil,
                { raw in
                    raw.send(bigEndian(UInt32(3)) + Array(bigEndian(Wire.optionMagic).prefix(5)))
                    raw.finishSending()
                }
            ),
            (
                "half a payload", nil,
                { raw in
                    raw.send(bigEndian(UInt32(3)))
                    raw.sendOption(Wire.Option.go, [0, 0], length: 10)
                    raw.finishSending()
                }
            ),
            ("nothing", nil, { $0.finishSending() }),
        ]

        @Test(arguments: fatal.indices)
        func whatCannotBeUnderstoodCloses(index: Int) throws {
            let (name, logged, misbehave) = Self.fatal[index]
            _ = try raw.receive(18)
            try misbehave(raw)
            #expect(raw.isClosedByServer(), "\(name)")
            if let logged {
                let up = try HoldfastUp.current
                let line = up.supervisor.standardError.waitForLine(atMost: .seconds(20)) {
                    $0.contains(logged)
                }
                #expect(line != nil, "\(name): no \(logged)\(up.log)")
            }
            bystander.expectUndisturbed("\(name)")
        }

        @Test func clientsThatSayNothingHoldNobodyUp() throws {
            let silent = try (0..<20).map { _ in try RawNBD(socket) }
            let halfWay = try (0..<20).map { _ in
                let raw = try RawNBD(socket)
                try raw.greet()
                raw.send(Array(bigEndian(Wire.optionMagic).prefix(3)))
                return raw
            }
            bystander.expectUndisturbed("silent clients")
            _ = (silent, halfWay)
        }

        @Test func oldStyleOptionsOfOtherFeaturesAreAnswered() throws {
            try raw.greet()
            for option in [Wire.Option.startTLS, Wire.Option.structuredReply] {
                // Known or not: nothing but a well-formed answer is asked for here.
                let reply = try raw.ask(option, [1, 2, 3])
                #expect(reply.type >= 1 << 31)
            }
            #expect(try raw.ask(Wire.Option.list).type == Wire.Reply.ack)
        }
    }
}
