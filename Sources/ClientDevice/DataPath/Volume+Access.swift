// What the engine asks for besides the reads and writes of clients: zeroing, copies of rebuild and repair,
// comparisons, marks and dirty maps.

import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

extension Volume {
    func performRarely(_ operation: RemoteOperation, _ view: RegionView) -> OperationOutcome {
        switch operation.action {
        case .write, .read: return .failed
        case .zero(
            let slot, let intent, let step, let keepAllocated, let first, let last, let marks):
            if first {
                store(marks, of: intent.range, in: view)
                view.announce(slot: slot, intent)
            }
            guard view.zero(step, keepAllocated: keepAllocated) else { return .failed }
            if last { view.land(slot: slot, intent) }
            return .done
        case .copy(let range, let source):
            guard let origin = views[source.number] else { return .sourceFailed }
            return view.copy(range, from: origin) ? .done : .failed
        case .restore(let slot, let intent, let range, let source, let last):
            guard let origin = views[source.number] else { return .sourceFailed }
            view.announceRepair(slot: slot, intent)
            allocation.insert(range)
            guard view.copy(range, from: origin) else { return .failed }
            if last { view.land(slot: slot, intent) }
            return .done
        case .withdraw(let slot, _, let range, let source, let last):
            guard let origin = views[source.number] else { return .sourceFailed }
            allocation.insert(range)
            guard view.copy(range, from: origin) else { return .failed }
            if last { view.withdraw(slot: slot) }
            return .done
        case .compare(let range, let reference):
            guard let other = views[reference.number] else { return .sourceFailed }
            guard let equal = view.equals(range, in: other, using: scratch) else { return .failed }
            return equal ? .done : .different
        case .complete(let slot, let sequence):
            view.complete(slot: slot, sequence: sequence)
            return .done
        case .storeMap(let lost):
            if let identity = identities[lost] {
                view.storeMap(of: lost, region: identity, engine.mapContent(of: lost))
            }
            return .done
        case .storeMapWord(let lost, let word):
            view.storeMapWord(engine.mapWord(Int(word), of: lost), Int(word), of: lost)
            return .done
        case .probe: return .done
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify: return .failed
        }
    }

    /// Stores what is new in the dirty maps of `lost`, before the data that makes it true.
    func store(_ lost: MemberSet, of range: ByteRange, in view: RegionView) {
        for member in lost {
            for word in engine.mapWords(of: range) {
                view.storeMapWord(engine.mapWord(word, of: member), word, of: member)
            }
        }
    }
}
