// What the kernel shows of its NBD devices in /sys/block.
//
//     nbdN/size      in sectors of 512 bytes, 0 while detached
//     nbdN/ro        1 when writes are refused
//     nbdN/pid       who attached it; there while it is attached
//     nbdN/backend   what it belongs to, in the words of whoever attached it (Linux 5.14)

import Glibc

/// An attached device.
public struct AttachedDevice: Hashable, Sendable {
    public let device: DeviceIndex
    public let backend: Backend
    /// In bytes.
    public let size: UInt64
    public let isReadOnly: Bool

    public init(device: DeviceIndex, backend: Backend, size: UInt64, isReadOnly: Bool) {
        self.device = device
        self.backend = backend
        self.size = size
        self.isReadOnly = isReadOnly
    }
}

/// Where the kernel shows its devices.
public struct DeviceFacts: Sendable {
    private static let sectorSize: UInt64 = 512

    private let root: String

    public init() { root = "/sys" }

    /// Another place, for tests.
    package init(root: String) { self.root = root }

    /// Whether the kernel has NBD devices now.
    var isSupported: Bool { unsafe access("\(root)/module/nbd", F_OK) == 0 }

    /// The devices that were attached by us, in order.
    public func attached() -> [AttachedDevice] {
        names(in: "\(root)/block").compactMap { DeviceIndex(name: $0) }.sorted()
            .compactMap(attached)
    }

    /// A device of ours; nil when it is detached, or somebody else's.
    public func attached(_ device: DeviceIndex) -> AttachedDevice? {
        guard let text = read("backend", of: device), let backend = Backend(text) else {
            return nil
        }
        return AttachedDevice(
            device: device, backend: backend, size: size(of: device),
            isReadOnly: read("ro", of: device) == "1")
    }

    /// In bytes; 0 for a device that is detached or not there.
    package func size(of device: DeviceIndex) -> UInt64 {
        (read("size", of: device).flatMap { UInt64($0) } ?? 0) * Self.sectorSize
    }

    /// Whether anybody holds the device attached, or has not let go of it since.
    package func isAttached(_ device: DeviceIndex) -> Bool { read("pid", of: device) != nil }

    /// Its number as file systems show it, such as `43:0`, and those of its partitions.
    func numbers(of device: DeviceIndex) -> [String] {
        ([device.name] + partitions(of: device).map { "\(device.name)/\($0)" }).compactMap {
            line(of: "\(root)/block/\($0)/dev")
        }
    }

    /// What is built on the device or one of its partitions, such as `md0`.
    func holders(of device: DeviceIndex) -> [String] {
        ([device.name] + partitions(of: device).map { "\(device.name)/\($0)" }).flatMap {
            names(in: "\(root)/block/\($0)/holders")
        }
    }

    private func partitions(of device: DeviceIndex) -> [String] {
        names(in: "\(root)/block/\(device.name)").filter { $0.hasPrefix("\(device.name)p") }
    }

    private func read(_ name: String, of device: DeviceIndex) -> String? {
        line(of: "\(root)/block/\(device.name)/\(name)")
    }

    /// The first line of a file; nil when it cannot be read.
    private func line(of path: String) -> String? {
        TextFile.read(path).map { String($0.prefix { !$0.isNewline }) }
    }

    private func names(in path: String) -> [String] { TextFile.names(in: path) }
}

/// The kernel's small files.
enum TextFile {
    /// The whole text; nil when it cannot be read.
    static func read(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            guard count >= 0 else { return nil }
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer.prefix(count)
        }
    }

    /// What is in a directory; nothing when it cannot be read.
    static func names(in path: String) -> [String] {
        guard let directory = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Where a symbolic link points; nil when it is none.
    static func target(of path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink(path, &buffer, buffer.count)
        return count < 0
            ? nil
            : String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
