// Which bytes are on how many members, as a rebuild goes on.

import RemoteMemory
import ResiliencySet
import Testing

extension ModelSet {
    /// The whole device, from extent to extent that differ.
    fileprivate var redundancy: [Redundancy] {
        var rest = ByteRange(start: ByteOffset(0), count: size)
        var found: [Redundancy] = []
        while !rest.isEmpty {
            let (count, redundancy) = engine.redundancy(atStartOf: rest)
            // (Its extents have 256 KiB.)
            found += Array(repeating: redundancy, count: Int(count.bytes >> 18))
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        return found
    }
}

@Suite struct RedundancyTests {
    private let whole = Redundancy(holders: 3, isRebuilding: false)

    @Test func `a rebuild raises it extent by extent`() {
        let set = ModelSet(copies: 3)
        #expect(set.redundancy == Array(repeating: whole, count: 4))
        set.lose(MemberIndex(1))
        set.run(recording: true)
        let degraded = Redundancy(holders: 2, isRebuilding: false)
        #expect(set.redundancy == Array(repeating: degraded, count: 4))
        set.add(3)
        let missing = Redundancy(holders: 2, isRebuilding: true)
        for extent in 0..<4 {
            #expect(
                set.redundancy == Array(repeating: whole, count: extent)
                    + Array(repeating: missing, count: 4 - extent))
            set.advance()
            set.step()
        }
        set.run(recording: true)
        #expect(set.redundancy == Array(repeating: whole, count: 4))
    }

    @Test func `twins are not counted: they are of no use yet`() throws {
        let set = try StripedModel(4, 2)
        let all = ByteRange(start: ByteOffset(0), count: set.stripes.volumeSize)
        let whole = Redundancy(holders: 6, isRebuilding: false)
        #expect(set.addTwins(set.stripes.members))
        #expect(set.engine.redundancy(atStartOf: all).of == whole)
        set.work()
        let (count, redundancy) = set.engine.redundancy(atStartOf: all)
        #expect(count == all.count && redundancy == whole)
    }

    @Test func `a range that begins and ends within extents is told to its end`() {
        let set = ModelSet(copies: 2)
        let range = ByteRange(start: ByteOffset(5), count: .kibibytes(700))
        let (count, redundancy) = set.engine.redundancy(atStartOf: range)
        #expect(count == range.count)
        #expect(redundancy == Redundancy(holders: 2, isRebuilding: false))
    }
}
