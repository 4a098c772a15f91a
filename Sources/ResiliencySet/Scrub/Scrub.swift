// Scrub: proving that the members agree, extent by extent, beside the running I/O.

public import RemoteMemory

/// A pass over the device that compares every active member with the first one.
struct Scrubbing: ~Copyable {
    private(set) var isRunning = false
    private(set) var report = ScrubStanding(compared: .zero, total: .zero, differentExtents: 0)
    private var deviceSize = ByteCount.zero
    private var extentSize = ByteCount(1)
    private var extent = 0
    /// The members still to be compared at this extent, once they were looked up.
    private var members = MemberSet()
    private var isLoaded = false
    var isComparing = false
    /// The comparison under way belongs to an earlier pass.
    private var isLate = false

    mutating func begin(deviceSize: ByteCount, extentSize: ByteCount) {
        self.deviceSize = deviceSize
        self.extentSize = extentSize
        extent = 0
        isLoaded = false
        report = ScrubStanding(compared: .zero, total: deviceSize, differentExtents: 0)
        isRunning = true
        isLate = isComparing
    }

    /// Ends the pass where it is: there is nobody left to compare.
    mutating func abandon() { isRunning = false }

    mutating func forget(_ member: MemberIndex) { members.remove(member) }

    /// The range to compare now and the member to compare; nil when the pass is over.
    mutating func next(active: MemberSet) -> (member: MemberIndex, range: ByteRange)? {
        guard isRunning else { return nil }
        while extent < extentCount {
            let range = range(of: extent)
            if !isLoaded {
                members = active
                if let reference = active.first { members.remove(reference) }
                isLoaded = true
            }
            if let member = members.popFirst() { return (member, range) }
            report.compared = report.compared + range.count
            extent += 1
            isLoaded = false
        }
        isRunning = false
        return nil
    }

    private var extentCount: Int {
        Int((deviceSize.bytes + extentSize.bytes - 1) / extentSize.bytes)
    }

    private func range(of extent: Int) -> ByteRange {
        let start = UInt64(extent) * extentSize.bytes
        return ByteRange(
            start: ByteOffset(start),
            count: ByteCount(min(extentSize.bytes, deviceSize.bytes - start)))
    }

    mutating func compared(_ range: ByteRange, _ finding: ScrubFinding) {
        isComparing = false
        if isLate {
            isLate = false
            return
        }
        guard finding != .proved else { return }
        report.differentExtents += 1
        if finding == .mended { report.mendedExtents += 1 }
        report.firstDifference = report.firstDifference ?? range.start
    }
}

/// What came of one comparison.
enum ScrubFinding {
    /// Nothing differs, or nothing could be compared.
    case proved
    case different
    /// It differed; who was wrong was clear, and was put right.
    case mended
}

/// How far a scrub has come and what it found.
public struct ScrubStanding: Hashable, Sendable {
    public var compared: ByteCount
    public var total: ByteCount
    /// Extents of one member that differ from the first active member's, or of an erasure set whose members
    /// do not belong together.
    public var differentExtents: Int
    /// Those of them that were put right: of an erasure set with more than K+1 members, when one was wrong.
    public var mendedExtents = 0
    /// Where the first of them starts.
    public var firstDifference: ByteOffset?
}

extension ResiliencySet {
    /// Starts a pass over the whole device; a pass under way starts over.
    public mutating func beginScrub() {
        scrubbing.begin(deviceSize: size, extentSize: dirty.extentSize)
    }

    /// The pass under way or the last one; nil while it runs tells nothing is wrong yet.
    public var scrubStanding: ScrubStanding { scrubbing.report }
    public var isScrubbing: Bool { scrubbing.isRunning || scrubbing.isComparing }

    mutating func advanceScrub() -> Bool {
        guard canServe else {
            scrubbing.abandon()
            return false
        }
        if let stripes { return advanceScrub(stripes) }
        guard scrubbing.isRunning, !scrubbing.isComparing,
            let (member, range) = scrubbing.next(active: active)
        else { return false }
        scrubbing.isComparing = true
        let index = table.append(.compare, range, token: UInt32(member.number), at: now)
        start(index)
        return true
    }

    mutating func startComparison(_ index: Int) -> Bool {
        let member = MemberIndex(Int(table[index].token))
        guard active.contains(member), let reference = active.first, reference != member else {
            scrubbing.compared(table[index].range, .proved)
            table.remove(index)
            return false
        }
        guard table.reserve(1, for: index) else { return false }
        table.setStage(index, .running)
        table[index].pending = MemberSet(member)
        table[index].done = MemberSet(reference)
        table[index].asked = now
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: member,
                    action: .compare(table[index].range, reference: reference))))
        return true
    }

    mutating func completeComparison(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        scrubbing.compared(table[index].range, outcome == .different ? .different : .proved)
        let reference = table[index].done
        table.remove(index)
        switch outcome {
        case .done, .different: break
        case .failed, .fenced: memberFailed(member)
        case .sourceFailed: if let reference = reference.first { memberFailed(reference) }
        }
        startWaiting()
    }
}
