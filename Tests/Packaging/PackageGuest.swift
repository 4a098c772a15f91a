// One boot under systemd, in which the package is installed and used: Tests/Packaging/guest does it, step by
// step, and the tests look at what it left.

import Foundation
import TestSupport

/// What came of each step, and what the console showed until the guest was off.
struct PackageGuest: Sendable {
    /// What a step of the guest wrote, and its status.
    struct Step: Sendable, CustomStringConvertible {
        let name: String
        let text: String
        let status: Int32?

        var succeeded: Bool { status == 0 }
        var description: String { "\(name): \(status.map(String.init) ?? "never ended")\n\(text)" }
    }

    /// A boot takes a minute where all is emulated, each step some seconds; on a busy machine thrice that.
    private static let limit = Duration.seconds(1500)

    private static let project = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    /// Why there can be no guest; nil when there can.
    static let obstacle: String? = {
        guard BuiltPackage.file != nil else { return BuiltPackage.obstacle }
        let arguments = ["\(project)/Tools/vm", "--systemd", "--prepare"]
        guard let run = try? ToolRun(arguments, atMost: .seconds(600)) else {
            return "Tools/vm cannot be run"
        }
        return run.succeeded ? nil : run.standardError
    }()

    private static let booted = Result { try PackageGuest() }

    /// The boot that all tests share.
    static var current: PackageGuest { get throws { try booted.get() } }

    private let results: TemporaryDirectory
    /// Lines of the console: the kernel's, and those of process 1.
    let console: [String]

    private init() throws {
        results = try TemporaryDirectory()
        let console = results.file("console")
        let run = try ToolRun(
            [
                "\(Self.project)/Tools/vm", "--systemd", "--module", "nbd", "--console", console,
                "--share", results.path, "--time", "\(Self.limit.components.seconds)",
                "--", "Tests/Packaging/guest", BuiltPackage.file ?? "", results.path,
            ], atMost: Self.limit + .seconds(30))
        guard run.succeeded else { throw HarnessError("\(run)") }
        print(run.standardOutput)
        self.console = String(decoding: try Data(contentsOf: URL(filePath: console)), as: UTF8.self)
            .split(whereSeparator: \.isNewline).map(String.init)
    }

    /// What came of a step.
    func step(_ name: String) -> Step {
        let text = try? String(contentsOfFile: results.file(name), encoding: .utf8)
        let status = try? String(contentsOfFile: results.file("\(name).status"), encoding: .utf8)
        return Step(
            name: name, text: text ?? "",
            status: status.flatMap { Int32($0.trimmingCharacters(in: .whitespacesAndNewlines)) })
    }

    /// Where the console last tells something.
    func lastMoment(of text: String) -> Int? { console.lastIndex { $0.contains(text) } }
}
