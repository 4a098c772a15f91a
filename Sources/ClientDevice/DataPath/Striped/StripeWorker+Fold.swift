// Scrubbing: what members hold is folded where it is, and here it is seen whether the folds belong together.

import ErasureCoding
import Glibc
import RemoteMemory

extension StripeWorker {
    /// How much a member's folds take, in bytes.
    var foldBytes: Int { geometry.memberCount * Fold.size }

    /// Starts a member's folds with zeroes.
    func clearFolds(of member: MemberIndex, in work: UInt8) {
        unsafe memset(memory.place(work, member, .zero), 0, foldBytes)
    }

    /// Adds `span`, whole rows or a part of one that starts at a fold's block, to a member's folds; without
    /// `bytes` it is zeroes.
    func addToFolds(
        _ bytes: UnsafeRawPointer?, of span: ByteRange, on member: MemberIndex, in work: UInt8
    ) {
        var rest = span
        while !rest.isEmpty {
            let inChunk = geometry.chunk.bytes - column(of: rest.start).bytes
            let count = ByteCount(min(rest.count.bytes, inChunk))
            let role = Int(stripe(at: rest.start) % UInt64(geometry.memberCount))
            let sums = unsafe memory.place(work, member, ByteCount(UInt64(role * Fold.size)))
            if let bytes = unsafe bytes {
                unsafe Fold.add(
                    bytes + Int((rest.start - span.start).bytes), count: Int(count.bytes), to: sums)
            } else {
                unsafe Fold.addZeroes(count: Int(count.bytes), to: sums)
            }
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
    }

    /// Whether the folds of more than K members belong together.
    ///
    /// K of them tell what those of the others have to be; that is put behind the folds.
    func foldsBelongTogether(_ members: MemberSet, in work: UInt8) -> Bool {
        precondition(members.count > geometry.dataShards, "there is something to prove")
        for role in 0..<UInt64(geometry.memberCount) {
            let offset = ByteCount(role * UInt64(Fold.size))
            point(to: role, in: work, offset)
            var survivors = ShardSet()
            var others = ShardSet()
            for member in members {
                let shard = ShardIndex(geometry.shard(of: member, in: role))
                if survivors.count < geometry.dataShards {
                    survivors.insert(shard)
                } else {
                    others.insert(shard)
                }
            }
            for shard in others {
                let member = geometry.member(of: shard.number, in: role)
                let found = unsafe memory.place(work, member, offset)
                let expected = unsafe memory.place(
                    work, member, ByteCount(UInt64(foldBytes)))
                unsafe replace(shard, by: expected)
                reconstruct(shard, from: survivors, count: Fold.size)
                guard unsafe memcmp(found, expected, Fold.size) == 0 else { return false }
            }
        }
        return true
    }
}
