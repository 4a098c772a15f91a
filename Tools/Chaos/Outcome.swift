// What a run amounts to, for people and as JSON.

import Foundation

/// The outcome of a run.
struct Outcome: Codable, Equatable {
    var seed: UInt64
    var transport: String
    var layout: String
    var appliances: Int
    var hasNetwork: Bool
    var seconds: Double
    var storms: Int
    /// By kind.
    var faults: [String: Int]
    var acknowledgedWrites: Int
    var reads: Int
    /// Errors that requests were answered with: allowed while members are out of reach.
    var requestErrors: Int
    var lostConnections: Int
    var findings: [String]
    var isInterrupted: Bool
    /// The file that tells every fault with its time.
    var log: String

    /// The arguments that draw the same storms.
    var replay: String {
        "Tools/chaos --seed \(seed) --transport \(transport) --layout \(layout) "
            + "--appliances \(appliances)" + (hasNetwork ? "" : " --no-network")
    }

    /// One line.
    var summary: String {
        let faultCount = faults.values.reduce(0, +)
        let verdict =
            findings.isEmpty
            ? (isInterrupted ? "interrupted; nothing was wrong" : "nothing was wrong")
            : "\(findings.count) WRONG; replay: \(replay)"
        return "\(storms) storms, \(faultCount) faults, \(acknowledgedWrites) writes acknowledged, "
            + "\(reads) reads, \(requestErrors) errors answered, "
            + "\(lostConnections) connections lost, \(Int(seconds)) s, seed \(seed): \(verdict)"
    }

    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }
}
