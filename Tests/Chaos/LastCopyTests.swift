// The last copy outlives its appliance in the client device: that is told when it begins and when it ends.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct LastCopy {
        private static let begins = "held its last copy and died"
        private static let ends = "does not depend any more on memory that is only mapped here"

        /// How many lines of the client device's log have this.
        private func count(_ text: String, _ cluster: Cluster) throws -> Int {
            try cluster.log(of: .client).split(separator: "\n").count { $0.contains(text) }
        }

        @Test func itIsToldOnceAndNotAgainAndAgain() throws {
            var plan = Cluster.Plan()
            plan.appliances = 2
            plan.memory = "256M"
            let cluster = try Cluster(plan)
            defer { cluster.stop() }
            try cluster.require("volume", "create", "v", "--size", "32M", "--layout", "mirror:2")
            let connection = try NBDConnection(cluster.uri(of: "v"))
            try connection.write([1, 2, 3], at: 0)
            for round in 1...2 {
                for name in cluster.applianceNames { try cluster.kill(.appliance(name)) }
                let isTold = try eventually(atMost: .seconds(20)) {
                    try count(Self.begins, cluster) == round ? true : nil
                }
                #expect(isTold == true, "\(cluster.log)")
                // As long as it lasts there is nothing new to say.
                usleep(3_000_000)
                #expect(try count(Self.begins, cluster) == round)
                #expect(try count(Self.ends, cluster) == round - 1)
                #expect(try connection.read(3, at: 0) == [1, 2, 3])
                for name in cluster.applianceNames { try cluster.start(.appliance(name)) }
                try cluster.waitUntilHealthy()
                let isOver = try eventually(atMost: .seconds(20)) {
                    try count(Self.ends, cluster) == round ? true : nil
                }
                #expect(isOver == true, "\(cluster.log)")
            }
        }
    }
}
