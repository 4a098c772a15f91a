// The commands as scripts use them: JSON on request, exit statuses, sentences.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct CommandLine {
        private let up: HoldfastUp

        init() throws {
            up = try HoldfastUp.current
        }

        private func run(_ arguments: [String]) throws -> ToolRun {
            try ToolRun([HoldfastBinary.path] + arguments + ["--dir", up.path])
        }

        @Test(arguments: [
            ["status"], ["volume", "list"], ["volume", "show", "vol0"],
            ["snapshot", "list", "vol0"],
            ["appliance", "list"], ["scrub", "vol0"],
        ])
        func whatShowsSomethingShowsItAsTextAndAsJSON(command: [String]) throws {
            let text = try run(command)
            #expect(text.succeeded, "\(text)")
            #expect(text.standardError == "")
            let json = try run(command + ["--json"])
            #expect(json.succeeded, "\(json)")
            #expect(throws: Never.self, "\(json)") {
                try JSONSerialization.jsonObject(with: Data(json.standardOutput.utf8))
            }
        }

        @Test func theStatusNamesEveryProcessAndMember() throws {
            let status = try up.waitUntilHealthy()
            #expect(status.appliances.count == 3)
            #expect(status.appliances.allSatisfy { $0.state == "up" })
            let volume = try status.volume("vol0")
            #expect(volume.layout == "mirror:3")
            #expect(volume.sizeBytes == 256 << 20)
            #expect(volume.members.map(\.state) == ["active", "active", "active"])
            #expect(Set(volume.members.map(\.appliance)).count == 3)
            #expect(Set(volume.members.map(\.region)).count == 3)
            let pids = up.pids
            #expect(pids.contains(status.pid))
            #expect(status.appliances.allSatisfy { pids.contains($0.pid ?? 0) })
        }

        @Test func volumesComeAndGo() throws {
            try up.require("volume", "create", "second", "--size", "16M", "--layout", "mirror:2")
            let connection = try NBDConnection(up.uri(of: "second"))
            #expect(connection.size == 16 << 20)
            try connection.write([1, 2, 3], at: 100)
            #expect(try connection.read(3, at: 100) == [1, 2, 3])
            try connection.shutdown()
            let again = try run([
                "volume", "create", "second", "--size", "16M", "--layout", "mirror:2",
            ])
            #expect(again.status == 1, "\(again)")
            #expect(again.standardError.contains("second"), "\(again)")
            try up.require("volume", "delete", "second")
            #expect(throws: NBDError.self) { try NBDConnection(up.uri(of: "second")) }
            #expect(try up.status().volumes.map(\.name) == ["vol0"])
        }

        @Test(arguments: [
            ["volume", "show", "nothing"], ["volume", "delete", "nothing"], ["scrub", "nothing"],
            ["rebuild", "nothing"], ["snapshot", "create", "nothing", "s"],
            ["snapshot", "delete", "vol0", "nothing"],
        ])
        func whatDoesNotExistIsASentenceAndStatusOne(command: [String]) throws {
            let run = try run(command)
            #expect(run.status == 1, "\(run)")
            #expect(run.standardOutput == "")
            #expect(run.standardError.contains("nothing"), "\(run)")
            #expect(run.standardError.split(separator: "\n").count == 1, "one sentence: \(run)")
        }

        @Test(arguments: [
            ["nonsense"], ["volume"], ["volume", "create"], ["snapshot", "create", "vol0"],
            ["status", "--nonsense"], ["volume", "create", "v", "--size", "much"],
            ["volume", "create", "v", "--size", "1G", "--layout", "heap:3"],
        ])
        func misuseIsStatusSixtyFour(command: [String]) throws {
            let run = try ToolRun([HoldfastBinary.path] + command)
            #expect(run.status == 64, "\(run)")
            #expect(run.standardOutput == "" && run.standardError != "", "\(run)")
        }

        @Test func rebuildingWhatIsHealthyIsNoError() throws {
            let run = try run(["rebuild", "vol0"])
            #expect(run.succeeded, "\(run)")
        }
    }
}
