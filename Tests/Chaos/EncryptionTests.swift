// Bulk data under TLS: a record may hold more than is asked for at a time, on both sides.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.needs(.networkLab), .timeLimit(.minutes(3)))
    struct Encryption {
        @Test func `bulk reads and writes are what was written, volume and snapshot`() throws {
            var plan = Cluster.Plan()
            plan.transport = .tcp
            plan.hasNetwork = true
            let cluster = try Cluster(plan)
            defer { cluster.stop() }
            try cluster.require("volume", "create", "v", "--size", "64M", "--layout", "mirror:2")
            let files = try TemporaryDirectory()
            var data = Data(count: 64 << 20)
            data.withUnsafeMutableBytes { bytes in
                var state: UInt64 = 0x9e37_79b9_7f4a_7c15
                for index in stride(from: 0, to: bytes.count, by: 8) {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    bytes.storeBytes(of: state, toByteOffset: index, as: UInt64.self)
                }
            }
            try data.write(to: URL(fileURLWithPath: files.file("in")))
            try copy(files.file("in"), cluster.uri(of: "v"))
            try cluster.require("snapshot", "create", "v", "s")
            for export in ["v", "v@s"] {
                for requests in ["4", "64"] {
                    try? FileManager.default.removeItem(atPath: files.file("out"))
                    try copy(
                        "--requests=\(requests)", "--request-size=131072", cluster.uri(of: export),
                        files.file("out"))
                    let back = try Data(contentsOf: URL(fileURLWithPath: files.file("out")))
                    #expect(back == data, "\(export), \(requests) requests at a time")
                }
            }
            #expect(try cluster.mismatchedExtents(of: "v") == 0)
        }

        private func copy(_ arguments: String...) throws {
            let run = try ToolRun(["nbdcopy"] + arguments)
            try #require(run.succeeded, "\(run)")
        }
    }
}
