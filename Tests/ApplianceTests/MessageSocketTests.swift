// Whoever sends nonsense is cut off; nobody else notices.

import Appliance
import CLinux
import Foundation
import Glibc
import RemoteMemory
import Testing

@Suite struct MessageSocketTests {
    @Test(
        arguments: [
            Array("GET / HTTP/1.1\r\n\r\n".utf8),
            [0xFF, 0xFF, 0xFF, 0xFF],
            [0x00, 0x10, 0x00, 0x01],
            [0, 0, 0, 0],
            [0, 0, 0, 2] + Array("{}".utf8),
            [0, 0, 0, 4] + Array("null".utf8),
            [0, 0, 0, 3, 0xC0, 0xC1, 0xFE],
            [0, 0, 0, 17] + Array(#"{"shutdown":{"a"#.utf8) + Array("}}".utf8),
            [0, 0, 0, 26] + Array(#"{"free":{"region":"short"}}"#.utf8),
        ] as [[UInt8]])
    func nonsenseEndsItsConnectionOnly(_ bytes: [UInt8]) throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let peer = try RawPeer(appliance.path)
        peer.send(bytes)
        #expect(peer.isClosed(within: 2000))
        #expect(try connection.describe().regions == [id])
        #expect(try appliance.connect().describe(id).region == id)
    }

    @Test func halfAMessageAndAnEndDisturbNobody() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let message = try framed(ApplianceRequest.free(region: id))
        for count in 0..<message.count {
            let peer = try RawPeer(appliance.path)
            peer.send(Array(message.prefix(count)))
            _ = consume peer
            #expect(try connection.describe().regions == [id], "after \(count) bytes")
        }
    }

    @Test func aMessageMayComeInPieces() throws {
        let appliance = try RunningAppliance()
        let (_, id) = try appliance.region()
        let peer = try RawPeer(appliance.path)
        for byte in try framed(ApplianceRequest.measure(region: id)) { peer.send([byte]) }
        let reply = peer.received(within: 2000)
        #expect(reply.count > 4)
        let body = try JSONDecoder().decode(ApplianceReply.self, from: Data(reply.dropFirst(4)))
        guard case .region(let description) = body else {
            Issue.record("\(body)")
            return
        }
        #expect(description.region == id)
    }

    @Test func twoMessagesAtOnceAreAnsweredBoth() throws {
        let appliance = try RunningAppliance()
        let peer = try RawPeer(appliance.path)
        let message = try framed(ApplianceRequest.describe)
        peer.send(message + message)
        var reply: [UInt8] = []
        var counts: [Int] = []
        while counts.count < 2 {
            let more = peer.received(within: 2000)
            try #require(!more.isEmpty)
            reply += more
            while reply.count >= 4 {
                let count = reply.prefix(4).reduce(0) { $0 << 8 | Int($1) } + 4
                guard reply.count >= count else { break }
                counts.append(count)
                reply.removeFirst(count)
            }
        }
        #expect(counts[0] == counts[1])
        #expect(reply.isEmpty)
    }

    /// A descriptor that nobody asked for is closed, not kept.
    @Test func descriptorsThatComeAreClosed() throws {
        let appliance = try RunningAppliance()
        let peer = try RawPeer(appliance.path)
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        peer.send(try framed(ApplianceRequest.describe), passing: ends[1])
        #expect(!peer.received(within: 2000).isEmpty)
        close(ends[1])
        var byte: UInt8 = 0
        #expect(clinux_set_nonblocking(ends[0]) == 0)
        #expect(read(ends[0], &byte, 1) == 0, "no writer is left")
        close(ends[0])
    }

    /// A peer that is silent in a message is cut off before the others lose patience.
    @Test func aSilentPeerKeepsNobodyWaiting() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let peer = try RawPeer(appliance.path)
        peer.send([0, 0, 0])
        usleep(50_000)
        let description = try connection.describe()
        #expect(description.regions == [id])
        #expect(peer.isClosed(within: 7000), "it is cut off in the end")
        #expect(try appliance.connect().describe().regions == [id])
    }

    @Test func clientsRefuseNonsenseToo() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let listener = clinux_socket_stream(AF_UNIX)
        defer { close(listener) }
        #expect(clinux_unix_bind(listener, path) == 0)
        #expect(listen(listener, 8) == 0)
        let refused = try framed(ApplianceReply.refused(.badMessage))
        let cases: [([UInt8], ApplianceConnectionError)] = [
            ([0x7F, 0xFF, 0xFF, 0xFF], .messageTooLarge(bytes: 0x7FFF_FFFF)),
            ([0, 0, 0, 1, 0x7B], .unreadable), (refused, .refused(.badMessage)),
        ]
        for (bytes, expected) in cases {
            let connection = try ApplianceConnection(path: path)
            let answerer = clinux_accept(listener)
            _ = clinux_send_descriptor(answerer, bytes, bytes.count, -1)
            #expect(throws: expected) { _ = try connection.describe() }
            close(answerer)
            #expect(throws: ApplianceConnectionError.closed) { _ = try connection.describe() }
        }
        // A region without the memory that should come with it.
        let connection = try ApplianceConnection(path: path)
        let answerer = clinux_accept(listener)
        let region = RegionID(.random())
        let description = try JSONDecoder().decode(
            RegionDescription.self,
            from: Data(
                #"{"region":"\#(region)","dataSize":1,"resident":0,"isHuge":false,"isKept":false}"#
                    .utf8))
        let bytes = try framed(ApplianceReply.region(description))
        _ = clinux_send_descriptor(answerer, bytes, bytes.count, -1)
        #expect(throws: ApplianceConnectionError.unreadable) { _ = try connection.view(region) }
        close(answerer)
    }
}
