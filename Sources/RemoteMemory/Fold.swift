// What a member of an erasure set holds, folded to a few hundred bytes: what a scrub compares.
//
//     chunk    │ 512 bytes │ 512 bytes │ …        added up (XOR), byte by byte
//     rows     those whose number leaves the same rest by N have the same roles: they are added up, too
//     fold     │ rest 0 │ rest 1 │ … │ rest N-1 │
//
// The code is linear and works byte by byte, so the folds of a stripe belong together like its chunks do. A
// difference in one place shows; two in the same place of two rows could cancel each other.

/// Sums of a member's rows.
public enum Fold {
    /// Of each sum, in bytes: no chunk is smaller.
    @inlinable public static var size: Int { Int(StripeGeometry.foldSize.bytes) }

    /// Adds bytes up: those at `source` onto the sum at `sum`.
    ///
    /// - Parameters:
    ///   - source: Where they are.
    ///   - count: How many; a multiple of `size`.
    ///   - sum: Where the sum is.
    @inlinable
    public static func add(
        _ source: UnsafeRawPointer, count: Int, to sum: UnsafeMutableRawPointer
    ) {
        precondition(count % size == 0, "whole sums are added up")
        var start = 0
        while start < count {
            for word in 0..<size / 8 {
                let added =
                    unsafe sum.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
                    ^ source.loadUnaligned(fromByteOffset: start + word * 8, as: UInt64.self)
                unsafe sum.storeBytes(of: added, toByteOffset: word * 8, as: UInt64.self)
            }
            start += size
        }
    }
}
