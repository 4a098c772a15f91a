// What clients learn about the volume before they use it.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct Information {
        private struct Report: Decodable {
            let exports: [Export]
        }

        private struct Export: Decodable {
            let name: String
            let description: String?
            let size: UInt64
            let isReadOnly: Bool
            let canCache: Bool
            let canFlush: Bool
            let canFUA: Bool
            let canMultiConn: Bool
            let canTrim: Bool
            let canZero: Bool
            let minimum: UInt64
            let preferred: UInt64
            let maximum: UInt64

            enum CodingKeys: String, CodingKey {
                case name = "export-name"
                case description
                case size = "export-size"
                case isReadOnly = "is_read_only"
                case canCache = "can_cache"
                case canFlush = "can_flush"
                case canFUA = "can_fua"
                case canMultiConn = "can_multi_conn"
                case canTrim = "can_trim"
                case canZero = "can_zero"
                case minimum = "block_size_minimum"
                case preferred = "block_size_preferred"
                case maximum = "block_size_maximum"
            }
        }

        private func exports(_ options: String..., of uri: String) throws -> [Export] {
            let run = try ToolRun(["nbdinfo", "--json"] + options + [uri])
            try #require(run.succeeded, "\(run)")
            let data = Data(run.standardOutput.utf8)
            return try JSONDecoder().decode(Report.self, from: data).exports
        }

        @Test(.needs(.tool("nbdinfo")))
        func nbdinfoSeesEveryCapability() throws {
            let export = try #require(exports(of: HoldfastUp.current.uri).first)
            #expect(export.name == "vol0")
            #expect(export.size == 256 << 20)
            #expect(!export.isReadOnly)
            #expect(export.canCache && export.canFlush && export.canFUA)
            #expect(export.canTrim && export.canZero)
            #expect(export.canMultiConn)
            #expect(export.minimum == 1)
            #expect(export.preferred == 4096)
            #expect(export.maximum == 32 << 20)
        }

        @Test(.needs(.tool("nbdinfo")))
        func nbdinfoListsTheVolumeWithItsDescription() throws {
            let up = try HoldfastUp.current
            let export = try #require(exports("--list", of: up.uri(of: "")).first)
            #expect(export.name == "vol0")
            #expect(export.size == 256 << 20)
            #expect(export.description?.isEmpty == false)
        }

        @Test(.needs(.tool("nbdinfo")))
        func nbdinfoForPeopleSucceeds() throws {
            let up = try HoldfastUp.current
            #expect(try ToolRun(["nbdinfo", up.uri]).succeeded)
            #expect(try ToolRun(["nbdinfo", "--list", up.uri(of: "")]).succeeded)
            #expect(try ToolRun.output("nbdinfo", "--size", up.uri) == "\(256 << 20)\n")
        }

        @Test(.needs(.tool("nbdinfo")))
        func anExportThatDoesNotExistIsRefused() throws {
            let up = try HoldfastUp.current
            #expect(try !ToolRun(["nbdinfo", up.uri(of: "vol1")]).succeeded)
        }

        @Test(.needs(.tool("nbd-client")))
        func nbdClientListsTheVolume() throws {
            let up = try HoldfastUp.current
            let list = try ToolRun(["nbd-client", "-l", "-unix", up.socket])
            #expect(list.standardOutput.contains("vol0"), "\(list)")
        }

        @Test(.needs(.tool("nbdinfo")))
        func snapshotsAreExportsThatCannotBeWritten() throws {
            let up = try HoldfastUp.current
            try up.require("snapshot", "create", "vol0", "listed")
            let names = try exports("--list", of: up.uri(of: "")).map(\.name)
            #expect(Set(names) == ["vol0", "vol0@listed"])
            let snapshot = try #require(exports(of: up.uri(of: "vol0@listed")).first)
            #expect(snapshot.isReadOnly)
            #expect(snapshot.size == 256 << 20)
            try up.require("snapshot", "delete", "vol0", "listed")
            #expect(try exports("--list", of: up.uri(of: "")).map(\.name) == ["vol0"])
        }
    }

    @Suite(.timeLimit(.minutes(5)))
    struct Addresses {
        @Test(.needs(.tool("nbdinfo")))
        func theVolumeIsServedOverTCPAndOverASecondUnixSocket() throws {
            let directory = try TemporaryDirectory()
            let port = Int.random(in: 20000..<30000)
            let other = directory.file("other.sock")
            let up = try HoldfastUp(
                HoldfastUp.usualOptions + [
                    "--nbd", "tcp:127.0.0.1:\(port)", "--nbd", "unix:\(other)",
                ], in: directory)
            defer { up.stop() }
            for uri in [
                up.uri, "nbd://127.0.0.1:\(port)/vol0", "nbd+unix:///vol0?socket=\(other)",
            ] {
                #expect(try ToolRun.output("nbdinfo", "--size", uri) == "\(256 << 20)\n")
            }
        }
    }
}
