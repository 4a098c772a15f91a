// A peer that asks for regions: whole messages in, one reply out, then the next.
//
//     received ──▶ length │ JSON ──▶ request ──▶ reply ──▶ queued ──▶ sent
//                                                └── a descriptor beside it, on this host
//
// A reply that is not taken keeps the next request waiting, so that a peer has one reply here at most.

import CLinux
import FoundationEssentials
import Glibc
import Reactor
import RemoteMemory

/// A connection for control messages.
final class ControlPeer: Peer {
    /// The largest request, in bytes: enrolling a set of the most members takes a tenth of it.
    static let largestRequest = 64 << 10
    /// How long a message that has begun, or a reply, may take, in nanoseconds.
    static let messageTime: UInt64 = 5_000_000_000
    /// How much memory is touched before the others have their turn, in bytes.
    static let populationStep: UInt64 = 16 << 20

    private let stream: SocketStream
    /// On this host: it is given memory itself.
    let isLocal: Bool
    /// The process on the other end, when it is on this host.
    let process: Int32
    private var input: [UInt8]
    private var output: [UInt8] = []
    private var sent = 0
    /// Goes with the first byte of the output.
    private var passed: Int32 = -1
    /// A region whose memory is being touched, and how far that is.
    private var populating: (region: RegionID, position: UInt64)?

    /// A peer that was accepted; `unread` came behind its opening.
    init(_ stream: SocketStream, isLocal: Bool, unread: [UInt8] = []) {
        self.stream = stream
        self.isLocal = isLocal
        process = isLocal ? clinux_peer_pid(stream.descriptor) : -1
        input = unread
    }

    deinit { if passed >= 0 { close(passed) } }

    override var descriptor: Int32 { stream.descriptor }

    override var wants: Readiness {
        if !output.isEmpty { return .writable }
        return populating == nil ? .readable : []
    }

    override func advance(_ readiness: Readiness, _ server: ApplianceServer) -> Outcome {
        if populating != nil {
            guard readiness.isDisjoint(with: .hungUp) else { return .ends }
            return populate(server)
        }
        if !output.isEmpty {
            guard send(server) else { return .ends }
        } else {
            guard receive(server) else { return .ends }
        }
        return answer(server)
    }

    // MARK: Requests

    /// Answers what has come whole, until a reply is not taken.
    private func answer(_ server: ApplianceServer) -> Outcome {
        while output.isEmpty, populating == nil, input.count >= 4 {
            let count = input.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            guard count <= Self.largestRequest else { return .ends }
            guard input.count >= 4 + count else { break }
            let body = Data(input[4..<4 + count])
            input.removeFirst(4 + count)
            stopTime()
            guard let request = try? JSONDecoder().decode(ApplianceRequest.self, from: body) else {
                return .ends
            }
            server.statistics.controlRequests += 1
            if case .allocate(let region, _, true) = request {
                let (reply, _) = server.answer(request, from: self)
                guard case .region = reply else {
                    guard queue(reply), send(server) else { return .ends }
                    continue
                }
                populating = (region, 0)
                return .hasMore
            }
            let (reply, descriptor) = server.answer(request, from: self)
            guard queue(reply, passing: descriptor), send(server) else { return .ends }
        }
        if !input.isEmpty || !output.isEmpty { startTime(Self.messageTime) }
        return stream.hasPending && output.isEmpty ? .hasMore : .waits
    }

    /// Touches some more memory of the region that was asked for.
    private func populate(_ server: ApplianceServer) -> Outcome {
        guard let (region, position) = populating else { return .waits }
        do throws(ApplianceRefusal) {
            if let next = try server.pool.populate(
                region, from: position, atMost: Self.populationStep)
            {
                populating = (region, next)
                return .hasMore
            }
            populating = nil
            guard queue(.region(try server.pool.describe(region))) else { return .ends }
        } catch {
            populating = nil
            _ = try? server.pool.free(region)
            server.endDeadKeys()
            guard queue(.refused(error)) else { return .ends }
        }
        guard send(server) else { return .ends }
        return answer(server)
    }

    // MARK: Bytes

    /// Receives what there is, up to a bound; false at the end.
    private func receive(_ server: ApplianceServer) -> Bool {
        let room = 4 + Self.largestRequest - input.count
        guard room > 0 else { return true }
        let count = unsafe withUnsafeTemporaryAllocation(byteCount: room, alignment: 16) { place in
            guard let base = place.baseAddress else { return 0 }
            let count = unsafe receive(base, room)
            if count > 0 {
                unsafe input.append(contentsOf: UnsafeRawBufferPointer(rebasing: place[..<count]))
            }
            return count
        }
        if count > 0 { server.statistics.bytesReceived += UInt64(count) }
        return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))
    }

    private func receive(_ place: UnsafeMutableRawPointer, _ room: Int) -> Int {
        guard isLocal else { return unsafe stream.receive(place, room) }
        var came: Int32 = -1
        let count = unsafe clinux_receive_descriptor(stream.descriptor, place, room, &came)
        // Nobody is asked for a descriptor.
        if came >= 0 { close(came) }
        return count
    }

    /// Makes a message the output; the descriptor is the queue's to close.
    private func queue(_ reply: ApplianceReply, passing descriptor: Int32 = -1) -> Bool {
        passed = descriptor
        guard let body = try? JSONEncoder().encode(reply) else { return false }
        let count = UInt32(body.count)
        output = [24, 16, 8, 0].map { (shift: UInt32) in UInt8(truncatingIfNeeded: count >> shift) }
        output.append(contentsOf: body)
        sent = 0
        return true
    }

    /// Sends what the socket takes; false when it is broken.
    private func send(_ server: ApplianceServer) -> Bool {
        while sent < output.count {
            let result = unsafe output.withUnsafeMutableBytes { buffer in
                unsafe send(UnsafeMutableRawBufferPointer(rebasing: buffer[sent...]))
            }
            if result < 0 {
                if errno == EINTR { continue }
                return errno == EAGAIN
            }
            if passed >= 0 { close(passed) }
            passed = -1
            sent += result
            server.statistics.bytesSent += UInt64(result)
        }
        output.removeAll()
        stopTime()
        return true
    }

    private func send(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        guard isLocal else {
            var piece = unsafe iovec(iov_base: base, iov_len: bytes.count)
            return unsafe stream.send(&piece, 1)
        }
        return unsafe clinux_send_descriptor(stream.descriptor, base, bytes.count, passed)
    }
}
