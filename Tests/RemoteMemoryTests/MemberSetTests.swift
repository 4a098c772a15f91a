// Sixteen bits against a plain set of numbers: every set by itself, and random ones together.

import RemoteMemory
import Testing

@Suite struct MemberSetTests {
    static func model(_ bits: Int) -> Set<Int> {
        Set((0..<MemberIndex.limit).filter { bits & 1 << $0 != 0 })
    }

    static func members(_ model: Set<Int>) -> MemberSet {
        MemberSet(model.map { MemberIndex($0) })
    }

    static func numbers(_ set: MemberSet) -> [Int] { set.map(\.number) }

    @Test func `every set is what a set of numbers is`() {
        var wrong: [Int] = []
        for bits in 0..<1 << MemberIndex.limit {
            let model = Self.model(bits)
            let set = Self.members(model)
            let contained = (0..<MemberIndex.limit).filter { set.contains(MemberIndex($0)) }
            let isRight =
                set.count == model.count && set.isEmpty == model.isEmpty
                && set.first?.number == model.min() && set.last?.number == model.max()
                && Self.numbers(set) == model.sorted() && contained == model.sorted()
            if !isRight { wrong.append(bits) }
        }
        #expect(wrong.isEmpty)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `two sets do what two sets of numbers do`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            let left = Self.model(.random(in: 0..<1 << 16, using: &generator))
            // A third of the pairs are related, or a superset would hardly ever be met.
            var right = Self.model(.random(in: 0..<1 << 16, using: &generator))
            if Int.random(in: 0..<3, using: &generator) == 0 { right.formIntersection(left) }
            let (first, second) = (Self.members(left), Self.members(right))
            #expect(Self.numbers(first.union(second)) == left.union(right).sorted())
            #expect(Self.numbers(first.intersection(second)) == left.intersection(right).sorted())
            #expect(Self.numbers(first.subtracting(second)) == left.subtracting(right).sorted())
            #expect(first.isSuperset(of: second) == left.isSuperset(of: right))
            #expect((first == second) == (left == right))
        }
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `members come and go as numbers do`(seed: UInt64) {
        var generator = SeededGenerator(seed: 100 + seed)
        var model: Set<Int> = []
        var set = MemberSet()
        for _ in 0..<2000 {
            let number = Int.random(in: 0..<MemberIndex.limit, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0, 1:
                model.insert(number)
                set.insert(MemberIndex(number))
            case 2, 3:
                model.remove(number)
                set.remove(MemberIndex(number))
            default:
                let lowest = model.min()
                #expect(set.popFirst()?.number == lowest)
                if let lowest { model.remove(lowest) }
            }
            #expect(Self.numbers(set) == model.sorted())
        }
    }

    @Test func `one member makes a set`() {
        for number in 0..<MemberIndex.limit {
            #expect(Self.numbers(MemberSet(MemberIndex(number))) == [number])
        }
        #expect(MemberSet().isEmpty && MemberSet().first == nil && MemberSet().last == nil)
    }
}
