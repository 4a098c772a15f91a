// Judging the cut of a snapshot that was taken while writers went on.
//
// G6: every write acknowledged before the command was given is in it, none submitted after it
// returned is. In between, any write may or may not be in it, but not arbitrarily: the snapshot is
// one moment of the volume. If it holds a write W, it also holds (or holds something newer than)
// every write that was acknowledged before W was submitted, to whichever block.

/// What was known when a snapshot's command was given, and what happened until it returned.
package struct SnapshotWindow: Sendable {
    private struct Write {
        let ticket: WriteTicket
        var acknowledged: Moment?
    }

    private let newestVersionBefore: UInt64
    private let permitted: [[Candidate]]
    private var newestVersionAfter: UInt64 = 0
    /// The writes submitted in the window, by version.
    private var writes: [UInt64: Write] = [:]
    /// When those submitted earlier were acknowledged, if in the window.
    private var lateAcknowledgements: [UInt64: Moment] = [:]

    init(begun: Moment, newestVersion: UInt64, permitted: [[Candidate]]) {
        newestVersionBefore = newestVersion
        self.permitted = permitted
    }

    /// How many writes were submitted between the command and its return.
    package var writeCount: Int { writes.count }

    mutating func recordSubmission(of ticket: WriteTicket) {
        precondition(!ticket.isZero, "zeros carry no version: a cut of them cannot be judged")
        writes[ticket.version] = Write(ticket: ticket)
    }

    mutating func recordAcknowledgement(of version: UInt64, at moment: Moment) {
        if writes[version] != nil {
            writes[version]?.acknowledged = moment
        } else {
            lateAcknowledgements[version] = moment
        }
    }

    mutating func close(newestVersion: UInt64) {
        newestVersionAfter = newestVersion
    }

    /// Judges the snapshot's blocks, from block 0 on; gives a sentence for each thing wrong.
    package func findings(in contents: [BlockContent]) -> [String] {
        precondition(contents.count == permitted.count, "the snapshot has as many blocks")
        return blockFindings(in: contents) + orderFindings(in: contents)
    }

    private func blockFindings(in contents: [BlockContent]) -> [String] {
        contents.indices.compactMap { block in
            let content = contents[block]
            if permitted[block].contains(where: { $0.matches(content) }) { return nil }
            if case .version(let version) = content {
                if writes[version]?.ticket.blocks.contains(block) == true { return nil }
                if version > newestVersionAfter {
                    return "block \(block) holds version \(version), submitted after the cut"
                }
            }
            let allowed = permitted[block].map { "\($0.version)" }.joined(separator: ", ")
            return "block \(block) holds \(content); before the cut it held version \(allowed)"
        }
    }

    /// What is missing although something submitted after its acknowledgement is there.
    private func orderFindings(in contents: [BlockContent]) -> [String] {
        var latest: (submitted: Moment, version: UInt64) = (0, 0)
        for case .version(let version) in contents {
            guard let write = writes[version], write.ticket.submitted > latest.submitted else {
                continue
            }
            latest = (write.ticket.submitted, version)
        }
        var findings: [String] = []
        for write in writes.values {
            guard let acknowledged = write.acknowledged, acknowledged < latest.submitted else {
                continue
            }
            for block in write.ticket.blocks
            where isOlder(contents[block], of: block, than: write.ticket) {
                findings.append(
                    "block \(block) holds \(contents[block]), older than version "
                        + "\(write.ticket.version), acknowledged before version \(latest.version) "
                        + "was submitted, which is in the cut")
            }
        }
        return findings
    }

    /// Whether `content` was settled before `ticket` was submitted.
    private func isOlder(
        _ content: BlockContent, of block: BlockNumber, than ticket: WriteTicket
    ) -> Bool {
        switch content {
        case .foreign: return false
        case .zero: return true
        case .version(let version):
            if version == ticket.version { return false }
            let settled =
                writes[version]?.acknowledged
                ?? lateAcknowledgements[version]
                ?? permitted[block].first { $0.version == version }?.settled
            return settled.map { $0 < ticket.submitted } ?? false
        }
    }
}
