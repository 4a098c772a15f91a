// Who is not let in: each is refused, logged in a sentence, and the others notice nothing.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct TLSRefusals {
        private let server: SecureServer
        private let bystander: NBDConnection

        init() throws {
            server = try SecureServer()
            bystander = try NBDConnection(server.uri(.key))
            try bystander.write([42], at: 0)
        }

        /// Expects a sentence in the log, and that old and new connections work.
        private func expectRefused(
            _ sentence: String, sourceLocation: SourceLocation = #_sourceLocation
        ) {
            let line = server.logged(sentence)
            #expect(
                line?.contains("closing a connection in its handshake") == true,
                "no line about: \(sentence)\(server.up.log)", sourceLocation: sourceLocation)
            #expect(throws: Never.self, sourceLocation: sourceLocation) {
                for connection in [bystander, try NBDConnection(server.uri(.certificate))] {
                    let byte = try connection.read(1, at: 0)
                    #expect(byte == [42])
                }
            }
        }

        private func tcp() throws -> RawNBD { try RawNBD(port: server.port) }

        @Test func aCertificateOfAnotherAuthority() throws {
            let stranger = try TestAuthority("stranger", in: server.directory)
            let folder = server.directory.file("stranger")
            try SecureServer.makeClient(
                of: stranger, "alice", in: folder, trusting: server.authority)
            #expect(throws: NBDError.self) {
                // (TLS 1.3 tells the client after its handshake.)
                try NBDConnection(server.uri(.certificate, files: folder)).read(1, at: 0)
            }
            expectRefused("not issued by the authority")
        }

        @Test func aClientThatDoesNotTrustTheServer() throws {
            let stranger = try TestAuthority("stranger", in: server.directory)
            let folder = server.directory.file("distrust")
            try SecureServer.makeClient(
                of: server.authority, "alice", in: folder, trusting: stranger)
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.certificate, files: folder))
            }
            expectRefused("the client ")
        }

        @Test func anExpiredCertificate() throws {
            let folder = server.directory.file("old")
            try SecureServer.makeClient(of: server.authority, "old", in: folder, days: -1)
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.certificate, files: folder)).read(1, at: 0)
            }
            expectRefused("has expired")
        }

        @Test func noCertificate() throws {
            let folder = server.directory.file("none")
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true)
            try ToolRun.output("cp", server.authority.certificate, folder + "/ca-cert.pem")
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.certificate, files: folder)).read(1, at: 0)
            }
            expectRefused("shows no certificate")
        }

        @Test func anotherKey() throws {
            let file = server.directory.file("wrong.psk")
            try SecureServer.writeKeys(file, ["alice": 0xcc])
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.key, files: file)).read(1, at: 0)
            }
            expectRefused("the client has another key")
        }

        @Test func aNameWithoutAKey() throws {
            let file = server.directory.file("carol.psk")
            try SecureServer.writeKeys(file, ["carol": 0xa1])
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.key, name: "carol", files: file)).read(1, at: 0)
            }
            expectRefused("closing a connection in its handshake: ")
        }

        @Test(.needs(.tool("nbdinfo"))) func aClientWithoutTLS() throws {
            #expect(try !ToolRun(["nbdinfo", server.plainURI]).succeeded)
            // EXPORT_NAME cannot be answered with an error.
            let raw = try tcp()
            try raw.greet()
            #expect(try raw.ask(Wire.Option.list).type == Wire.Reply.errorTLSRequired)
            let go = RawNBD.exportRequest(Array("vol0".utf8))
            #expect(try raw.ask(Wire.Option.go, go).type == Wire.Reply.errorTLSRequired)
            raw.sendOption(Wire.Option.exportName, Array("vol0".utf8))
            #expect(raw.isClosedByServer())
            expectRefused("without TLS, which is required")
        }

        @Test(arguments: [
            Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), [UInt8](repeating: 0, count: 4096),
            [UInt8](repeating: 0xFF, count: 100_000), [0x16, 3, 1, 0xFF, 0xFF] + [1, 2, 3],
        ])
        func somethingElseThanAClientHello(garbage: [UInt8]) throws {
            let raw = try tcp()
            try raw.greet()
            #expect(try raw.ask(Wire.Option.startTLS).type == Wire.Reply.ack)
            raw.send(garbage)
            raw.finishSending()
            #expect(raw.isClosedByServer())
            expectRefused("closing a connection in its handshake: ")
        }

        @Test func somethingInTheClearBehindSTARTTLS() throws {
            let raw = try tcp()
            _ = try raw.receive(18)
            raw.send(
                bigEndian(UInt32(3)) + bigEndian(Wire.optionMagic) + bigEndian(Wire.Option.startTLS)
                    + bigEndian(UInt32(0)) + bigEndian(Wire.optionMagic)
                    + bigEndian(Wire.Option.list) + bigEndian(UInt32(0)))
            #expect(raw.isClosedByServer())
            expectRefused("in the clear behind STARTTLS")
        }

        @Test func clientsThatStallInTheHandshakeHoldNobodyUp() throws {
            // At every point: before the first option, before and within the ClientHello.
            let stalled = try (0..<60).map { number in
                let raw = try tcp()
                try raw.greet()
                if number % 3 > 0 {
                    #expect(try raw.ask(Wire.Option.startTLS).type == Wire.Reply.ack)
                }
                if number % 3 > 1 { raw.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]) }
                return raw
            }
            #expect(try NBDConnection(server.uri(.key)).read(1, at: 0) == [42])
            // Each has its 30 seconds, then it is told why.
            expectRefused("it took too long", after: .seconds(45))
            for raw in stalled { #expect(raw.isClosedByServer()) }
        }

        private func expectRefused(_ sentence: String, after limit: Duration) {
            let line = server.up.supervisor.standardError.waitForLine(atMost: limit) {
                $0.contains(sentence)
            }
            #expect(line != nil, "\(server.up.log)")
        }

        @Test func aFullAddressLeavesTheOthersFree() throws {
            let stalled = try (0..<300).map { _ in try tcp() }
            #expect(server.logged("handshakes are under way") != nil)
            #expect(try NBDConnection(server.up.uri).read(1, at: 0) == [42])
            #expect(try bystander.read(1, at: 0) == [42])
            withExtendedLifetime(stalled) {}
        }
    }
}
