// Whoever cannot prove that he belongs here is refused, in a sentence, and disturbs nobody.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct Strangers {
        /// An appliance that the cluster does not know.
        private func appliance(_ options: [String]) throws -> (RunningProcess, address: String) {
            let process = try RunningProcess(
                [
                    HoldfastBinary.path, "appliance", "run", "--name", "stranger", "--memory",
                    "64M", "--listen", "tcp:127.0.0.1:0",
                ] + options)
            guard let address = process.standardOutput.waitForLine(atMost: .seconds(30)) else {
                throw HarnessError("no appliance: \(process.standardError.text)")
            }
            return (process, address)
        }

        @Test func `appliances with another key or none are not added`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let directory = try TemporaryDirectory()
            try ToolRun.output(HoldfastBinary.path, "key", "create", directory.file("other"))
            for options in [["--cluster-key", directory.file("other")], []] {
                let (process, address) = try appliance(options)
                defer { process.terminate() }
                let run = try loaded.cluster.cli("appliance", "add", "stranger", address)
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.contains("key"), "\(run)")
                #expect(run.standardError.split(separator: " ").count >= 5, "\(run)")
                #expect(process.isRunning)
            }
            #expect(try loaded.cluster.status().appliances.map(\.name) == ["a1", "a2", "a3"])
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `a client device with another key or none is not let in`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let keys = try TemporaryDirectory()
            try ToolRun.output(HoldfastBinary.path, "key", "create", keys.file("other"))
            for options in [["--cluster-key", keys.file("other")], []] {
                let directory = try TemporaryDirectory()
                let stranger = try RunningProcess(
                    [HoldfastBinary.path, "serve", "--dir", directory.path] + options)
                defer { stranger.terminate() }
                let refusal = try firstAnswer([
                    "appliance", "add", "a1", try loaded.cluster.address(of: "a1"), "--dir",
                    directory.path,
                ])
                #expect(refusal.status == 1, "\(refusal)")
                #expect(refusal.standardError.contains("key"), "\(refusal)")
            }
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `an appliance whose certificate expired is not added`() throws {
            let authority = try TestAuthority()
            let directory = try TemporaryDirectory()
            func options(_ leaf: String, days: Int) throws -> [String] {
                let issued = try authority.issue(leaf, days: days)
                return [
                    "--tls-certificate", issued.certificate, "--tls-key", issued.privateKey,
                    "--tls-authority", authority.certificate,
                ]
            }
            let good = try appliance(options("good", days: 1))
            let expired = try appliance(options("expired", days: -1))
            defer { for process in [good.0, expired.0] { process.terminate() } }
            let client = try RunningProcess(
                [HoldfastBinary.path, "serve", "--dir", directory.path]
                    + options("client", days: 1))
            defer { client.terminate() }
            let place = ["--dir", directory.path]
            let added = try firstAnswer(["appliance", "add", "stranger", good.address] + place)
            #expect(added.succeeded, "\(added)")
            let volume = try firstAnswer(
                ["volume", "create", "v", "--size", "32M", "--layout", "mirror:1"] + place)
            #expect(volume.succeeded, "\(volume)")
            let writer = LoadedCluster.writer(
                at: "nbd+unix:///v?socket=\(directory.file("nbd.sock"))")
            writer.start()
            try writer.waitForWrites(200)
            let refused = try firstAnswer(["appliance", "add", "late", expired.address] + place)
            #expect(refused.status == 1, "\(refused)")
            #expect(refused.standardError.contains("certificate has expired"), "\(refused)")
            try writer.waitForWrites(200)
            try expectNothingLost(writer)
            #expect(writer.progress.lostConnections == 0)
        }

        /// Runs a command once the client device that it is for answers.
        private func firstAnswer(_ arguments: [String]) throws -> ToolRun {
            let run = try eventually(atMost: .seconds(30), every: .milliseconds(50)) {
                let run = try ToolRun([HoldfastBinary.path] + arguments)
                return run.standardError.contains("holdfast serve") ? nil : run
            }
            return try #require(run, "no client device answers")
        }
    }
}
