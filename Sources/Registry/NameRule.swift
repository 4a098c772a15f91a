// The one rule for names people choose.
//
// A name ends up in an NBD export, a URI, a file name, a shell line and a log; and `VOLUME@SNAPSHOT`
// must have exactly one reading. So a name may hold only what all of those take unquoted, and
// neither starts like an option (`-x`) nor like a hidden or relative path (`.`, `..`).

/// What the names of appliances, volumes, snapshots and failure domains may look like.
public enum NameRule {
    /// The longest name, in bytes; with a prefix and a suffix it still fits any file system.
    public static let limit = 64

    /// The rule for people, to go after "a name has".
    public static let sentence =
        "1 to \(limit) characters out of A-Z, a-z, 0-9, '.', '_', '-', the first a letter or digit"

    /// Whether `name` keeps the rule.
    public static func allows(_ name: String) -> Bool {
        let bytes = name.utf8
        guard let first = bytes.first, bytes.count <= limit, isLetterOrDigit(first) else {
            return false
        }
        return bytes.allSatisfy { byte in
            isLetterOrDigit(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
                || byte == UInt8(ascii: "-")
        }
    }

    /// Throws `RegistryError.invalidName` unless `name` keeps the rule.
    public static func check(_ name: String, of kind: RegistryKind) throws(RegistryError) {
        guard allows(name) else { throw .invalidName(kind, name: name) }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
