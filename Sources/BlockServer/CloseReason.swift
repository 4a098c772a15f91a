// Why connections end, in words for the log and for clients.

import NBDProtocol

/// Why a connection is closed.
public enum CloseReason: Hashable, Sendable, CustomStringConvertible {
    case aborted
    case unknownClientFlags(UInt32)
    case badOptionMagic(UInt64)
    case optionTooLarge(UInt32)
    case tooManyOptions
    case unknownExport(String)
    /// The client is not among those who may use it.
    case forbiddenExport(String)
    /// It has as many connections as it may have.
    case fullExport(String, connections: Int)
    /// All exports together have.
    case fullServer(connections: Int)
    /// TLS is required, and the client goes without.
    case notEncrypted
    case inTheClearAfterStartTLS
    /// TLS could not be agreed on, or ended; in words.
    case tls(String)
    case badExportName
    case badRequestMagic(UInt32)
    case payloadTooLarge(UInt64)
    case disconnected
    /// The server is about to end, and could not say so in another way.
    case shuttingDown
    /// It stands: another process is to go on with it.
    case handedOver

    public var description: String {
        switch self {
        case .aborted: "the client gave up the handshake"
        case .unknownClientFlags(let flags): "unknown client flags 0x\(String(flags, radix: 16))"
        case .badOptionMagic(let magic): "not an option: magic 0x\(String(magic, radix: 16))"
        case .optionTooLarge(let size):
            "an option of \(size) bytes; at most \(Negotiation.largestOption) are accepted"
        case .tooManyOptions: "more than \(Negotiation.mostOptions) options"
        // (Shortened: a text may be no longer than a name.)
        case .unknownExport(let name): "there is no export '\(name.prefix(256))'"
        case .forbiddenExport(let name):
            "this client may not use '\(name.prefix(256))': see --nbd-allow of the server"
        case .fullExport(let name, let count):
            "'\(name)' takes no more connections: it has \(count)"
        case .fullServer(let count): "no more connections are taken: there are \(count)"
        case .notEncrypted: "the client asked for an export without TLS, which is required here"
        case .inTheClearAfterStartTLS: "something was sent in the clear behind STARTTLS"
        case .tls(let problem): problem
        case .badExportName: "an export name that is not a string of the protocol"
        case .badRequestMagic(let magic): "not a request: magic 0x\(String(magic, radix: 16))"
        case .payloadTooLarge(let size):
            "a payload of \(size) bytes; at most \(RequestRules.largestPayload) are accepted"
        case .disconnected: "the client disconnected"
        case .shuttingDown: "the server is shutting down"
        case .handedOver: "the next client device goes on with it"
        }
    }

    /// What an option that cannot be granted is answered.
    var reply: OptionReplyType {
        switch self {
        case .unknownExport: .errorUnknown
        case .forbiddenExport, .fullExport, .fullServer: .errorPolicy
        case .shuttingDown: .errorShutdown
        default: .errorInvalid
        }
    }
}
