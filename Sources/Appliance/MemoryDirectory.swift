// Memory that outlives the appliance's process: files on a file system that is itself memory.
//
//     DIR/appliance.json    name, incarnation, boot
//     DIR/REGION.region     the memory of a region
//     DIR/REGION.json       its size, epoch, owner, the process that has it mapped, its set
//
//     allocate:  .region made, then .json        free:  .json removed, then .region
//
// So a .json tells that a region was there, and a .region without one is left over from a moment of dying.
// What is found counts only if all of it is there, of the right size, from this boot; else the memory was
// lost, the leftovers are deleted, and a new incarnation begins (G8). The directory is locked for as long
// as the process lives: two that think they own it would each let in another owner.

import CLinux
import FoundationEssentials
import Glibc
public import RemoteMemory

/// Why memory cannot be kept in a directory.
public enum MemoryDirectoryError: Error, Hashable, CustomStringConvertible {
    case unusable(directory: String, call: String, errno: Int32)
    /// Its files are not memory: they would be slow, and survive what memory does not.
    case notMemory(directory: String)
    case inUse(directory: String)
    case otherAppliance(directory: String, name: String)
    case tooSmall(directory: String, size: ByteCount, needed: ByteCount)

    public var description: String {
        switch self {
        case .unusable(let directory, let call, let code):
            unsafe """
            \(directory) cannot keep memory, \(call) failed: \(String(cString: strerror(code))); \
            choose another --memory-dir
            """
        case .notMemory(let directory):
            "\(directory) is on a disk: give --memory-dir a directory on tmpfs or hugetlbfs"
        case .inUse(let directory):
            "another appliance keeps its memory in \(directory); stop it or choose another --memory-dir"
        case .otherAppliance(let directory, let name):
            "\(directory) keeps the memory of the appliance '\(name)'; use that name or another "
                + "--memory-dir"
        case .tooSmall(let directory, let size, let needed):
            "the file system of \(directory) has \(size), less than --memory \(needed): "
                + "enlarge it or lend less"
        }
    }
}

/// What is known of a region beside its memory.
struct KeptRegion: Codable {
    struct Process: Codable {
        var process: Int32
        var started: UInt64
    }

    var region: RegionID
    var dataSize: ByteCount
    var epoch: Epoch
    var owner: OwnerID?
    var holder: Process?
    var cluster: ResiliencyCluster?
}

/// Owns a directory with the memory of one appliance.
final class MemoryDirectory {
    private struct Identity: Codable {
        var name: String
        var incarnation: Incarnation
        var bootID: String
    }

    /// As `statfs` numbers file systems.
    private static let tmpfs: UInt64 = 0x0102_1994
    private static let hugetlbfs: UInt64 = 0x9584_58f6

    let path: String
    let incarnation: Incarnation
    /// Files are of 2 MiB pages, all there from the start, and cannot be written to but by mapping.
    let isHuge: Bool
    private let lock: Lock

    /// Owns the descriptor by which the directory is locked.
    private final class Lock {
        let descriptor: Int32
        init(_ descriptor: Int32) { self.descriptor = descriptor }
        deinit { close(descriptor) }
    }

    /// Takes a directory over; `found` becomes the regions whose memory survived.
    init(
        path: String, name: String, capacity: ByteCount, found: inout [(KeptRegion, RegionMemory)]
    ) throws(MemoryDirectoryError) {
        self.path = path
        unsafe mkdir(path, 0o700)
        let descriptor = unsafe clinux_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard descriptor >= 0 else {
            throw .unusable(directory: path, call: "opening it", errno: errno)
        }
        lock = Lock(descriptor)
        let kind = clinux_filesystem_kind(descriptor)
        isHuge = kind == Self.hugetlbfs
        guard isHuge || kind == Self.tmpfs else { throw .notMemory(directory: path) }
        guard Self.claims(descriptor) else { throw .inUse(directory: path) }
        let size = ByteCount(clinux_filesystem_size(descriptor))
        guard isHuge || size == .zero || size >= capacity else {
            throw .tooSmall(directory: path, size: size, needed: capacity)
        }
        let identity = Self.decode(Identity.self, path + "/appliance.json")
        if let identity, identity.name != name {
            throw .otherAppliance(directory: path, name: identity.name)
        }
        if let identity, identity.bootID == HostMemory.bootID, let regions = Self.regions(in: path)
        {
            incarnation = identity.incarnation
            found = regions
        } else {
            incarnation = Incarnation(.random())
        }
        Self.deleteLeftovers(in: path, except: found.map(\.0.region))
        guard
            write(
                Identity(name: name, incarnation: incarnation, bootID: HostMemory.bootID),
                as: "appliance.json")
        else { throw .unusable(directory: path, call: "writing to it", errno: errno) }
    }

    // MARK: Regions

    /// Makes the memory of a new region.
    func create(_ id: RegionID, _ size: ByteCount) throws(ApplianceRefusal) -> RegionMemory {
        let file = Self.memoryPath(path, id)
        let descriptor = unsafe clinux_open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .system(call: "open", errno: errno) }
        // What stands before the data is stored to without asking for it first.
        let needed = isHuge ? size.bytes : RegionLayout.dataStart.bytes
        guard ftruncate(descriptor, off_t(size.bytes)) == 0,
            fallocate(descriptor, 0, 0, off_t(needed)) == 0
        else {
            let code = errno
            close(descriptor)
            unsafe unlink(file)
            throw .system(call: "fallocate", errno: code)
        }
        return RegionMemory(owning: descriptor, isHuge: isHuge, isKept: true)
    }

    /// Remembers a region, in place of what was known of it.
    func record(_ region: KeptRegion) throws(ApplianceRefusal) {
        guard write(region, as: "\(region.region).json") else {
            throw .system(call: "writing to the memory directory", errno: errno)
        }
    }

    /// Forgets a region; its memory is gone with the last that has it.
    func delete(_ id: RegionID) {
        unsafe unlink("\(path)/\(id).json")
        unsafe unlink(Self.memoryPath(path, id))
    }

    private static func memoryPath(_ path: String, _ id: RegionID) -> String {
        "\(path)/\(id).region"
    }

    /// How long a previous appliance may take to be gone, in tries of 10 ms.
    private static let claimTries = 100

    /// Locks the directory; the one before may be on its way out.
    private static func claims(_ descriptor: Int32) -> Bool {
        for _ in 0..<claimTries {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            usleep(10_000)
        }
        return false
    }

    /// The regions of which something is known; nil when the memory of any is not there.
    private static func regions(in path: String) -> [(KeptRegion, RegionMemory)]? {
        var found: [(KeptRegion, RegionMemory)] = []
        for name in names(in: path) where name.hasSuffix(".json") && name != "appliance.json" {
            guard let known = decode(KeptRegion.self, "\(path)/\(name)"),
                name == "\(known.region).json", known.dataSize <= RegionLayout.largestVolume
            else { return nil }
            let size = RegionLayout.regionSize(forDataOf: known.dataSize).bytes
            let descriptor = unsafe clinux_open(
                memoryPath(path, known.region), O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0)
            guard descriptor >= 0 else { return nil }
            let isHuge = clinux_filesystem_kind(descriptor) == hugetlbfs
            let memory = RegionMemory(owning: descriptor, isHuge: isHuge, isKept: true)
            var status = stat()
            guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
                UInt64(status.st_size) >= size
            else { return nil }
            found.append((known, memory))
        }
        return found
    }

    /// Deletes what is ours and belongs to no region that survived.
    private static func deleteLeftovers(in path: String, except regions: [RegionID]) {
        let kept = Set(regions.flatMap { ["\($0).json", "\($0).region"] })
        for name in names(in: path) where !kept.contains(name) {
            let parts = name.split(separator: ".", maxSplits: 1)
            guard parts.count == 2, Identifier(parts[0]) != nil || parts[0] == "appliance",
                ["json", "region", "json.new"].contains(parts[1]), name != "appliance.json"
            else { continue }
            unsafe unlink("\(path)/\(name)")
        }
    }

    // MARK: Files

    private static func names(in path: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ path: String) -> Value? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        // (On huge pages a file ends with zeroes.)
        let end = data.lastIndex { $0 != 0 }.map { data.index(after: $0) } ?? data.startIndex
        return try? JSONDecoder().decode(type, from: data[..<end])
    }

    /// Replaces a file by one that holds `value`, all at once; false, with `errno`, when it cannot.
    private func write(_ value: some Encodable, as name: String) -> Bool {
        guard let data = try? JSONEncoder().encode(value) else { return false }
        let bytes = Array(data)
        let target = "\(path)/\(name)"
        let draft = target + ".new"
        let descriptor = unsafe clinux_open(draft, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        let isWritten = isHuge ? store(bytes, descriptor) : append(bytes, descriptor)
        let code = errno
        close(descriptor)
        guard isWritten, unsafe rename(draft, target) == 0 else {
            if !isWritten { errno = code }
            return false
        }
        return true
    }

    private func append(_ bytes: [UInt8], _ descriptor: Int32) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes[done...].withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    /// The same on huge pages, which no file is written to.
    private func store(_ bytes: [UInt8], _ descriptor: Int32) -> Bool {
        let page = 2 << 20
        guard bytes.count <= page, ftruncate(descriptor, off_t(page)) == 0,
            fallocate(descriptor, 0, 0, off_t(page)) == 0,
            let base = unsafe mmap(
                nil, page, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
            unsafe base != MAP_FAILED
        else { return false }
        unsafe memcpy(base, bytes, bytes.count)
        unsafe munmap(base, page)
        return true
    }
}
