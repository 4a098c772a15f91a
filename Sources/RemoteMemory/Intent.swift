// An intent tells the observers of all members what a multi-write is about to change.
//
// It stands in one cache line of the observer area, written just before the data on the same
// ordered channel, and is followed by a *landed* mark just after the data:
//
//     word  0      1         2      3      4     5          6      7
//           epoch  sequence  start  count  kind  completed  check  landed
//                                          with members and check of the data
//
//     upcoming on this member   ⇔  check is right
//     whole on this member      ⇔  upcoming ∧ landed = sequence
//     complete on all members   ⇐  completed = sequence on any, or the slot was reused on any
//
// A half-written record fails its check and reads as "never saw it", which is true: its data comes
// after it. Marks hold the sequence, not a flag, so a new record needs no clearing of old marks.

/// What one multi-write changes, as its observers are told.
public struct Intent: Hashable, Sendable, BitwiseCopyable {
    /// What the write does with its range.
    public enum Kind: UInt64, Sendable, BitwiseCopyable {
        /// New contents: a half-done one can be completed only from a member that has it whole.
        case write = 1
        /// Zeroes: a half-done one can be completed by anybody.
        case zero = 2
    }

    public var epoch: Epoch
    /// Grows with every multi-write of a set, also across owners; never reused.
    public var sequence: UInt64
    public var range: ByteRange
    public var kind: Kind
    /// The members of an erasure set that take part, each with bytes of its own; none for a mirror.
    public var members: MemberSet
    /// A check of the data, where the transport promises no order of placement; otherwise zero.
    public var dataCheck: UInt32

    @inlinable public init(
        epoch: Epoch, sequence: UInt64, range: ByteRange, kind: Kind,
        members: MemberSet = MemberSet(), dataCheck: UInt32 = 0
    ) {
        self.epoch = epoch
        self.sequence = sequence
        self.range = range
        self.kind = kind
        self.members = members
        self.dataCheck = dataCheck
    }

    /// Positions of the words that change after the record was written.
    @inlinable public static var completedWord: Int { 5 }
    static var sequenceWord: Int { 1 }
    @inlinable public static var landedWord: Int { 7 }
    /// How many words the record has before its landed mark.
    @inlinable public static var recordWords: Int { 7 }

    /// The record as it stands in memory, without marks.
    @inlinable public var words: InlineArray<7, UInt64> {
        [epoch.number, sequence, range.start.bytes, range.count.bytes, kindWord, 0, check]
    }

    @inlinable var kindWord: UInt64 {
        kind.rawValue | UInt64(members.intentBits) << 16 | UInt64(dataCheck) << 32
    }

    @inlinable var check: UInt64 {
        var check = Check()
        check.add(epoch.number)
        check.add(sequence)
        check.add(range.start.bytes)
        check.add(range.count.bytes)
        check.add(kindWord)
        return check.value
    }
}

/// One slot of one member's observer area, as found there.
public struct IntentSlot: Hashable, Sendable {
    public var intent: Intent
    /// This member holds all data of the multi-write.
    public var landed: Bool
    /// All members hold all data of the multi-write.
    public var completed: Bool

    public init(intent: Intent, landed: Bool, completed: Bool) {
        self.intent = intent
        self.landed = landed
        self.completed = completed
    }

    /// Reads a slot; nil when it was never used or its record is half written.
    public init?(words: InlineArray<8, UInt64>) {
        guard words[1] != 0, words[2] <= .max - words[3],
            let kind = Intent.Kind(rawValue: words[4] & 0xffff)
        else { return nil }
        let intent = Intent(
            epoch: Epoch(words[0]), sequence: words[1],
            range: ByteRange(start: ByteOffset(words[2]), count: ByteCount(words[3])), kind: kind,
            members: MemberSet(intentBits: UInt16(truncatingIfNeeded: words[4] >> 16)),
            dataCheck: UInt32(words[4] >> 32))
        guard intent.check == words[6] else { return nil }
        self.init(
            intent: intent, landed: words[Intent.landedWord] == intent.sequence,
            completed: words[Intent.completedWord] == intent.sequence)
    }
}
