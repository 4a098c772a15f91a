// Chaos: kill what runs, in every way, under a load that knows what it may read back.
//
// Loops are bounded by counts, which the environment may change; nothing here is judged by the
// clock, and what waits has a bound only so that a hang is a failure.

import Foundation
import TestSupport
import Testing

/// The parent of all chaos suites: one after the other, they share the machine.
@Suite(.serialized) enum Chaos {}

extension HoldfastUp {
    /// Starts a verifying load on the volume and waits until it runs.
    func startWriter(_ load: VerifyingWriter.Load = VerifyingWriter.Load()) throws
        -> VerifyingWriter
    {
        let writer = VerifyingWriter(uri, load)
        writer.start()
        try writer.waitForWrites(500)
        return writer
    }

    /// Expects that all members hold the same, by what scrub says and by looking ourselves.
    ///
    /// Nothing may be writing.
    func expectMembersIdentical(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let status = try waitUntilHealthy()
        let scrub = try ToolRun(
            [HoldfastBinary.path, "scrub", volume, "--json", "--dir", path], atMost: .seconds(120))
        #expect(scrub.succeeded, "\(scrub)", sourceLocation: sourceLocation)
        let report = try JSONSerialization.jsonObject(with: Data(scrub.standardOutput.utf8))
        let mismatches = (report as? [String: Any])?["mismatchedExtents"] as? Int
        #expect(mismatches == 0, "\(scrub)", sourceLocation: sourceLocation)

        let volume = try status.volume(volume)
        let dumps = try RegionDump.members(of: volume, in: status)
        #expect(dumps.count >= 2, sourceLocation: sourceLocation)
        let difference = try RegionDump.firstDifference(between: dumps)
        #expect(difference == nil, sourceLocation: sourceLocation)
    }

    /// Waits until another client device than `pid` serves, and gives its pid.
    @discardableResult
    func waitForClient(otherThan pid: Int32) throws -> Int32 {
        try waitForStatus("served by another client device") { $0.pid != pid }.pid
    }

    /// Waits until `appliance` is up as another incarnation than `incarnation`.
    func waitForIncarnation(of appliance: String, otherThan incarnation: String?) throws {
        _ = try waitForStatus("with a new incarnation of \(appliance)") { status in
            let now = try status.appliance(appliance)
            return now.state == "up" && now.incarnation != incarnation
        }
    }
}

/// Stops `writer`, reads everything back, and expects that nothing was lost.
func expectNothingLost(
    _ writer: VerifyingWriter, errors: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let counts = try writer.stop()
    #expect(counts.requestErrors == errors, "\(counts)", sourceLocation: sourceLocation)
    #expect(counts.problems == [], sourceLocation: sourceLocation)
    #expect(try writer.verifyAll() == [], sourceLocation: sourceLocation)
    // What was found must stay.
    #expect(try writer.verifyAll() == [], sourceLocation: sourceLocation)
}
