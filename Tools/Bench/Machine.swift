// The machine in one line: figures without it cannot be compared with anything.

import Glibc

enum Machine {
    static var description: String {
        let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        let model =
            firstField(of: "/proc/cpuinfo", startingWith: "model name") ?? "unknown processor"
        let release = readText("/proc/sys/kernel/osrelease")?.split(separator: "\n").first ?? "?"
        let load = readText("/proc/loadavg")?.split(separator: " ").first ?? "?"
        return "\(cores) × \(model), Linux \(release), load average before: \(load)"
    }

    private static func firstField(of path: String, startingWith key: String) -> String? {
        guard let line = readText(path)?.split(separator: "\n").first(where: { $0.hasPrefix(key) }),
            let colon = line.firstIndex(of: ":")
        else { return nil }
        return String(line[line.index(after: colon)...].drop { $0 == " " })
    }
}
