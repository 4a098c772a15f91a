// Members that answer late, or not at all; and whether this owner still is one.
//
//     active ──answers later than most──▶ suspect ──answers──▶ active
//        │                                   │
//        └──────── silent for `evictAfter` ──┴──▶ failed      (the last one: absent, see Membership)
//
// Late: reads are hedged, another member is asked beside it. A false suspicion costs one more read.
//
// Silent: every member is probed four times in `evictAfter`, so a hung appliance is noticed without I/O. Slow is
// not silent: while anything is answered, what stands before the probe on the channel is on its way.
//
// Certain: on a transport where an old owner may live on, cut off from its successor but not from a
// member, a read from that member would return what the successor has overwritten. So a read is answered
// only when *every* active member has confirmed this owner within the `lease`; a successor that could not
// fence a member waits as long before it serves. The times are differences of one clock each; the epoch
// stays the truth, the lease only tells when to ask for it.

import RemoteMemory

/// What is known of the members' answers.
struct Liveness {
    /// When what each member answered last was asked for.
    var confirmed = [UInt64](repeating: 0, count: MemberIndex.count)
    /// When each member answered last, whatever it was asked.
    var answered = [UInt64](repeating: 0, count: MemberIndex.count)
    /// Members with a probe on its way.
    var probed = MemberSet()
    var nextProbe: UInt64 = 0
    /// What most reads take at most, in nanoseconds.
    var usualLatency: UInt64 = 1_000_000
}

extension ResiliencySet {
    var isHedging: Bool { tuning.hedgeFloor != 0 }

    /// Moves the estimate to where one read of twenty takes longer.
    mutating func learnLatency(_ sample: UInt64) {
        let usual = liveness.usualLatency
        liveness.usualLatency =
            sample > usual
            ? usual + usual / 16 + 1 : max(tuning.hedgeFloor, usual - usual / 304)
    }

    /// Whether no other owner can have written since the data at hand was read.
    @inline(__always)
    var isOwnershipCertain: Bool { tuning.lease == 0 || hasFreshConfirmations }

    private var hasFreshConfirmations: Bool {
        unrecorded.isEmpty && recording == .idle
            && active.allSatisfy { now <= liveness.confirmed[$0.number] &+ tuning.lease }
    }

    /// A member answered what was asked at `asked`.
    mutating func heard(from member: MemberIndex, askedAt asked: UInt64) {
        suspects.remove(member)
        liveness.confirmed[member.number] = max(liveness.confirmed[member.number], asked)
    }

    /// Looks after what is late; to be called with every tick.
    mutating func watchMembers() {
        guard tuning.evictAfter != 0, phase != .fenced else { return }
        if now >= liveness.nextProbe {
            liveness.nextProbe = now + tuning.evictAfter / 4
            probeMembers()
        }
        let patience = tuning.evictAfter / 4 * 3
        var silent = MemberSet()
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            guard table[index].stage == .running else { continue }
            let age = now &- table[index].asked
            // (On an ordered channel, whoever owes an answer to anything owes one to a probe.)
            if table[index].kind == .probe, age >= patience {
                for member in table[index].pending
                where now &- liveness.answered[member.number] >= patience { silent.insert(member) }
            } else if table[index].kind == .read, isHedging, age >= liveness.usualLatency {
                hedge(index)
            }
        }
        for member in silent { evict(member) }
    }

    /// Asks another member beside a slow one.
    private mutating func hedge(_ index: Int) {
        if stripes != nil { return readAround(index) }
        let asked = table[index].pending
        guard asked.count == 1, let slow = asked.first else { return }
        suspects.insert(slow)
        guard let other = reachable.subtracting(suspects).subtracting(asked).first else { return }
        let since = table[index].asked
        ask(index, other)
        table[index].asked = since
    }

    /// Asks every member for an answer, unless one is on its way.
    mutating func probeMembers() {
        guard tuning.evictAfter != 0 else { return }
        let members = active.union(rebuilding).subtracting(absent).subtracting(liveness.probed)
        for member in members where table.canTakeSpare {
            let nothing = ByteRange(start: ByteOffset(0), count: .zero)
            let index = table.append(.probe, nothing, token: 0, at: now)
            table.setStage(index, .running)
            table[index].pending = MemberSet(member)
            table[index].asked = now
            liveness.probed.insert(member)
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: table.ticket(index), member: member, action: .probe)))
        }
    }

    mutating func completeProbe(_ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome) {
        guard table[index].pending.contains(member) else { return }
        table.remove(index)
        liveness.probed.remove(member)
        if outcome != .done { memberFailed(member) }
        confirmReads()
    }

    /// Answers the reads that waited for certainty.
    mutating func confirmReads() {
        guard tuning.lease != 0, isOwnershipCertain else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .confirming { conclude(index, .done) }
        }
        startWaiting()
    }

    /// Gives a silent member up: its channel is cut, so that nothing on its way lands any more.
    private mutating func evict(_ member: MemberIndex) {
        guard active.union(rebuilding).contains(member), !absent.contains(member) else { return }
        effects.push(.disconnect(member))
        memberFailed(member)
        abandonOperations(on: member)
    }

    /// Ends every operation that waits for a member, as failed.
    private mutating func abandonOperations(on member: MemberIndex) {
        var tickets: [OperationTicket] = []
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .running { tickets.append(table.ticket(index)) }
        }
        for ticket in tickets {
            guard let index = table.find(ticket), table[index].stage == .running else { continue }
            if table[index].pending.contains(member) {
                complete(ticket, on: member, .failed)
            } else if stripes == nil, table[index].takesFrom(member),
                let target = table[index].pending.first
            {
                complete(ticket, on: target, .sourceFailed)
            }
        }
    }
}
