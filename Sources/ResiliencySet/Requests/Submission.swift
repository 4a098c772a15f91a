// Admission: a request gets an entry, waits for its turn, starts, and is answered once.

public import RemoteMemory

/// What a client asks of the device.
public enum RequestKind: Sendable, BitwiseCopyable {
    case read
    case write
    /// Contents become zero, memory stays allocated.
    case zero
    /// Contents become zero, memory is given back.
    case discard
}

extension ResiliencySet {
    /// Takes a request; its reply carries `token`.
    ///
    /// The caller has checked `hasRoom` and that `range` lies within the device. The payload of a write
    /// stays where it is until the reply.
    @inline(__always)
    public mutating func submit(_ kind: RequestKind, _ range: ByteRange, token: UInt32) {
        precondition(
            range.end.bytes <= size.bytes, "ranges are validated before they are submitted")
        guard phase != .fenced else { return effects.push(.reply(request: token, .failed)) }
        let entryKind: Entry.Kind =
            switch kind {
            case .read: .read
            case .write: .write
            case .zero: .zero
            case .discard: .discard
            }
        if let stripes { return submitStriped(entryKind, range, token: token, stripes) }
        let index = table.append(entryKind, range, token: token, at: now)
        start(index)
    }

    /// Starts an entry unless it must wait; returns whether it runs.
    @inline(__always) @discardableResult
    mutating func start(_ index: Int) -> Bool {
        if let stripes { return startStriped(index, stripes) }
        guard !table.isBlocked(index) else { return false }
        switch table[index].kind {
        case .read: return startRead(index)
        case .write, .zero, .discard: return startChange(index)
        case .rebuildCopy: return startRebuildCopy(index)
        case .repair: return startRepairStep(index)
        case .compare: return startComparison(index)
        case .applying, .mapStore, .probe: return false
        }
    }

    /// Gives everything that waits another try, oldest first.
    mutating func startWaiting() {
        guard table.waiting > 0 else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .waiting { start(index) }
        }
    }

    /// Removes an entry, answers it if somebody asked, and lets others have its range.
    @inline(__always)
    mutating func finish(_ index: Int, _ outcome: RequestOutcome) {
        conclude(index, outcome)
        if cut != .none { continueCut() }
        if table.waiting > 0 { startWaiting() }
    }

    /// Removes an entry and answers it; nothing else leaves the table, so many can be concluded in turn.
    @inline(__always)
    mutating func conclude(_ index: Int, _ outcome: RequestOutcome) {
        if table[index].kind.isChange, table[index].stage != .waiting {
            slots.release(table[index].slot)
            changesInFlight -= 1
        }
        if stripes != nil { releaseWork(index) }
        if table[index].isRequest { effects.push(.reply(request: table[index].token, outcome)) }
        table.remove(index)
    }
}
