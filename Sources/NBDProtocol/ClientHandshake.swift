// The handshake as a client makes it, as a pure state machine: bytes in, bytes and an outcome out.
//
//     greeting ──flags, GO or INFO──▶ replies ──ACK──▶ done      ("Option haggling")
//         └── not NBD, too old           └── an error, or what makes no sense ──▶ failed
//
// One option is asked, so that there is one answer: GO ends in transmission, INFO leaves the server waiting
// for more, and is followed by ABORT here. A server that answers more than is asked is bounded.

/// What a server says of an export.
public struct ExportFacts: Hashable, Sendable {
    /// In bytes.
    public var size: UInt64
    public var flags: TransmissionFlags
    /// What a request's offset and length are to be multiples of, in bytes; 1 when the server does not say.
    public var smallestBlock: UInt32
    /// What is fastest, in bytes; 4096 when the server does not say.
    public var preferredBlock: UInt32

    public init(
        size: UInt64, flags: TransmissionFlags, smallestBlock: UInt32 = 1,
        preferredBlock: UInt32 = 4096
    ) {
        self.size = size
        self.flags = flags
        self.smallestBlock = smallestBlock
        self.preferredBlock = preferredBlock
    }
}

/// Why a handshake came to nothing.
public enum HandshakeFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case notAServer
    /// It does not speak the fixed newstyle handshake.
    case tooOld
    case unknownExport(String)
    /// Another one may be there in a moment.
    case shuttingDown
    case refused(type: UInt32)
    /// A reply that the specification does not allow here.
    case nonsense

    public var description: String {
        switch self {
        case .notAServer: "what answers there is no NBD server"
        case .tooOld: "the NBD server there is too old for the fixed newstyle handshake"
        case .unknownExport(let name): "there is no export '\(name)'"
        case .shuttingDown: "the server is shutting down: try again"
        case .refused(let type): "the server refuses with reply 0x\(String(type, radix: 16))"
        case .nonsense: "the server's answers make no sense"
        }
    }
}

/// One connection's handshake, seen from the client.
public struct ClientHandshake: Sendable {
    /// What is wanted of an export.
    public enum Purpose: Sendable {
        /// To use it: the connection is in transmission afterwards.
        case use
        /// To know it: the connection is of no further use.
        case know
    }

    /// What became of it after some input.
    public enum Outcome: Hashable, Sendable {
        case goesOn
        case done(ExportFacts)
        case failed(HandshakeFailure)
    }

    /// How much a server may say before it answers, in bytes.
    public static let longestAnswer = 64 << 10

    private enum State { case greeting, replies, over }

    private let export: String
    private let option: UInt32
    private var state = State.greeting
    private var input: [UInt8] = []
    private var received = 0
    private var facts: ExportFacts?
    private var blocks: (smallest: UInt32, preferred: UInt32)?
    /// What is to be sent; the caller takes it.
    public var output: [UInt8] = []

    /// A handshake that waits for the server's greeting.
    public init(export: String, to purpose: Purpose) {
        precondition(export.utf8.count <= Wire.longestString, "an export's name is checked before")
        self.export = export
        option = purpose == .use ? OptionType.go : OptionType.info
    }

    /// How many bytes are to come next, at least: whoever receives no more than that reads nothing that
    /// belongs to the transmission phase.
    public var needed: Int {
        switch state {
        case .greeting: Wire.greetingSize - input.count
        case .replies: replySize - input.count
        case .over: 0
        }
    }

    /// Takes what was received, and tells what to do after sending `output`.
    public mutating func receive(_ bytes: Span<UInt8>) -> Outcome {
        for index in bytes.indices { input.append(bytes[index]) }
        received += bytes.count
        guard received <= Self.longestAnswer else { return fail(.nonsense) }
        while state != .over, needed <= 0 {
            let outcome = state == .greeting ? greeting() : reply()
            if outcome != .goesOn {
                state = .over
                return outcome
            }
        }
        return .goesOn
    }

    private mutating func fail(_ failure: HandshakeFailure) -> Outcome {
        state = .over
        return .failed(failure)
    }

    private mutating func greeting() -> Outcome {
        var reader = WireReader(input.span)
        guard reader.uint64() == Wire.serverMagic else { return fail(.notAServer) }
        guard reader.uint64() == Wire.optionMagic, let bits = reader.uint16() else {
            return fail(.tooOld)
        }
        let offered = HandshakeFlags(rawValue: bits)
        guard offered.contains(.fixedNewstyle) else { return fail(.tooOld) }
        input.removeFirst(Wire.greetingSize)
        let flags: ClientFlags =
            offered.contains(.noZeroes) ? [.fixedNewstyle, .noZeroes] : .fixedNewstyle
        output.append(wire: flags.rawValue)
        var data: [UInt8] = []
        data.append(wire: UInt32(export.utf8.count))
        data.append(contentsOf: export.utf8)
        data.append(wire: UInt16(1))
        data.append(wire: InformationType.blockSize.rawValue)
        append(option, data)
        state = .replies
        return .goesOn
    }

    private mutating func append(_ option: UInt32, _ data: [UInt8] = []) {
        output.append(wire: Wire.optionMagic)
        output.append(wire: option)
        output.append(wire: UInt32(data.count))
        output.append(contentsOf: data)
    }

    /// Of the reply that comes next, as far as is known.
    private var replySize: Int {
        guard input.count >= Wire.optionReplyHeaderSize else { return Wire.optionReplyHeaderSize }
        let length = input[16..<20].reduce(0) { $0 << 8 | Int($1) }
        return Wire.optionReplyHeaderSize + length
    }

    private mutating func reply() -> Outcome {
        let size = replySize
        let reply = Array(input[..<size])
        input.removeFirst(size)
        var reader = WireReader(reply.span)
        guard reader.uint64() == Wire.optionReplyMagic, reader.uint32() == option,
            let type = reader.uint32()
        else { return fail(.nonsense) }
        switch OptionReplyType(rawValue: type) {
        case .info:
            note(Array(reply[Wire.optionReplyHeaderSize...]))
            return .goesOn
        case .ack: return acknowledged()
        case .errorUnknown: return fail(.unknownExport(export))
        case .errorShutdown: return fail(.shuttingDown)
        case .server, .metaContext: return fail(.nonsense)
        case .errorUnsupported, .errorPolicy, .errorInvalid, .errorTLSRequired, .errorTooBig,
            .errorExtendedHeadersRequired, nil:
            return fail(.refused(type: type))
        }
    }

    /// Remembers what is understood; the rest is the server's to tell.
    private mutating func note(_ data: [UInt8]) {
        var reader = WireReader(data.span)
        guard let number = reader.uint16() else { return }
        switch InformationType(rawValue: number) {
        case .export:
            guard let size = reader.uint64(), let flags = reader.uint16() else { return }
            facts = ExportFacts(size: size, flags: TransmissionFlags(rawValue: flags))
        case .blockSize:
            guard let smallest = reader.uint32(), let preferred = reader.uint32() else { return }
            blocks = (smallest, preferred)
        case .name, .description, nil: return
        }
    }

    private mutating func acknowledged() -> Outcome {
        guard var facts else { return fail(.nonsense) }
        if let blocks {
            facts.smallestBlock = blocks.smallest
            facts.preferredBlock = blocks.preferred
        }
        if option == OptionType.info { append(OptionType.abort) }
        return .done(facts)
    }
}
