// What is wrong with a history, with all that a person needs to look for it in the trace.

/// One contradiction in a history.
package enum Violation: Hashable, Sendable {
    /// One operation on one block.
    package struct Operation: Hashable, Sendable {
        package enum Kind: Hashable, Sendable { case initial, write, read, snapshot }

        package let kind: Kind
        /// The id of the write whose contents are written or shown.
        package let write: UInt32
        /// In nanoseconds; 0 for the initial contents.
        package let invoked: UInt64
        /// In nanoseconds; `History.forever` when it may still take effect.
        package let ended: UInt64
    }

    /// That one operation ended before another was invoked.
    package struct Precedence: Hashable, Sendable {
        package let ended: Operation
        package let invoked: Operation
    }

    /// A bound on the moment of a snapshot, from what it shows on `block`.
    package struct CutBound: Hashable, Sendable {
        package let block: Int
        /// The write that the block shows.
        package let shown: UInt32
        /// It is not before this was invoked, or not after this ended.
        package let limit: Operation
    }

    /// `read` found what nobody ever wrote to this block.
    case neverWritten(block: Int, read: Operation)
    /// `read` ended before the write whose contents it found was invoked.
    case readBeforeWrite(block: Int, read: Operation, write: Operation)
    /// Two writes would each have to come before the other.
    case noOrder(block: Int, Precedence, Precedence)
    /// At no single moment of the command did all blocks hold what the snapshot shows; a bound is nil
    /// when it is the command's own invocation or end, in nanoseconds.
    case inconsistentCut(
        invoked: UInt64, ended: UInt64, notBefore: CutBound?, notAfter: CutBound?)
}

extension Violation: CustomStringConvertible {
    /// One sentence.
    package var description: String {
        switch self {
        case .neverWritten(let block, let read):
            "Block \(block): \(read) found what was never written there."
        case .readBeforeWrite(let block, let read, let write):
            "Block \(block): \(read) ended before \(write) was invoked."
        case .noOrder(let block, let first, let second):
            "Block \(block): no order is possible, as \(first), but \(second)."
        case .inconsistentCut(let invoked, let ended, let notBefore, let notAfter):
            "The snapshot of \(invoked) to \(ended) ns shows no single moment: it is not before "
                + (notBefore.map { "\($0.limit) was invoked (\($0.evidence))" } ?? "its command")
                + ", and not after "
                + (notAfter.map { "\($0.limit) ended (\($0.evidence))" } ?? "its command") + "."
        }
    }
}

extension Violation.CutBound {
    fileprivate var evidence: String {
        shown == History.initial
            ? "block \(block) shows the initial zeroes" : "block \(block) shows \(shown)"
    }
}

extension Violation.Operation: CustomStringConvertible {
    package var description: String {
        switch kind {
        case .initial: "the initial zeroes"
        case .write: "write \(write) (\(span))"
        case .read: "the read of \(write) (\(span))"
        case .snapshot: "the snapshot that shows \(write) (\(span))"
        }
    }

    private var span: String {
        "\(invoked) to " + (ended == History.forever ? "no known end" : "\(ended) ns")
    }
}

extension Violation.Precedence: CustomStringConvertible {
    package var description: String { "\(ended) ended before \(invoked) was invoked" }
}
