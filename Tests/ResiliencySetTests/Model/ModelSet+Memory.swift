// What operations store where, one store at a time.

import RemoteMemory
import ResiliencySet

extension ModelSet {
    var whole: ByteRange { ByteRange(start: ByteOffset(0), count: size) }
    var reference: MemberIndex { registry.active.first ?? MemberIndex(0) }

    func content(of member: MemberIndex, _ range: ByteRange) -> [UInt64] {
        guard let memory = memories[member] else { return [] }
        // (Whoever is away has not grown with the set.)
        return ModelMemory.cells(range).map { $0 < memory.cells.count ? memory.cells[$0] : 0 }
    }

    /// All that `operation` stores.
    func stores(of operation: RemoteOperation) -> [Store] {
        switch operation.action {
        case .write(let slot, let intent, let token, _, let marks):
            guard let request = requests[token] else { return [] }
            return Store.announcing(intent, slot) + marking(marks, intent.range)
                + ModelMemory.cells(intent.range).map { .cell($0, request.value($0)) }
                + [Store.landing(intent, slot)]
        case .zero(let slot, let intent, let step, _, let first, let last, let marks):
            return (first ? Store.announcing(intent, slot) + marking(marks, intent.range) : [])
                + ModelMemory.cells(step).map { .cell($0, 0) }
                + (last ? [Store.landing(intent, slot)] : [])
        case .copy(let range, let source):
            return ModelMemory.cells(range).map { .copiedCell($0, from: source) }
        case .restore(let slot, let intent, let range, let source, let last):
            return Store.announcing(intent, slot)
                + ModelMemory.cells(range).map { .copiedCell($0, from: source) }
                + (last ? [Store.landing(intent, slot)] : [])
        case .withdraw(let slot, _, let range, let source, let last):
            return ModelMemory.cells(range).map { .copiedCell($0, from: source) }
                + (last
                    ? [.word(slot: slot, 1, 0), .word(slot: slot, Intent.landedWord, 0)] : [])
        case .complete(let slot, let sequence):
            return [.word(slot: slot, Intent.completedWord, sequence)]
        case .storeMap(let lost):
            let content = engine.mapContent(of: lost)
            return [
                .map(of: lost, nil),
                .map(of: lost, StoredMap(life: lives[lost] ?? 0, content: content)),
            ]
        case .storeMapWord(let lost, let word):
            return [.mapWord(of: lost, Int(word), engine.mapWord(Int(word), of: lost))]
        case .read, .compare, .probe: return []
        // (Of erasure sets, whose model is StripedModel.)
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify: return []
        }
    }

    /// What a change adds to the dirty maps of `marks`.
    private func marking(_ marks: MemberSet, _ range: ByteRange) -> [Store] {
        marks.flatMap { lost in
            engine.mapWords(of: range).map {
                Store.mapWord(of: lost, $0, engine.mapWord($0, of: lost))
            }
        }
    }

    /// Carries out the first stores of `operation`, and tells nobody.
    func store(_ operation: RemoteOperation, atMost limit: Int = .max) {
        let member = operation.member
        for store in stores(of: operation).prefix(limit) {
            switch store {
            case .word(let slot, let word, let value):
                memories[member]?.store(word: word, of: slot, value)
            case .cell(let cell, let value): memories[member]?.cells[cell] = value
            case .copiedCell(let cell, let source):
                guard let value = memories[source]?.cells[cell] else { continue }
                memories[member]?.cells[cell] = value
            case .map(let lost, let map): memories[member]?.maps[lost] = map
            case .mapWord(let lost, let word, let value):
                memories[member]?.maps[lost]?.content.words[word] = value
            }
        }
    }
}
