// Who uses a device: what has to end before it is detached without loss.
//
// Everything is read from /proc and /sys. Opening the device to see whether that works would be shorter, and
// could wait for a server that is dead.

import Glibc

/// Finds the users of a device.
package struct DeviceUse {
    /// How many processes are named at most.
    private static let mostProcesses = 4

    private let facts: DeviceFacts
    private let processes: String

    package init(facts: DeviceFacts = DeviceFacts(), processes: String = "/proc") {
        self.facts = facts
        self.processes = processes
    }

    /// The uses of a device, each in a few words; none when it can be detached.
    package func uses(of device: DeviceIndex) -> [String] {
        let mounts = mounts(of: facts.numbers(of: device))
        let holders = facts.holders(of: device)
        // What is mounted is not held open by anybody.
        return mounts.map { "mounted at \($0)" } + swaps(on: device).map { "swap space \($0)" }
            + holders.map { "part of \($0)" } + openers(of: device)
    }

    /// Where these devices are mounted, in whatever mount namespace.
    private func mounts(of numbers: [String]) -> [String] {
        var seen: Set<String> = []
        var mounts: [String] = []
        for process in ["self"] + processNames {
            guard let space = TextFile.target(of: "\(processes)/\(process)/ns/mnt"),
                seen.insert(space).inserted,
                let text = TextFile.read("\(processes)/\(process)/mountinfo")
            else { continue }
            for place in Self.mounts(of: numbers, in: text) where !mounts.contains(place) {
                mounts.append(place)
            }
        }
        return mounts
    }

    /// The mount points of devices by their numbers, in the form of /proc/PID/mountinfo (proc(5)).
    package static func mounts(of numbers: [String], in text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 4, numbers.contains(String(fields[2])) else { return nil }
            return unescaped(fields[4])
        }
    }

    /// A path in which spaces and the like are written as `\040`.
    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let first = rest.popFirst() {
            let digits = String(decoding: rest.prefix(3), as: UTF8.self)
            if first == UInt8(ascii: "\\"), let byte = UInt8(digits, radix: 8) {
                bytes.append(byte)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(first)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func swaps(on device: DeviceIndex) -> [String] {
        (TextFile.read("\(processes)/swaps") ?? "").split(separator: "\n").compactMap { line in
            let path = line.prefix { $0 != " " && $0 != "\t" }
            return Self.isDevice(path, device) ? String(path) : nil
        }
    }

    /// The processes that have the device open.
    private func openers(of device: DeviceIndex) -> [String] {
        let openers = processNames.filter { process in
            let folder = "\(processes)/\(process)/fd"
            return TextFile.names(in: folder).contains { name in
                TextFile.target(of: "\(folder)/\(name)").map { Self.isDevice($0[...], device) }
                    ?? false
            }
        }
        let named = openers.prefix(Self.mostProcesses).map { process in
            let name = TextFile.read("\(processes)/\(process)/comm")?.prefix { !$0.isNewline }
            return "open in process \(process) (\(name ?? "unknown"))"
        }
        let rest = openers.count - named.count
        return rest > 0 ? named + ["and in \(rest) more"] : named
    }

    private var processNames: [String] {
        TextFile.names(in: processes).filter { $0.allSatisfy(\.isNumber) }
    }

    /// Whether a path is the device's, or one of its partitions'.
    package static func isDevice(_ path: Substring, _ device: DeviceIndex) -> Bool {
        guard path.hasPrefix(device.path) else { return false }
        let rest = path.dropFirst(device.path.count)
        return rest.isEmpty || (rest.first == "p" && rest.dropFirst().allSatisfy(\.isNumber))
    }
}
