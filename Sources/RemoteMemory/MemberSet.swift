// A handful of members as one machine word: set operations without allocation.

/// A set of member indices, held in 16 bits.
public struct MemberSet: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var bits: UInt16

    @inlinable init(bits: UInt16) { self.bits = bits }
    @inlinable public init() { bits = 0 }
    @inlinable public init(_ member: MemberIndex) { bits = 1 << UInt16(member.number) }

    public init(_ members: some Sequence<MemberIndex>) {
        self.init()
        for member in members { insert(member) }
    }

    @inlinable public var isEmpty: Bool { bits == 0 }
    @inlinable public var count: Int { bits.nonzeroBitCount }
    /// The lowest index in the set.
    @inlinable public var first: MemberIndex? {
        bits == 0 ? nil : MemberIndex(bits.trailingZeroBitCount)
    }
    /// The highest index in the set.
    @inlinable public var last: MemberIndex? {
        bits == 0 ? nil : MemberIndex(UInt16.bitWidth - 1 - bits.leadingZeroBitCount)
    }
    @inlinable public func contains(_ member: MemberIndex) -> Bool {
        bits & (1 << UInt16(member.number)) != 0
    }
    @inlinable public func isSuperset(of other: MemberSet) -> Bool {
        bits & other.bits == other.bits
    }
    @inlinable public mutating func insert(_ member: MemberIndex) {
        bits |= 1 << UInt16(member.number)
    }
    @inlinable public mutating func remove(_ member: MemberIndex) {
        bits &= ~(1 << UInt16(member.number))
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
