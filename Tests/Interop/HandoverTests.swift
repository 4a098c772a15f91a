// An orderly restart under a service manager that keeps descriptors: clients go on as if nothing had been.

import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(2)))
    struct Handover {
        private static let pattern = [UInt8](repeating: 0x5a, count: 4096)

        private let directory: TemporaryDirectory
        private let manager: FakeManager
        private let appliance: RunningProcess

        init() throws {
            directory = try TemporaryDirectory()
            manager = try FakeManager(abstract: false)
            let address = "unix:\(directory.file("a1.sock"))"
            appliance = try RunningProcess(
                [
                    HoldfastBinary.path, "appliance", "run", "--name", "a1", "--memory", "128M",
                    "--listen", address,
                ])
            let first = try serve()
            _ = try manager.next(with: "READY=1")
            let commands = [
                ["appliance", "add", "a1", address],
                ["volume", "create", "vol0", "--size", "32M", "--layout", "mirror:1"],
            ]
            for command in commands {
                let run = try ToolRun(
                    [HoldfastBinary.path] + command + ["--dir", directory.file("d")])
                try #require(run.succeeded, "\(run)")
            }
            #expect(first.terminate() == .exited(0))
        }

        /// Starts the client device, with what the manager keeps.
        private func serve(_ options: [String] = []) throws -> RunningProcess {
            let kept = manager.store
            return try RunningProcess(
                [
                    "sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", HoldfastBinary.path, "serve",
                    "--dir", directory.file("d"),
                ] + options,
                environment: [
                    "NOTIFY_SOCKET": manager.name, "LISTEN_FDS": "\(kept.count)",
                    "LISTEN_FDNAMES": kept.map(\.name).joined(separator: ":"),
                ], descriptors: kept.map(\.descriptor))
        }

        private func connect() throws -> RawNBD { try RawNBD(directory.file("d/nbd.sock")) }

        /// Ends the client device as `systemctl restart` does.
        private func stop(_ process: RunningProcess) throws {
            process.signal(SIGTERM)
            _ = try manager.next(with: "STOPPING=1")
            _ = try manager.next(with: "BARRIER=1")
            #expect(process.waitForExit(atMost: .seconds(20)) == .exited(0))
        }

        @Test func clientsGoOnWhereTheyStood() throws {
            var process = try serve()
            _ = try manager.next(with: "READY=1")
            let (plain, half, status) = (try connect(), try connect(), try connect())
            for client in [plain, half] { try client.enter("vol0") }
            plain.send(
                RawNBD.request(Wire.Command.write, cookie: 7, offset: 8192, length: 4096)
                    + Self.pattern)
            #expect(try plain.receiveReply() == (0, 7))
            let context = "holdfast:resiliency"
            try status.enter("vol0") { client throws(HarnessError) in
                try client.negotiate(.extended, contextOf: "vol0", context, id: 2)
            }
            // A write whose end comes after the restart.
            let request = RawNBD.request(Wire.Command.write, cookie: 9, length: 4096) + Self.pattern
            half.send(Array(request.prefix(1000)))
            usleep(100_000)
            try stop(process)
            #expect(manager.store.count == 4)

            // Nobody is there now: the request waits.
            plain.send(RawNBD.request(Wire.Command.read, cookie: 8, offset: 8192, length: 4096))
            process = try serve()
            #expect(try plain.receiveReplyPumping(manager) == (0, 8))
            #expect(try plain.receive(4096) == Self.pattern)
            half.send(Array(request.dropFirst(1000)))
            #expect(try half.receiveReply() == (0, 9))
            status.send(
                RawNBD.request(.extended, Wire.Command.blockStatus, cookie: 3, length: 4096))
            let chunks = try status.receiveChunks(.extended, offset: 0)
            #expect(chunks.first?.integer(at: 0, UInt32.self) == 2)
            #expect(manager.store.isEmpty, "what is served is not kept as well")

            // They close like any others.
            half.send(RawNBD.request(Wire.Command.disconnect))
            #expect(half.isClosedByServer())
            // And may be handed over once more.
            try stop(process)
            #expect(manager.store.count == 3)
            process = try serve()
            plain.send(RawNBD.request(Wire.Command.read, cookie: 4, length: 4096))
            #expect(try plain.receiveReplyPumping(manager) == (0, 4))
            #expect(try plain.receive(4096) == Self.pattern)
            process.killWithChildren()
        }

        /// Under load, so that some are in the middle of a record, and of a request, whenever it is.
        @Test func clientsUnderTLSGoOnWhereTheyStood() throws {
            let keys = directory.file("keys.psk")
            try SecureServer.writeKeys(keys, ["alice": 0xa1])
            let options = ["--nbd-psk-file", keys]
            var process = try serve(options)
            _ = try manager.next(with: "READY=1")
            let uri =
                "nbds+unix://alice@/vol0?socket=\(directory.file("d/nbd.sock"))&tls-psk-file=\(keys)"
            let idle = try NBDConnection(uri)
            try idle.write(Self.pattern, at: 16 << 20)
            var load = VerifyingWriter.Load()
            load.blockCount = 1024
            load.connections = 3
            load.depth = 16
            load.readsPerHundred = 50
            let writer = VerifyingWriter(uri, load)
            writer.start()
            for _ in 0..<3 {
                usleep(500_000)
                try stop(process)
                // (Four clients, and the table.)
                #expect(manager.store.count == 5)
                process = try serve(options)
                _ = try manager.next(with: "BARRIER=1")
                _ = try manager.next(with: "READY=1")
                #expect(manager.store.isEmpty)
            }
            usleep(500_000)
            let counts = try writer.stop()
            #expect(counts.problems.isEmpty && counts.requestErrors == 0, "\(counts)")
            #expect(counts.acknowledgedWrites > 100 && counts.reads > 100, "\(counts)")
            #expect(idle.isEncrypted)
            #expect(try idle.read(4096, at: 16 << 20) == Self.pattern)
            #expect(try writer.verifyAll().isEmpty)
        }

        /// With `--nbd-announce-shutdown` as well: this is no end for them.
        @Test func whoIsHandedOverIsNotToldThatTheServerStops() throws {
            var process = try serve(["--nbd-announce-shutdown"])
            _ = try manager.next(with: "READY=1")
            let client = try connect()
            try client.enter("vol0")
            // Requests before, while and after it stops: each is answered, and none refused.
            for cookie in 0..<50 as Range<UInt64> {
                client.send(RawNBD.request(Wire.Command.read, cookie: cookie, length: 1))
                if cookie == 10 { process.signal(SIGTERM) }
                if cookie > 10 { usleep(1000) }
            }
            _ = try manager.next(with: "BARRIER=1")
            #expect(process.waitForExit(atMost: .seconds(20)) == .exited(0))
            #expect(manager.store.count == 2)
            process = try serve(["--nbd-announce-shutdown"])
            _ = try manager.next(with: "BARRIER=1")
            for cookie in 0..<50 as Range<UInt64> {
                #expect(try client.receiveReply() == (0, cookie))
                _ = try client.receive(1)
            }
            process.killWithChildren()
        }

        @Test func whoseExportIsGoneIsDisconnected() throws {
            var process = try serve()
            _ = try manager.next(with: "READY=1")
            let client = try connect()
            try client.enter("vol0")
            try stop(process)
            process = try RunningProcess(
                [
                    "sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", HoldfastBinary.path, "serve",
                    "--dir", directory.file("other"),
                ],
                environment: [
                    "LISTEN_FDS": "\(manager.store.count)",
                    "LISTEN_FDNAMES": manager.store.map(\.name).joined(separator: ":"),
                ], descriptors: manager.store.map(\.descriptor))
            let line = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("there is no export 'vol0' any more")
            }
            #expect(line != nil, "\(process.standardError.text)")
            manager.forgetAll()
            #expect(client.isClosedByServer())
            #expect(process.isRunning)
        }

        @Test func aTableThatMakesNoSenseClosesThem() throws {
            let file = directory.file("table")
            let table = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            defer { close(table) }
            try #require(write(table, "{]", 2) == 2)
            var ends: [Int32] = [0, 0]
            let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
            try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
            let process = try RunningProcess(
                [
                    "sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", HoldfastBinary.path, "serve",
                    "--dir", directory.file("other"),
                ],
                environment: ["LISTEN_FDS": "2", "LISTEN_FDNAMES": "clients:client-0"],
                descriptors: [table, ends[0]])
            // (One end stays open here, as in a manager that keeps it all the same.)
            defer { for end in ends { close(end) } }
            var limit = timeval(tv_sec: 20, tv_usec: 0)
            setsockopt(
                ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            let line = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("connections from before are closed, since they cannot be used")
            }
            #expect(line != nil, "\(process.standardError.text)")
            var byte: UInt8 = 0
            #expect(recv(ends[1], &byte, 1, 0) == 0)
            #expect(process.isRunning)
        }
    }
}

extension RawNBD {
    /// The next reply, of a client device that has to be heard by `manager` before it serves.
    fileprivate func receiveReplyPumping(_ manager: FakeManager) throws -> (
        error: UInt32, cookie: UInt64
    ) {
        _ = try manager.next(with: "BARRIER=1")
        return try receiveReply()
    }
}
