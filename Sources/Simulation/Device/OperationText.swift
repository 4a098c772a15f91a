// Operations in a few words, for traces.

import RemoteMemory

extension RemoteOperation {
    /// In a few words, for a trace.
    var brief: String {
        func blocks(_ range: ByteRange) -> String {
            let first = range.start.bytes / Scenario.blockSize
            return "\(first)..<\(first + range.count.bytes / Scenario.blockSize)"
        }
        switch action {
        case .write(let slot, let intent, let request, let isGuarded, let marks):
            return """
                write \(blocks(intent.range)) slot \(slot) sequence \(intent.sequence) request \(request)\
                \(isGuarded ? " guarded" : "")\(marks.isEmpty ? "" : " marks \(Array(marks))")
                """
        case .zero(let slot, let intent, let step, _, let first, let last, let marks):
            return """
                zero \(blocks(step)) slot \(slot) sequence \(intent.sequence)\(first ? " first" : "")\
                \(last ? " last" : "")\(marks.isEmpty ? "" : " marks \(Array(marks))")
                """
        case .read(let range, let request): return "read \(blocks(range)) request \(request)"
        case .copy(let range, let source): return "copy \(blocks(range)) from \(source)"
        case .restore(let slot, let intent, let range, let source, _):
            return """
                restore \(blocks(range)) slot \(slot) sequence \(intent.sequence) from \(source)
                """
        case .withdraw(let slot, let intent, let range, let source, _):
            return """
                withdraw \(blocks(range)) slot \(slot) sequence \(intent.sequence) from \(source)
                """
        case .compare(let range, let other): return "compare \(blocks(range)) with \(other)"
        case .complete(let slot, _): return "complete slot \(slot)"
        case .storeMap(let lost): return "map of \(lost)"
        case .storeMapWord(let lost, let word): return "word \(word) of the map of \(lost)"
        case .probe: return "probe"
        case .gather(let range, let request): return "gather \(blocks(range)) request \(request)"
        case .fetch(let span, let work): return "fetch \(span.start)+\(span.count) work \(work)"
        case .redo(let slot, let intent, let request, let marks):
            return """
                redo \(intent.kind) \(intent.range.start)+\(intent.range.count) slot \(slot) sequence \
                \(intent.sequence) of \(Array(intent.members)) request \(request)\
                \(marks.isEmpty ? "" : " marks \(Array(marks))")
                """
        case .apply(let slot, let intent, _):
            return "apply slot \(slot) sequence \(intent.sequence)"
        case .discard(let slot): return "discard slot \(slot)"
        case .rebuild(let window, let work, let sources):
            return "rebuild \(window.start)+\(window.count) work \(work) from \(Array(sources))"
        case .fold(let window, let work): return "fold \(window.start)+\(window.count) work \(work)"
        case .verify(_, let work, let members): return "verify work \(work) of \(Array(members))"
        }
    }
}
