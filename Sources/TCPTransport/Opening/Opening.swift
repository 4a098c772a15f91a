// The opening: what both ends of a connection exchange before anything else, to agree on a version and to
// prove that they hold the cluster key. Neither end sends the key, nor learns anything about it from a
// peer that does not hold it. All integers are little-endian.
//
//     client                                          server
//     hello  ───────────────────────────────────────▶
//            ◀─────────────────────────────────────── hello
//     proof  ───────────────────────────────────────▶          only if the server requires a key, and the
//            ◀─────────────────────────────────────── verdict  client has one
//
//     client hello   magic 8 │ lowest version 2 │ highest version 2 │ purpose 1 │ flags 1 │ 0 2 │ nonce 32
//     server hello   magic 8 │ version 2 │ flags 1 │ 0 5 │ nonce 32
//     proof          HMAC-SHA256(key, "client" ‖ client hello ‖ server hello ‖ binding)  32
//     verdict        code 4 │ HMAC-SHA256(key, "server" ‖ client hello ‖ server hello ‖ binding)  32
//
//     magic     the bytes "HOLDFAST"
//     version   the highest that both ends speak; 0 when there is none
//     flags     bit 0: the client has a key; the server requires one. Others are 0 and not looked at.
//     nonce     random and new on each connection: a proof is worth nothing on any other
//     binding   32 bytes that TLS derives for this connection (RFC 8446 section 7.5, exporter label
//               "EXPORTER-holdfast-opening", no context); nothing on a plain one. Somebody in the middle of
//               two TLS connections cannot pass a proof on from one to the other.
//     code      `OpeningVerdict`; other than 0, or without a key, zeroes stand in the place of the proof.
//
// A server that refuses without a look at the proof sends its verdict right behind its hello.
//
// The client checks the server's proof before it goes on, so that nobody can pose as an appliance; and a
// client that has a key goes on with no server that requires none. What the client sends behind its part,
// and the server behind the verdict, belongs to the purpose of the connection.

import COpenSSL
public import Reactor

/// What a connection is for.
public enum Purpose: UInt8, Hashable, Sendable {
    /// Requests to the appliance: allocate, grant, describe.
    case control = 0
    /// Client-side access to one region.
    case access = 1
}

/// Sizes and numbers of the opening.
public enum OpeningWire {
    /// "HOLDFAST", as it stands on the wire.
    public static let magic = Array("HOLDFAST".utf8)
    /// The versions of what follows the opening that this build speaks.
    public static let versions: ClosedRange<UInt16> = 1...1
    /// In bytes.
    public static let helloSize = 48
    public static let nonceSize = 32
    public static let proofSize = ClusterKey.size
    public static let verdictSize = 4 + proofSize
    /// How long a whole opening may take, TLS included, in milliseconds: a peer that is slower is let go,
    /// so that nobody can hold connections without proof.
    public static let patience = 5_000
}

/// How a server ends its part.
public enum OpeningVerdict: UInt32, Sendable {
    case goOn = 0
    case wrongKey = 1
    case keyRequired = 2
    case version = 3
    case busy = 4
    case unknownPurpose = 5
}

/// Why a connection was not opened.
public enum OpeningError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What answers or asks is something else than Holdfast.
    case notHoldfast
    case wrongKey
    /// This side has no key, and the other requires one.
    case keyRequired
    /// The other side has no key, and this one requires one.
    case keyMissing
    /// The other side requires no key although this one has one.
    case downgrade
    case version
    case busy
    case unknownPurpose
    case malformed
    /// The other side wants TLS, and this one has nothing to prove itself with.
    case encrypted
    /// The other side does not encrypt, and this one requires it.
    case notEncrypted
    case closed
    case tls(TLSError)
    case system(errno: Int32)

    public var description: String {
        switch self {
        case .notHoldfast:
            "the other side does not speak Holdfast's protocol: check the address and its port"
        case .wrongKey: "the other side has another cluster key: copy the same file to all machines"
        case .keyRequired:
            "the other side requires the cluster key: copy its file here and give --cluster-key"
        case .keyMissing:
            "the other side has no cluster key: copy this side's file there and give --cluster-key"
        case .downgrade:
            "the other side asks for no cluster key although this side has one: give it the same "
                + "--cluster-key"
        case .version: "the other side speaks another version: use the same version everywhere"
        case .busy: "the other side has as many connections as it takes: try again later"
        case .unknownPurpose:
            "the other side does not know what the connection is for: use the same version everywhere"
        case .malformed:
            "the other side does not keep to the protocol: use the same version everywhere"
        case .encrypted:
            "the other side speaks TLS, and this one has neither key nor certificates: give "
                + "--cluster-key or --tls-certificate"
        case .notEncrypted:
            "the other side does not encrypt: give it --cluster-key or --tls-certificate, and not "
                + "--no-encryption"
        case .closed:
            "the other side closed the connection before it was open: compare the security options of "
                + "both, and see its log"
        case .tls(let error): error.description
        case .system(let code): ReactorError.system(call: "opening it", errno: code).description
        }
    }
}

/// What came of bytes that were received.
public enum OpeningOutcome: Hashable, Sendable {
    case goesOn
    case opened(Purpose)
    case refused(OpeningError)
}

/// The words of the opening that both ends compute alike.
struct OpeningProofs {
    let key: ClusterKey
    let clientHello: [UInt8]
    let serverHello: [UInt8]
    let binding: [UInt8]

    var client: [UInt8] { proof(of: "client") }
    var server: [UInt8] { proof(of: "server") }

    private func proof(of end: String) -> [UInt8] {
        precondition(
            clientHello.count == OpeningWire.helloSize
                && serverHello.count == OpeningWire.helloSize,
            "both hellos are there before a proof is")
        return key.authenticate([Array(end.utf8), clientHello, serverHello, binding])
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        unsafe one.count == other.count && CRYPTO_memcmp(one, other, one.count) == 0
    }
}

/// The next part of the grammar, of which exactly as many bytes are taken as it has.
struct OpeningPart {
    private(set) var bytes: [UInt8] = []

    /// Takes one byte; true when the part is whole.
    mutating func take(_ byte: UInt8, of size: Int) -> Bool {
        bytes.append(byte)
        return bytes.count == size
    }

    /// Whether these can be the first bytes of a hello.
    var canBeHello: Bool { OpeningWire.magic.starts(with: bytes.prefix(OpeningWire.magic.count)) }

    mutating func next() -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    static func number(_ bytes: [UInt8], at place: Int) -> UInt16 {
        UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8
    }

    static func bytes(_ number: UInt16) -> [UInt8] {
        [UInt8(truncatingIfNeeded: number), UInt8(truncatingIfNeeded: number >> 8)]
    }
}
