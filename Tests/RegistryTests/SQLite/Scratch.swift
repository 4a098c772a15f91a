// A directory for one test's registry, and the damage a test may do to it.

import Foundation
import Registry
import RemoteMemory

/// A directory that goes away with this object.
final class Scratch: Sendable {
    let directory: URL
    var path: String { directory.appending(path: "registry.db").path }
    var logPath: String { path + "-wal" }

    init() throws {
        directory = FileManager.default.temporaryDirectory
            .appending(path: "registry-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    /// Opens the registry, which the caller closes by letting go of it.
    func open() throws(RegistryError) -> SQLiteRegistry { try SQLiteRegistry(path: path) }

    /// The registry with appliances a0 to a7.
    func openWithAppliances() throws(RegistryError) -> SQLiteRegistry {
        let registry = try open()
        for number in 0..<8 { try registry.addAppliance(appliance(number)) }
        return registry
    }

    /// What a power cut right now would leave: the files as they are, the log cut to `logLength`.
    func copyAfterCrash(logLength: Int = .max) throws -> Scratch {
        let copy = try Scratch()
        try Data(contentsOf: URL(filePath: path)).write(to: URL(filePath: copy.path))
        if let log = try? Data(contentsOf: URL(filePath: logPath)) {
            try log.prefix(logLength).write(to: URL(filePath: copy.logPath))
        }
        return copy
    }

    /// Overwrites `old` in the closed registry's file by `new`, of the same length, wherever it is.
    func forge(_ old: String, into new: String) throws {
        var bytes = try Data(contentsOf: URL(filePath: path))
        precondition(old.utf8.count == new.utf8.count)
        var found = 0
        while let range = bytes.range(of: Data(old.utf8)) {
            bytes.replaceSubrange(range, with: Data(new.utf8))
            found += 1
        }
        precondition(found > 0, "the file does not hold what was to be forged")
        try bytes.write(to: URL(filePath: path))
    }

    /// Overwrites one byte of the closed registry's file.
    func poke(_ value: UInt8, at offset: Int) throws {
        var bytes = try Data(contentsOf: URL(filePath: path))
        bytes[offset] = value
        try bytes.write(to: URL(filePath: path))
    }
}

func appliance(_ number: Int, address: String = "tcp:h:1") throws(RegistryError) -> ApplianceRecord
{
    try ApplianceRecord(name: "a\(number)", address: address)
}

/// Everything a registry knows, to be compared.
struct Contents: Equatable {
    let appliances: [ApplianceRecord]
    let volumes: [VolumeRecord]
    let snapshots: [SnapshotRecord]

    init(of registry: SQLiteRegistry) throws {
        appliances = try registry.appliances()
        volumes = try registry.volumes()
        snapshots = try volumes.flatMap { try registry.snapshots(of: $0.id) }
    }
}

/// The storage fault `body` ends in; nil when it ends well.
func storageFault(_ body: () throws -> Void) throws -> StorageFault? {
    do {
        try body()
        return nil
    } catch RegistryError.storage(let fault, _) {
        return fault
    }
}
