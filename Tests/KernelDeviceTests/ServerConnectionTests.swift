// Connections made for the kernel: to a real server, to one that hangs, to none.

import Foundation
import Glibc
import KernelDevice
import NBDProtocol
import Testing
import TestSupport

@Suite struct ServerConnectionTests {
    static func backend(_ directory: String, _ connections: Int = 3) -> Backend {
        Backend(export: "vol0", connections: connections, timeout: 5, directory: directory)
    }

    /// The errno that there is no server for; nil when there is another failure.
    static func absence(_ directory: String) -> Int32? {
        do throws(KernelDeviceError) {
            _ = try ServerConnection(to: backend(directory), .know)
        } catch {
            if case .noServer(_, let code) = error { return code }
        }
        return nil
    }

    @Test func `a server's facts are those of its export, and the socket waits for ever`() throws {
        let directory = try TemporaryDirectory()
        let server = try Nbdkit(["-r", "memory", "12M"], in: directory)
        let connections = try ServerConnections(to: Self.backend(directory.path))
        #expect(connections.facts.size == 12 << 20)
        #expect(connections.facts.flags.contains([.hasFlags, .readOnly]))
        #expect(connections.server == server.process.pid)
        #expect(Set(connections.descriptors).count == 3)
        for descriptor in connections.descriptors {
            var limit = timeval(tv_sec: 1, tv_usec: 1)
            var size = socklen_t(MemoryLayout<timeval>.size)
            #expect(getsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) == 0)
            #expect(limit.tv_sec == 0 && limit.tv_usec == 0)
        }
    }

    @Test func `the kernel finds the first reply where it expects it`() throws {
        let directory = try TemporaryDirectory()
        let server = try Nbdkit(["memory", "1M"], in: directory)
        let connections = try ServerConnections(to: Self.backend(directory.path, 1))
        let request =
            Bytes.of(UInt32(0x2560_9513).bigEndian) + [0, 0, 0, 0] + Bytes.of(UInt64(7))
            + Bytes.of(UInt64(0)) + Bytes.of(UInt32(512).bigEndian)
        let descriptor = connections.descriptors[0]
        #expect(send(descriptor, request, request.count, 0) == request.count)
        var reply = [UInt8](repeating: 1, count: 16 + 512)
        #expect(recv(descriptor, &reply, reply.count, Int32(MSG_WAITALL)) == reply.count)
        #expect(reply[0..<8] == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0])
        withExtendedLifetime(server) {}
    }

    @Test func `nobody there, nothing there, and too long a path are told apart`() throws {
        let directory = try TemporaryDirectory()
        #expect(Self.absence(directory.path) == ENOENT)
        let server = try Nbdkit(["memory", "1M"], in: directory)
        server.process.signal(SIGKILL)
        #expect(server.process.waitForExit(atMost: .seconds(20)) != nil)
        #expect(Self.absence(directory.path) == ECONNREFUSED)
        let long = "/tmp/" + String(repeating: "x", count: 120)
        #expect(throws: KernelDeviceError.pathTooLong(long + "/nbd.sock")) {
            try ServerConnection(to: Self.backend(long), .know).facts
        }
    }
}

@Suite struct BlockSizeTests {
    @Test(
        arguments: [
            (4096, 1 << 30, 4096), (512, 1 << 30, 512), (1024, 1 << 30, 1024),
            (4096, (1 << 30) + 512, 512), (65536, 1 << 30, 512), (1, 1 << 30, 512),
            (3000, 3000 * 512, 512),
        ] as [(UInt32, UInt64, UInt32)])
    func `a device has the server's preferred blocks if the kernel can`(
        preferred: UInt32, size: UInt64, expected: UInt32
    ) {
        let facts = ExportFacts(size: size, flags: .hasFlags, preferredBlock: preferred)
        #expect(Attachment.blockSize(for: facts) == expected)
    }
}
