// How the interface's values look as text.
//
// In JSON a byte count, an epoch or an identifier is a bare number or string, as a script expects:
// `"epoch": 3`, not `"epoch": {"number": 3}`, which is what the compiler derives for a struct. The
// containers get overloads for those types here. The compiler prefers them, as the more specific,
// in the conformances it derives in this module, so that no type needs a hand-written one.

public import FoundationEssentials
internal import RemoteMemory

/// The JSON of the control interface.
public enum ControlJSON {
    /// An encoder whose output depends on the value only.
    ///
    /// Names are sorted; dates are ISO 8601 in UTC, to the second.
    ///
    /// - Parameter pretty: whether to break and indent lines, for people.
    /// - Returns: a new encoder, which the caller may change.
    public static func encoder(pretty: Bool = false) -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
        return encoder
    }

    /// A decoder of what `encoder` writes; names it does not know are skipped.
    public static func decoder() -> JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        return decoder
    }

    /// What is wrong with the JSON, as the last part of a sentence.
    public static func explanation(of error: DecodingError) -> String {
        func place(_ path: [any CodingKey], _ key: (any CodingKey)? = nil) -> String {
            let names = (path + (key.map { [$0] } ?? [])).map { key in
                key.intValue.map(String.init) ?? key.stringValue
            }
            return names.isEmpty ? "it" : "'\(names.joined(separator: "."))'"
        }
        return switch error {
        case .keyNotFound(let key, let context): "\(place(context.codingPath, key)) is missing"
        case .valueNotFound(_, let context): "\(place(context.codingPath)) is null"
        case .typeMismatch(_, let context): "\(place(context.codingPath)) has the wrong type"
        // Foundation says no more than that of a negative byte count.
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            "it is not valid JSON, or a number in it is out of range"
        case .dataCorrupted(let context):
            "\(place(context.codingPath)) is wrong (\(context.debugDescription))"
        @unknown default: "it cannot be read as such"
        }
    }
}

