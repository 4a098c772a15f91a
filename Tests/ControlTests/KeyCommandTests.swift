// `holdfast key create`: a file for its owner alone, and where to copy it.

import Foundation
import Testing

@Suite("Key commands") struct KeyCommandTests {
    @Test("a new key is for its owner alone, and is not shown")
    func create() async throws {
        try await withDirectory { directory in
            let file = directory + "/cluster.key"
            let run = try await holdfast(["key", "create", file])
            #expect(run.status == 0 && run.errors.isEmpty)
            #expect(run.output.hasPrefix("Wrote a new cluster key to \(file).\nCopy it, "))
            let manager = FileManager.default
            let mode = try manager.attributesOfItem(atPath: file)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            let key = String(decoding: try #require(manager.contents(atPath: file)), as: UTF8.self)
            #expect(key.count == 65 && key.hasSuffix("\n"))
            #expect(!run.output.contains(key.prefix(16)))
        }
    }

    @Test("an existing file is left as it is")
    func exists() async throws {
        try await withDirectory { directory in
            let file = directory + "/cluster.key"
            _ = try await holdfast(["key", "create", file])
            let before = FileManager.default.contents(atPath: file)
            let run = try await holdfast(["key", "create", file])
            #expect(run.status == 1 && run.output.isEmpty)
            #expect(
                run.errors == "holdfast: \(file) exists already and was left as it is: choose "
                    + "another name, or remove it first\n")
            #expect(FileManager.default.contents(atPath: file) == before)
        }
    }

    @Test("what cannot be written says why")
    func unwritable() async throws {
        let run = try await holdfast(["key", "create", "/nowhere/cluster.key"])
        #expect(run.status == 1)
        #expect(
            run.errors == "holdfast: the cluster key /nowhere/cluster.key cannot be written: "
                + "No such file or directory\n")
        let usage = try await holdfast(["key", "create"])
        #expect(usage.status == 64)
    }
}
