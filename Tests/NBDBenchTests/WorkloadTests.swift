import RemoteMemory
import Testing

@testable import NBDBench

@Suite("A workload")
struct WorkloadTests {
    @Test("is read from its text")
    func parsing() {
        #expect(Workload(parsing: "read:4K:32") == Workload.standard[0])
        #expect(Workload(parsing: "write:128K:8:sequential") == Workload.filling)
    }

    @Test(
        "is refused when it cannot be asked of a server",
        arguments: [
            "", "read", "read:4K", "trim:4K:1", "read:4K:0", "read:4K:1025", "read:100:1",
            "read:64M:1", "read:0:1", "read:4K:1:backwards", "read:4K:1:random:",
        ])
    func refusal(text: String) {
        #expect(Workload(parsing: text) == nil)
    }

    @Test("stays inside the volume, aligned, and reaches all of it")
    func offsets() throws {
        let workload = Workload(operation: .read, block: .kibibytes(4), depth: 4)
        var stream = try OffsetStream(workload: workload, volumeBytes: 16 * 4096 + 100, seed: 7)
        let seen = Set((0..<2000).map { _ in stream.next() })
        #expect(seen == Set((0..<16).map { UInt64($0) * 4096 }))
    }

    @Test("goes through the volume in order when it is sequential")
    func sequence() throws {
        let workload = Workload(
            operation: .read, block: .kibibytes(4), depth: 1, order: .sequential)
        var stream = try OffsetStream(workload: workload, volumeBytes: 3 * 4096, seed: 7)
        #expect((0..<4).map { _ in stream.next() } == [0, 4096, 8192, 0])
    }

    @Test("is held to other figures beside a layout than beside a memory server")
    func targets() {
        let bounds = Workload.besideLayout.map { workload in
            TargetSet.erasure.target(of: workload, beside: .single)?.bound
        }
        #expect(bounds == [0.8, 0.4, 0.8, nil, nil])
        let read = Workload.besideLayout[0]
        #expect(TargetSet.degraded.target(of: read, beside: .single)?.bound == 0.5)
    }

    @Test("needs a block for each request in flight")
    func tooSmall() {
        #expect(throws: BenchError.volumeTooSmall(bytes: 8192)) {
            _ = try OffsetStream(workload: .standard[0], volumeBytes: 8192, seed: 7)
        }
    }
}

@Suite("An export's address")
struct ExportAddressTests {
    @Test("survives being written as a URI", arguments: ["vol0", "", "a b/c?d&e=f%", "größe"])
    func roundTrip(name: String) throws {
        let address = ExportAddress(socketPath: "/tmp/x y/nbd.sock", exportName: name)
        #expect(try ExportAddress(uri: address.uri) == address)
    }

    @Test("is read from what holdfast up prints")
    func holdfast() throws {
        let address = try ExportAddress(uri: "nbd+unix:///vol0?socket=/tmp/x/nbd.sock")
        #expect(address == ExportAddress(socketPath: "/tmp/x/nbd.sock", exportName: "vol0"))
    }

    @Test(
        "is refused when it is no Unix socket's",
        arguments: [
            "", "nbd://host/vol0", "nbd+unix:///vol0", "nbd+unix:///vol0?socket=",
            "nbd+unix://vol0?socket=/a", "nbd+unix:///vol%2?socket=/a",
        ])
    func refusal(uri: String) {
        #expect(throws: BenchError.unusableURI(uri)) { _ = try ExportAddress(uri: uri) }
    }
}
