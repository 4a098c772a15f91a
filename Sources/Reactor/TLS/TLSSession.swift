// One connection under TLS: a handshake, and then records in both directions.
//
//     TLSHandshake ──secrets──▶ IncomingRecords ──content──▶ caller
//      (OpenSSL)          └───▶ OutgoingRecords ◀──pieces─── caller      or the kernel, which seals by itself
//
// A record that the socket refused has been sealed, so it has to go as it is. With `send` the caller was told that
// its bytes are not sent and passes them again, perhaps cut into other pieces: when the record has gone they are
// passed over there, and only then reported as sent. With `take` they count as taken at once, and the caller comes
// again until no record is held.
//
// Records are made here and not by OpenSSL so that a connection can go on without it: sealed by the kernel, or in
// another process (`suspend`), which nothing that OpenSSL has can be moved to.

import CLinux
import COpenSSL
import Glibc

/// What another process needs to go on with a connection under TLS.
///
/// It holds the connection's secrets: who reads it can read what is sent, and say what it likes.
public struct SuspendedTLS: Codable, Hashable, Sendable {
    var suite: CipherSuite
    var receiving: Direction
    var sending: Direction
    /// The kernel seals what is sent, and has the number of the next record.
    var isSealedByKernel: Bool
    /// The peer is still to be answered with another key.
    var owesUpdate: Bool
    /// What was received and not opened: less than a record, or several.
    var sealed: [UInt8]

    struct Direction: Codable, Hashable, Sendable {
        var secret: [UInt8]
        /// How many records were sealed with it.
        var sequence: UInt64
    }
}

// No dump of what holds it shows its secrets.
extension SuspendedTLS: CustomReflectable, CustomStringConvertible {
    public var customMirror: Mirror { Mirror(self, children: []) }
    public var description: String { "a suspended connection of \(suite)" }
}

/// Belongs to one thread at a time, with its stream.
@safe
final class TLSSession {
    /// How often more is received in one call, so that a peer that sends nothing but key updates keeps nobody
    /// else waiting.
    private static let mostRefills = 8

    private let descriptor: Int32
    private let letsKernelSeal: Bool
    private var handshaking: TLSHandshake?
    private var records: Records?
    private(set) var binding: [UInt8] = []
    private(set) var peerNames: [String] = []
    /// The kernel seals what is sent.
    private(set) var isSealedByKernel = false
    /// How many bytes are sent and not yet reported so.
    private var unreported = 0
    /// How many bytes of what is to be sent are sealed and not gone.
    private var held = 0
    /// The peer has said that nothing more comes.
    private var isEnded = false
    private(set) var hasPending = false
    /// What ended the connection, if TLS did.
    private(set) var failure: TLSError?

    /// Both directions, once there is something to seal with.
    private final class Records {
        var incoming: IncomingRecords
        var outgoing: OutgoingRecords

        init(_ incoming: consuming IncomingRecords, _ outgoing: consuming OutgoingRecords) {
            self.incoming = incoming
            self.outgoing = outgoing
        }
    }

    init(_ descriptor: Int32, _ context: TLSContext) {
        self.descriptor = descriptor
        letsKernelSeal = context.letsKernelSeal
        handshaking = TLSHandshake(descriptor, context)
    }

    /// A session whose handshake was made elsewhere, with a life of its keys for tests.
    package init(
        _ descriptor: Int32, receiving: TrafficSecret, sending: TrafficSecret,
        keyLife: UInt64? = nil
    ) {
        self.descriptor = descriptor
        letsKernelSeal = false
        begin(receiving, sending, keyLife: keyLife)
    }

    /// Goes on with a connection; nil when what is said of it makes no sense.
    init?(_ descriptor: Int32, resuming suspended: SuspendedTLS) {
        guard let receiving = TrafficSecret(suspended.suite, suspended.receiving.secret),
            let sending = TrafficSecret(suspended.suite, suspended.sending.secret),
            suspended.sealed.count <= IncomingRecords.capacity
        else { return nil }
        self.descriptor = descriptor
        letsKernelSeal = false
        isSealedByKernel = suspended.isSealedByKernel
        begin(
            receiving, sending,
            sequences: (suspended.receiving.sequence, suspended.sending.sequence),
            sealed: suspended.sealed)
        records?.outgoing.owesUpdate = suspended.owesUpdate
        hasPending = records?.incoming.hasContent ?? false
    }

    private func begin(
        _ receiving: TrafficSecret, _ sending: TrafficSecret, keyLife: UInt64? = nil,
        sequences: (receiving: UInt64, sending: UInt64) = (0, 0), sealed: [UInt8] = []
    ) {
        records = Records(
            IncomingRecords(receiving, sequence: sequences.receiving, sealed: sealed),
            OutgoingRecords(
                sending, sequence: sequences.sending,
                keyLife: keyLife ?? sending.suite.keyLife))
    }

    /// As `SocketStream.handshake`.
    func handshake() throws(TLSError) -> Readiness? {
        if let failure { throw failure }
        guard let handshaking else { return nil }
        do throws(TLSError) {
            switch try handshaking.goOn() {
            case .wants(let readiness): return readiness
            case .done(let outcome):
                adopt(outcome)
                return nil
            }
        } catch {
            failure = error
            throw error
        }
    }

    private func adopt(_ outcome: TLSHandshake.Outcome) {
        handshaking = nil
        binding = outcome.binding
        peerNames = outcome.peerNames
        begin(outcome.receiving, outcome.sending)
        isSealedByKernel =
            letsKernelSeal && KernelTLS.seal(descriptor, outcome.sending, sequence: 0)
    }

    /// As `SocketStream.suspend`.
    func suspend() -> (state: SuspendedTLS, opened: [UInt8])? {
        guard failure == nil, !isEnded, !holdsRecord, unreported == 0, let records else {
            return nil
        }
        let (receiving, sending) = (records.incoming.secret, records.outgoing.secret)
        let state = SuspendedTLS(
            suite: receiving.suite,
            receiving: .init(secret: receiving.bytes, sequence: records.incoming.sequence),
            sending: .init(secret: sending.bytes, sequence: records.outgoing.sequence),
            isSealedByKernel: isSealedByKernel, owesUpdate: records.outgoing.owesUpdate,
            sealed: records.incoming.sealed)
        return (state, records.incoming.takeSpare())
    }

    // MARK: Receiving

    /// As `SocketStream.receive`; as many records as there are and fit.
    func receive(_ place: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard failure == nil, let records else { return failed() }
        var received = 0
        var refills = 0
        var isDry = false
        while received < count, !isEnded {
            let drained = unsafe records.incoming.drainSpare(place + received, count - received)
            received += drained
            if drained > 0 { continue }
            do throws(RecordFault) {
                if let event = unsafe try records.incoming.next(
                    into: place + received, count - received)
                {
                    if case .content(let content) = event { received += content }
                    heed(event, records)
                    if failure == nil { continue }
                    return end(received)
                }
            } catch {
                fail(error)
                return end(received)
            }
            guard !isDry, refills < Self.mostRefills else { break }
            refills += 1
            let (refill, isAll) = records.incoming.refill(from: descriptor)
            if refill == 0 {
                isEnded = true
            } else if refill > 0 {
                isDry = isAll
            } else if errno == EAGAIN || errno == EINTR {
                break
            } else {
                failure = errno == ECONNRESET || errno == EPIPE ? .closed : .system(errno: errno)
                return end(received)
            }
        }
        hasPending = isEnded ? received > 0 : records.incoming.hasContent
        if received == 0, count > 0, !isEnded {
            errno = EAGAIN
            return -1
        }
        return received
    }

    /// What is not content.
    private func heed(_ event: IncomingRecords.Event, _ records: Records) {
        switch event {
        case .content, .spare: break
        case .keyUpdate(let isAnswerWanted):
            guard isAnswerWanted else { break }
            // (Before anything else is sealed: RFC 8446 section 4.6.3.)
            if isSealedByKernel {
                failure = .kernelKeepsKey
            } else {
                records.outgoing.owesUpdate = true
            }
        case .alert(let description):
            switch Int32(description) {
            case SSL3_AD_CLOSE_NOTIFY: isEnded = true
            case TLS1_AD_USER_CANCELLED: break
            default: failure = TLSError(alert: description)
            }
        }
    }

    /// How a call returns after a failure: what came before it is delivered first.
    private func end(_ received: Int) -> Int {
        hasPending = received > 0
        return received > 0 ? received : failed()
    }

    /// Tells the peer what it did, if that can be told at once.
    private func fail(_ fault: RecordFault) {
        switch fault {
        case .damaged:
            failure = .damaged
            tell(SSL3_AD_BAD_RECORD_MAC, isFatal: true)
        case .outOfTurn:
            failure = .outOfTurn
            tell(SSL3_AD_UNEXPECTED_MESSAGE, isFatal: true)
        }
    }

    // MARK: Sending

    /// As `SocketStream.send`.
    func send(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        guard failure == nil, let records else { return failed() }
        if isSealedByKernel { return unsafe sendPlain(pieces, count) }
        guard flush(records) else { return -1 }
        unreported += held
        held = 0
        var cursor = unsafe PieceCursor(UnsafeMutableBufferPointer(start: pieces, count: count))
        var sent = cursor.pass(unreported)
        unreported -= sent
        while true {
            held = records.outgoing.seal(&cursor)
            guard held > 0 else { return sent }
            guard flush(records) else { return sent > 0 ? sent : -1 }
            sent += held
            held = 0
        }
    }

    /// As `SocketStream.take`.
    func take(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        guard failure == nil, let records else { return failed() }
        if isSealedByKernel { return unsafe sendPlain(pieces, count) }
        guard flush(records) else { return -1 }
        var cursor = unsafe PieceCursor(UnsafeMutableBufferPointer(start: pieces, count: count))
        var taken = 0
        while true {
            let sealed = records.outgoing.seal(&cursor)
            guard sealed > 0 else { return taken }
            taken += sealed
            guard flush(records) else { return failure == nil ? taken : -1 }
        }
    }

    /// Something is sealed that the socket has refused.
    var holdsRecord: Bool {
        guard let records else { return false }
        return !records.outgoing.isEmpty
    }

    /// Sends what is sealed; false with `errno` when it did not go.
    private func flush(_ records: Records) -> Bool {
        if records.outgoing.flush(to: descriptor) { return true }
        return refused()
    }

    private func sendPlain(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        var message = unsafe msghdr()
        unsafe message.msg_iov = pieces
        unsafe message.msg_iovlen = count
        let sent = unsafe sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
        if sent < 0, errno != EINTR { _ = refused() }
        return sent
    }

    /// What became of a send: to be tried again, or the end.
    private func refused() -> Bool {
        guard errno != EAGAIN else { return false }
        failure = errno == ECONNRESET || errno == EPIPE ? .closed : .system(errno: errno)
        _ = failed()
        return false
    }

    /// Tells the peer that nothing more comes, if that can be told at once.
    func end() {
        // (A record that was refused would have to go first; the peer sees the socket close anyway.)
        guard failure == nil else { return }
        tell(SSL3_AD_CLOSE_NOTIFY, isFatal: false)
    }

    private func tell(_ alert: Int32, isFatal: Bool) {
        guard let records, !holdsRecord else { return }
        let message = [UInt8(isFatal ? SSL3_AL_FATAL : SSL3_AL_WARNING), UInt8(alert)]
        if isSealedByKernel {
            KernelTLS.send(ContentType.alert, message, to: descriptor)
        } else {
            records.outgoing.seal(ContentType.alert, message)
            _ = records.outgoing.flush(to: descriptor)
        }
    }

    private func failed() -> Int {
        errno = failure == .closed ? ECONNRESET : EPROTO
        return -1
    }
}
