// The requests of clients that wait for their reply, and the data of reads until it is sent.
//
//     mapped      stays in the region, and is sent from there
//     far         stays in the channel's receive buffer; copied aside when the turn ends before it is sent
//     gathered    of an erasure set: put together in a buffer, which is freed when it was sent

import Glibc
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

extension Volume {
    /// Somebody waits for this reply.
    @safe struct PendingRequest: BitwiseCopyable {
        var connection: Unmanaged<Connection>?
        var cookie: UInt64 = 0
        var payload: UnsafeRawPointer?
        var range = ByteRange(start: ByteOffset(0), count: .zero)
        var kind = RequestKind.read
        /// A read whose data is to be one chunk.
        var isWhole = false
        /// The member that a read was carried out on; nil until it was.
        var source: MemberIndex?
        /// The data is here and not in mapped memory; nil for zeroes.
        var isFar = false
        var data: UnsafeRawPointer?
        /// The data is a copy of its own.
        var ownsData = false
    }

    /// Takes what a far member answered to a client's read.
    @inline(__always)
    func take(_ completion: AccessCompletion, for token: UInt32) {
        unsafe pending[Int(token)].data =
            completion.content == .bytes ? completion.bytes.baseAddress : nil
        pending[Int(token)].isFar = true
        if completion.content == .bytes, freshReadCount < Self.requestLimit {
            freshReads[freshReadCount] = token
            freshReadCount += 1
        }
    }

    /// Copies the data of reads that are not answered yet: what was received stays only until more is.
    func keepUnansweredReads() {
        for index in 0..<freshReadCount {
            let token = Int(freshReads[index])
            guard let data = unsafe pending[token].data, !pending[token].ownsData else { continue }
            let count = Int(pending[token].range.count.bytes)
            let copy = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
            unsafe memcpy(copy, data, count)
            unsafe pending[token].data = UnsafeRawPointer(copy)
            pending[token].ownsData = true
        }
        freshReadCount = 0
    }

    /// Copies what reads that wait for certainty have in memory that is about to be unmapped.
    func keepUnansweredReads(of member: MemberIndex, _ view: RegionView) {
        for token in 0..<Self.requestLimit where pending[token].source == member {
            guard !pending[token].isFar else { continue }
            let range = pending[token].range
            let count = Int(range.count.bytes)
            let copy = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
            unsafe memcpy(copy, view.bytes(range), count)
            unsafe pending[token].data = UnsafeRawPointer(copy)
            pending[token].isFar = true
            pending[token].ownsData = true
        }
    }
}
