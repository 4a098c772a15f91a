// Names in the paths of URLs.

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
