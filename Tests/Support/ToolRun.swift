// A program run to its end.

/// The output and end of a program that was run to completion.
package struct ToolRun: Sendable, CustomStringConvertible {
    package let arguments: [String]
    package let end: ProcessEnd
    package let standardOutput: String
    package let standardError: String

    /// The exit status; nil when a signal ended the program.
    package var status: Int32? {
        if case .exited(let status) = end { status } else { nil }
    }

    package var succeeded: Bool { status == 0 }

    /// Runs `arguments` and waits for the end.
    ///
    /// - Throws: `HarnessError` when the program cannot be started, or does not end within `limit`.
    package init(
        _ arguments: [String], environment: [String: String] = [:],
        atMost limit: Duration = .seconds(60)
    ) throws(HarnessError) {
        let process = try RunningProcess(arguments, environment: environment)
        guard let end = process.waitForExit(atMost: limit) else {
            process.killWithChildren()
            throw HarnessError(
                "\(arguments.joined(separator: " ")) did not end within \(limit); it wrote: "
                    + process.standardOutput.text + process.standardError.text)
        }
        _ = process.standardOutput.waitForEnd(atMost: .seconds(2))
        _ = process.standardError.waitForEnd(atMost: .seconds(2))
        self.arguments = arguments
        self.end = end
        standardOutput = process.standardOutput.text
        standardError = process.standardError.text
    }

    /// Runs `arguments` and gives what it wrote to standard output.
    ///
    /// - Throws: `HarnessError` with all it wrote when it does not end with status 0.
    @discardableResult
    package static func output(
        _ arguments: String..., atMost limit: Duration = .seconds(60)
    ) throws(HarnessError) -> String {
        let run = try ToolRun(arguments, atMost: limit)
        guard run.succeeded else { throw HarnessError(run.description) }
        return run.standardOutput
    }

    package var description: String {
        "\(arguments.joined(separator: " ")): \(end)\n\(standardOutput)\(standardError)"
    }
}
