// A driver of an erasure set in memory, with real bytes: carries out operations one at a time, keeps a
// registry, and knows what the device is to hold.
//
// Requests are carried out one after the other, so the expected contents are simple. A run can be cut off
// after any operation, and a new owner started with any members.

import ErasureCoding
import RemoteMemory
import ResiliencySet

/// One member's region: redo slots, rows, and the intents that stand in it.
struct StripedRegion {
    var bytes: [UInt8]
    var intents: [UInt8: IntentSlot] = [:]

    subscript(range: ByteRange) -> ArraySlice<UInt8> {
        get { bytes[Int(range.start.bytes)..<Int(range.end.bytes)] }
        set { bytes.replaceSubrange(Int(range.start.bytes)..<Int(range.end.bytes), with: newValue) }
    }
}

final class StripedModel {
    private(set) var stripes: StripeGeometry
    let ordering: Ordering
    let codec: ReferenceCodec
    var engine: ResiliencySet
    var epoch = Epoch(1)
    var regions: [MemberIndex: StripedRegion] = [:]
    /// What the registry calls active.
    var active: MemberSet
    /// Whose operations fail.
    var lost = MemberSet()
    /// Who fails when it is to store something in place.
    var failsInPlace: MemberIndex?
    /// What clients were told that the device holds.
    var expected: [UInt8]
    var payloads: [UInt32: (range: ByteRange, bytes: [UInt8])] = [:]
    var outcomes: [UInt32: RequestOutcome] = [:]
    var work: [[MemberIndex: (span: ByteRange, bytes: [UInt8])]]
    /// Who is lost at which operation.
    var doomed: (member: MemberIndex, at: Int)?
    /// Operations carried out; none any more after `limit`.
    var count = 0
    var limit = Int.max
    var fetches = 0
    /// Who was told that the last write through a slot is complete.
    var marked = MemberSet()
    /// Whose extents each record marked as missing, in the order in which they were stored.
    var marks: [MemberSet] = []
    /// The registry answers.
    var isRecording = true
    /// What it was asked for while it did not.
    var waiting: [MembershipDecision] = []
    /// The twins that the engine gave up.
    var dropped = MemberSet()
    /// The regions of the generation that was cut off.
    var snapshot: [MemberIndex: StripedRegion]?
    private var token: UInt32 = 0
    static let patience: UInt64 = 1000

    init(
        _ data: Int, _ parity: Int, chunk: UInt64 = 1024, stripeCount: UInt64 = 5,
        ordering: Ordering = .parallel, slotCount: Int = 4
    ) throws {
        let size = ByteCount(UInt64(data) * chunk * stripeCount)
        stripes = try StripeGeometry(
            dataShards: data, parityShards: parity, chunk: ByteCount(chunk), size: size,
            redoSlotSize: ByteCount(2 * chunk), redoSlotCount: slotCount)
        codec = ReferenceCodec(try ErasureCode(dataShards: data, parityShards: parity))
        self.ordering = ordering
        active = stripes.members
        expected = Array(repeating: 0, count: Int(size.bytes))
        work = Array(repeating: [:], count: stripes.workAreaCount)
        engine = Self.engine(stripes, ordering, epoch, active)
        for member in stripes.members { regions[member] = emptyRegion }
        engine.repair()
        drain()
    }

    private static func engine(
        _ stripes: StripeGeometry, _ ordering: Ordering, _ epoch: Epoch, _ active: MemberSet
    ) -> ResiliencySet {
        var tuning = Tuning()
        tuning.patience = patience
        tuning.extentSize = stripes.stripeSize
        tuning.zeroStep = ByteCount(2 * stripes.stripeSize.bytes)
        return ResiliencySet(
            size: stripes.volumeSize, ordering: ordering, epoch: epoch, active: active,
            stripes: stripes, tuning: tuning)
    }

    private var emptyRegion: StripedRegion {
        StripedRegion(bytes: Array(repeating: 0, count: Int(stripes.regionDataSize.bytes)))
    }

    var isCut: Bool { count >= limit }

    // MARK: Requests

    @discardableResult
    func submit(_ kind: RequestKind, _ start: Int, _ bytes: [UInt8]) -> UInt32 {
        token += 1
        let range = ByteRange(
            start: ByteOffset(UInt64(start)), count: ByteCount(UInt64(bytes.count)))
        payloads[token] = (range, bytes)
        engine.submit(kind, range, token: token)
        drain()
        return token
    }

    /// Writes, or zeroes, and remembers it once it is acknowledged.
    @discardableResult
    func write(_ start: Int, _ bytes: [UInt8], as kind: RequestKind = .write) -> RequestOutcome? {
        let token = submit(kind, start, bytes)
        if outcomes[token] == .done {
            expected.replaceSubrange(start..<start + bytes.count, with: bytes)
        }
        return outcomes[token]
    }

    /// What a read returns; nil when it was not answered, or failed.
    func read(_ start: Int, _ count: Int) -> [UInt8]? {
        let token = submit(.read, start, Array(repeating: 0xee, count: count))
        return outcomes[token] == .done ? payloads[token]?.bytes : nil
    }

    var isWhole: Bool { read(0, expected.count) == expected }

    // MARK: Members

    /// A member's memory is gone, and the registry hears of it.
    func lose(_ members: MemberSet) {
        for member in members {
            lost.insert(member)
            engine.memberLost(member, isAccessible: false)
            drain()
        }
    }

    /// Puts an empty region in the place of each of these members.
    func addEmpty(_ members: [MemberIndex]) {
        for member in members {
            lost.remove(member)
            regions[member] = emptyRegion
            epoch = epoch.next
            engine.add(member, epoch: epoch)
            drain()
        }
    }

    /// Puts an empty region in the place of each member that is missing, and rebuilds all.
    func replaceMissing() {
        addEmpty(Array(stripes.members.subtracting(active)))
        while engine.advanceBackground() { drain() }
        drain()
    }

    /// The set stood still; all active members are opened anew.
    func comeBack() {
        let found = active.flatMap { member in
            (regions[member]?.intents ?? [:]).map {
                (member: member, slot: $0.key, content: $0.value)
            }
        }
        engine.membersReturned(missing: MemberSet(), intents: found)
        drain()
    }

    /// A new owner, without `missing`, repairs what was left.
    func takeOver(without missing: MemberSet) {
        limit = .max
        lost = missing
        active = active.subtracting(missing)
        epoch = epoch.next
        engine = Self.engine(stripes, ordering, epoch, active)
        outcomes = [:]
        for member in active {
            for (slot, content) in regions[member]?.intents ?? [:] {
                engine.foundIntent(content, slot: slot, on: member)
            }
        }
        engine.repair()
        drain()
    }

    // MARK: The driver

    func drain() {
        while !isCut, let effect = engine.nextEffect() {
            switch effect {
            case .perform(let operation): perform(operation)
            case .encode(let step): encode(step)
            case .decode(let step): decode(step)
            case .reply(let token, let outcome): outcomes[token] = outcome
            case .record(let decision) where !isRecording: waiting.append(decision)
            case .record(let decision): record(decision)
            case .disconnect: continue
            case .dropTwin(let twin):
                dropped.insert(twin)
                regions[twin] = nil
            }
        }
    }

    /// Makes a decision durable, and tells the engine.
    private func record(_ decision: MembershipDecision) {
        epoch = epoch.next
        switch decision {
        case .fail(let members): active = active.subtracting(members)
        case .promote(let member): active.insert(member)
        case .cut: return
        case .replace(let member):
            regions[member] = regions.removeValue(forKey: member.twin)
            if lost.contains(member.twin) { lost.insert(member) } else { lost.remove(member) }
            active.insert(member)
        case .cutGeneration:
            snapshot = regions.filter { $0.key.isTwin }
            for twin in engine.twins { regions[twin] = nil }
        case .grow(let size):
            stripes = stripes.grown(to: size)
            expected += Array(repeating: 0, count: Int(size.bytes) - expected.count)
        }
        engine.recorded(decision, epoch: epoch)
    }

    /// The registry answers again, and has what it was asked for meanwhile.
    func recordWaiting() {
        isRecording = true
        let decisions = waiting
        waiting = []
        for decision in decisions { record(decision) }
        drain()
    }

    // MARK: Twins

    /// Makes twins of `places`, empty; false when the engine refuses.
    @discardableResult
    func addTwins(_ places: MemberSet) -> Bool {
        for place in places {
            regions[place.twin] = emptyRegion
            guard engine.addTwin(of: place) else { return false }
        }
        drain()
        return true
    }

    /// Has the twin of a member put in its place; false when the engine refuses.
    func replace(_ member: MemberIndex) -> Bool {
        let isBegun = engine.beginReplacement(of: member)
        drain()
        return isBegun
    }

    /// Has all twins cut off; false when the engine refuses.
    func cutGeneration() -> Bool {
        let isBegun = engine.beginCutOfGeneration()
        drain()
        return isBegun
    }

    /// Has all regions of members grow, and then the set; false when the engine refuses.
    func grow(to size: ByteCount) -> Bool {
        let count = Int(stripes.grown(to: size).regionDataSize.bytes)
        for member in regions.keys where !lost.contains(member) {
            let added = count - (regions[member]?.bytes.count ?? count)
            regions[member]?.bytes += Array(repeating: 0, count: max(0, added))
        }
        let isBegun = engine.beginGrowth(to: size)
        drain()
        return isBegun
    }

    var activeMembers: MemberSet { engine.active }
    var wholeTwins: MemberSet { engine.wholeTwins }
    var twins: MemberSet { engine.twins }
    var isCutting: Bool { engine.isCutting }
    var isStandingStill: Bool { !engine.absent.isEmpty }

    /// Works in the background `steps` times, or for as long as there is something to do.
    func work(steps: Int = .max) {
        var done = 0
        while done < steps, engine.advanceBackground() {
            drain()
            done += 1
        }
    }

    /// What the snapshot shows, read from any K of its regions but `missing`.
    func contents(without missing: MemberSet) -> [UInt8] {
        var all: [UInt8] = []
        for stripe in 0..<stripes.stripeCount {
            var known: [Int: [UInt8]] = [:]
            for (twin, region) in snapshot ?? [:] where !missing.contains(twin.place) {
                known[stripes.shard(of: twin, in: stripe)] = Array(region[stripes.row(stripe)])
            }
            for number in 0..<stripes.dataShards { all += shard(number, from: known) }
        }
        return Array(all.prefix(expected.count))
    }

    private func perform(_ operation: RemoteOperation) {
        count += 1
        if let doomed, count > doomed.at { lost.insert(doomed.member) }
        let isLost = lost.contains(operation.member)
        let outcome = isLost ? OperationOutcome.failed : carryOut(operation)
        guard !isCut else { return }
        engine.complete(operation.ticket, on: operation.member, outcome)
    }

    private func carryOut(_ operation: RemoteOperation) -> OperationOutcome {
        let member = operation.member
        guard var region = regions[member] else { return .failed }
        defer { regions[member] = region }
        switch operation.action {
        case .gather(let range, let token):
            stripes.forEachPiece(of: range, on: member) { volume, span in
                hand(region[span], of: volume, to: token)
            }
        case .fetch(let span, let number):
            fetches += 1
            work[Int(number)][member] = (span, Array(region[span]))
        case .redo(let slot, let intent, let token, let missing):
            marks.append(missing)
            let bytes = intent.kind == .zero ? [] : newBytes(member, slot, intent.range, token)
            region[stripes.redoPlace(slot, count: ByteCount(UInt64(bytes.count)))] = bytes[...]
            region.intents[slot] = IntentSlot(intent: intent, landed: false, completed: false)
        case .apply where member == failsInPlace: return .failed
        case .apply(let slot, let intent, _):
            let span = stripes.span(of: intent.range, on: member)
            region[span] =
                intent.kind == .zero
                ? Array(repeating: 0, count: Int(span.count.bytes))[...]
                : region[stripes.redoPlace(slot, count: span.count)]
            if region.intents[slot]?.intent == intent { region.intents[slot]?.landed = true }
        case .discard(let slot): region.intents[slot] = nil
        case .rebuild(let window, let number, let sources):
            region[window] = rebuilt(member, window, number, sources)[...]
        case .fold(let window, let number):
            // (Not folded at all: what belongs together does so unfolded, too.)
            work[Int(number)][member] = (window, Array(region[window]))
        case .verify(let window, let number, let members):
            return verify(window, number, members) ? .done : .different
        case .complete: marked.insert(member)
        default: break
        }
        return .done
    }

    func hand(_ bytes: ArraySlice<UInt8>, of range: ByteRange, to token: UInt32) {
        guard let request = payloads[token] else { return }
        let first = Int(range.start.bytes - request.range.start.bytes)
        payloads[token]?.bytes.replaceSubrange(first..<first + bytes.count, with: bytes)
    }
}
