// A directory of one test, gone with it.

import Foundation

/// A new directory below /tmp, removed with all it holds when the last reference goes.
///
/// Its path is short: a Unix socket's may have 107 bytes.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() throws {
        let name = UInt64.random(in: .min ... .max)
        path = "/tmp/holdfast-test-\(String(name, radix: 36))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// The path of `name` inside.
    package func file(_ name: String) -> String {
        "\(path)/\(name)"
    }
}
