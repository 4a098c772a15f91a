// The network between the hosts of a lab: a thread that reads each packet from its sender's tunnel and
// writes it to its receiver's, or not, or later, or twice.
//
//     tunnel of a ─ read ─→ condition of a→b ─┬─ sound ───────────────────────→ write ─ tunnel of b
//                                             ├─ cut, lost ─→ forgotten
//                                             └─ delayed, limited ─→ waits ─→ write when due
//
// The kernel's own emulator (tc netem) is a module that many kernels lack; this needs none, and can
// treat the two directions of every pair of hosts differently. A path holds a bounded number of waiting
// packets, as a router does: more are lost.

import Glibc
import Foundation

/// Moves the packets of a lab; stops with the last reference.
final class PacketSwitch: Sendable {
    /// What the thread and those who command it share.
    fileprivate struct State {
        /// By path: `from * hosts + to`.
        var conditions: [PathCondition]
        var counts: [PathCounts]
        var isStopped = false
    }

    private let hostCount: Int
    private let state: Monitor<State>
    /// Writing a byte here wakes the thread.
    private let bell: Int32

    /// Starts moving packets between `tunnels`, whose hosts have the addresses 10.77.0.1 and up.
    ///
    /// - Parameters:
    ///   - tunnels: One for each host.
    ///   - seed: Repeats which of a path's packets are lost; their timing is the machine's.
    /// - Throws: `HarnessError` when there are no descriptors left.
    init(_ tunnels: [Tunnel], seed: UInt64) throws(HarnessError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw HarnessError("no pipe is left") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        bell = ends[1]
        hostCount = tunnels.count
        let paths = tunnels.count * tunnels.count
        state = Monitor(
            State(
                conditions: Array(repeating: PathCondition(), count: paths),
                counts: Array(repeating: PathCounts(), count: paths)))
        let mover = PacketMover(tunnels, state: state, bell: ends[0], seed: seed)
        Thread.detachNewThread { mover.run() }
    }

    deinit {
        state.withLock { $0.isStopped = true }
        ring()
        close(bell)
    }

    /// Sets the condition of the path between two hosts, by their numbers.
    func setCondition(_ condition: PathCondition, from: Int, to: Int) {
        state.withLock { $0.conditions[from * hostCount + to] = condition }
        ring()
    }

    func counts(from: Int, to: Int) -> PathCounts {
        state.withLock { $0.counts[from * hostCount + to] }
    }

    private func ring() {
        var byte: UInt8 = 1
        _ = write(bell, &byte, 1)
    }
}

/// The thread's own state.
private final class PacketMover: @unchecked Sendable {
    /// What one interface may send at once.
    private static let largestPacket = 65536
    /// Packets taken from one host before the others get their turn.
    private static let batch = 64
    /// Packets that wait on one path before further ones are lost.
    private static let waitingLimit = 1000
    /// An IPv4 header without options; the receiver's address is at its end.
    private static let headerBytes = 20

    private struct Waiting {
        let due: ContinuousClock.Instant
        let path: Int
        let packet: ArraySlice<UInt8>
    }

    /// One direction between two hosts.
    private struct Queue {
        var waiting = 0
        /// When the last packet that keeps its order is due.
        var lastDue = ContinuousClock.now
        /// When the line is free again, for paths with a limited rate.
        var lineFree = ContinuousClock.now
    }

    private let tunnels: [Tunnel]
    private let state: Monitor<PacketSwitch.State>
    private let bell: Int32
    private var random: SeededGenerator
    private var queues: [Queue]
    /// The one due next is the last.
    private var waiting: [Waiting] = []
    private var buffer = [UInt8](repeating: 0, count: largestPacket)

    init(_ tunnels: [Tunnel], state: Monitor<PacketSwitch.State>, bell: Int32, seed: UInt64) {
        self.tunnels = tunnels
        self.state = state
        self.bell = bell
        random = SeededGenerator(seed: seed)
        queues = Array(repeating: Queue(), count: tunnels.count * tunnels.count)
    }

    deinit {
        close(bell)
    }

    func run() {
        var polled = (tunnels.map(\.descriptor) + [bell]).map { descriptor in
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        }
        while true {
            _ = poll(&polled, nfds_t(polled.count), millisecondsUntilDue())
            if polled[tunnels.count].revents != 0 { _ = read(bell, &buffer, buffer.count) }
            let isStopped = state.withLock { state in
                for host in tunnels.indices where polled[host].revents != 0 {
                    takePackets(of: host, &state)
                }
                sendDue(&state)
                return state.isStopped
            }
            if isStopped { return }
        }
    }

    /// How long `poll` may sleep; -1 for until something comes.
    private func millisecondsUntilDue() -> Int32 {
        guard let next = waiting.last else { return -1 }
        let left = (next.due - ContinuousClock.now) / .milliseconds(1)
        return Int32(max(0, min(1000, left.rounded(.up))))
    }

    private func takePackets(of host: Int, _ state: inout PacketSwitch.State) {
        for _ in 0..<Self.batch {
            guard let packet = tunnels[host].receive(into: &buffer) else { return }
            // Version 4 alone has addresses of ours; the last byte is the host's number plus 1.
            guard packet.count >= Self.headerBytes, packet[0] >> 4 == 4 else { continue }
            let receiver = Int(packet[Self.headerBytes - 1]) - 1
            guard tunnels.indices.contains(receiver), receiver != host else { continue }
            route(packet, on: host * tunnels.count + receiver, &state)
        }
    }

    private func route(
        _ packet: ArraySlice<UInt8>, on path: Int, _ state: inout PacketSwitch.State
    ) {
        let condition = state.conditions[path]
        guard !condition.isCut, !happens(condition.lostPerThousand) else {
            state.counts[path].lost += 1
            return
        }
        forward(packet, on: path, condition, &state)
        guard happens(condition.doubledPerThousand) else { return }
        state.counts[path].doubled += 1
        forward(packet, on: path, condition, &state)
    }

    private func forward(
        _ packet: ArraySlice<UInt8>, on path: Int, _ condition: PathCondition,
        _ state: inout PacketSwitch.State
    ) {
        let now = ContinuousClock.now
        let isOvertaking = queues[path].waiting > 0 && happens(condition.overtakingPerThousand)
        if isOvertaking { state.counts[path].overtook += 1 }
        var due = now
        if let rate = condition.bytesPerSecond {
            let start = max(now, queues[path].lineFree)
            due = start + .seconds(1) * (Double(packet.count) / Double(max(1, rate)))
            queues[path].lineFree = due
        }
        if !isOvertaking {
            due += condition.delay + condition.jitter * Double.random(in: 0...1, using: &random)
            due = max(due, queues[path].lastDue)
            queues[path].lastDue = due
        }
        guard due > now || (queues[path].waiting > 0 && !isOvertaking) else {
            deliver(packet, on: path, &state)
            return
        }
        guard queues[path].waiting < Self.waitingLimit else {
            state.counts[path].lost += 1
            return
        }
        queues[path].waiting += 1
        // Behind those due at the same time: the array is in descending order.
        var low = 0, high = waiting.count
        while low < high {
            let middle = (low + high) / 2
            if waiting[middle].due > due { low = middle + 1 } else { high = middle }
        }
        // (The slice shares the buffer with the next packet.)
        waiting.insert(Waiting(due: due, path: path, packet: Array(packet)[...]), at: low)
    }

    private func sendDue(_ state: inout PacketSwitch.State) {
        let now = ContinuousClock.now
        while let next = waiting.last, next.due <= now {
            waiting.removeLast()
            queues[next.path].waiting -= 1
            // A cut takes what is under way, too.
            if state.conditions[next.path].isCut {
                state.counts[next.path].lost += 1
            } else {
                deliver(next.packet, on: next.path, &state)
            }
        }
    }

    private func deliver(
        _ packet: ArraySlice<UInt8>, on path: Int, _ state: inout PacketSwitch.State
    ) {
        tunnels[path % tunnels.count].send(packet)
        state.counts[path].delivered += 1
    }

    private func happens(_ perThousand: Int) -> Bool {
        perThousand > 0 && Int.random(in: 0..<1000, using: &random) < perThousand
    }
}
