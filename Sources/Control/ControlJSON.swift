// How the interface's values look as text: JSON in bodies, percent-encoding in paths.
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
    static func explanation(of error: DecodingError) -> String {
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

/// A name as one segment of a URL's path.
///
/// Everything but ASCII letters, digits, `-` and `_` is encoded, so that a name which the device
/// will refuse (`a/b`, `..`) still arrives at it in one piece and is refused with its reason.
enum PathSegment {
    static func encode(_ name: String) -> String {
        var text = ""
        for byte in name.utf8 {
            let character = Unicode.Scalar(byte)
            switch character {
            case "a"..."z", "A"..."Z", "0"..."9", "-", "_":
                text.unicodeScalars.append(character)
            default:
                text += byte < 16 ? "%0" : "%"
                text += String(byte, radix: 16, uppercase: true)
            }
        }
        return text
    }

    /// Undoes `encode`; nil when `segment` ends within an escape or is not UTF-8 behind it.
    static func decode(_ segment: some StringProtocol) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(segment.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, !digits.contains(UInt8(ascii: "+")),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
