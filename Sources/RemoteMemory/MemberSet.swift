// A handful of members as one machine word: set operations without allocation.

/// A set of member indices, held in 32 bits: members in the lower half, twins in the upper.
public struct MemberSet: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var bits: UInt32

    @inlinable init(bits: UInt32) { self.bits = bits }
    @inlinable public init() { bits = 0 }
    @inlinable public init(_ member: MemberIndex) { bits = 1 << UInt32(member.number) }

    public init(_ members: some Sequence<MemberIndex>) {
        self.init()
        for member in members { insert(member) }
    }

    /// The members of an intent, which has 16 bits for them.
    @inlinable init(intentBits: UInt16) { bits = UInt32(intentBits) }
    /// The set as an intent has it, which knows no twins.
    @inlinable var intentBits: UInt16 {
        precondition(bits >> 16 == 0, "no intent names a twin")
        return UInt16(truncatingIfNeeded: bits)
    }

    @inlinable public var isEmpty: Bool { bits == 0 }
    @inlinable public var count: Int { bits.nonzeroBitCount }
    /// The lowest index in the set.
    @inlinable public var first: MemberIndex? {
        bits == 0 ? nil : MemberIndex(bits.trailingZeroBitCount)
    }
    /// The highest index in the set.
    @inlinable public var last: MemberIndex? {
        bits == 0 ? nil : MemberIndex(UInt32.bitWidth - 1 - bits.leadingZeroBitCount)
    }
    @inlinable public func contains(_ member: MemberIndex) -> Bool {
        bits & (1 << UInt32(member.number)) != 0
    }
    @inlinable public func isSuperset(of other: MemberSet) -> Bool {
        bits & other.bits == other.bits
    }
    @inlinable public mutating func insert(_ member: MemberIndex) {
        bits |= 1 << UInt32(member.number)
    }
    @inlinable public mutating func remove(_ member: MemberIndex) {
        bits &= ~(1 << UInt32(member.number))
    }
    @inlinable public func union(_ other: MemberSet) -> MemberSet {
        MemberSet(bits: bits | other.bits)
    }
    @inlinable public func intersection(_ other: MemberSet) -> MemberSet {
        MemberSet(bits: bits & other.bits)
    }
    @inlinable public func subtracting(_ other: MemberSet) -> MemberSet {
        MemberSet(bits: bits & ~other.bits)
    }
    /// Those that are no twins.
    @inlinable public var members: MemberSet { MemberSet(bits: bits & 0xffff) }
    /// Those that are twins.
    @inlinable public var twins: MemberSet { MemberSet(bits: bits & ~0xffff) }
    /// The places whose bytes they hold.
    @inlinable public var places: MemberSet { MemberSet(bits: (bits | bits >> 16) & 0xffff) }
    /// The members of these places, and their twins.
    @inlinable public var withTwins: MemberSet {
        let places = (bits | bits >> 16) & 0xffff
        return MemberSet(bits: places | places << 16)
    }
    /// Removes and returns the lowest index.
    @inlinable public mutating func popFirst() -> MemberIndex? {
        guard let member = first else { return nil }
        remove(member)
        return member
    }
}

extension MemberSet: Sequence {
    public struct Iterator: IteratorProtocol {
        @usableFromInline var rest: MemberSet
        @inlinable init(rest: MemberSet) { self.rest = rest }
        @inlinable public mutating func next() -> MemberIndex? { rest.popFirst() }
    }
    @inlinable public func makeIterator() -> Iterator { Iterator(rest: self) }
}
