// One `holdfast up` for a whole suite.

package import Testing

/// Starts `holdfast up` before a suite's first test and stops it after the last.
///
/// Within, `HoldfastUp.current` is the running one.
package struct ServedVolume: SuiteTrait, TestScoping {
    let options: [String]

    package func provideScope(
        for test: Test, testCase: Test.Case?,
        performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        let up = try HoldfastUp(options)
        defer { up.stop() }
        try await HoldfastUp.$running.withValue(up) {
            try await function()
        }
    }
}

extension Trait where Self == ServedVolume {
    /// Serves a volume to all tests of the suite.
    package static func served(_ options: [String] = HoldfastUp.usualOptions) -> Self {
        ServedVolume(options: options)
    }
}

extension HoldfastUp {
    @TaskLocal fileprivate static var running: HoldfastUp?

    /// The one that serves the suite this is called in.
    package static var current: HoldfastUp {
        get throws {
            guard let running else { throw HarnessError("the suite lacks the trait .served()") }
            return running
        }
    }
}
