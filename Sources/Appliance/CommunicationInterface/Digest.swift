// The SHA-256 of region memory, a step at a time.

import COpenSSL

/// A digest under way.
@safe
final class Digest {
    /// Of the result, in bytes.
    static let size = 32

    private let context: OpaquePointer
    /// How many bytes have been added.
    private(set) var count: UInt64 = 0

    /// Nil when the library has no memory for it.
    init?() {
        guard let context = unsafe EVP_MD_CTX_new() else { return nil }
        guard unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            unsafe EVP_MD_CTX_free(context)
            return nil
        }
        unsafe self.context = context
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    func add(_ bytes: UnsafeRawBufferPointer) -> Bool {
        count += UInt64(bytes.count)
        return unsafe EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1
    }

    /// Ends it, and writes the result to `size` bytes at `place`.
    func finish(_ place: UnsafeMutableRawPointer) -> Bool {
        var length: UInt32 = 0
        return unsafe EVP_DigestFinal_ex(
            context, place.assumingMemoryBound(to: UInt8.self), &length) == 1
    }
}
