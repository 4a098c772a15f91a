// What all machines of a cluster share: 32 random bytes, in a file that only their user can read.
//
// The file holds them as 64 hexadecimal digits and a newline, so that it can be copied through a terminal.
// The key itself never goes over the network, encrypted or not: it only proves, and derives.

import CLinux
import COpenSSL
import Glibc
import Reactor

/// Why a key file could not be used or made.
public enum ClusterKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    case unreadable(file: String, errno: Int32)
    /// Its group or everybody may read or write it.
    case exposed(file: String)
    case foreign(file: String)
    case malformed(file: String)
    case exists(file: String)
    case unwritable(file: String, errno: Int32)

    public var description: String {
        switch self {
        case .unreadable(let file, ENOENT):
            "there is no cluster key \(file): make one with 'holdfast key create \(file)', or copy that "
                + "of another machine"
        case .unreadable(let file, let code):
            unsafe "the cluster key \(file) cannot be read: \(String(cString: strerror(code)))"
        case .exposed(let file):
            "the cluster key \(file) can be read by others: run 'chmod 600 \(file)', and make a new one "
                + "if somebody may have seen it"
        case .foreign(let file):
            "the cluster key \(file) belongs to another user: make the user that runs this its owner"
        case .malformed(let file):
            "\(file) is no cluster key (64 hexadecimal digits): copy the file of another machine again"
        case .exists(let file):
            "\(file) exists already and was left as it is: choose another name, or remove it first"
        case .unwritable(let file, let code):
            unsafe "the cluster key \(file) cannot be written: \(String(cString: strerror(code)))"
        }
    }
}

/// The secret of a cluster.
public struct ClusterKey: Sendable {
    /// Of the key and of what is derived from it, in bytes.
    public static let size = 32

    private let bytes: [UInt8]

    /// A new one, from the kernel's random numbers by way of OpenSSL.
    public static func random() -> ClusterKey { ClusterKey(bytes: RandomBytes.make(size)) }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// Reads a key file, which nobody but its owner, this user or root, may be able to read.
    public init(file: String) throws(ClusterKeyError) {
        var text: [UInt8]
        do throws(SecretFileProblem) {
            // (One byte more than a key file has shows one that is longer.)
            text = try SecretFile.read(file, atMost: 2 * Self.size + 2)
        } catch {
            switch error {
            case .unreadable(let code): throw .unreadable(file: file, errno: code)
            case .unlikely: throw .malformed(file: file)
            case .foreign: throw .foreign(file: file)
            case .exposed: throw .exposed(file: file)
            }
        }
        if text.last == UInt8(ascii: "\n") { text.removeLast() }
        guard let bytes = Self.bytes(ofDigits: text) else { throw .malformed(file: file) }
        self.bytes = bytes
    }

    /// Makes a key and writes it to a new file; an old one is never written over.
    @discardableResult
    public static func create(file: String) throws(ClusterKeyError) -> ClusterKey {
        let key = random()
        let descriptor = unsafe clinux_open(file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw errno == EEXIST ? .exists(file: file) : .unwritable(file: file, errno: errno)
        }
        defer { close(descriptor) }
        let text = key.digits
        guard unsafe write(descriptor, text, text.count) == text.count, fsync(descriptor) == 0
        else {
            let code = errno
            unsafe unlink(file)
            throw .unwritable(file: file, errno: code)
        }
        return key
    }

    /// A secret for one use, of which no other can be told and from which the key cannot.
    public func derived(for use: StaticString) -> [UInt8] {
        authenticate([use.withUTF8Buffer { unsafe Array($0) }])
    }

    /// HMAC-SHA256 of the parts, one after the other.
    func authenticate(_ parts: [[UInt8]]) -> [UInt8] {
        let message = parts.flatMap { $0 }
        var digest = [UInt8](repeating: 0, count: Self.size)
        var size = UInt32(0)
        let result = unsafe HMAC(
            EVP_sha256(), bytes, Int32(bytes.count), message, message.count, &digest, &size)
        precondition(unsafe result != nil && size == Self.size, "SHA-256 is always there")
        return digest
    }

    private var digits: [UInt8] {
        let all = Array("0123456789abcdef".utf8)
        return bytes.flatMap { [all[Int($0 >> 4)], all[Int($0 & 15)]] } + [UInt8(ascii: "\n")]
    }

    private static func bytes(ofDigits text: [UInt8]) -> [UInt8]? {
        guard text.count == 2 * size else { return nil }
        var bytes: [UInt8] = []
        for position in stride(from: 0, to: text.count, by: 2) {
            guard let high = Character(UnicodeScalar(text[position])).hexDigitValue,
                let low = Character(UnicodeScalar(text[position + 1])).hexDigitValue
            else { return nil }
            bytes.append(UInt8(high << 4 | low))
        }
        return bytes
    }
}

// Neither a log nor a debugger's dump shows it.
extension ClusterKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "a cluster key" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Bytes that nobody can guess.
enum RandomBytes {
    static func make(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard unsafe RAND_bytes(&bytes, Int32(count)) == 1 else {
            preconditionFailure("the system gives no random numbers")
        }
        return bytes
    }
}
