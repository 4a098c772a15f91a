// Options for how many NBD clients are served, and how long one may take to come in; part of `NBDOptions`.

import ArgumentParser
import ClientDevice
import Logging

/// `--nbd-connections`, `--nbd-export-connections` and `--nbd-handshake-time`.
struct DoorLimitOptions: ParsableArguments {
    private static let usual = DoorLimits()

    @Option(
        help: ArgumentHelp(
            "The most connections of NBD clients, of all exports together (default: "
                + "\(usual.connections)). Who comes when there are as many waits.",
            valueName: "count"))
    var nbdConnections: Int?
    @Option(
        help: ArgumentHelp(
            "The most connections of one export (default: \(usual.exportConnections), or "
                + "--nbd-connections if that is less). More are refused.", valueName: "count"))
    var nbdExportConnections: Int?
    @Option(
        help: ArgumentHelp(
            "How long an NBD client may take to choose an export, with TLS: 1s up to 10m (default: 30s).",
            valueName: "time"),
        transform: handshakeTime)
    var nbdHandshakeTime: Int?

    mutating func validate() throws {
        let given = [
            ("--nbd-connections", nbdConnections),
            ("--nbd-export-connections", nbdExportConnections),
        ]
        let range = DoorLimits.connectionRange
        for case (let name, let count?) in given where !range.contains(count) {
            throw ValidationError(
                "\(name) is a number from \(range.lowerBound) to \(range.upperBound), and not \(count)"
            )
        }
        if let nbdConnections, let nbdExportConnections, nbdExportConnections > nbdConnections {
            throw ValidationError(
                "one export cannot have \(nbdExportConnections) connections when all have "
                    + "\(nbdConnections): raise --nbd-connections or lower --nbd-export-connections"
            )
        }
    }

    private static func handshakeTime(_ text: String) throws -> Int {
        let range = DoorLimits.handshakeRange
        guard let milliseconds = TimeArgument.milliseconds(text),
            range.contains(.milliseconds(milliseconds))
        else { throw ValidationError("a time from 1s to 10m, such as 5s or 2m") }
        return milliseconds
    }

    /// What the options come to.
    var limits: DoorLimits {
        var limits = DoorLimits()
        if let nbdConnections { limits.connections = nbdConnections }
        limits.exportConnections = min(
            nbdExportConnections ?? limits.exportConnections, limits.connections)
        if let nbdHandshakeTime { limits.handshakeTime = .milliseconds(nbdHandshakeTime) }
        return limits
    }

    /// Sees that this process may have as many descriptors as that takes, at so many addresses.
    ///
    /// - Throws: `TooFewDescriptors` for a number that was asked for; where none was, it is only told.
    func checkDescriptors(atAddresses count: Int, _ log: Logger) throws {
        let limits = limits
        do throws(TooFewDescriptors) {
            try DescriptorLimit.check(
                clients: limits.descriptors(atAddresses: count), connections: limits.connections)
        } catch {
            guard nbdConnections == nil else { throw error }
            log.warning("\(error)")
        }
    }

    /// The same options for another process.
    var arguments: [String] {
        let given = [
            ("--nbd-connections", nbdConnections.map { "\($0)" }),
            ("--nbd-export-connections", nbdExportConnections.map { "\($0)" }),
            ("--nbd-handshake-time", nbdHandshakeTime.map { "\($0)ms" }),
        ]
        return given.flatMap { name, value in value.map { [name, $0] } ?? [] }
    }
}
