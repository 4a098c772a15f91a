// What the engine wants done, in the order in which it wants it.

public import RemoteMemory

/// One thing for the driver to do.
public enum Effect: Sendable, BitwiseCopyable {
    /// Carry out a client-side access and report it with `complete`.
    case perform(RemoteOperation)
    /// Work out what the parity of a step becomes, now; there is no completion.
    case encode(EncodeStep)
    /// Hand lost bytes that were worked out to a read, now; there is no completion.
    case decode(DecodeStep)
    /// Answer the request that was submitted with this token.
    case reply(request: UInt32, RequestOutcome)
    /// Make this change of membership durable, then call `recorded`.
    case record(MembershipDecision)
    /// Cut the channel to a silent member: what is on its way there must not land later.
    case disconnect(MemberIndex)
    /// A twin is of no more use: its region is to be freed. No registry knows of it.
    case dropTwin(MemberIndex)
}

/// How a request ended.
public enum RequestOutcome: Sendable, BitwiseCopyable {
    case done
    /// No member could carry it out in time.
    case failed
}

/// A change of membership that the registry must hold before the set goes on.
public enum MembershipDecision: Hashable, Sendable, BitwiseCopyable {
    /// These members missed something.
    case fail(MemberSet)
    /// This member is whole again.
    case promote(MemberIndex)
    /// This member's region becomes a snapshot.
    case cut(MemberIndex)
    /// This member's twin takes its place, with every acknowledged write.
    case replace(MemberIndex)
    /// The regions of all twins become a snapshot, and the members stay.
    case cutGeneration
    /// The set is as large as this from now on; all regions are already.
    case grow(to: ByteCount)
}

/// A bounded first-in first-out queue that goes back to its start whenever it is empty, so that its
/// few hot lines stay in the cache.
///
/// Room is reserved when an entry starts (`RequestTable.reserved`), so `push` always finds a place.
struct EffectQueue: ~Copyable {
    static let capacity = 1536
    /// Kept free of requests: decisions, dirty maps, steps of rebuild and scrub, completed marks.
    static let spare = 512

    /// Set from `head` to `tail`, and read nowhere else: most of it is never used.
    private let items = unsafe FixedArray<Effect>(unset: Self.capacity)
    private var head = 0
    private var tail = 0

    var isEmpty: Bool { head == tail }
    var room: Int { Self.capacity - (tail - head) }

    @inline(__always)
    mutating func push(_ effect: Effect) {
        if tail == Self.capacity { moveToStart() }
        items[tail] = effect
        tail += 1
    }

    @inline(__always)
    mutating func pop() -> Effect? {
        guard head != tail else { return nil }
        let effect = items[head]
        head += 1
        if head == tail {
            head = 0
            tail = 0
        }
        return effect
    }

    private mutating func moveToStart() {
        precondition(head > 0, "effects are reserved before they are queued")
        for index in head..<tail { items[index - head] = items[index] }
        tail -= head
        head = 0
    }
}
