// What a test needs of the machine; what is missing makes a skip that names it.

import Foundation
import Glibc
package import Testing

/// Something a machine may lack.
package enum Requirement: Sendable {
    case tool(String)
    case root
    case fuse
    case loopDevices
    case networkLab
    /// Files that refuse to be written, whoever tries: `chattr +i`.
    case immutableFiles

    package var isMet: Bool {
        switch self {
        case .tool(let name): Self.find(name) != nil
        case .root: geteuid() == 0
        case .fuse: access("/dev/fuse", R_OK | W_OK) == 0
        case .loopDevices: access("/dev/loop-control", R_OK | W_OK) == 0
        case .networkLab: Self.networkLabObstacle == nil
        case .immutableFiles: Self.hasImmutableFiles
        }
    }

    private var sentence: String {
        switch self {
        case .tool(let name): "\(name) is not installed"
        case .root: "this needs root"
        case .fuse: "/dev/fuse cannot be opened"
        case .loopDevices: "/dev/loop-control cannot be opened"
        case .immutableFiles: "files for tests cannot be made immutable here"
        case .networkLab: Self.networkLabObstacle ?? "hosts in network namespaces can be made"
        }
    }

    /// Why no hosts in network namespaces can be made here; nil when they can.
    package static let networkLabObstacle: String? = {
        for tool in ["ip", "nsenter", "unshare"] where find(tool) == nil {
            return "\(tool) is not installed"
        }
        guard geteuid() == 0 else { return "network namespaces need root" }
        guard access("/dev/net/tun", R_OK | W_OK) == 0 else { return "there is no /dev/net/tun" }
        guard (try? ToolRun(["unshare", "--net", "true"]))?.succeeded == true else {
            return "this kernel, or its owner, allows no network namespaces"
        }
        return nil
    }()

    private static let hasImmutableFiles: Bool = {
        guard let directory = try? TemporaryDirectory() else { return false }
        let file = directory.file("fixed")
        guard FileManager.default.createFile(atPath: file, contents: nil),
            (try? ToolRun(["chattr", "+i", file]))?.succeeded == true
        else { return false }
        return (try? ToolRun(["chattr", "-i", file]))?.succeeded == true
    }()

    private static func find(_ name: String) -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]
        return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips the test, naming what is missing, unless every one of `requirements` is met.
    package static func needs(_ requirements: Requirement...) -> Self {
        let missing = requirements.filter { !$0.isMet }.map { $0.description }
        return .enabled(
            if: missing.isEmpty, Comment(rawValue: "skipped: \(missing.joined(separator: ", "))"))
    }
}

extension Requirement: CustomStringConvertible {
    package var description: String { sentence }
}

/// A count from the environment, for longer or shorter runs than usual.
package func count(_ variable: String, default value: Int) -> Int {
    ProcessInfo.processInfo.environment[variable].flatMap(Int.init) ?? value
}
