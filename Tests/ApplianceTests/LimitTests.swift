// What many, slow and hostile peers can do: nothing to the others.

import Appliance
import CLinux
import Glibc
import Reactor
import RemoteMemory
import TCPTransport
import Testing

@Suite struct LimitTests {
    /// A connection from which nothing comes.
    private final class SilentPeer {
        let descriptor: Int32

        init(_ address: Address) throws {
            guard case .tcp(_, let port) = address else { throw POSIXError.notTCP }
            descriptor = clinux_socket_stream(AF_INET)
            var place = sockaddr_in()
            place.sin_family = sa_family_t(AF_INET)
            place.sin_port = port.bigEndian
            place.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            let result = withUnsafePointer(to: &place) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(
                        descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: $0),
                        socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard result == 0 else { throw POSIXError.failed(errno) }
        }

        deinit { close(descriptor) }

        /// Whether the other end closes within a minute.
        var isClosed: Bool {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, 60_000) == 1 else { return false }
            var byte: UInt8 = 0
            return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) <= 0
        }

        enum POSIXError: Error {
            case notTCP
            case failed(Int32)
        }
    }

    @Test func `peers that never open keep nobody out`() throws {
        let appliance = try RunningAppliance()
        let silent = try (0..<400).map { _ in try SilentPeer(appliance.network) }
        #expect(silent[0].isClosed, "the oldest makes way")
        let client = try appliance.attached()
        #expect(client.write([1], at: 0) == .done)
        #expect(try appliance.connect().statistics().refused >= 144)
    }

    @Test func `who does not open in time is cut off`() throws {
        let appliance = try RunningAppliance()
        let silent = try SilentPeer(appliance.network)
        let unattached = try AccessClient(appliance)
        #expect(silent.isClosed)
        #expect(unattached.isClosed)
    }

    @Test func `nonsense on the network is cut off at once`() throws {
        let appliance = try RunningAppliance()
        for text in ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}", "\0\0\0\u{2}{}"] {
            let peer = try SilentPeer(appliance.network)
            let bytes = Array(text.utf8)
            #expect(send(peer.descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
            #expect(peer.isClosed)
        }
        #expect(try appliance.connectByNetwork().describe().name == "left")
    }

    @Test func `hundreds of connections are served side by side`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed()
        let clients = try (0..<200).map { _ in try AccessClient(appliance, id, key) }
        for (number, client) in clients.enumerated() {
            client.send(
                AccessClient.request(
                    .write, tag: UInt64(number), [.data(UInt64(number) * 4096, 1)],
                    [UInt8(number)]))
        }
        for (number, client) in clients.enumerated() {
            #expect(client.reply()?.tag == UInt64(number))
        }
        for (number, client) in clients.reversed().enumerated() {
            #expect(client.read(UInt64(199 - number) * 4096, 1) == [UInt8(199 - number)])
        }
        let statistics = try withExtendedLifetime(clients) { try connection.statistics() }
        #expect(statistics.accessConnections == 200)
        #expect(statistics.controlConnections == 1)
        #expect(statistics.accessRequests == 600, "attached, written, read")
        #expect(statistics.bytesReceived > 600 * 16)
        #expect(statistics.bytesSent > 600 * 16)
    }

    /// More control connections than are taken: those who are in stay in.
    @Test func `too many control connections are turned away`() throws {
        let appliance = try RunningAppliance()
        let first = try appliance.connect()
        _ = try first.describe()
        let peers = try (0..<300).map { _ in try RawPeer(appliance.path) }
        withExtendedLifetime(peers) { #expect($0[299].isClosed(within: 20_000)) }
        _ = try first.describe()
    }

    /// Requests of many large reads, and nobody takes the replies.
    @Test func `readers that have stopped cost the others nothing`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(40))
        let (_, id, key) = try appliance.keyed(.mebibytes(32))
        let writer = try AccessClient(appliance, id, key)
        #expect(writer.write(pattern(1, 32 << 20), at: 0) == .done)
        // Each has replies of 96 MiB that it does not take.
        let stopped = try (0..<24).map { _ in try AccessClient(appliance, id, key) }
        for client in stopped {
            let read = AccessClient.request(.read, tag: 1, [.data(0, 32 << 20)])
            client.send(read + read + read)
        }
        let control = try appliance.connect()
        for _ in 0..<20 { _ = try control.describe() }
        // Once they go on, all of it comes.
        for client in stopped {
            for _ in 0..<3 { #expect(client.reply()?.body.count == 32 << 20) }
        }
        #expect(writer.read(0, 4) == Array(pattern(1, 4)))
    }
}
