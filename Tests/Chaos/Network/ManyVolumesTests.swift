// Hundreds of small volumes on the same few appliances, and a client device that dies with all of them.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct ManyVolumes {
        @Test func `hundreds are served again after the client device died`() throws {
            var plan = Cluster.Plan()
            plan.transport = .tcp
            plan.memory = "8G"
            let cluster = try Cluster(plan)
            defer { cluster.stop() }
            let total = count("HOLDFAST_CHAOS_VOLUMES", default: 200)
            let names = (0..<total).map { "v\($0)" }
            let creation = ContinuousClock.now
            for name in names {
                try cluster.require(
                    "volume", "create", name, "--size", "4M", "--layout", "mirror:3")
            }
            print("\(total) volumes are created in \(ContinuousClock.now - creation)")
            let writers = stride(from: 0, to: total, by: max(1, total / 8)).map { number in
                var load = VerifyingWriter.Load()
                load.blockCount = 1024
                load.connections = 1
                load.reconnectLimit = .seconds(120)
                return VerifyingWriter(cluster.uri(of: names[number]), load)
            }
            for writer in writers { writer.start() }
            for writer in writers { try writer.waitForWrites(100) }
            try report(cluster, "under load")

            try cluster.kill(.client)
            let start = ContinuousClock.now
            try cluster.start(.client)
            let status = try cluster.waitUntilHealthy()
            print("all are served again after \(ContinuousClock.now - start)")
            #expect(Set(status.volumes.map(\.name)) == Set(names))
            for name in names {
                #expect(try NBDConnection(cluster.uri(of: name)).read(512, at: 0).count == 512)
            }
            try report(cluster, "after its start")
            for writer in writers {
                try writer.waitForWrites(100, atMost: .seconds(120))
                try expectNothingLost(writer)
            }
            let asking = ContinuousClock.now
            _ = try cluster.status()
            print("their status takes \(ContinuousClock.now - asking)")
        }

        /// Prints what the client device takes.
        private func report(_ cluster: Cluster, _ moment: String) throws {
            let pid = try cluster.pid(of: .client)
            let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            let lines = status.split(separator: "\n").filter {
                $0.hasPrefix("VmRSS") || $0.hasPrefix("VmHWM") || $0.hasPrefix("Threads")
            }
            let descriptors = try FileManager.default.contentsOfDirectory(
                atPath: "/proc/\(pid)/fd"
            ).count
            print(
                "client device \(moment): \(lines.joined(separator: ", ")), \(descriptors) open files"
            )
        }
    }
}
