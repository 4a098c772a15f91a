// Who may be at control.sock: one live server, and nobody but its user.

import Control
import ControlHTTP
import Foundation
import Glibc
import RemoteMemory
import Testing

@Suite("Control socket") struct SocketTests {
    @Test("without a client device the error says how to start one")
    func missing() async throws {
        try await withDirectory { directory in
            let expected = ControlError(
                .unavailable,
                "No client device is running for \(directory): start one with 'holdfast up --dir "
                    + "\(directory)' or 'holdfast serve --dir \(directory)'.")
            let client = ControlClient(directory: directory)
            await #expect(throws: expected) { try await client.status() }
            // A killed one leaves a socket that refuses.
            try leaveStaleSocket(directory + "/control.sock")
            await #expect(throws: expected) { try await client.status() }
        }
    }

    @Test("one that hangs is named, and not waited for where it could answer at once")
    func hung() async throws {
        try await withDirectory { directory in
            // A listener that nobody serves is all that is seen of a process that hangs.
            let listener = try #require(unixSocket(directory + "/control.sock", binding: true))
            defer { close(listener) }
            listen(listener, 16)
            let client = ControlClient(directory: directory, patience: .milliseconds(50))
            let expected = ControlError(
                .unavailable,
                "The client device of \(directory), process \(getpid()), does not answer: if it hangs, "
                    + "'holdfast serve --take-over --dir \(directory)' puts another in its place.")
            await #expect(throws: expected) { try await client.status() }
            await #expect(throws: expected) { try await client.volumes() }
            await #expect(throws: expected) {
                try await client.addAppliance(ApplianceAddition(name: "a", address: "unix:/a"))
            }
        }
    }

    @Test("what takes as long as it takes is waited for")
    func patience() async throws {
        try await withServer(FakeDevice()) { server in
            let client = ControlClient(directory: server.socket.directory, patience: .zero)
            let creation = VolumeCreation(
                name: "v", size: .mebibytes(16), layout: .mirror(copies: 2))
            let volume = try await client.createVolume(creation)
            #expect(volume.name == "v")
        }
    }

    @Test("what a killed server left behind is replaced")
    func stale() async throws {
        try await withDirectory { directory in
            try leaveStaleSocket(directory + "/control.sock")
            try FileManager.default.createDirectory(
                atPath: directory + "/control.new", withIntermediateDirectories: false)
            try leaveStaleSocket(directory + "/control.new/s")
            _ = FileManager.default.createFile(atPath: directory + "/control.lock", contents: nil)
            try await withServer(FakeDevice(), in: directory) { client in
                let status = try await client.status()
                #expect(status == .sample)
            }
        }
    }

    @Test("a second server is refused, and the first keeps answering")
    func live() async throws {
        try await withDirectory { directory in
            try await withServer(FakeDevice(), in: directory) { client in
                let error = try await failure(in: directory)
                #expect(error.code == .conflict)
                #expect(error.message.contains("already running for \(directory)"))
                let status = try await client.status()
                #expect(status == .sample)
            }
        }
    }

    @Test("of many servers that start at once over a stale socket exactly one serves")
    func race() async throws {
        try await withDirectory { directory in
            try leaveStaleSocket(directory + "/control.sock")
            let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        do {
                            return try await withServer(FakeDevice(), in: directory) { client in
                                // Long enough for all others to try.
                                try await Task.sleep(for: .milliseconds(300))
                                return try await client.status() == .sample
                            }
                        } catch let error as ControlError where error.code == .conflict {
                            return false
                        }
                    }
                }
                return try await group.reduce(into: [Bool]()) { $0.append($1) }
            }
            #expect(outcomes.count { $0 } == 1)
        }
    }

    @Test("a successor of a server that hangs is found in its place, also after that one's end")
    func succession() async throws {
        try await withDirectory { directory in
            let (ready, signal) = AsyncStream<Void>.makeStream()
            let (over, end) = AsyncStream<Void>.makeStream()
            // (That it hangs is for its successor to know: to the files it makes no difference.)
            let hung = Task {
                try await withServer(FakeDevice(), in: directory) { _ in
                    signal.finish()
                    for await _ in over {}
                }
            }
            for await _ in ready {}
            try await withServer(FakeDevice(), in: directory, isSucceeding: true) { client in
                end.finish()
                _ = try await hung.value
                let status = try await client.status()
                #expect(status == .sample, "its socket went with the other's")
                let refusal = try await failure(in: directory)
                #expect(refusal.code == .conflict)
            }
            let names = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(names == ["control.lock"])
            try await withServer(FakeDevice(), in: directory) { client in
                let status = try await client.status()
                #expect(status == .sample)
            }
        }
    }

    @Test("a listener that is not Holdfast's is left alone")
    func foreignListener() async throws {
        try await withDirectory { directory in
            let path = directory + "/control.sock"
            let listener = try #require(unixSocket(path, binding: true))
            defer { close(listener) }
            listen(listener, 1)
            #expect(try await failure(in: directory).code == .conflict)
            let connection = try #require(unixSocket(path))
            close(connection)
        }
    }

    @Test("a file in the socket's place is left alone")
    func file() async throws {
        try await withDirectory { directory in
            let path = directory + "/control.sock"
            _ = FileManager.default.createFile(atPath: path, contents: Data("precious".utf8))
            let error = try await failure(in: directory)
            #expect(error.code == .conflict)
            #expect(error.message.contains("not a socket"))
            #expect(FileManager.default.contents(atPath: path) == Data("precious".utf8))
        }
    }

    @Test("only the owner may connect, whatever the umask")
    func mode() async throws {
        try await withDirectory { directory in
            try await withServer(FakeDevice(), in: directory) { client in
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: client.socket.path)
                #expect(attributes[.posixPermissions] as? Int == 0o600)
                #expect(attributes[.type] as? FileAttributeType == .typeSocket)
            }
        }
    }

    @Test("a server that was cancelled leaves nothing and can be followed by another")
    func restart() async throws {
        try await withDirectory { directory in
            for _ in 0..<3 {
                try await withServer(FakeDevice(), in: directory) { client in
                    _ = try await client.status()
                    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
                    #expect(Set(names) == ["control.lock", "control.sock"])
                }
                let names = try FileManager.default.contentsOfDirectory(atPath: directory)
                #expect(names == ["control.lock"])
            }
        }
    }

    @Test("a connection that is open and idle does not keep a server from ending")
    func idleConnection() async throws {
        try await withDirectory { directory in
            var connection: CInt?
            try await withServer(FakeDevice(), in: directory) { client in
                connection = unixSocket(client.socket.path)
                _ = try await client.status()
            }
            close(try #require(connection))
        }
    }

    @Test("connections that arrive while the server ends do not end the process")
    func arrivals() async throws {
        try await withDirectory { directory in
            for _ in 0..<20 {
                var connections: [CInt] = []
                try await withServer(FakeDevice(), in: directory) { client in
                    // All of them are on their way when the server is cancelled, right after this.
                    for _ in 0..<ControlServer.maximumConnections {
                        connections.append(try #require(unixSocket(client.socket.path)))
                    }
                }
                for connection in connections { close(connection) }
            }
        }
    }

    @Test("a directory whose path is too long for a socket is refused in words")
    func length() async throws {
        let directory = "/tmp/" + String(repeating: "x", count: 120)
        let client = ControlClient(directory: directory)
        let error = try await #require(throws: ControlError.self) { try await client.status() }
        #expect(error.message.contains("bytes too long"))
        #expect(try await failure(in: directory).code == .invalid)
    }

    @Test("a directory that does not exist is a sentence")
    func noDirectory() async throws {
        let error = try await failure(in: "/tmp/hfc-does-not-exist")
        #expect(error.code == .failed)
        #expect(error.message.contains("No such file or directory"))
    }

    /// The error with which a server in `directory` ends instead of listening.
    private func failure(in directory: String) async throws -> ControlError {
        try await #require(throws: ControlError.self) {
            try await withServer(FakeDevice(), in: directory) { _ in }
        }
    }

    private func leaveStaleSocket(_ path: String) throws {
        close(try #require(unixSocket(path, binding: true)))
    }
}
