// What the host can still give, as the kernel says in its text files.

import FoundationEssentials
package import RemoteMemory

/// Readings of the host's memory.
package enum HostMemory {
    /// What can be used before the host swaps or kills: the kernel's estimate, or what the control
    /// group of this process leaves, whichever is less.
    package static var available: ByteCount {
        let host = meminfo("MemAvailable") ?? ByteCount(.max >> 1)
        guard let limit = number("/sys/fs/cgroup/memory.max"),
            let used = number("/sys/fs/cgroup/memory.current")
        else { return host }
        return min(host, ByteCount(limit > used ? limit - used : 0))
    }

    /// Free pages of the 2 MiB pool.
    package static var freeHugePages: ByteCount {
        let pages = number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") ?? 0
        let promised = number("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages") ?? 0
        return ByteCount((pages > promised ? pages - promised : 0) << 21)
    }

    /// The same for all processes of one boot of one host.
    package static var bootID: String {
        text("/proc/sys/kernel/random/boot_id").map { String($0.prefix(36)) } ?? "unknown"
    }

    private static func meminfo(_ name: String) -> ByteCount? {
        guard let text = text("/proc/meminfo") else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
            let words = line.split(separator: " ")
            guard words.count >= 2, let kibibytes = UInt64(words[1]) else { return nil }
            return .kibibytes(kibibytes)
        }
        return nil
    }

    private static func number(_ path: String) -> UInt64? {
        guard let text = text(path) else { return nil }
        return UInt64(text.split(separator: "\n").first ?? "")
    }

    private static func text(_ path: String) -> String? {
        guard let data = try? Data(contentsOf: URL(filePath: path)) else { return nil }
        return String(decoding: data, as: UTF8.self)
    }
}
