// The shards of one stripe: which of them, and where their bytes are.

/// A shard's place in its stripe: data shards come first, parity shards behind them.
public struct ShardIndex: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The most shards a stripe has.
    @inlinable public static var limit: Int { 16 }
    @usableFromInline let byte: UInt8
    @inlinable public var number: Int { Int(byte) }
    @inlinable public init(_ number: Int) {
        precondition(number >= 0 && number < Self.limit, "a shard index is within its limit")
        byte = UInt8(truncatingIfNeeded: number)
    }
    @inlinable public static func < (left: ShardIndex, right: ShardIndex) -> Bool {
        left.byte < right.byte
    }
    public var description: String { String(number) }
}

/// A set of shard indices, held in 16 bits.
public struct ShardSet: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var bits: UInt16

    @inlinable public init() { bits = 0 }
    @inlinable public init(_ shard: ShardIndex) { bits = 1 << UInt16(shard.number) }
    public init(_ shards: some Sequence<ShardIndex>) {
        self.init()
        for shard in shards { insert(shard) }
    }
    public init(_ numbers: Range<Int>) { self.init(numbers.lazy.map { ShardIndex($0) }) }

    @inlinable public var isEmpty: Bool { bits == 0 }
    @inlinable public var count: Int { bits.nonzeroBitCount }
    /// The lowest index in the set.
    @inlinable public var first: ShardIndex? {
        bits == 0 ? nil : ShardIndex(bits.trailingZeroBitCount)
    }
    @inlinable public func contains(_ shard: ShardIndex) -> Bool {
        bits & (1 << UInt16(shard.number)) != 0
    }
    @inlinable public func isSuperset(of other: ShardSet) -> Bool {
        bits & other.bits == other.bits
    }
    @inlinable public func isDisjoint(with other: ShardSet) -> Bool { bits & other.bits == 0 }
    @inlinable public mutating func insert(_ shard: ShardIndex) {
        bits |= 1 << UInt16(shard.number)
    }
    @inlinable public mutating func remove(_ shard: ShardIndex) {
        bits &= ~(1 << UInt16(shard.number))
    }
    @inlinable public func subtracting(_ other: ShardSet) -> ShardSet {
        var rest = self
        rest.bits &= ~other.bits
        return rest
    }
    /// Removes and returns the lowest index.
    @inlinable public mutating func popFirst() -> ShardIndex? {
        guard let shard = first else { return nil }
        remove(shard)
        return shard
    }
}

extension ShardSet: Sequence {
    public struct Iterator: IteratorProtocol {
        @usableFromInline var rest: ShardSet
        @inlinable init(rest: ShardSet) { self.rest = rest }
        @inlinable public mutating func next() -> ShardIndex? { rest.popFirst() }
    }
    @inlinable public func makeIterator() -> Iterator { Iterator(rest: self) }
}

/// Where the shards of a stripe are: made once, filled in for each call of a codec.
///
/// It owns the table, not the bytes.
@safe
public struct Shards: ~Copyable {
    /// As ISA-L wants it: a pointer for each shard, one behind the other.
    let table: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>

    public init() {
        unsafe table = .allocate(capacity: ShardIndex.limit)
        unsafe table.initialize(repeating: nil, count: ShardIndex.limit)
    }

    deinit { unsafe table.deallocate() }

    /// The first byte of a shard; nil when it is nowhere.
    public subscript(shard: ShardIndex) -> UnsafeMutableRawPointer? {
        get { unsafe UnsafeMutableRawPointer(table[shard.number]) }
        nonmutating set {
            unsafe table[shard.number] = newValue?.assumingMemoryBound(to: UInt8.self)
        }
    }

    /// The first byte of a shard that the caller has put here.
    func bytes(of shard: ShardIndex) -> UnsafeMutablePointer<UInt8> {
        guard let bytes = unsafe table[shard.number] else {
            preconditionFailure("a shard that takes part is somewhere")
        }
        return unsafe bytes
    }
}
