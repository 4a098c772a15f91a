// NBD under TLS, as the clients of the distribution speak it.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct TLS {
        private let server: SecureServer

        init() throws { server = try SecureServer() }

        private static func noise(_ count: Int) -> [UInt8] {
            var numbers = SystemRandomNumberGenerator()
            return (0..<count).map { _ in UInt8.random(in: 0...255, using: &numbers) }
        }

        @Test(.needs(.tool("nbdinfo")), arguments: SecureServer.Proof.allCases)
        func nbdinfoSeesTheVolumeThroughTLS(proof: SecureServer.Proof) throws {
            let uri = server.uri(proof)
            #expect(try ToolRun.output("nbdinfo", "--size", uri) == "\(256 << 20)\n")
            let whole = try ToolRun.output("nbdinfo", uri)
            #expect(whole.contains("with TLS"), "\(whole)")
            #expect(
                try ToolRun.output("nbdinfo", "--list", server.uri(proof, of: "")).contains("vol0"))
        }

        @Test func theAddressIsShownAsOneThatNeedsTLS() throws {
            let status = try server.up.status()
            #expect(status.nbd.contains("nbds://127.0.0.1:\(server.port)/"))
            // The socket that only its user can reach goes on without.
            #expect(status.nbd.contains { $0.hasPrefix("nbd+unix://") })
            #expect(try NBDConnection(server.up.uri).isEncrypted == false)
        }

        @Test(.needs(.tool("nbdcopy")), arguments: SecureServer.Proof.allCases)
        func nbdcopyBringsBackWhatItTookIn(proof: SecureServer.Proof) throws {
            let image = server.directory.file("image")
            let back = server.directory.file("back")
            try ToolRun.output(
                "sh", "-c", "head -c 40M /dev/urandom >'\(image)' && truncate -s 256M '\(image)'")
            for connections in ["--connections=1", "--connections=4"] {
                try ToolRun.output("nbdcopy", connections, "--flush", image, server.uri(proof))
                try ToolRun.output("nbdcopy", connections, server.uri(proof), back)
                #expect(try ToolRun(["cmp", image, back]).succeeded)
                try ToolRun.output("rm", back)
            }
        }

        @Test(.needs(.tool("qemu-img"), .tool("qemu-io")), arguments: SecureServer.Proof.allCases)
        func qemuReadsBackWhatItWrote(proof: SecureServer.Proof) throws {
            let (object, image) = server.qemu(proof)
            let info = try ToolRun(["qemu-img", "info"] + object + ["--image-opts", image])
            #expect(info.succeeded && info.standardOutput.contains("256 MiB"), "\(info)")
            let commands = [
                "write -P 0x11 0 1M", "read -P 0x11 0 1M", "write -P 0x22 4097 3333",
                "read -P 0x22 4097 3333", "read -P 0x11 8192 4096", "write -z 1M 1M",
                "discard 0 4k", "read -P 0 0 4k", "write -P 0x33 32M 32M", "read -P 0x33 32M 32M",
                "aio_write -P 0x44 2M 8M", "aio_write -P 0x55 10M 8M", "aio_flush",
                "read -P 0x44 2M 8M", "read -P 0x55 10M 8M", "flush",
            ]
            let run = try ToolRun(
                ["qemu-io"] + object + ["--image-opts"] + commands.flatMap { ["-c", $0] } + [image])
            #expect(run.succeeded && !run.standardOutput.contains("failed"), "\(run)")
        }

        @Test(arguments: SecureServer.Proof.allCases)
        func libnbdPipelinesRequestsOfAllSizes(proof: SecureServer.Proof) throws {
            let connection = try NBDConnection(server.uri(proof))
            #expect(connection.isEncrypted)
            let sizes = [1, 511, 4096, 16_383, 16_384, 16_385, 70_000, 1 << 20, 32 << 20]
            var offset: UInt64 = 3
            var written: [(UInt64, [UInt8])] = []
            for size in sizes {
                let bytes = Self.noise(size)
                try connection.write(bytes, at: offset)
                written.append((offset, bytes))
                offset += UInt64(size) + 5
            }
            for (offset, bytes) in written {
                #expect(try connection.read(bytes.count, at: offset) == bytes)
            }
            try connection.shutdown()
        }

        /// Every block that is read was written whole, while others write: also where a record ends within it.
        @Test(arguments: SecureServer.Proof.allCases)
        func noBlockIsTornUnderLoad(proof: SecureServer.Proof) throws {
            var load = VerifyingWriter.Load()
            load.blockCount = 512
            load.connections = 3
            load.depth = 16
            load.readsPerHundred = 50
            let writer = VerifyingWriter(server.uri(proof), load)
            writer.start()
            Thread.sleep(forTimeInterval: 4)
            let counts = try writer.stop()
            #expect(counts.problems.isEmpty && counts.requestErrors == 0, "\(counts)")
            #expect(counts.acknowledgedWrites > 100 && counts.reads > 100, "\(counts)")
            #expect(try writer.verifyAll().isEmpty)
        }

        @Test func aTLSClientFindsTheSuccessorOfAKilledClientDevice() throws {
            // (A port of the system's choosing would be another one afterwards.)
            let connection = try NBDConnection(server.up.uri)
            try connection.write([1, 2, 3], at: 0)
            let before = try NBDConnection(server.uri(.key))
            #expect(try before.read(3, at: 0) == [1, 2, 3])
            try server.up.kill(.client)
            let uri = try eventually(atMost: .seconds(30)) {
                try server.up.status().nbd.first { $0.hasPrefix("nbds://") }
            }
            let port = try #require(uri?.split(separator: ":").last?.dropLast())
            let keys = server.directory.file("keys.psk")
            let after = try NBDConnection(
                "nbds://alice@localhost:\(port)/vol0?tls-psk-file=\(keys)")
            #expect(try after.read(3, at: 0) == [1, 2, 3])
        }
    }

    @Suite(.timeLimit(.minutes(5)))
    struct TLSPolicies {
        @Test func whereTLSIsAllowedBothWaysWork() throws {
            let server = try SecureServer("allowed")
            let plain = try NBDConnection(server.plainURI)
            #expect(!plain.isEncrypted)
            try plain.write([7, 8], at: 9)
            let secure = try NBDConnection(server.uri(.key))
            #expect(secure.isEncrypted)
            #expect(try secure.read(2, at: 9) == [7, 8])
            #expect(try server.up.status().nbd.contains("nbd://127.0.0.1:\(server.port)/"))
        }

        @Test func whereTLSIsOffItIsNotSpoken() throws {
            let server = try SecureServer("off")
            #expect(throws: NBDError.self) { try NBDConnection(server.uri(.key)) }
            #expect(try NBDConnection(server.plainURI).read(1, at: 0) == [0])
        }

        @Test func theOwnSocketSpeaksTLSToWhoeverAsks() throws {
            let server = try SecureServer()
            let uri =
                "nbds+unix://alice@/vol0?socket=\(server.up.socket)&tls-psk-file="
                + server.directory.file("keys.psk")
            #expect(try NBDConnection(uri).isEncrypted)
        }

        @Test(arguments: [
            ["--nbd", "tcp:0.0.0.0:0"], ["--nbd", "tcp:[::]:0"],
            ["--nbd", "tcp:0.0.0.0:0", "--nbd-tls", "allowed"],
        ])
        func anAddressOfTheNetworkNeedsProof(options: [String]) throws {
            let directory = try TemporaryDirectory()
            let keys = directory.file("keys.psk")
            try SecureServer.writeKeys(keys, ["alice": 0xa1])
            let more = options.contains("allowed") ? ["--nbd-psk-file", keys] : []
            for command in ["serve", "up"] {
                let run = try ToolRun(
                    [HoldfastBinary.path, command, "--dir", directory.path] + options + more)
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.contains("--nbd-psk-file"), "\(run)")
                #expect(run.standardError.contains("can be reached from other machines"), "\(run)")
            }
        }

        @Test func anAddressOfTheNetworkIsServedWithProofOrOnDemand() throws {
            let directory = try TemporaryDirectory()
            let keys = directory.file("keys.psk")
            try SecureServer.writeKeys(keys, ["alice": 0xa1])
            let safe = try HoldfastUp(
                HoldfastUp.usualOptions + ["--nbd", "tcp:0.0.0.0:0", "--nbd-psk-file", keys])
            #expect(try safe.status().nbd.contains { $0.hasPrefix("nbds://0.0.0.0:") })
            #expect(!safe.supervisor.standardError.text.contains("whoever can reach"))
            safe.stop()
            let open = try HoldfastUp(
                HoldfastUp.usualOptions + ["--nbd", "tcp:0.0.0.0:0", "--nbd-insecure"])
            #expect(open.supervisor.standardError.text.contains("whoever can reach tcp:0.0.0.0"))
        }

        @Test(arguments: [
            ["--nbd-tls", "required"], ["--nbd-tls", "allowed"], ["--nbd-tls", "perhaps"],
            ["--nbd-certificate", "a"], ["--nbd-key", "a", "--nbd-authority", "b"],
            ["--nbd-allow", "alice"], ["--nbd-allow", "alice=vol0@monday"],
        ])
        func optionsThatMakeNoSenseAreMisuse(options: [String]) throws {
            let directory = try TemporaryDirectory()
            for command in ["serve", "up"] {
                let run = try ToolRun(
                    [HoldfastBinary.path, command, "--dir", directory.path] + options)
                #expect(run.status == 64, "\(run)")
            }
        }
    }
}
