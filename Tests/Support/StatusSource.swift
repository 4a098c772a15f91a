// Waiting for what a client device says of itself, whichever way its processes were started.

/// Whoever can be asked how a client device is.
package protocol StatusSource {
    func status(atMost limit: Duration) throws -> StatusReport
    /// What its processes wrote.
    var log: String { get }
}

extension StatusSource {
    /// Asks for the status until `isReached` says yes, and gives it.
    @discardableResult
    package func waitForStatus(
        _ what: String, atMost limit: Duration = .seconds(60),
        where isReached: (StatusReport) throws -> Bool
    ) throws -> StatusReport {
        var last: StatusReport?
        let report = try eventually(atMost: limit, every: .milliseconds(50)) {
            let report = try status(atMost: .seconds(30))
            last = report
            return try isReached(report) ? report : nil
        }
        guard let report else {
            throw HarnessError("not \(what) within \(limit): \(String(describing: last))\(log)")
        }
        return report
    }
}
