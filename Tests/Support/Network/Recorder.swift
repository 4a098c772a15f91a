// Somebody in the middle: passes on what a client and a server say, and remembers what the client said.

import Foundation
import Glibc

/// Listens in front of a server; ends with `stop()`, or with the tests.
package final class Recorder: Sendable {
    /// How much of each connection is remembered.
    private static let memory = 1 << 20

    private struct State {
        var recordings: [[UInt8]] = []
        var connections: [ByteSocket] = []
    }

    /// Where it listens.
    package let address: String
    private let listener: Int32
    private let target: String
    private let state = Monitor(State())

    /// Listens at `address` (a TCP port of 0 is chosen by the system) for the server at `target`.
    package init(at address: String, inFrontOf target: String) throws(HarnessError) {
        guard let place = SocketPlace(address) else {
            throw HarnessError("\(address) is no address")
        }
        let listener = socket(place.family, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard listener >= 0, place.use({ bind(listener, $0, $1) }) == 0, listen(listener, 64) == 0
        else { throw HarnessError("\(address): \(String(cString: strerror(errno)))") }
        var name = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        if place.family == AF_INET {
            _ = withUnsafeMutablePointer(to: &name) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    getsockname(listener, $0, &size)
                }
            }
            self.address = "tcp:127.0.0.1:\(UInt16(bigEndian: name.sin_port))"
        } else {
            self.address = address
        }
        self.listener = listener
        self.target = target
        Thread.detachNewThread { [self] in acceptAll() }
    }

    /// What each client said so far, in order of their connections.
    package var recordings: [[UInt8]] { state.withLock { $0.recordings } }

    /// Ends all connections and takes no more.
    package func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        for connection in state.withLock({ $0.connections }) { connection.shut() }
    }

    private func acceptAll() {
        while true {
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else { break }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            let patience = Duration.seconds(3600)
            let client = ByteSocket(owning: descriptor, patience: patience)
            guard let server = try? ByteSocket(to: target, patience: patience) else { continue }
            let number = state.withLock { state in
                state.connections += [client, server]
                state.recordings.append([])
                return state.recordings.count - 1
            }
            Thread.detachNewThread { [self] in
                pump(client, server) { bytes in
                    state.withLock { state in
                        let room = Self.memory - state.recordings[number].count
                        state.recordings[number] += bytes.prefix(max(0, room))
                    }
                }
            }
            Thread.detachNewThread { [self] in pump(server, client) { _ in } }
        }
        close(listener)
    }

    private func pump(_ from: ByteSocket, _ to: ByteSocket, note: ([UInt8]) -> Void) {
        while true {
            let bytes = from.receive()
            guard !bytes.isEmpty else { break }
            note(bytes)
            guard to.send(bytes) else { break }
        }
        from.shut()
        to.shut()
    }
}
