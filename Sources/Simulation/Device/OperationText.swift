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
        }
    }
}
