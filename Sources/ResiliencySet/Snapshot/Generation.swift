// Reading a generation that was removed: a set that nobody writes any more.
//
// Whoever cannot be reached is absent, and is back as it was once it can be: it misses nothing. Nothing is
// recorded, repaired or stored. With fewer than K members requests wait, and then fail.

public import RemoteMemory

extension ResiliencySet {
    /// A set of which a snapshot was made, with those of its regions that can be reached; it is only read.
    ///
    /// `tuning` has no lease: what never changes may be answered by whoever has it.
    public init(
        reading stripes: StripeGeometry, present: MemberSet, tuning: Tuning = Tuning()
    ) {
        self.init(
            size: stripes.volumeSize, ordering: .parallel, epoch: Epoch(0),
            active: stripes.members, stripes: stripes, tuning: tuning)
        precondition(tuning.lease == 0, "nobody owns what never changes")
        isFrozen = true
        phase = .serving
        absent = stripes.members.subtracting(present)
    }

    /// A region of a set that is only read can be reached again, by a way on which nothing is awaited.
    public mutating func memberIsBack(_ member: MemberIndex) {
        guard isFrozen else { return }
        absent.remove(member)
        heard(from: member, askedAt: now)
        liveness.answered[member.number] = now
        startWaiting()
    }

    /// A region cannot be reached; it stays what it is.
    mutating func frozenMemberFailed(_ member: MemberIndex) {
        absent.insert(member)
        suspects.remove(member)
    }
}
