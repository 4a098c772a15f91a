// An appliance on a thread of this process, its socket in a directory of its own; and other ends of its
// socket that do not behave: bytes as they are, and a process that can be killed.

import Appliance
import CLinux
import Foundation
import Glibc
import Reactor
import RemoteMemory
import SharedMemoryTransport
import TCPTransport

/// A directory that goes with its owner.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/holdfast-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw ApplianceConnectionError.system(errno: errno) }
        path = String(
            decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// An appliance that runs until it is let go of.
final class RunningAppliance {
    private struct Box: @unchecked Sendable {
        let server: ApplianceServer
    }

    let path: String
    let incarnation: Incarnation
    private let directory: TemporaryDirectory
    private let box: Box
    private let ended = DispatchSemaphore(value: 0)

    /// Where it is reached from the network: a port of the system's choosing on loopback.
    var network: Address { box.server.addresses[1] }

    init(
        capacity: ByteCount = .mebibytes(64), memoryDirectory: String? = nil,
        security: PeerSecurity = .local
    ) throws {
        directory = try TemporaryDirectory()
        path = directory.path + "/socket"
        let box = Box(
            server: try ApplianceServer(
                name: "left", capacity: capacity,
                addresses: [.unix(path: path), .tcp(host: "127.0.0.1", port: 0)],
                security: security, memoryDirectory: memoryDirectory))
        self.box = box
        incarnation = box.server.incarnation
        let ended = ended
        Foundation.Thread.detachNewThread {
            box.server.run()
            ended.signal()
        }
    }

    deinit { stop() }

    func stop() {
        box.server.stop()
    }

    /// Stops it, and returns when it has.
    func end() {
        stop()
        ended.wait()
    }

    func adopt(_ security: PeerSecurity) async throws(SecurityError) {
        try await box.server.adopt(security)
    }

    func connectByNetwork(
        security: PeerSecurity = .local
    ) throws -> ApplianceConnection {
        try ApplianceConnection(address: network, security: security)
    }

    /// A fresh region, the connection that asked for it, and a key to it at epoch 1.
    func keyed(_ size: ByteCount = .mebibytes(1)) throws -> (
        ApplianceConnection, RegionID, Identifier
    ) {
        let connection = try connectByNetwork()
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: size, populate: false)
        return (connection, id, try connection.key(id, OwnerID(.random()), Epoch(1)))
    }

    /// An access connection to a fresh region.
    func attached(_ size: ByteCount = .mebibytes(1)) throws -> AccessClient {
        let (_, id, key) = try keyed(size)
        return try AccessClient(self, id, key)
    }

    func connect() throws -> ApplianceConnection { try ApplianceConnection(path: path) }

    /// A fresh region, and a connection that asked for it.
    func region(_ size: ByteCount = .mebibytes(1)) throws -> (ApplianceConnection, RegionID) {
        let connection = try connect()
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: size, populate: false)
        return (connection, id)
    }
}

extension ApplianceConnection {
    /// A region's memory, mapped for its owner.
    func map(_ region: RegionID, owner: OwnerID, epoch: Epoch = Epoch(1)) throws -> MappedRegion {
        let (descriptor, description) = try open(region, owner: owner, epoch: epoch).memory
        return try MappedRegion(
            descriptor: descriptor, dataSize: description.dataSize, isHuge: description.isHuge,
            isWritable: true)
    }
}

extension ApplianceConnection {
    /// A key to a region, over the network.
    func key(_ region: RegionID, _ owner: OwnerID, _ epoch: Epoch) throws -> Identifier {
        try Self.key(open(region, owner: owner, epoch: epoch))
    }

    /// A key to read a region.
    func viewKey(_ region: RegionID) throws -> Identifier { try Self.key(view(region)) }

    private static func key(_ grant: RegionGrant) throws -> Identifier {
        guard case .key(let key, _) = grant else { throw ApplianceConnectionError.unreadable }
        return key
    }
}

/// The refusal that `body` meets; nil when it meets none.
func refusal(_ body: () throws -> Void) -> ApplianceRefusal? {
    do {
        try body()
        return nil
    } catch ApplianceConnectionError.refused(let refusal) {
        return refusal
    } catch {
        return error as? ApplianceRefusal
    }
}

/// One end of a socket that sends whatever it is told to.
final class RawPeer {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = clinux_socket_stream(AF_UNIX)
        guard clinux_unix_connect(descriptor, path) == 0 else {
            throw ApplianceConnectionError.unreachable(path: path, errno: errno)
        }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8], passing passed: Int32 = -1) {
        _ = clinux_send_descriptor(descriptor, bytes, bytes.count, passed)
    }

    /// Whether the other side closed within `milliseconds`.
    func isClosed(within milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, milliseconds) == 1 else { return false }
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) <= 0
    }

    /// Bytes that came within `milliseconds`.
    func received(within milliseconds: Int32) -> [UInt8] {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, milliseconds) == 1 else { return [] }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return Array(bytes.prefix(max(0, count)))
    }
}

/// A message as it goes over the socket.
func framed(_ message: some Encodable) throws -> [UInt8] {
    let body = try JSONEncoder().encode(message)
    return withUnsafeBytes(of: UInt32(body.count).bigEndian) { Array($0) } + Array(body)
}

/// Another process that sends one message, tells what came back, and lives until it is killed.
final class OtherProcess {
    private static let script = """
        import os, socket, sys, time
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[1])
        s.sendall(bytes.fromhex(sys.argv[2]))
        def take(n, fds):
            data = b""
            while len(data) < n:
                part, came, _, _ = socket.recv_fds(s, n - len(data), 1)
                if not part: sys.exit("closed")
                data += part
                fds += came
            return data
        fds = []
        reply = take(int.from_bytes(take(4, fds), "big"), fds)
        s.close()
        print(os.getpid(), len(fds), reply.decode(), flush=True)
        time.sleep(600)
        """

    private let process = Process()
    /// What the kernel and its appliance know it as.
    let identifier: Int32
    /// How many descriptors came.
    let descriptors: Int
    let reply: ApplianceReply

    init(_ path: String, sends request: ApplianceRequest) throws {
        let message = try framed(request).map {
            String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
        }
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", "-c", Self.script, path, message.joined()]
        process.standardOutput = output
        try process.run()
        var line = Data()
        while line.last != UInt8(ascii: "\n") {
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else { throw ApplianceConnectionError.closed }
            line += more
        }
        let words = String(decoding: line, as: UTF8.self).split(separator: " ", maxSplits: 2)
        guard words.count == 3, let identifier = Int32(words[0]), let descriptors = Int(words[1])
        else { throw ApplianceConnectionError.unreadable }
        self.identifier = identifier
        self.descriptors = descriptors
        reply = try JSONDecoder().decode(ApplianceReply.self, from: Data(words[2].utf8))
    }

    deinit { end() }

    /// Kills it, and returns when it is gone.
    func end() {
        guard process.isRunning else { return }
        kill(identifier, SIGKILL)
        process.waitUntilExit()
    }
}
