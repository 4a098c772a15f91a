// Copies and comparisons between members of which at least one is far away: the bytes travel by way of this
// process, piece by piece.
//
//     begin ──▶ fetch a piece ──▶ store it ──▶ next piece … ──▶ the engine is told
//                (what is allocated)  (holes stay holes)

import Glibc
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

/// One operation whose data has to be fetched first.
@safe
final class Transfer {
    /// The most that is fetched at once, in bytes.
    static let pieceSize = UInt64(AccessWire.largestSpan)
    static let block: UInt64 = 4096

    /// A part of a piece; nil bytes: a hole.
    @safe struct Run {
        let range: ByteRange
        let bytes: UnsafeRawPointer?
    }

    let operation: RemoteOperation
    let source: MemberIndex
    let range: ByteRange
    var position: ByteOffset
    /// The blocks of the present piece, with their holes left out of `mask`.
    let buffer = UnsafeMutableRawPointer.allocate(
        byteCount: Int(pieceSize), alignment: Int(block))
    var mask: UInt64 = 0
    /// The digest that came first, when two are compared.
    var digest: [UInt8]?

    init?(_ operation: RemoteOperation) {
        guard let source = operation.sourceMember, let range = operation.range else { return nil }
        self.operation = operation
        self.source = source
        self.range = range
        position = range.start
    }

    deinit { unsafe buffer.deallocate() }

    /// What is carried over next: never across a boundary of 64 blocks.
    var piece: ByteRange {
        let limit = (position.bytes / Self.pieceSize + 1) * Self.pieceSize
        return ByteRange(
            start: position, count: ByteCount(min(limit, range.end.bytes) - position.bytes))
    }

    /// The same with whole blocks, as far as the volume goes.
    func blocks(ofVolumeOf size: ByteCount) -> ByteRange {
        let start = piece.start.bytes / Self.block * Self.block
        let end = min((piece.end.bytes + Self.block - 1) / Self.block * Self.block, size.bytes)
        return ByteRange(start: ByteOffset(start), count: ByteCount(end - start))
    }

    /// The runs of the present piece, allocated or not, with the place of each in `buffer`.
    func forEachRun(_ body: (Run) -> Void) {
        let first = piece.start.bytes / Self.block
        var rest = piece
        while !rest.isEmpty {
            let bit = rest.start.bytes / Self.block - first
            let isAllocated = mask & (1 << bit) != 0
            var end = bit
            while end < 64, (mask & (1 << end) != 0) == isAllocated { end += 1 }
            let limit = min((first + end) * Self.block, rest.end.bytes)
            let run = ByteRange(start: rest.start, count: ByteCount(limit - rest.start.bytes))
            let place = unsafe buffer + Int(run.start.bytes - first * Self.block)
            unsafe body(Run(range: run, bytes: isAllocated ? UnsafeRawPointer(place) : nil))
            rest = ByteRange(start: run.end, count: rest.count - run.count)
        }
    }

    /// Takes the reply to `readAllocated` of `blocks`; false when it makes no sense.
    func take(_ completion: AccessCompletion, of blocks: ByteRange) -> Bool {
        mask = 0
        guard completion.content == .blocks else { return completion.content == .zeroes }
        guard unsafe completion.bytes.count >= 8 else { return false }
        mask = UInt64(littleEndian: unsafe completion.bytes.loadUnaligned(as: UInt64.self))
        var place = 8
        for bit in 0..<UInt64(64) where mask & (1 << bit) != 0 {
            let start = bit * Self.block
            guard start < blocks.count.bytes else { return false }
            let count = Int(min(Self.block, blocks.count.bytes - start))
            guard unsafe completion.bytes.count >= place + count,
                let bytes = unsafe completion.bytes.baseAddress
            else { return false }
            unsafe memcpy(buffer + Int(start), bytes + place, count)
            place += count
        }
        return true
    }
}

extension Volume {
    /// Starts an operation whose target or source is far away.
    func beginTransfer(_ operation: RemoteOperation) {
        guard let transfer = Transfer(operation) else {
            return engine.complete(operation.ticket, on: operation.member, .failed)
        }
        transferNumber &+= 1
        transfers[transferNumber] = transfer
        advance(transfer, transferNumber)
    }

    private func advance(_ transfer: Transfer, _ number: UInt32) {
        guard transfer.position < transfer.range.end else { return finish(number, .done) }
        let target = transfer.operation.member.number
        guard links[target] != nil || views[target] != nil else { return finish(number, .failed) }
        let pending = PendingAccess(cookie: UInt64(number), purpose: AccessPurpose.fetch)
        if case .compare = transfer.operation.action,
            let link = links[transfer.source.number],
            let other = links[transfer.operation.member.number]
        {
            link.use { $0.digest(transfer.piece, pending) }
            return other.use { $0.digest(transfer.piece, pending) }
        }
        let blocks = transfer.blocks(ofVolumeOf: size)
        if let link = links[transfer.source.number] {
            return link.use { $0.readAllocated(blocks, pending) }
        }
        guard let view = views[transfer.source.number] else {
            return finish(number, .sourceFailed)
        }
        if case .compare = transfer.operation.action {
            // (The source is near, so the target is far: its bytes come here.)
            guard let link = links[transfer.operation.member.number] else {
                return finish(number, .failed)
            }
            return link.use { $0.readAllocated(blocks, pending) }
        }
        transfer.mask = unsafe view.load(blocks, into: transfer.buffer)
        store(transfer, number)
    }

    /// The reply to what was fetched for a transfer.
    func fetched(_ number: UInt32, _ completion: AccessCompletion, from member: MemberIndex) {
        guard let transfer = transfers[number] else { return }
        let operation = transfer.operation
        guard engine.awaits(operation.ticket, from: operation.member) else {
            transfers[number] = nil
            return
        }
        guard completion.status == .done else {
            return finish(number, member == operation.member ? .failed : .sourceFailed)
        }
        if case .compare = operation.action {
            return compare(transfer, number, completion)
        }
        guard transfer.take(completion, of: transfer.blocks(ofVolumeOf: size)) else {
            return finish(number, .sourceFailed)
        }
        store(transfer, number)
    }

    private func compare(_ transfer: Transfer, _ number: UInt32, _ completion: AccessCompletion) {
        if let view = views[transfer.source.number] ?? views[transfer.operation.member.number] {
            guard transfer.take(completion, of: transfer.blocks(ofVolumeOf: size)) else {
                return finish(number, .failed)
            }
            var isEqual: Bool? = true
            transfer.forEachRun { run in
                guard isEqual == true else { return }
                isEqual = unsafe view.equals(run.range, run.bytes, using: scratch)
            }
            guard let isEqual else { return finish(number, .failed) }
            guard isEqual else { return finish(number, .different) }
        } else {
            let digest = unsafe Array(completion.bytes)
            guard let first = transfer.digest else {
                transfer.digest = digest
                return
            }
            transfer.digest = nil
            guard first == digest else { return finish(number, .different) }
        }
        transfer.position = transfer.piece.end
        advance(transfer, number)
    }

    private func store(_ transfer: Transfer, _ number: UInt32) {
        let operation = transfer.operation
        let isLast = transfer.piece.end == transfer.range.end
        if let link = links[operation.member.number] {
            link.use { channel in
                record(transfer, isLast: isLast, on: channel)
                channel.commitWrite(
                    PendingAccess(cookie: UInt64(number), purpose: AccessPurpose.stored))
            }
            return
        }
        guard let view = views[operation.member.number] else { return finish(number, .failed) }
        let isDone = store(transfer, isLast: isLast, in: view)
        guard isDone else { return finish(number, .failed) }
        transfer.position = transfer.piece.end
        advance(transfer, number)
    }

    private func record(_ transfer: Transfer, isLast: Bool, on channel: RegionChannel) {
        if case .restore(let slot, let intent, _, _, _) = transfer.operation.action {
            channel.recorder.announceRepair(slot: slot, intent)
            allocation.insert(transfer.piece)
        }
        transfer.forEachRun { run in
            if let bytes = unsafe run.bytes {
                unsafe channel.recorder.storeData(
                    RemotePayload(bytes), skipping: .zero, at: run.range)
            } else {
                channel.recordZeroes(run.range, keepAllocated: false)
            }
        }
        guard isLast else { return }
        switch transfer.operation.action {
        case .restore(let slot, let intent, _, _, true): channel.recorder.land(slot: slot, intent)
        case .withdraw(let slot, _, _, _, true): channel.recorder.withdraw(slot: slot)
        default: break
        }
    }

    private func store(_ transfer: Transfer, isLast: Bool, in view: RegionView) -> Bool {
        if case .restore(let slot, let intent, _, _, _) = transfer.operation.action {
            view.announceRepair(slot: slot, intent)
        }
        if transfer.operation.isChange { allocation.insert(transfer.piece) }
        var isDone = true
        transfer.forEachRun { run in
            if let bytes = unsafe run.bytes {
                unsafe view.store(run.range, from: bytes)
            } else {
                isDone = view.zero(run.range, keepAllocated: false) && isDone
            }
        }
        guard isDone, isLast else { return isDone }
        switch transfer.operation.action {
        case .restore(let slot, let intent, _, _, true): view.land(slot: slot, intent)
        case .withdraw(let slot, _, _, _, true): view.withdraw(slot: slot)
        default: break
        }
        return true
    }

    /// The target answered that it has the present piece.
    func stored(_ number: UInt32, _ completion: AccessCompletion) {
        guard let transfer = transfers[number] else { return }
        guard completion.status == .done else { return finish(number, completion.outcome) }
        transfer.position = transfer.piece.end
        advance(transfer, number)
    }

    private func finish(_ number: UInt32, _ outcome: OperationOutcome) {
        guard let transfer = transfers.removeValue(forKey: number) else { return }
        let operation = transfer.operation
        engine.complete(operation.ticket, on: operation.member, outcome)
    }
}
