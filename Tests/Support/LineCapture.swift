// What a process writes to one of its standard streams, readable while it runs.

import Foundation
import Glibc

/// The bytes read so far from one descriptor, which a thread of its own drains to the end.
package final class LineCapture: Sendable {
    private struct Content {
        var bytes: [UInt8] = []
        var isComplete = false
    }

    private let content = Monitor(Content())

    /// Reads `descriptor` to its end and closes it.
    init(draining descriptor: Int32) {
        let content = content
        Thread.detachNewThread {
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { break }
                content.withLock { $0.bytes.append(contentsOf: buffer[..<count]) }
            }
            close(descriptor)
            content.withLock { $0.isComplete = true }
        }
    }

    /// Everything so far.
    package var text: String {
        content.withLock { String(decoding: $0.bytes, as: UTF8.self) }
    }

    /// The complete lines so far, and the last one even without its newline once at the end.
    package var lines: [String] {
        content.withLock { Self.lines(of: $0) }
    }

    /// Waits for the end of the stream; false when `limit` passed first.
    ///
    /// A process's own children may keep the stream open after it ended.
    package func waitForEnd(atMost limit: Duration) -> Bool {
        content.wait(atMost: limit) { $0.isComplete ? true : nil } ?? false
    }

    /// The first line `accept` takes; nil when the stream ended or `limit` passed without one.
    package func waitForLine(
        atMost limit: Duration, where accept: (String) -> Bool = { _ in true }
    ) -> String? {
        let outcome = content.wait(atMost: limit) { content -> String?? in
            if let line = Self.lines(of: content).first(where: accept) { return .some(line) }
            return content.isComplete ? .some(nil) : nil
        }
        return outcome ?? nil
    }

    private static func lines(of content: Content) -> [String] {
        var parts = content.bytes.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let last = parts.removeLast()
        if content.isComplete, !last.isEmpty { parts.append(last) }
        return parts.map { String(decoding: $0, as: UTF8.self) }
    }
}
