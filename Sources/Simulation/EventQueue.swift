// What will happen, in the order in which it will: by time, and at the same time in the order in which
// it was put in. Both are known when an event is put in, so a run depends on nothing else.
//
// A binary heap of small keys; the events themselves stay in their places while keys move. A place is
// used again as soon as its event was taken.
//
//      heap    (time, order, place) ─ smallest first
//      places  event │ event │ free │ event │ …

/// Events of the future.
package struct EventQueue<Event> {
    private struct Key {
        let time: UInt64
        let order: UInt64
        let place: Int

        @inline(__always)
        func isBefore(_ other: Key) -> Bool {
            time < other.time || (time == other.time && order < other.order)
        }
    }

    private var heap: [Key] = []
    private var places: [Event?] = []
    private var free: [Int] = []
    private var nextOrder: UInt64 = 0

    package init() {}

    /// How many events are still to come.
    package var count: Int { heap.count }

    package var isEmpty: Bool { heap.isEmpty }

    /// When the next event happens, in nanoseconds; nil when there is none.
    package var nextTime: UInt64? { heap.first?.time }

    /// Lets `event` happen at `time`, in nanoseconds, after what was put in for that time before.
    package mutating func push(_ event: Event, at time: UInt64) {
        let place: Int
        if let reused = free.popLast() {
            place = reused
            places[place] = event
        } else {
            place = places.count
            places.append(event)
        }
        let key = Key(time: time, order: nextOrder, place: place)
        nextOrder += 1
        heap.append(key)
        rise(key)
    }

    /// Takes the next event, and its time in nanoseconds; nil when there is none.
    package mutating func pop() -> (time: UInt64, event: Event)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty { sink(last) }
        guard let event = places[first.place].take() else {
            preconditionFailure("a key stands for an event")
        }
        free.append(first.place)
        return (first.time, event)
    }

    /// Forgets all events; the order of later ones still follows on.
    package mutating func removeAll() {
        heap.removeAll(keepingCapacity: true)
        places.removeAll(keepingCapacity: true)
        free.removeAll(keepingCapacity: true)
    }

    /// Moves `key`, which is the last, up to where it belongs.
    private mutating func rise(_ key: Key) {
        heap.withUnsafeMutableBufferPointer { heap in
            var index = heap.count - 1
            while index > 0 {
                let parent = (index - 1) / 2
                guard key.isBefore(heap[parent]) else { break }
                heap[index] = heap[parent]
                index = parent
            }
            heap[index] = key
        }
    }

    /// Puts `key` in the place of the first, and moves it down to where it belongs.
    private mutating func sink(_ key: Key) {
        heap.withUnsafeMutableBufferPointer { heap in
            var index = 0
            while true {
                var child = 2 * index + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
                guard heap[child].isBefore(key) else { break }
                heap[index] = heap[child]
                index = child
            }
            heap[index] = key
        }
    }
}

extension EventQueue: Sendable where Event: Sendable {}
