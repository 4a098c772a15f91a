import Simulation
import Testing

@Suite struct EventQueueTests {
    @Test func `events come by time`() {
        var queue = EventQueue<String>()
        queue.push("late", at: 30)
        queue.push("early", at: 10)
        queue.push("middle", at: 20)
        #expect(queue.nextTime == 10)
        #expect(queue.count == 3)
        #expect(drain(&queue) == ["early", "middle", "late"])
        #expect(queue.isEmpty)
        #expect(queue.nextTime == nil)
    }

    @Test func `events of the same time come in the order they were put in`() {
        var queue = EventQueue<Int>()
        for number in 0..<1_000 { queue.push(number, at: 5) }
        #expect(drain(&queue) == Array(0..<1_000))
    }

    @Test func `an empty queue has nothing to take`() {
        var queue = EventQueue<Int>()
        #expect(queue.pop() == nil)
        queue.push(1, at: .max)
        #expect(queue.pop()?.time == .max)
        #expect(queue.pop() == nil)
    }

    @Test func `a queue that was emptied starts anew`() {
        var queue = EventQueue<Int>()
        for number in 0..<10 { queue.push(number, at: UInt64(number)) }
        _ = queue.pop()
        queue.removeAll()
        #expect(queue.isEmpty)
        queue.push(42, at: 1)
        #expect(drain(&queue) == [42])
    }

    /// Against a sorted list, with pushes and pops mixed.
    @Test(arguments: 0..<50 as Range<UInt64>)
    func `the order is that of a sorted list`(seed: UInt64) {
        var chance = Chance(seed: seed)
        var queue = EventQueue<Int>()
        var list: [(time: UInt64, number: Int)] = []
        for number in 0..<500 {
            if chance.oneIn(3) {
                let found = queue.pop()
                let expected = list.isEmpty ? nil : list.removeFirst()
                #expect(found?.time == expected?.time)
                #expect(found?.event == expected?.number)
            } else {
                let time = UInt64(chance.below(40))
                queue.push(number, at: time)
                let place = list.firstIndex { $0.time > time } ?? list.count
                list.insert((time, number), at: place)
            }
        }
        #expect(drain(&queue) == list.map(\.number))
    }

    private func drain<Event>(_ queue: inout EventQueue<Event>) -> [Event] {
        var events: [Event] = []
        while let next = queue.pop() { events.append(next.event) }
        return events
    }
}
