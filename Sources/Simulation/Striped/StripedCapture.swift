// What an operation of an erasure set stores, and what becomes of what it brings.

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    /// What `operation` stores, with everything it needs from this device taken now.
    func captureStriped(_ operation: RemoteOperation)
        -> (any SimulatedAccess) -> OperationOutcome
    {
        let member = operation.member
        switch operation.action {
        case .redo, .apply:
            if member.isTwin, mutation(.forgetsTwins) { return { _ in .done } }
        default: break
        }
        switch operation.action {
        case .redo(let slot, let intent, let token, let marks):
            return captureRedo(member, slot, intent, token, marks)
        case .apply(let slot, let intent, _):
            let span = stripes.span(of: intent.range, on: member)
            let place = stripes.redoPlace(slot, count: intent.kind == .zero ? .zero : span.count)
            let zeroes =
                intent.kind == .zero ? zeroPayload(member, intent.range, zeroTag(intent)) : []
            return { access in
                let payload = intent.kind == .zero ? zeroes : access.contents(place)
                access.apply(slot: slot, intent, from: .copied(payload), at: span)
                return .done
            }
        case .discard(let slot):
            let isForgotten = mutation(.keepsRecords)
            return { access in
                if !isForgotten { access.withdraw(slot: slot) }
                return .done
            }
        case .rebuild(let window, let number, let sources):
            let payload = rebuiltPayload(member, window, number, sources)
            let isSkipped = mutation(.skipsCopies)
            return { access in
                if !isSkipped { access.storeData(.copied(payload), skipping: .zero, at: window) }
                return .done
            }
        case .verify(_, let number, let members):
            let isGood = verify(number, members)
            return { _ in isGood ? .done : .different }
        default: return { _ in .done }
        }
    }

    private func captureRedo(
        _ member: MemberIndex, _ slot: UInt8, _ intent: Intent, _ token: UInt32,
        _ marks: MemberSet
    ) -> (any SimulatedAccess) -> OperationOutcome {
        let words = markWords(marks, stripes.wholeStripes(intent.range))
        if intent.kind == .zero {
            let key = ZeroKey(epoch: intent.epoch, sequence: intent.sequence)
            world.zeroes[key] = UInt64(requests[Int(token)].write)
            return { access in
                access.storeWords(words)
                access.announce(slot: slot, intent)
                return .done
            }
        }
        let payload = redoPayload(member, slot, intent, token)
        var intent = intent
        if transport == .verbs { intent.dataCheck = TagPayload.check(payload) }
        let span = stripes.span(of: intent.range, on: member)
        let place = stripes.redoPlace(slot, count: span.count)
        let isHasty = mutation(.storesInPlaceAtOnce)
        return { [intent] access in
            access.storeWords(words)
            access.redo(slot: slot, intent, from: .copied(payload), at: place)
            if isHasty { access.storeData(.copied(payload), skipping: .zero, at: span) }
            return .done
        }
    }

    private func zeroTag(_ intent: Intent) -> UInt64 {
        world.zeroes[ZeroKey(epoch: intent.epoch, sequence: intent.sequence)] ?? 0
    }

    /// What an operation brings from a region, to be taken when its outcome is.
    func brought(_ operation: RemoteOperation, _ region: SimulatedRegion) -> (() -> Void)? {
        let member = operation.member
        switch operation.action {
        case .gather(let range, let token):
            var pieces: [(ByteRange, [UInt64])] = []
            stripes.forEachPiece(of: range, on: member) { volume, span in
                pieces.append((volume, Array(region.read(span))))
            }
            return { [self] in
                for (volume, tags) in pieces { hand(tags, of: volume, to: token) }
            }
        case .fetch(let span, let number):
            let tags = Array(region.read(span))
            return { [self] in work[Int(number)][member] = StripedPart(span: span, tags: tags) }
        case .fold(let window, let number):
            let tags = folds(region.read(window), window)
            return { [self] in work[Int(number)][member] = StripedPart(span: window, tags: tags) }
        default: return nil
        }
    }

    /// Notices what an operation shows of the rare paths.
    func probeStriped(_ operation: RemoteOperation) {
        switch operation.action {
        case .apply: if engine.phase == .repairing { world.probes.hit(.recordCarriedOut) }
        case .discard: world.probes.hit(.recordDropped)
        case .rebuild:
            if engine.rebuilding.members.count > 1 { world.probes.hit(.severalRebuiltAtOnce) }
        case .redo(let slot, _, _, _):
            if Int(slot) == stripes.redoSlotCount - 1 { world.probes.hit(.redoSlotsTaken) }
        default: return
        }
    }

    /// The records of a member that are whole: those whose bytes are there, or in place already.
    func records(in region: SimulatedRegion, of member: MemberIndex)
        -> [(slot: UInt8, content: IntentSlot)]
    {
        let access = OrderedAccess(region: region, budget: StoreBudget())
        return (0..<UInt8(stripes.redoSlotCount)).compactMap { slot in
            guard let content = access.intentSlot(slot) else { return nil }
            let intent = content.intent
            if !content.landed, intent.dataCheck != 0, !mutation(.trustsRecords) {
                let span = stripes.span(of: intent.range, on: member)
                let payload = region.read(stripes.redoPlace(slot, count: span.count))
                guard TagPayload.check(payload) == intent.dataCheck else { return nil }
            }
            return (slot, content)
        }
    }
}
