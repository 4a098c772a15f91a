// What happened when: the one thing to read when a run failed.

import Foundation
import TestSupport

/// Lines with the seconds since the run began, in a file that is complete at every moment.
final class Journal: Sendable {
    let path: String
    private let start = ContinuousClock.now
    private let file: Monitor<FileHandle>

    /// Begins an empty journal at `path`.
    init(_ path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw HarnessError("the log \(path) cannot be written; name another with --log") }
        self.path = path
        file = Monitor(handle)
    }

    var seconds: Double { (ContinuousClock.now - start) / .seconds(1) }

    func note(_ line: String) {
        let time = String(Int(seconds * 1000))
        let padded = String(repeating: " ", count: max(0, 8 - time.count)) + time
        file.withLock { try? $0.write(contentsOf: Data("\(padded) ms  \(line)\n".utf8)) }
    }

    /// The last lines, for a report.
    func tail(_ count: Int) -> [String] {
        let text = file.withLock { _ in try? String(contentsOfFile: path, encoding: .utf8) }
        return (text ?? "").split(separator: "\n").suffix(count).map(String.init)
    }
}
