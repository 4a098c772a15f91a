// A word of bits against a plain set of numbers: every set of members by itself, random ones together, and
// twins beside them.

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

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `members and twins are told apart, and brought together`(seed: UInt64) {
        var generator = SeededGenerator(seed: 200 + seed)
        let limit = MemberIndex.limit
        for _ in 0..<500 {
            let numbers = Set(
                (0..<MemberIndex.count).filter { _ in Int.random(in: 0..<4, using: &generator) == 0
                })
            let set = Self.members(numbers)
            let places = Set(numbers.map { $0 % limit })
            #expect(set.count == numbers.count && set.last?.number == numbers.max())
            #expect(Self.numbers(set.members) == numbers.filter { $0 < limit }.sorted())
            #expect(Self.numbers(set.twins) == numbers.filter { $0 >= limit }.sorted())
            #expect(Self.numbers(set.places) == places.sorted())
            #expect(
                Self.numbers(set.withTwins) == (places.union(places.map { $0 + limit })).sorted())
        }
    }

    @Test func `an intent names members, and never a twin`() async {
        let range = ByteRange(start: ByteOffset(0), count: ByteCount(4096))
        let all = MemberSet((0..<MemberIndex.limit).map { MemberIndex($0) })
        let intent = Intent(
            epoch: Epoch(1), sequence: 1, range: range, kind: .write, members: all)
        var words = InlineArray<8, UInt64>(repeating: 0)
        for index in 0..<Intent.recordWords { words[index] = intent.words[index] }
        #expect(IntentSlot(words: words)?.intent == intent)
        await #expect(processExitsWith: .failure) {
            let intent = Intent(
                epoch: Epoch(1), sequence: 1,
                range: ByteRange(start: ByteOffset(0), count: ByteCount(4096)), kind: .write,
                members: MemberSet(MemberIndex(0).twin))
            print(intent.words[4])
        }
    }

    @Test func `one member makes a set`() {
        for number in 0..<MemberIndex.limit {
            #expect(Self.numbers(MemberSet(MemberIndex(number))) == [number])
        }
        #expect(MemberSet().isEmpty && MemberSet().first == nil && MemberSet().last == nil)
    }
}
