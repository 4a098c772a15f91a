// Text of others, made fit to be looked at: what a stranger may choose (the name of an export, of a certificate, of a
// key, of an appliance) ends up in sentences of ours, and must neither begin a line of its own there, which could
// pass for ours, nor tell a terminal what to do.
//
//     control characters             their pictures     ESC is ␛, a line break ␤
//     the others that are not seen   their numbers      <U+009B>
//
// Everything that leaves this process as lines for people goes through here, and nothing else has to think of it.

extension String {
    /// Itself on one line, without anything that a terminal obeys.
    var visible: String {
        guard !utf8.allSatisfy({ 0x20 <= $0 && $0 < 0x7F }) else { return self }
        var text = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            if let picture = scalar.picture {
                text.append(picture)
            } else if scalar.isUnseen {
                text.append(contentsOf: "<U+\(scalar.hexadecimal)>".unicodeScalars)
            } else {
                text.append(scalar)
            }
        }
        return String(text)
    }

    /// Itself as it stands in JSON, where the same characters have escapes of their own: so programs get what it was.
    ///
    /// (The encoder has escaped those below the space; all others can only be within strings.)
    var visibleJSON: String {
        guard utf8.contains(where: { $0 >= 0x7F }) else { return self }
        var text = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            if scalar.isUnseen || scalar.value == 0x7F {
                // (None is beyond the first plane.)
                text.append(contentsOf: "\\u\(scalar.hexadecimal)".unicodeScalars)
            } else {
                text.append(scalar)
            }
        }
        return String(text)
    }
}

extension Unicode.Scalar {
    /// Of a control character of ASCII, what it looks like.
    fileprivate var picture: Unicode.Scalar? {
        switch value {
        case 0x0A: "␤"
        case 0..<0x20: Unicode.Scalar(0x2400 + value)
        case 0x7F: "␡"
        default: nil
        }
    }

    /// Whether it is another one that is not shown, but changes how what is around it is shown: eight-bit control
    /// characters, line separators, and what turns the direction of writing.
    fileprivate var isUnseen: Bool {
        switch properties.generalCategory {
        case .lineSeparator, .paragraphSeparator: true
        case .control: value >= 0x80
        case .format: properties.isBidiControl
        default: false
        }
    }

    fileprivate var hexadecimal: String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
