// Sockets that a service manager passes: who connects before the client device runs has only to wait.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(2)))
    struct SocketActivation {
        private let directory: TemporaryDirectory

        init() throws { directory = try TemporaryDirectory() }

        /// Listens at these addresses, and starts `serve` when the first client comes.
        private func activate(
            _ names: String, at addresses: [String], _ options: String...
        ) throws -> RunningProcess {
            let process = try RunningProcess(
                ["systemd-socket-activate", "--fdname=\(names)"]
                    + addresses.flatMap { ["--listen", $0] }
                    + [HoldfastBinary.path, "serve", "--dir", directory.file("d")] + options)
            let isListening = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("Listening on \(addresses.last ?? "")")
            }
            try #require(isListening != nil, "\(process.standardError.text)")
            return process
        }

        private func freePort() -> UInt16 { UInt16.random(in: 20_000..<30_000) }

        private func expectServed(_ raw: RawNBD) throws {
            try raw.greet()
            #expect(try raw.ask(Wire.Option.list).type == Wire.Reply.ack)
        }

        @Test(.needs(.tool("systemd-socket-activate")))
        func socketsThatArePassedAreServed() throws {
            let (path, port) = (directory.file("passed.sock"), freePort())
            let process = try activate("nbd:nbd", at: [path, "127.0.0.1:\(port)"])
            try expectServed(RawNBD(path))
            try expectServed(RawNBD(port: port))
            // Its own socket is there too, and the status tells of all.
            try expectServed(RawNBD(directory.file("d/nbd.sock")))
            let status = try ToolRun.output(
                HoldfastBinary.path, "status", "--json", "--dir", directory.file("d"))
            #expect(status.contains("nbd://127.0.0.1:\(port)/"), "\(status)")
            #expect(status.contains("passed.sock"), "\(status)")
            #expect(process.terminate() == .exited(0))
            #expect(access(path, F_OK) == 0, "the file is the service manager's")
        }

        @Test(.needs(.tool("systemd-socket-activate")))
        func aSocketOfAnotherNameIsNotServed() throws {
            let (path, other) = (directory.file("passed.sock"), directory.file("other.sock"))
            let process = try activate("holdfast.socket:odd", at: [path, other])
            try expectServed(RawNBD(path))
            let line = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("the socket 'odd'")
            }
            #expect(line != nil)
        }

        @Test(.needs(.tool("systemd-socket-activate")))
        func anAddressOfTheNetworkNeedsProofHereToo() throws {
            let port = freePort()
            let process = try activate("nbd", at: ["0.0.0.0:\(port)"])
            let raw = try RawNBD(port: port)
            #expect(raw.isClosedByServer())
            #expect(process.waitForExit(atMost: .seconds(20)) == .exited(1))
            #expect(process.standardError.text.contains("can be reached from other machines"))
        }

        @Test func whatIsMeantForAnotherProcessIsLeftAlone() throws {
            let process = try RunningProcess(
                [HoldfastBinary.path, "serve", "--dir", directory.file("d")],
                environment: ["LISTEN_FDS": "3", "LISTEN_PID": "1"])
            let isServing = try eventually(atMost: .seconds(20)) {
                try ToolRun([HoldfastBinary.path, "status", "--dir", directory.file("d")]).succeeded
                    ? true : nil
            }
            #expect(isServing == true, "\(process.standardError.text)")
            #expect(process.terminate() == .exited(0))
        }
    }
}
