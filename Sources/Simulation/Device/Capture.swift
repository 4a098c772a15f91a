// What an operation stores, as a closure that has taken from the device all it needs: so a message carries
// what was true when it was sent.

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    func takeData(_ operation: RemoteOperation, _ region: SimulatedRegion) {
        guard case .read(let range, let token) = operation.action else { return }
        requests[Int(token)].data = Array(region.read(range))
    }

    func mutation(_ mutation: Mutation) -> Bool { world.mutation == mutation }

    /// What `operation` stores, with everything it needs from this device taken now.
    func capture(
        _ operation: RemoteOperation, region: SimulatedRegion? = nil,
        source: SimulatedRegion? = nil, copied: [UInt64]? = nil
    ) -> (any SimulatedAccess) -> OperationOutcome {
        let tears = transport == .verbs
        func tags(_ range: ByteRange) -> [UInt64] {
            copied ?? source.map { Array($0.read(range)) } ?? []
        }
        switch operation.action {
        case .write(let slot, var intent, let token, let isGuarded, let marks):
            let payload = TagPayload.uniform(UInt64(requests[Int(token)].write))
            if tears {
                let count = SimulatedRegion.granules(intent.range).count
                intent.dataCheck = payload.check(count: count)
            }
            let words = markWords(marks, intent.range)
            let skipsRedo = mutation(.skipsRedo)
            let isBackwards = mutation(.dataBeforeIntent)
            return { access in
                access.storeWords(words)
                if isBackwards {
                    access.storeData(payload, skipping: .zero, at: intent.range)
                    access.barrier()
                }
                if isGuarded, !skipsRedo {
                    access.writeGuarded(slot: slot, intent, from: payload)
                } else {
                    access.write(slot: slot, intent, from: payload)
                }
                return .done
            }
        case .zero(let slot, let intent, let step, _, let first, let last, let marks):
            let tag = zeroTag(operation.ticket, intent)
            let words = first ? markWords(marks, intent.range) : []
            return { access in
                access.storeWords(words)
                if first { access.announce(slot: slot, intent) }
                access.barrier()
                access.storeData(.uniform(tag), skipping: .zero, at: step)
                access.barrier()
                if last { access.land(slot: slot, intent) }
                return .done
            }
        case .read: return { _ in .done }
        case .copy(let range, _):
            let content = tags(range)
            let isSkipped = mutation(.skipsCopies)
            return { access in
                if !isSkipped { access.storeData(.copied(content), skipping: .zero, at: range) }
                return .done
            }
        case .restore(let slot, let intent, let range, let origin, let last):
            let content = tags(range)
            let isSwapped = mutation(.swapsRepairSource)
            if isSwapped, let target = region ?? channels[operation.member.number]?.mapping {
                let from = channels[origin.number]?.mapping
                return { _ in
                    from?.overwrite(range, with: Array(target.read(range)))
                    return .done
                }
            }
            return { access in
                access.announceRepair(slot: slot, intent)
                access.storeData(.copied(content), skipping: .zero, at: range)
                access.barrier()
                if last { access.land(slot: slot, intent) }
                return .done
            }
        case .withdraw(let slot, _, let range, let origin, let last):
            if mutation(.swapsRepairSource),
                let target = region ?? channels[operation.member.number]?.mapping
            {
                let from = channels[origin.number]?.mapping
                return { _ in
                    from?.overwrite(range, with: Array(target.read(range)))
                    return .done
                }
            }
            let content = tags(range)
            return { access in
                access.storeData(.copied(content), skipping: .zero, at: range)
                access.barrier()
                if last { access.withdraw(slot: slot) }
                return .done
            }
        case .compare(let range, _):
            let content = tags(range)
            return { access in
                access.contents(range) == content ? .done : .different
            }
        case .complete(let slot, let sequence):
            return { access in
                access.complete(slot: slot, sequence: sequence)
                return .done
            }
        case .storeMap(let lost):
            var content = engine.mapContent(of: lost)
            if mutation(.storesEmptyMaps) { content.words = content.words.map { _ in 0 } }
            let identity = identities[lost.number]
            return { [content] access in
                if let identity { access.storeMap(of: lost, region: identity, content) }
                return .done
            }
        case .storeMapWord(let lost, let index):
            let word = engine.mapWord(Int(index), of: lost)
            return { access in
                access.storeMapWord(word, Int(index), of: lost)
                return .done
            }
        case .probe: return { _ in .done }
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify:
            return captureStriped(operation)
        }
    }

    /// What a zeroing leaves: the id of the request, also when another owner finishes it.
    private func zeroTag(_ ticket: OperationTicket, _ intent: Intent) -> UInt64 {
        let key = ZeroKey(epoch: intent.epoch, sequence: intent.sequence)
        if let token = engine.request(of: ticket) {
            world.zeroes[key] = UInt64(requests[Int(token)].write)
        }
        return world.zeroes[key] ?? 0
    }

    /// The words of the dirty maps of `marks` that cover `range`.
    func markWords(_ marks: MemberSet, _ range: ByteRange) -> [MapWord] {
        guard !marks.isEmpty, !mutation(.forgetsDirtyBits) else { return [] }
        return marks.flatMap { member in
            engine.mapWords(of: range).map {
                MapWord(member: member, index: $0, word: engine.mapWord($0, of: member))
            }
        }
    }
}
