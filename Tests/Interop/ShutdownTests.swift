// An orderly end, as clients see it: a closed connection, or ESHUTDOWN before that where the operator wants it.

import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(3)))
    struct Shutdown {
        private static let shutdown: UInt32 = 108

        private func serve(_ options: String...) throws -> HoldfastUp {
            try HoldfastUp(["--size", "64M", "--layout", "mirror:2"] + options)
        }

        /// Reads until the client device answers otherwise; nil when it closes first.
        private func readUntilRefused(_ client: RawNBD) throws -> UInt32? {
            for cookie in 1...5000 as ClosedRange<UInt64> {
                client.send(RawNBD.request(Wire.Command.read, cookie: cookie, length: 1))
                guard let reply = try? client.receiveReply() else { return nil }
                #expect(reply.cookie == cookie)
                guard reply.error == 0 else { return reply.error }
                _ = try client.receive(1)
                usleep(2000)
            }
            throw HarnessError("it goes on as if nothing had been")
        }

        @Test func clientsAreToldWhereTheOperatorWantsIt() throws {
            let up = try serve("--nbd-announce-shutdown")
            let (busy, idle, new) = (
                try RawNBD(up.socket), try RawNBD(up.socket), try RawNBD(up.socket)
            )
            for client in [busy, idle] { try client.enter("vol0") }
            try new.greet()
            #expect(try new.ask(Wire.Option.list).type == Wire.Reply.ack)
            let process = try up.pid(of: .client)
            try #require(kill(process, SIGTERM) == 0)
            let start = ContinuousClock.now
            #expect(try readUntilRefused(busy) == Self.shutdown)
            // Once it has begun, all are told the same.
            idle.send(RawNBD.request(Wire.Command.flush, cookie: 5))
            #expect(try idle.receiveReply() == (Self.shutdown, 5))
            let go = RawNBD.exportRequest(Array("vol0".utf8))
            for (option, data) in [(Wire.Option.go, go), (Wire.Option.list, []), (4242, [1, 2])] {
                #expect(try new.ask(option, data).type == Wire.Reply.errorShutdown)
            }
            // Who does not leave is closed in the end, and nobody waits for longer.
            for client in [busy, idle, new] { #expect(client.isClosedByServer()) }
            #expect(ContinuousClock.now - start < .seconds(8))
            _ = try eventually(atMost: .seconds(20)) {
                try up.status().pid != process ? true : nil
            }
            #expect(try NBDConnection(up.uri).read(1, at: 0) == [0])
        }

        @Test func whoLeavesAtOnceIsNotWaitedFor() throws {
            let up = try serve("--nbd-announce-shutdown")
            let client = try RawNBD(up.socket)
            try client.enter("vol0")
            let process = try up.pid(of: .client)
            let start = ContinuousClock.now
            try #require(kill(process, SIGTERM) == 0)
            #expect(try readUntilRefused(client) == Self.shutdown)
            client.send(RawNBD.request(Wire.Command.disconnect))
            let isGone = eventually(atMost: .seconds(20)) { kill(process, 0) != 0 ? true : nil }
            #expect(isGone == true)
            #expect(ContinuousClock.now - start < .milliseconds(1800))
        }

        @Test func otherwiseNobodyIsToldAnything() throws {
            let up = try serve()
            let (client, new) = (try RawNBD(up.socket), try RawNBD(up.socket))
            try client.enter("vol0")
            try new.greet()
            try #require(kill(try up.pid(of: .client), SIGTERM) == 0)
            #expect(try readUntilRefused(client) == nil, "kernels take it for the device's end")
            #expect(client.isClosedByServer() && new.isClosedByServer())
        }
    }
}
