// The server's end of the opening: bytes in, bytes out.
//
//     hello ──▶ proof ──▶ over       a key is required, and the client has one
//       └──────────────▶ over       no key is required, or the client is refused at once

/// The end that accepted the connection.
public struct ServerOpening: Sendable {
    private enum State: Hashable {
        case hello
        case proof(Purpose)
        case over(OpeningOutcome)
    }

    private let key: ClusterKey?
    private let binding: [UInt8]
    private let isBusy: Bool
    private let versions: ClosedRange<UInt16>
    private let nonce = RandomBytes.make(OpeningWire.nonceSize)
    private var state = State.hello
    private var part = OpeningPart()
    private var clientHello: [UInt8] = []
    private var serverHello: [UInt8] = []

    /// What is to be sent, also when the client is refused; the caller takes it out.
    public var output: [UInt8] = []
    /// What came behind the opening.
    public private(set) var unread: [UInt8] = []
    /// The version that was agreed on; 0 until then.
    public private(set) var version: UInt16 = 0

    /// Requires the key if there is one; a busy server refuses, and says so.
    public init(
        key: ClusterKey?, binding: [UInt8] = [], isBusy: Bool = false,
        versions: ClosedRange<UInt16> = OpeningWire.versions
    ) {
        self.key = key
        self.binding = binding
        self.isBusy = isBusy
        self.versions = versions
    }

    public mutating func receive(_ bytes: Span<UInt8>) -> OpeningOutcome {
        for position in bytes.indices {
            switch state {
            case .over(.opened): unread.append(bytes[position])
            case .over: break
            case .hello:
                receiveHello(bytes[position])
                // A proof takes our nonce: who goes on without having seen it is no client.
                if case .proof = state, position + 1 < bytes.count { refuse(.malformed, nil) }
            case .proof(let purpose): receiveProof(bytes[position], purpose)
            }
        }
        guard case .over(let outcome) = state else { return .goesOn }
        return outcome
    }

    private mutating func receiveHello(_ byte: UInt8) {
        let isWhole = part.take(byte, of: OpeningWire.helloSize)
        guard part.canBeHello else { return refuse(.notHoldfast, nil) }
        guard isWhole else { return }
        clientHello = part.next()
        let lowest = OpeningPart.number(clientHello, at: 8)
        let highest = min(OpeningPart.number(clientHello, at: 10), versions.upperBound)
        version = highest >= max(lowest, versions.lowerBound) ? highest : 0
        serverHello =
            OpeningWire.magic + OpeningPart.bytes(version) + [key == nil ? 0 : 1, 0, 0, 0, 0, 0]
            + nonce
        output += serverHello
        guard version != 0 else { return refuse(.version, .version) }
        guard let purpose = Purpose(rawValue: clientHello[12]) else {
            return refuse(.unknownPurpose, .unknownPurpose)
        }
        guard !isBusy else { return refuse(.busy, .busy) }
        guard key != nil else { return open(purpose, proof: nil) }
        guard clientHello[13] & 1 != 0 else { return refuse(.keyMissing, .keyRequired) }
        state = .proof(purpose)
    }

    private mutating func receiveProof(_ byte: UInt8, _ purpose: Purpose) {
        guard part.take(byte, of: OpeningWire.proofSize), let key else { return }
        let proofs = OpeningProofs(
            key: key, clientHello: clientHello, serverHello: serverHello, binding: binding)
        guard OpeningProofs.areEqual(part.next(), proofs.client) else {
            return refuse(.wrongKey, .wrongKey)
        }
        open(purpose, proof: proofs.server)
    }

    private mutating func open(_ purpose: Purpose, proof: [UInt8]?) {
        say(.goOn, proof)
        state = .over(.opened(purpose))
    }

    /// Ends the opening; without a verdict for who does not speak the protocol.
    private mutating func refuse(_ error: OpeningError, _ verdict: OpeningVerdict?) {
        if let verdict { say(verdict, nil) }
        state = .over(.refused(error))
    }

    private mutating func say(_ verdict: OpeningVerdict, _ proof: [UInt8]?) {
        output += [UInt8(truncatingIfNeeded: verdict.rawValue), 0, 0, 0]
        output += proof ?? [UInt8](repeating: 0, count: OpeningWire.proofSize)
    }
}
