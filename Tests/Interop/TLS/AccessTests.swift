// What a client may use that is let in, and what becomes of that when the files are changed.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct Access {
        @Test(.needs(.tool("nbdinfo"))) func eachClientUsesItsOwn() throws {
            let server = try SecureServer(
                "allowed",
                [
                    "--nbd-allow", "alice=vol0", "--nbd-allow", "bob=other", "--nbd-allow",
                    "*=public",
                ])
            let up = server.up
            for name in ["other", "public"] {
                try up.require("volume", "create", name, "--size", "16M", "--layout", "mirror:2")
            }
            try up.require("snapshot", "create", "vol0", "monday")
            let bob = { (export: String) in server.uri(.key, of: export, name: "bob") }

            let list = try ToolRun.output("nbdinfo", "--list", server.uri(.certificate, of: ""))
            for name in ["vol0\"", "vol0@monday", "public"] {
                #expect(list.contains(name), "\(list)")
            }
            #expect(!list.contains("other"), "\(list)")
            let other = try ToolRun.output("nbdinfo", "--list", bob(""))
            #expect(other.contains("other") && !other.contains("vol0"), "\(other)")

            for export in ["vol0", "vol0@monday", "public"] {
                #expect(try NBDConnection(server.uri(.certificate, of: export)).size > 0)
            }
            #expect(try NBDConnection(bob("other")).size > 0)
            for uri in [bob("vol0"), bob("vol0@monday"), server.uri(.certificate, of: "other")] {
                #expect(throws: NBDError.self) { try NBDConnection(uri) }
                #expect(try !ToolRun(["nbdinfo", uri]).succeeded)
            }
            // Who proves nothing has what everybody has; who can reach nbd.sock is the owner of it all.
            let plain = "nbd://127.0.0.1:\(server.port)/"
            #expect(try NBDConnection(plain + "public").size > 0)
            #expect(throws: NBDError.self) { try NBDConnection(plain + "vol0") }
            #expect(try NBDConnection(up.uri(of: "other")).size > 0)
        }

        @Test func refusalsSayWhy() throws {
            let server = try SecureServer("allowed", ["--nbd-allow", "alice=vol0"])
            let raw = try RawNBD(port: server.port)
            try raw.greet()
            let reply = try raw.ask(Wire.Option.go, RawNBD.exportRequest(Array("vol0".utf8)))
            #expect(reply.type == Wire.Reply.errorPolicy)
            #expect(String(decoding: reply.payload, as: UTF8.self).contains("may not use 'vol0'"))
            #expect(try raw.ask(Wire.Option.list).type == Wire.Reply.ack)
        }

        @Test func keysAndRulesAreReread() throws {
            let directory = try TemporaryDirectory()
            let rules = directory.file("rules")
            try "alice=vol0\n".write(toFile: rules, atomically: true, encoding: .utf8)
            let server = try SecureServer("required", ["--nbd-allow-file", rules])
            let keys = server.directory.file("keys.psk")
            let standing = try NBDConnection(server.uri(.key))
            let client = try server.up.pid(of: .client)
            func hangUp(_ expected: String) -> Bool {
                kill(client, SIGHUP)
                return server.logged(expected) != nil
            }

            // Rules that cannot be read leave everything as it was.
            try "nonsense\n".write(toFile: rules, atomically: true, encoding: .utf8)
            #expect(hangUp("'nonsense' grants nothing"))
            #expect(try NBDConnection(server.uri(.key)).read(1, at: 0) == [0])

            let old = server.directory.file("old.psk")
            try SecureServer.writeKeys(old, ["alice": 0xa1])
            try SecureServer.writeKeys(keys, ["alice": 0xa2, "bob": 0xb0])
            try "bob=vol0\nalice=vol0\n".write(toFile: rules, atomically: true, encoding: .utf8)
            #expect(hangUp("was reread"))
            #expect(throws: NBDError.self) {
                try NBDConnection(server.uri(.key, files: old)).read(1, at: 0)
            }
            #expect(try NBDConnection(server.uri(.key)).read(1, at: 0) == [0])
            #expect(try NBDConnection(server.uri(.key, name: "bob")).read(1, at: 0) == [0])
            #expect(try standing.read(1, at: 0) == [0], "who is in stays")

            chmod(keys, 0o644)
            #expect(hangUp("can be read by others"))
            #expect(
                try NBDConnection(
                    server.uri(
                        .key, name: "bob",
                        files: {
                            let copy = server.directory.file("copy.psk")
                            try SecureServer.writeKeys(copy, ["bob": 0xb0])
                            return copy
                        }())
                ).read(1, at: 0) == [0])
        }

        @Test func upPassesAHangUpOn() throws {
            let server = try SecureServer()
            try SecureServer.writeKeys(server.directory.file("keys.psk"), ["alice": 0xa7])
            server.up.supervisor.signal(SIGHUP)
            #expect(server.logged("was reread") != nil)
            #expect(try NBDConnection(server.uri(.key)).read(1, at: 0) == [0])
        }
    }
}
