// Client-side accesses to a region: each is answered in its turn, or the connection ends; the appliance goes on.

import Appliance
import Glibc
import Reactor
import RemoteMemory
import TCPTransport

/// An appliance with one region, for as long as the program runs.
///
/// (Sendable: made once, before anybody has it; after that only libFuzzer's one thread calls it.)
final class FuzzedAppliance: @unchecked Sendable {
    static let regionSize = ByteCount.mebibytes(1)
    static let shared = FuzzedAppliance()
    private static let patience = 60

    let path: String
    private let server: ApplianceServer
    private let region = RegionID(.random())
    private let key: Identifier
    private let owner: ApplianceConnection

    private init() {
        var template = Array("/tmp/holdfast-fuzz-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { fatalError("no directory") }
        path =
            String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
            + "/socket"
        do {
            server = try ApplianceServer(
                name: "fuzzed", capacity: .mebibytes(16),
                addresses: [.unix(path: path), .tcp(host: "127.0.0.1", port: 0)],
                security: .local, memoryDirectory: nil)
            let appliance = server
            Reactor.Thread.detach(name: "appliance") { appliance.run() }
            owner = try ApplianceConnection(address: server.addresses[1], security: .local)
            try owner.allocate(region, dataSize: Self.regionSize, populate: false)
            let grant = try owner.open(region, owner: OwnerID(.random()), epoch: Epoch(1))
            guard case .key(let key, _) = grant else { fatalError("no key to the region") }
            self.key = key
        } catch {
            fatalError("no appliance: \(error)")
        }
    }

    /// A new connection that is attached to the region.
    func attach() -> SocketEnd {
        var failures = 0
        while true {
            do {
                let stream = try ApplianceConnection.attach(
                    to: server.addresses[1], security: .local, region, key: key)
                return SocketEnd(dup(stream.descriptor))
            } catch {
                // (One try lasts a second, which a machine with other things to do may take.)
                failures += 1
                if failures == Self.patience {
                    fatalError("the appliance lets nobody in any more: \(error)")
                }
            }
        }
    }
}

/// Requests made from an input.
private struct Accesses {
    private static let most = 48

    var bytes: [UInt8] = []
    var tags: [UInt64] = []

    init(_ reader: inout InputReader) {
        while !reader.isEmpty, tags.count < Self.most { add(&reader) }
    }

    private mutating func add(_ reader: inout InputReader) {
        let choice = reader.byte()
        let operation = choice < 0xf0 ? choice % 7 + 1 : reader.byte()
        var segments: [UInt8] = []
        var payload = 0
        let count = choice & 8 == 0 ? 1 : Int(reader.byte() & 15)
        for _ in 0..<count {
            let shape = reader.byte()
            let place =
                RegionLayout.dataStart.bytes
                &+ reader.place(
                    near: FuzzedAppliance.regionSize.bytes)
            let size = UInt32(truncatingIfNeeded: reader.place(near: 4096))
            let kind = shape < 0xf0 ? UInt32(shape & 3) : reader.number(UInt32.self)
            segments.append(little: shape & 4 == 0 ? place : place &- RegionLayout.dataStart.bytes)
            segments.append(little: size)
            segments.append(little: kind)
            switch kind {
            case SegmentKind.bytes.rawValue where operation == AccessOperation.write.rawValue:
                payload += Int(min(size, 1 << 18))
            case SegmentKind.copy.rawValue: payload += 8
            default: break
            }
        }
        // (A fold's parameters, or what makes no sense.)
        if operation == AccessOperation.fold.rawValue || choice & 16 != 0 { payload = 8 }
        let body = segments + (0..<payload).map { _ in payload > 64 ? choice : reader.byte() }
        let header = AccessRequestHeader(
            bodySize: UInt32(body.count), operation: .probe, segmentCount: UInt16(count),
            tag: UInt64(tags.count)
        ).words
        var words: [UInt8] = []
        words.append(little: header.0)
        words.append(little: header.1)
        words[4] = operation
        bytes += words + body
        tags.append(UInt64(tags.count))
    }
}

/// Reads the appliance's side, and traps at what must not be there.
private func judge(_ received: [UInt8], _ tags: [UInt64], isClosed: Bool) {
    var rest = received[...]
    var expected = tags[...]
    while rest.count >= AccessWire.headerSize {
        let header = Array(rest.prefix(AccessWire.headerSize)).withUnsafeBytes {
            AccessReplyHeader(RawSpan(_unsafeBytes: $0))
        }
        guard header.status != nil, header.content != nil else { fatalError("no reply") }
        guard let tag = expected.popFirst(), header.tag == tag else {
            fatalError("an answer to \(header.tag), out of turn")
        }
        rest = rest.dropFirst(AccessWire.headerSize)
        guard rest.count >= Int(header.bodySize) else {
            guard isClosed else { fatalError("a reply is cut off") }
            return
        }
        rest = rest.dropFirst(Int(header.bodySize))
        // The connection ends behind these.
        if [.malformed, .fenced, .noSuchRegion].contains(header.status) {
            guard isClosed, rest.isEmpty else { fatalError("it goes on behind its last reply") }
            return
        }
    }
    guard expected.isEmpty else { fatalError("\(expected.count) requests were not answered") }
}

func fuzzAccess(_ input: [UInt8]) {
    var reader = InputReader(input)
    let client = FuzzedAppliance.shared.attach()
    guard reader.byte() & 7 != 0 else {
        _ = client.exchange(reader.takeRest(), thenEnd: true)
        return
    }
    let accesses = Accesses(&reader)
    let answer = client.exchange(accesses.bytes, thenEnd: true)
    judge(answer.received, accesses.tags, isClosed: answer.isClosed)
}
