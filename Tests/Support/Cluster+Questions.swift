// What a cluster's client device is asked, by its command line.

import Foundation

extension Cluster: StatusSource {
    /// Runs `holdfast` with `arguments` on the client device's directory.
    package func cli(
        _ arguments: [String], atMost limit: Duration = .seconds(60)
    ) throws(HarnessError) -> ToolRun {
        try ToolRun([HoldfastBinary.path] + arguments + ["--dir", path], atMost: limit)
    }

    /// Runs `holdfast` with `arguments` on the client device's directory.
    package func cli(_ arguments: String...) throws(HarnessError) -> ToolRun {
        try cli(arguments)
    }

    /// Runs a command that must succeed.
    @discardableResult
    package func require(_ arguments: String...) throws(HarnessError) -> String {
        let run = try cli(arguments)
        guard run.succeeded else { throw HarnessError("\(run)\(log)") }
        return run.standardOutput
    }

    /// The URI of an export: a volume or, as `VOLUME@SNAPSHOT`, a snapshot.
    package func uri(of export: String) -> String {
        "nbd+unix:///\(export)?socket=\(directory.file("nbd.sock"))"
    }

    /// The status once a client device answers.
    package func status(atMost limit: Duration = .seconds(30)) throws -> StatusReport {
        var last = "nobody asked"
        let report = try eventually(atMost: limit) { () throws -> StatusReport? in
            let run = try cli(["status", "--json"], atMost: .seconds(20))
            last = run.description
            guard run.succeeded else { return nil }
            return try JSONDecoder().decode(StatusReport.self, from: Data(run.standardOutput.utf8))
        }
        guard let report else { throw HarnessError("no status within \(limit): \(last)\(log)") }
        return report
    }

    /// Waits until all volumes have all their members again.
    @discardableResult
    package func waitUntilHealthy(atMost limit: Duration = .seconds(60)) throws -> StatusReport {
        var last: StatusReport?
        let report = eventually(atMost: limit, every: .milliseconds(50)) { () -> StatusReport? in
            // (A client device that hangs for a while may answer later.)
            guard let report = try? status(atMost: .seconds(5)) else { return nil }
            last = report
            return report.volumes.allSatisfy { $0.health == "healthy" } ? report : nil
        }
        guard let report else {
            let volumes = last?.volumes.map { "\($0.name) is \($0.health)" } ?? ["no status"]
            throw HarnessError(
                "not healthy within \(limit): \(volumes.joined(separator: ", "))\(log)")
        }
        return report
    }

    /// Compares all members of `volume`; gives the number of extents in which they differ.
    ///
    /// Members on other hosts have no memory that could be looked at from here.
    package func mismatchedExtents(
        of volume: String, atMost limit: Duration = .seconds(300)
    ) throws -> Int {
        let run = try cli(["scrub", volume, "--json"], atMost: limit)
        let report = try? JSONSerialization.jsonObject(with: Data(run.standardOutput.utf8))
        guard let count = (report as? [String: Any])?["mismatchedExtents"] as? Int else {
            throw HarnessError("no scrub of \(volume): \(run)\(log)")
        }
        return count
    }
}
