// The numbers of the NBD protocol, by their names in the specification (doc/proto.md of the reference
// implementation; the section is named beside each group). All integers on the wire are big-endian.

/// Magic numbers and sizes.
public enum Wire {
    /// "Protocol phases": what a fixed newstyle server says first.
    public static let serverMagic: UInt64 = 0x4e42_444d_4147_4943  // "NBDMAGIC"
    public static let optionMagic: UInt64 = 0x4948_4156_454f_5054  // "IHAVEOPT"
    public static let optionReplyMagic: UInt64 = 0x0003_e889_0455_65a9
    @inlinable public static var requestMagic: UInt32 { 0x2560_9513 }
    @inlinable public static var extendedRequestMagic: UInt32 { 0x21e4_1c71 }
    @inlinable public static var simpleReplyMagic: UInt32 { 0x6744_6698 }
    @inlinable public static var structuredReplyMagic: UInt32 { 0x668e_33ef }
    @inlinable public static var extendedReplyMagic: UInt32 { 0x6e8a_278c }

    /// Sizes in bytes of the fixed parts of messages.
    public static let greetingSize = 18
    public static let clientFlagsSize = 4
    public static let optionHeaderSize = 16
    public static let optionReplyHeaderSize = 20
    @inlinable public static var requestHeaderSize: Int { 28 }
    @inlinable public static var extendedRequestHeaderSize: Int { 32 }
    @inlinable public static var simpleReplySize: Int { 16 }

    /// "Values" → strings: at most 4096 bytes, without NUL.
    public static let longestString = 4096
}

/// "Handshake flags": what the server offers.
public struct HandshakeFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let fixedNewstyle = HandshakeFlags(rawValue: 1 << 0)
    public static let noZeroes = HandshakeFlags(rawValue: 1 << 1)
}

/// "Client flags": what the client accepts of it.
public struct ClientFlags: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let fixedNewstyle = ClientFlags(rawValue: 1 << 0)
    public static let noZeroes = ClientFlags(rawValue: 1 << 1)
    public static let known: ClientFlags = [.fixedNewstyle, .noZeroes]
}

/// "Transmission flags": what an export can do.
public struct TransmissionFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let hasFlags = TransmissionFlags(rawValue: 1 << 0)
    public static let readOnly = TransmissionFlags(rawValue: 1 << 1)
    public static let sendFlush = TransmissionFlags(rawValue: 1 << 2)
    public static let sendFUA = TransmissionFlags(rawValue: 1 << 3)
    public static let sendTrim = TransmissionFlags(rawValue: 1 << 5)
    public static let sendWriteZeroes = TransmissionFlags(rawValue: 1 << 6)
    public static let sendDF = TransmissionFlags(rawValue: 1 << 7)
    public static let canMultiConn = TransmissionFlags(rawValue: 1 << 8)
    public static let sendCache = TransmissionFlags(rawValue: 1 << 10)
    public static let sendFastZero = TransmissionFlags(rawValue: 1 << 11)
}

/// "Option types": what a client may ask before transmission.
///
/// Any other number is answered too.
public enum OptionType {
    public static let exportName: UInt32 = 1
    public static let abort: UInt32 = 2
    public static let list: UInt32 = 3
    public static let startTLS: UInt32 = 5
    public static let info: UInt32 = 6
    public static let go: UInt32 = 7
    public static let structuredReply: UInt32 = 8
    public static let listMetaContext: UInt32 = 9
    public static let setMetaContext: UInt32 = 10
    public static let extendedHeaders: UInt32 = 11
}

/// "Option reply types".
public enum OptionReplyType: UInt32, Sendable {
    case ack = 1
    case server = 2
    case info = 3
    case metaContext = 4
    case errorUnsupported = 0x8000_0001
    case errorPolicy = 0x8000_0002
    case errorInvalid = 0x8000_0003
    case errorTLSRequired = 0x8000_0005
    case errorUnknown = 0x8000_0006
    case errorShutdown = 0x8000_0007
    case errorTooBig = 0x8000_0009
    case errorExtendedHeadersRequired = 0x8000_000a
}

/// "Information types" of INFO and GO replies.
public enum InformationType: UInt16, Sendable {
    case export = 0
    case name = 1
    case description = 2
    case blockSize = 3
}

/// "Request types".
public enum CommandType {
    @inlinable public static var read: UInt16 { 0 }
    @inlinable public static var write: UInt16 { 1 }
    @inlinable public static var disconnect: UInt16 { 2 }
    @inlinable public static var flush: UInt16 { 3 }
    @inlinable public static var trim: UInt16 { 4 }
    @inlinable public static var cache: UInt16 { 5 }
    @inlinable public static var writeZeroes: UInt16 { 6 }
    @inlinable public static var blockStatus: UInt16 { 7 }
}

/// "Command flags".
public struct CommandFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    @inlinable public static var fua: CommandFlags { CommandFlags(rawValue: 1 << 0) }
    @inlinable public static var noHole: CommandFlags { CommandFlags(rawValue: 1 << 1) }
    /// "Don't fragment": at most one content chunk.
    @inlinable public static var df: CommandFlags { CommandFlags(rawValue: 1 << 2) }
    /// At most one extent for each context.
    @inlinable public static var reqOne: CommandFlags { CommandFlags(rawValue: 1 << 3) }
    @inlinable public static var fastZero: CommandFlags { CommandFlags(rawValue: 1 << 4) }
    /// Extended headers: the length is that of a payload.
    @inlinable public static var payloadLength: CommandFlags { CommandFlags(rawValue: 1 << 5) }
}

/// "Structured reply types".
public enum ChunkType: UInt16, Sendable {
    case none = 0
    case offsetData = 1
    case offsetHole = 2
    case blockStatus = 5
    case blockStatusExtended = 6
    case error = 0x8001
}

/// "base:allocation" of "Metadata contexts": what may be said of an extent.
public struct AllocationStatus: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let hole = AllocationStatus(rawValue: 1 << 0)
    public static let zero = AllocationStatus(rawValue: 1 << 1)
}

/// "Error values": the only numbers a reply may carry.
public enum ErrorNumber: UInt32, Sendable {
    case none = 0
    case notPermitted = 1
    case inputOutput = 5
    case outOfMemory = 12
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case notSupported = 95
    case shutdown = 108
}
