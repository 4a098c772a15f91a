// The load against a server whose failures are known: it must find what is lost, and only that.

import Glibc
import TestSupport
import Testing

@Suite(.serialized, .needs(.tool("nbdkit")), .timeLimit(.minutes(2)))
struct VerifyingWriterTests {
    private func load() -> VerifyingWriter.Load {
        var load = VerifyingWriter.Load()
        load.blockCount = 4096
        return load
    }

    @Test func aCorrectServerPasses() throws {
        let server = try Nbdkit(["memory", "64M"])
        let writer = VerifyingWriter(server.uri, load())
        writer.start()
        try writer.waitForWrites(5000)
        let counts = try writer.stop()
        #expect(counts.problems == [])
        #expect(counts.reads > 0)
        #expect(try writer.verifyAll() == [])
    }

    @Test func aServerThatLosesItsMemoryIsFound() throws {
        let directory = try TemporaryDirectory()
        var server: Nbdkit? = try Nbdkit(["memory", "64M"], in: directory)
        let writer = VerifyingWriter(try #require(server?.uri), load())
        writer.start()
        try writer.waitForWrites(2000)
        server?.process.signal(SIGKILL)
        _ = server?.process.waitForExit(atMost: .seconds(10))
        server = try Nbdkit(["memory", "64M"], in: directory)
        try writer.waitForWrites(2000)
        let counts = try writer.stop()
        #expect(counts.lostConnections > 0)
        #expect(try !writer.verifyAll().isEmpty)
        server = nil
    }

    @Test func aServerThatKeepsItsDataMayBeKilled() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("disk")
        try ToolRun.output("truncate", "-s", "64M", file)
        var server: Nbdkit? = try Nbdkit(["file", file], in: directory)
        // One request of one block at a time: the file has no range locks, and its writes tear.
        var load = load()
        load.connections = 1
        load.depth = 1
        let writer = VerifyingWriter(try #require(server?.uri), load)
        writer.start()
        for _ in 0..<5 {
            try writer.waitForWrites(200)
            server?.process.signal(SIGKILL)
            _ = server?.process.waitForExit(atMost: .seconds(10))
            server = try Nbdkit(["file", file], in: directory)
        }
        try writer.waitForWrites(200)
        #expect(try writer.stop().lostConnections == 5)
        #expect(try writer.verifyAll() == [])
        server = nil
    }

    @Test func aServerThatAnswersWithErrorsIsFound() throws {
        let server = try Nbdkit(
            ["--filter=error", "memory", "64M", "error-pwrite=EIO", "error-pwrite-rate=5%"])
        let writer = VerifyingWriter(server.uri, load())
        writer.start()
        try writer.waitForWrites(1000)
        #expect(try writer.stop().requestErrors > 0)
    }

    @Test func aServerThatForgetsASingleWriteIsFound() throws {
        let server = try Nbdkit(["memory", "64M"])
        let writer = VerifyingWriter(server.uri, load())
        writer.start()
        try writer.waitForWrites(5000)
        _ = try writer.stop()
        #expect(try writer.verifyAll() == [])
        let other = try NBDConnection(server.uri)
        // (What was never written is zeroes in one place as in another.)
        let written = try #require(
            try (17..<1000).first { try other.read(4096, at: $0 * 4096).contains { $0 != 0 } })
        let block = try other.read(4096, at: written * 4096)
        try other.write(block, at: (written + 1) * 4096)
        #expect(try writer.verifyAll().count == 1)
    }
}
