// Which process of a server a figure belongs to, in words a reader knows.

/// What one process of a server used for a request.
struct ProcessShare: Encodable, Sendable, Equatable {
    let process: String
    let microseconds: Double
}

extension ProcessIdentity {
    /// What the process is: `client device`, an appliance's name, or its program's name.
    var title: String {
        let line = readText("/proc/\(pid)/cmdline") ?? ""
        return Self.title(ofArguments: line.split(separator: "\0").map(String.init)) ?? "\(pid)"
    }

    static func title(ofArguments arguments: [String]) -> String? {
        guard let program = arguments.first?.split(separator: "/").last else { return nil }
        guard program == "holdfast", arguments.count > 1 else { return String(program) }
        switch arguments[1] {
        case "up": return "supervisor"
        case "serve": return "client device"
        case "appliance":
            guard let option = arguments.firstIndex(of: "--name"), option + 1 < arguments.count
            else { return "appliance" }
            return arguments[option + 1]
        default: return "holdfast \(arguments[1])"
        }
    }
}

extension ProcessTree {
    /// A title for each member; several of one name are numbered.
    var titles: [String] {
        let plain = members.map(\.title)
        return plain.indices.map { index in
            let isUnique = plain.count { $0 == plain[index] } == 1
            let number = plain[...index].count { $0 == plain[index] }
            return isUnique ? plain[index] : "\(plain[index]) \(number)"
        }
    }

    /// Processor time of each member until now, in nanoseconds.
    func memberNanoseconds() -> [UInt64] {
        members.map { ProcessTree(members: [$0]).processorNanoseconds() }
    }
}
