// What a member of an erasure set holds, folded to a few hundred bytes: what a scrub compares.
//
//     chunk    │ block │ block │ …               of 512 bytes each, added up byte by byte
//     rows     those whose number leaves the same rest by N have the same roles: they are added up, too
//     fold     │ rest 0: plain sum, weighted sum │ rest 1 │ … │ rest N-1 │
//
// The code is linear and works byte by byte, so both sums of a stripe belong together like its chunks do:
//
//     plain       b₀ + b₁ + … + bₙ               where + is XOR
//     weighted    2ⁿ·b₀ + 2ⁿ⁻¹·b₁ + … + bₙ       in the field of the code
//
// Two blocks that are wrong by the same bytes cancel each other in the plain sum, but not in the weighted one,
// unless a multiple of 255 blocks lies between them: then 2 has come round. (A CRC of each chunk would see more
// of one member, and could be held against nothing: a parity's CRC does not follow from those of the data.)

/// Sums of a member's rows.
public enum Fold {
    /// What is added up at a time, in bytes: no chunk is smaller.
    @inlinable public static var block: Int { Int(StripeGeometry.foldSize.bytes) }
    /// Of both sums of a role, in bytes.
    @inlinable public static var size: Int { 2 * block }

    /// Adds blocks to a role's sums.
    ///
    /// - Parameters:
    ///   - source: Where they are.
    ///   - count: How many bytes; a multiple of `block`.
    ///   - sums: Where the sums are: `size` bytes.
    @inlinable
    public static func add(
        _ source: UnsafeRawPointer, count: Int, to sums: UnsafeMutableRawPointer
    ) {
        precondition(count % block == 0, "whole blocks are added up")
        for start in stride(from: 0, to: count, by: block) {
            for place in stride(from: 0, to: block, by: 8) {
                let word = unsafe source.loadUnaligned(
                    fromByteOffset: start + place, as: UInt64.self)
                let plain = unsafe sums.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                let weighted = unsafe sums.loadUnaligned(
                    fromByteOffset: block + place, as: UInt64.self)
                unsafe sums.storeBytes(of: plain ^ word, toByteOffset: place, as: UInt64.self)
                unsafe sums.storeBytes(
                    of: doubled(weighted) ^ word, toByteOffset: block + place, as: UInt64.self)
            }
        }
    }

    /// Adds blocks of zeroes.
    ///
    /// - Parameters:
    ///   - count: How many bytes; a multiple of `block`.
    ///   - sums: Where the sums are: `size` bytes.
    public static func addZeroes(count: Int, to sums: UnsafeMutableRawPointer) {
        precondition(count % block == 0, "whole blocks are added up")
        for _ in 0..<count / block % period {
            for place in stride(from: block, to: size, by: 8) {
                let weighted = unsafe sums.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                unsafe sums.storeBytes(
                    of: doubled(weighted), toByteOffset: place, as: UInt64.self)
            }
        }
    }

    /// After so many doublings everything is as it was.
    private static let period = 255

    /// Eight numbers of the field, each times 2: the polynomial is that of the code, x⁸ + x⁴ + x³ + x² + 1.
    @inlinable @inline(__always)
    static func doubled(_ word: UInt64) -> UInt64 {
        let high = word & 0x8080_8080_8080_8080
        return (word ^ high) << 1 ^ (high >> 7) &* 0x1d
    }
}
