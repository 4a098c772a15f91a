// What must never happen, checked whenever an operation or a reply comes out.

import RemoteMemory
import ResiliencySet

extension RemoteOperation {
    /// The members whose data it takes.
    var readsFrom: MemberSet {
        switch action {
        case .read: MemberSet(member)
        case .copy(_, let source): MemberSet(source)
        case .restore(_, _, _, let source, _), .withdraw(_, _, _, let source, _):
            MemberSet(source)
        case .compare(_, let reference): MemberSet([member, reference])
        case .write, .zero, .complete, .storeMap, .storeMapWord, .probe: MemberSet()
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify: MemberSet()
        }
    }

    /// Whose dirty maps it adds to.
    var marks: MemberSet {
        switch action {
        case .write(_, _, _, _, let marks), .zero(_, _, _, _, _, _, let marks): marks
        default: MemberSet()
        }
    }

    var isProbe: Bool { if case .probe = action { true } else { false } }

    var isMapStore: Bool {
        switch action {
        case .storeMap, .storeMapWord: true
        default: false
        }
    }
}

extension ModelSet {
    /// Checks an operation at the moment it is asked for.
    func check(_ operation: RemoteOperation) {
        if engine.phase == .fenced {
            violations.append("an operation after the fence: \(operation)")
        }
        // (An absent one may be back when the operation gets there; if not, it fails like any other.)
        if dead.subtracting(engine.absent).contains(operation.member) {
            violations.append("an operation on failed member \(operation.member): \(operation)")
        }
        if !operation.readsFrom.intersection(dead).isEmpty {
            violations.append("a failed member is read: \(operation)")
        }
        if !engine.active.isSuperset(of: operation.readsFrom) {
            violations.append("a member that is not active is read: \(operation)")
        }
        guard let range = operation.range else { return }
        for other in inFlight where other.ticket != operation.ticket {
            guard let taken = other.range, taken.overlaps(range) else { continue }
            if other.isChange || operation.isChange {
                violations.append("overlapping operations run at once: \(other), \(operation)")
            }
        }
    }

    /// Checks a reply at the moment it is given.
    func answered(_ token: UInt32, _ outcome: RequestOutcome) {
        guard let request = requests[token], request.outcome == nil else {
            return violations.append("request \(token) was answered twice, or never asked")
        }
        requests[token]?.outcome = outcome
        replied.append(token)
        guard outcome == .done else {
            if !mayFail { violations.append("request \(token) failed") }
            return
        }
        guard request.isChange else {
            if request.data != request.expected {
                violations.append("read \(token) returned what the device does not hold")
            }
            return
        }
        // Whoever takes over now would believe the registry: every member it names must have the data.
        let content = ModelMemory.cells(request.range).map { request.value($0) }
        for member in registry.active.union(engine.active)
        where self.content(of: member, request.range) != content {
            violations.append("change \(token) was acknowledged without member \(member)")
        }
        checkMarks(of: request.range, content, token)
        for cell in ModelMemory.cells(request.range) { settled[cell] = request.value(cell) }
    }

    /// Who misses an acknowledged change and may come back: every survivor knows where.
    private func checkMarks(of range: ByteRange, _ content: [UInt64], _ token: UInt32) {
        let extent = RegionLayout.extentSize(forDataOf: size).bytes
        for lost in memories.keys where engine.knowsDirtyMap(of: lost) {
            guard self.content(of: lost, range) != content else { continue }
            let extents = range.start.bytes / extent...(range.end.bytes - 1) / extent
            for member in engine.active {
                let map = memories[member]?.maps[lost]
                if !extents.allSatisfy({ map?.contains(Int($0)) == true }) {
                    violations.append("\(member) does not know that \(lost) misses change \(token)")
                }
            }
        }
    }

    /// A failure is recorded when all survivors know what the failed member misses.
    func checkMaps(before decision: MembershipDecision) {
        guard case .fail(let members) = decision else { return }
        for lost in members where engine.knowsDirtyMap(of: lost) {
            for member in engine.active
            where memories[member]?.maps[lost]?.life != lives[lost] ?? 0 {
                violations.append("\(lost) fails, and \(member) does not have its dirty map")
            }
        }
    }

    // MARK: Crash and takeover

    /// The client device dies: of operations in flight, what has not landed never will.
    ///
    /// A new owner reads the registry, fences, records whom it cannot reach, and gathers intents and dirty
    /// maps; returns what it must settle.
    @discardableResult
    func restart(without lost: MemberSet = MemberSet()) -> ByteCount {
        inFlight = []
        decisions = []
        dead = MemberSet()
        registry.epoch = registry.epoch.next
        if !lost.isEmpty { recordDurably(.fail(lost)) }
        engine = ResiliencySet(
            size: size, ordering: ordering, epoch: registry.epoch, active: registry.active,
            tuning: tuning)
        for member in lost {
            // Maps of an earlier failure must not count for this one.
            for survivor in registry.active { memories[survivor]?.maps[member] = nil }
            engine.lostAtTakeover(member)
        }
        for member in registry.active {
            for (slot, content) in intents(of: member) {
                engine.foundIntent(content, slot: slot, on: member)
            }
            for (other, map) in memories[member]?.maps ?? [:]
            where !registry.active.contains(other) && map.life == lives[other] ?? 0 {
                engine.foundMap(map.content, of: other)
            }
        }
        let settles = engine.repair()
        take()
        return settles
    }

    /// Checks that each block is old or new, the same on all members; what is there holds from now on.
    func adopt(mayTear: Bool = false) {
        let open = submitted.filter {
            requests[$0]?.outcome == nil && requests[$0]?.isChange == true
        }
        var newer = settled
        var isOpen = [Bool](repeating: false, count: settled.count)
        for token in open {
            guard let request = requests[token] else { continue }
            for cell in ModelMemory.cells(request.range) where !isOpen[cell] {
                isOpen[cell] = true
                newer[cell] = request.value(cell)
            }
        }
        let first = content(of: reference, whole)
        for member in engine.active where content(of: member, whole) != first {
            violations.append("members \(reference) and \(member) differ after the repair")
        }
        for block in stride(from: 0, to: first.count, by: 2) {
            let cells = block..<block + 2
            let isOld = first[cells] == settled[cells]
            let isNew = first[cells] == newer[cells]
            let isMixed =
                mayTear && cells.allSatisfy { first[$0] == settled[$0] || first[$0] == newer[$0] }
            if !isOld && !isNew && !isMixed {
                violations.append("block \(block / 2) is neither old nor new")
            }
        }
        submitted.removeAll { requests[$0]?.outcome == nil }
        settled = first
        expected = first
    }

    /// Checks a set at rest: all members hold what the clients were told.
    func checkAtRest() {
        for member in engine.active where content(of: member, whole) != settled {
            violations.append("member \(member) does not hold what was acknowledged")
        }
    }
}
