// A driver of the engine in memory: carries out operations one at a time, in any order the contract of
// client-side access allows, keeps a registry, and remembers what clients were told.
//
// Conflicting requests are served in the order of their arrival, so a model of the device is simple: a
// change takes effect when it is submitted, as far as any later read can tell. What must never happen is
// collected in `violations`; a test ends with `#expect(set.violations == [])`.

import RemoteMemory
import ResiliencySet

/// A resiliency set with all that surrounds it.
final class ModelSet {
    struct Request {
        var kind: RequestKind
        var range: ByteRange
        var stamp: UInt64
        /// What a read must return.
        var expected: [UInt64] = []
        var data: [UInt64] = []
        var outcome: RequestOutcome?
    }

    /// What another owner would find in the registry.
    struct Registry {
        var active = MemberSet()
        var rebuilding = MemberSet()
        var cut = MemberSet()
        var epoch = Epoch(1)
    }

    /// As the registry has it.
    var size: ByteCount
    let ordering: Ordering
    var engine: ResiliencySet
    var registry = Registry()
    var memories: [MemberIndex: ModelMemory] = [:]
    /// Operations that were asked for and not carried out, in the order in which they were.
    var inFlight: [RemoteOperation] = []
    /// Decisions that the registry does not hold yet.
    var decisions: [MembershipDecision] = []
    var requests: [UInt32: Request] = [:]
    /// Tokens in the order of submission.
    var submitted: [UInt32] = []
    /// Tokens in the order of their replies.
    var replied: [UInt32] = []
    /// Members that failed: to be used for nothing.
    var dead = MemberSet()
    /// What the device holds as far as clients were told.
    var settled: [UInt64]
    /// What it will hold when all that was submitted is done.
    var expected: [UInt64]
    var violations: [String] = []
    /// Members whose channel was cut.
    var disconnected = MemberSet()
    /// Dirty maps are carried out as soon as it is their turn, without a test asking for it.
    var storesMaps = true
    /// Tells the regions that a member had, one after the other, from each other.
    var lives: [MemberIndex: Int] = [:]
    /// Failed requests are no violation: the set was fenced or lost its last member.
    var mayFail = false
    private var nextToken: UInt32 = 0
    static let patience: UInt64 = 1000
    let tuning: Tuning

    init(
        copies: Int, ordering: Ordering = .parallel, size: ByteCount = .mebibytes(1),
        repaired: Bool = true, tuning: Tuning = ModelSet.tuning()
    ) {
        self.size = size
        self.ordering = ordering
        self.tuning = tuning
        let members = MemberSet((0..<copies).map { MemberIndex($0) })
        registry.active = members
        for member in members { memories[member] = ModelMemory(size: size) }
        settled = Array(repeating: 0, count: Int(size.bytes / ModelMemory.cellSize))
        expected = settled
        engine = ResiliencySet(
            size: size, ordering: ordering, epoch: registry.epoch, active: members,
            tuning: tuning)
        if repaired {
            engine.repair()
            take()
        }
    }

    /// A short patience, and whatever else a test wants.
    static func tuning(_ change: (inout Tuning) -> Void = { _ in }) -> Tuning {
        var tuning = Tuning()
        tuning.patience = patience
        change(&tuning)
        return tuning
    }

    // MARK: What clients do

    static func range(_ blocks: Range<Int>) -> ByteRange {
        ByteRange(
            start: ByteOffset(UInt64(blocks.lowerBound) * 4096),
            count: ByteCount(UInt64(blocks.count) * 4096))
    }

    @discardableResult
    func submit(_ kind: RequestKind, _ blocks: Range<Int>) -> UInt32 {
        let token = nextToken
        nextToken += 1
        let range = Self.range(blocks)
        var request = Request(kind: kind, range: range, stamp: UInt64(token) + 1)
        if kind == .read {
            request.expected = Array(expected[ModelMemory.cells(range)])
        } else {
            for cell in ModelMemory.cells(range) { expected[cell] = request.value(cell) }
        }
        requests[token] = request
        submitted.append(token)
        engine.submit(kind, range, token: token)
        take()
        return token
    }

    func outcome(_ token: UInt32) -> RequestOutcome? { requests[token]?.outcome }

    // MARK: What the driver does

    /// Takes all effects.
    func take() {
        takeEffects()
        while storesMaps, let position = nextPositions.first(where: { inFlight[$0].isMapStore }) {
            step(position, fails: dead.contains(inFlight[position].member))
        }
    }

    private func takeEffects() {
        while let effect = engine.nextEffect() {
            switch effect {
            case .perform(let operation):
                check(operation)
                inFlight.append(operation)
            case .reply(let token, let outcome): answered(token, outcome)
            case .encode, .decode: violations.append("a mirror has no parity")
            case .record(let decision):
                checkMaps(before: decision)
                decisions.append(decision)
            case .disconnect(let member): disconnect(member)
            case .dropTwin: violations.append("a mirror has no twins")
            }
        }
    }

    /// The operations that are the next of their member's ordered channel.
    var nextPositions: [Int] {
        var seen = MemberSet()
        return inFlight.indices.filter { position in
            defer { seen.insert(inFlight[position].member) }
            return !seen.contains(inFlight[position].member)
        }
    }

    /// Whether the operation at `position` is the next of its member's ordered channel.
    func isNext(_ position: Int) -> Bool {
        let member = inFlight[position].member
        return !inFlight[..<position].contains { $0.member == member }
    }

    /// Carries out one operation, or lets it fail after `landed` of its stores.
    func step(_ position: Int = 0, fails: Bool = false, landed: Int = 0) {
        precondition(isNext(position))
        let operation = inFlight.remove(at: position)
        var outcome = OperationOutcome.done
        if fails {
            store(operation, atMost: landed)
            if let source = operation.sourceMember, dead.contains(source) {
                outcome = .sourceFailed
            } else {
                outcome = .failed
                dead.insert(operation.member)
            }
        } else {
            store(operation)
            switch operation.action {
            case .read(let range, let token):
                requests[token]?.data = content(of: operation.member, range)
            case .compare(let range, let reference):
                if content(of: operation.member, range) != content(of: reference, range) {
                    outcome = .different
                }
            default: break
            }
        }
        engine.complete(operation.ticket, on: operation.member, outcome)
        take()
    }

    /// Carries out everything; decisions stay where they are unless `recording`.
    func run(recording: Bool = false) {
        while !inFlight.isEmpty || (recording && !decisions.isEmpty) {
            if inFlight.isEmpty { record() } else { step() }
        }
    }

    /// Makes the oldest decision durable and tells the engine.
    func record() {
        let decision = decisions.removeFirst()
        recordDurably(decision)
        engine.recorded(decision, epoch: registry.epoch)
        take()
    }

    /// What the registry does alone.
    func recordDurably(_ decision: MembershipDecision) {
        registry.epoch = registry.epoch.next
        switch decision {
        case .fail(let members):
            registry.active = registry.active.subtracting(members)
            registry.rebuilding = registry.rebuilding.subtracting(members)
        case .promote(let member):
            guard registry.rebuilding.contains(member) else { return }
            registry.rebuilding.remove(member)
            registry.active.insert(member)
            if let other = active.subtracting(absent).first, inFlight.isEmpty,
                !dead.contains(member),
                content(of: member, whole) != content(of: other, whole)
            {
                violations.append("member \(member) was promoted before it was whole")
            }
        case .cut(let member):
            if !registry.active.contains(member) { violations.append("a failed member was cut") }
            registry.active.remove(member)
            registry.cut.insert(member)
        case .replace, .cutGeneration: violations.append("a mirror has no twins")
        case .grow(let size): grow(to: size)
        }
    }

    @discardableResult
    func beginCut(_ number: Int) -> Bool {
        let begun = engine.beginCut(of: MemberIndex(number))
        take()
        return begun
    }

    @discardableResult
    func advance() -> Bool {
        let more = engine.advanceBackground()
        take()
        return more
    }

    func tick(_ time: UInt64) {
        engine.tick(time)
        take()
    }

    func fence() {
        mayFail = true
        engine.fence()
        take()
    }

    func markCompleted() {
        engine.markCompleted()
        take()
    }
}

extension ModelSet.Request {
    var isChange: Bool { kind != .read }

    /// What a cell holds after this change.
    func value(_ cell: Int) -> UInt64 {
        kind == .write ? stamp << 20 | UInt64(cell) : 0
    }
}
