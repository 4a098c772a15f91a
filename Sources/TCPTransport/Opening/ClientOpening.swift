// The client's end of the opening: bytes in, bytes out.
//
//     hello ──▶ verdict ──▶ over
//
// Its own hello, and its proof when the server requires one, lie in `output`.

/// The end that dialled.
public struct ClientOpening: Sendable {
    private enum State: Hashable {
        case hello
        case verdict
        case over(OpeningOutcome)
    }

    private let purpose: Purpose
    private let key: ClusterKey?
    private let binding: [UInt8]
    private let versions: ClosedRange<UInt16>
    private let clientHello: [UInt8]
    private var state = State.hello
    private var part = OpeningPart()
    private var serverHello: [UInt8] = []

    /// What is to be sent; the caller takes it out.
    public var output: [UInt8]
    /// What came behind the opening.
    public private(set) var unread: [UInt8] = []
    /// The version that was agreed on; 0 until then.
    public private(set) var version: UInt16 = 0

    public init(
        purpose: Purpose, key: ClusterKey?, binding: [UInt8] = [],
        versions: ClosedRange<UInt16> = OpeningWire.versions
    ) {
        self.purpose = purpose
        self.key = key
        self.binding = binding
        self.versions = versions
        clientHello =
            OpeningWire.magic + OpeningPart.bytes(versions.lowerBound)
            + OpeningPart.bytes(versions.upperBound)
            + [purpose.rawValue, key == nil ? 0 : 1, 0, 0] + RandomBytes.make(OpeningWire.nonceSize)
        output = clientHello
    }

    /// How many bytes the part has that is being received: who asks for no more finds nothing unread.
    var missing: Int {
        switch state {
        case .hello: OpeningWire.helloSize - part.bytes.count
        case .verdict: OpeningWire.verdictSize - part.bytes.count
        case .over: 0
        }
    }

    public mutating func receive(_ bytes: Span<UInt8>) -> OpeningOutcome {
        for position in bytes.indices {
            switch state {
            case .over(.opened): unread.append(bytes[position])
            case .over: break
            case .hello: receiveHello(bytes[position])
            case .verdict: receiveVerdict(bytes[position])
            }
        }
        guard case .over(let outcome) = state else { return .goesOn }
        return outcome
    }

    private mutating func receiveHello(_ byte: UInt8) {
        let isWhole = part.take(byte, of: OpeningWire.helloSize)
        guard part.canBeHello else { return refuse(.notHoldfast) }
        guard isWhole else { return }
        serverHello = part.next()
        version = OpeningPart.number(serverHello, at: 8)
        guard version != 0 else { return refuse(.version) }
        guard versions.contains(version) else { return refuse(.malformed) }
        let isRequired = serverHello[10] & 1 != 0
        guard isRequired || key == nil else { return refuse(.downgrade) }
        guard !isRequired || key != nil else { return refuse(.keyRequired) }
        state = .verdict
        if let proofs { output += proofs.client }
    }

    private mutating func receiveVerdict(_ byte: UInt8) {
        guard part.take(byte, of: OpeningWire.verdictSize) else { return }
        let answer = part.next()
        let code = answer[..<4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        switch OpeningVerdict(rawValue: code) {
        case .goOn: break
        case .wrongKey: return refuse(.wrongKey)
        case .keyRequired: return refuse(.keyRequired)
        case .version: return refuse(.version)
        case .busy: return refuse(.busy)
        case .unknownPurpose: return refuse(.unknownPurpose)
        case nil: return refuse(.malformed)
        }
        let expected = proofs?.server ?? [UInt8](repeating: 0, count: OpeningWire.proofSize)
        guard OpeningProofs.areEqual(Array(answer[4...]), expected) else {
            return refuse(.wrongKey)
        }
        state = .over(.opened(purpose))
    }

    private var proofs: OpeningProofs? {
        key.map {
            OpeningProofs(
                key: $0, clientHello: clientHello, serverHello: serverHello, binding: binding)
        }
    }

    private mutating func refuse(_ error: OpeningError) { state = .over(.refused(error)) }
}
