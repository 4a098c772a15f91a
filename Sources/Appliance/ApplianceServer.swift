// The appliance's loop: one thread, one poll, one message at a time.
//
// Only control messages come here, a handful for each volume and hour: I/O never does. A connection that
// stays silent in the middle of a message is cut off, so that it cannot keep the others waiting.

import CLinux
import Glibc
public import RemoteMemory

/// Lends memory to client devices of the same user on this host.
public final class ApplianceServer {
    /// The most client devices connected at once; further ones are closed.
    static let mostConnections = 256
    /// How long the rest of a message that has begun may take, in milliseconds: less than the patience
    /// of the others, who wait meanwhile.
    static let messageTime = 200

    public let name: String
    public let incarnation: Incarnation
    private var pool: RegionPool
    private let listener: Int32
    private let path: String
    private let wakeup: Int32
    private var connections: [MessageSocket] = []

    /// Listens at `path`, replacing what a killed appliance left there.
    ///
    /// - Throws: `ApplianceConnectionError` when the path is too long, or cannot be bound.
    public init(name: String, capacity: ByteCount, path: String) throws(ApplianceConnectionError) {
        self.name = name
        self.path = path
        incarnation = Incarnation(.random())
        pool = RegionPool(capacity: capacity)
        listener = clinux_socket_stream(AF_UNIX)
        wakeup = eventfd(0, Int32(EFD_CLOEXEC))
        if (try? MessageSocket.connect(to: path)) != nil { throw .inUse(path: path) }
        unsafe unlink(path)
        let previous = umask(0o077)
        let result = unsafe clinux_unix_bind(listener, path)
        umask(previous)
        guard result != -2 else { throw .pathTooLong(path: path) }
        guard result == 0, listen(listener, 64) == 0 else { throw .system(errno: errno) }
    }

    deinit {
        close(listener)
        close(wakeup)
    }

    /// Makes `run` return; to be called from a signal handler or another thread.
    public var stopDescriptor: Int32 { wakeup }

    /// Serves until a byte count is written to `stopDescriptor`.
    public func run() {
        while true {
            var entries = [listener, wakeup].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            entries += connections.map {
                pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0)
            }
            guard unsafe poll(&entries, nfds_t(entries.count), -1) >= 0 || errno == EINTR else {
                return
            }
            if entries[1].revents != 0 { break }
            var remaining: [MessageSocket] = []
            for (position, connection) in connections.enumerated() {
                if entries[position + 2].revents == 0 || serve(connection) {
                    remaining.append(connection)
                }
            }
            connections = remaining
            if entries[0].revents != 0 { accept() }
        }
        unsafe unlink(path)
    }

    private func accept() {
        let descriptor = clinux_accept(listener)
        guard descriptor >= 0 else { return }
        let socket = MessageSocket(owning: descriptor)
        guard connections.count < Self.mostConnections,
            clinux_peer_uid(descriptor) == geteuid() || clinux_peer_uid(descriptor) == 0
        else { return }
        clinux_set_blocking(descriptor)
        socket.limitWaiting(milliseconds: Self.messageTime)
        connections.append(socket)
    }

    /// Answers one message; false when the connection is to be closed.
    private func serve(_ connection: MessageSocket) -> Bool {
        guard let (request, passed) = try? connection.receive(ApplianceRequest.self) else {
            return false
        }
        if passed >= 0 { close(passed) }
        do throws(ApplianceRefusal) {
            switch request {
            case .describe: return reply(.description(describe()), on: connection)
            case .allocate(let region, let size, let populate):
                return reply(
                    .region(try pool.allocate(region, dataSize: size, populate: populate)),
                    on: connection)
            case .open(let region, let owner, let epoch):
                let (descriptor, description) = try pool.open(
                    region, owner: owner, epoch: epoch, process: connection.peer)
                return reply(.region(description), passing: descriptor, on: connection)
            case .view(let region):
                let (descriptor, description) = try pool.view(region)
                defer { close(descriptor) }
                return reply(.region(description), passing: descriptor, on: connection)
            case .measure(let region):
                return reply(.region(try pool.describe(region)), on: connection)
            case .free(let region):
                return reply(.region(try pool.free(region)), on: connection)
            case .enrol(let region, let cluster):
                return reply(.region(try pool.enrol(region, in: cluster)), on: connection)
            case .observe(let region):
                return reply(.observation(try pool.observe(region)), on: connection)
            }
        } catch {
            return reply(.refused(error), on: connection)
        }
    }

    private func reply(
        _ reply: ApplianceReply, passing descriptor: Int32 = -1, on connection: MessageSocket
    ) -> Bool {
        (try? connection.send(reply, passing: descriptor)) != nil
    }

    private func describe() -> ApplianceDescription {
        ApplianceDescription(
            name: name, incarnation: incarnation, processID: getpid(), capacity: pool.capacity,
            allocated: pool.allocated, resident: pool.resident,
            hostAvailable: HostMemory.available, bootID: HostMemory.bootID,
            regions: pool.identifiers)
    }
}
