// How many members hold what: the dirty maps, read for whoever wants to know how safe some bytes are.

public import RemoteMemory

/// Who holds some bytes.
public struct Redundancy: Hashable, Sendable {
    /// How many members have every acknowledged write to them.
    public var holders: Int
    /// A member that misses them is being rebuilt.
    public var isRebuilding: Bool

    public init(holders: Int, isRebuilding: Bool) {
        self.holders = holders
        self.isRebuilding = isRebuilding
    }
}

extension ResiliencySet {
    /// Who holds the bytes at the start of `range`, which is not empty, and how far behind it that is the same.
    public func redundancy(atStartOf range: ByteRange) -> (count: ByteCount, of: Redundancy) {
        precondition(!range.isEmpty, "there are bytes to be held")
        let size = dirty.extentSize.bytes
        var extent = range.start.bytes / size
        let first = redundancy(of: Int(extent))
        repeat {
            extent += 1
        } while extent * size < range.end.bytes
            && redundancy(of: Int(extent)) == first
        let end = min(extent * size, range.end.bytes)
        return (ByteCount(end - range.start.bytes), first)
    }

    private func redundancy(of extent: Int) -> Redundancy {
        var found = Redundancy(holders: active.count, isRebuilding: false)
        for member in dirty.rebuilding.subtracting(dirty.rebuilding.twins) {
            guard let map = dirty[member] else { continue }
            if map.extents.contains(extent) {
                found.isRebuilding = true
            } else {
                found.holders += 1
            }
        }
        return found
    }
}
