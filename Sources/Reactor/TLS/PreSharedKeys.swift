// Keys that clients share with a server, each under the client's name: the file that GnuTLS's psktool writes,
// and nbdkit, libnbd and QEMU read.
//
//     alice:6a2f…c1      a name, a colon, the key in hexadecimal digits; a client on a line

import Glibc

/// Why a file of keys could not be used.
public enum PreSharedKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    case unreadable(file: String, errno: Int32)
    /// Its group or everybody may read or write it.
    case exposed(file: String)
    case foreign(file: String)
    case malformed(file: String, line: Int)
    case twice(file: String, name: String)
    case empty(file: String)
    /// It is no plain file, or too long.
    case unlikely(file: String)

    public var description: String {
        switch self {
        case .unreadable(let file, let code):
            unsafe "the keys \(file) cannot be read (\(String(cString: strerror(code)))): check the path"
        case .exposed(let file):
            "the keys \(file) can be read by others: run 'chmod 600 \(file)', and make new ones if somebody "
                + "may have seen them"
        case .foreign(let file):
            "the keys \(file) belong to another user: make the user that runs this their owner"
        case .malformed(let file, let line):
            "line \(line) of \(file) is no NAME:KEY with a key of \(PreSharedKeys.sizes.lowerBound) to "
                + "\(PreSharedKeys.sizes.upperBound) bytes in hexadecimal digits: make it with psktool"
        case .twice(let file, let name):
            "\(file) has two keys of \(name): leave one"
        case .empty(let file): "\(file) has no keys: make one with psktool"
        case .unlikely(let file):
            "\(file) is no file of keys (a plain file of at most 1 MiB): name the right one"
        }
    }
}

/// Keys by the names of those who have them.
public struct PreSharedKeys: Sendable {
    /// Of a key, in bytes.
    public static let sizes = 16...64
    /// The most bytes that a file may have.
    private static let largestFile = 1 << 20

    private let keys: [String: [UInt8]]

    /// Reads a file, which nobody but its owner, this user or root, may be able to read.
    public init(file: String) throws(PreSharedKeyError) {
        let text = try Self.read(file)
        var keys: [String: [UInt8]] = [:]
        for (index, line) in text.split(separator: 10, omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = line.last == 13 ? line.dropLast() : line
            guard !line.isEmpty else { continue }
            guard let (name, key) = Self.entry(line) else {
                throw .malformed(file: file, line: index + 1)
            }
            guard keys.updateValue(key, forKey: name) == nil else {
                throw .twice(file: file, name: name)
            }
        }
        guard !keys.isEmpty else { throw .empty(file: file) }
        self.keys = keys
    }

    func key(of name: String) -> [UInt8]? { keys[name] }

    // (GnuTLS takes a name that starts with # for hexadecimal digits: there is no such name here.)
    private static func entry(_ line: ArraySlice<UInt8>) -> (name: String, key: [UInt8])? {
        guard let colon = line.lastIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
            line.first != UInt8(ascii: "#"),
            let name = String(validating: line[..<colon], as: UTF8.self)
        else { return nil }
        let digits = line[(colon + 1)...]
        guard let key = [UInt8](hexadecimal: digits), sizes.contains(key.count) else { return nil }
        return (name, key)
    }

    private static func read(_ file: String) throws(PreSharedKeyError) -> [UInt8] {
        do throws(SecretFileProblem) {
            return try SecretFile.read(file, atMost: largestFile)
        } catch {
            switch error {
            case .unreadable(let code): throw .unreadable(file: file, errno: code)
            case .unlikely: throw .unlikely(file: file)
            case .foreign: throw .foreign(file: file)
            case .exposed: throw .exposed(file: file)
            }
        }
    }
}

// Neither a log nor a debugger's dump shows them.
extension PreSharedKeys: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "keys of clients" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
