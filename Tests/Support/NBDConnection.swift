// libnbd in Swift: one connection to one export, with blocking and pipelined commands.
//
// libnbd's own checks are off unless a test wants them: what the *server* answers is what counts.

import Clibnbd
import Glibc

/// What libnbd reported: the error the server sent, or its own.
package struct NBDError: Error, Equatable, CustomStringConvertible {
    /// An errno value.
    package let code: Int32
    package let message: String

    /// An error is equal to any other of its code.
    package init(code: Int32, message: String = "") {
        self.code = code
        self.message = message
    }

    /// libnbd's last error in this thread.
    static func last() -> NBDError {
        NBDError(
            code: nbd_get_errno(),
            message: nbd_get_error().map { String(cString: $0) } ?? "no message")
    }

    package var description: String { "\(message) (errno \(code))" }

    package static func == (left: NBDError, right: NBDError) -> Bool { left.code == right.code }
}

/// Request flags, as the protocol numbers them.
package enum RequestFlag {
    package static let fua: UInt32 = 1 << 0
    package static let noHole: UInt32 = 1 << 1
    package static let fastZero: UInt32 = 1 << 4
}

/// A connection to an export; for use by one thread at a time.
package final class NBDConnection {
    private let handle: OpaquePointer

    /// Connects to the export `uri` names and finishes the handshake.
    package init(_ uri: String) throws(NBDError) {
        guard let handle = nbd_create() else { throw NBDError.last() }
        // The deinit closes the handle, also when what follows throws.
        self.handle = handle
        try Self.check(nbd_set_strict_mode(handle, 0))
        // (What proves a client under TLS is named in the URI, and is a file.)
        try Self.check(nbd_set_uri_allow_local_file(handle, true))
        try Self.check(nbd_connect_uri(handle, uri))
    }

    deinit {
        nbd_close(handle)
    }

    /// Says goodbye (DISC), having waited for nothing.
    package func shutdown() throws(NBDError) {
        try Self.check(nbd_shutdown(handle, 0))
    }

    // MARK: What the server advertised

    package var isEncrypted: Bool { nbd_get_tls_negotiated(handle) == 1 }
    package var size: Int64 { nbd_get_size(handle) }
    package var isReadOnly: Bool { nbd_is_read_only(handle) == 1 }
    package var canFlush: Bool { nbd_can_flush(handle) == 1 }
    package var canFUA: Bool { nbd_can_fua(handle) == 1 }
    package var canTrim: Bool { nbd_can_trim(handle) == 1 }
    package var canZero: Bool { nbd_can_zero(handle) == 1 }
    package var canFastZero: Bool { nbd_can_fast_zero(handle) == 1 }
    package var canCache: Bool { nbd_can_cache(handle) == 1 }
    package var canMultiConn: Bool { nbd_can_multi_conn(handle) == 1 }

    /// The minimum, preferred and maximum block size in bytes; 0 where none was advertised.
    package var blockSizes: (minimum: Int64, preferred: Int64, maximum: Int64) {
        (
            nbd_get_block_size(handle, Int32(LIBNBD_SIZE_MINIMUM)),
            nbd_get_block_size(handle, Int32(LIBNBD_SIZE_PREFERRED)),
            nbd_get_block_size(handle, Int32(LIBNBD_SIZE_MAXIMUM))
        )
    }

    // MARK: Blocking commands

    package func read(_ count: Int, at offset: UInt64, flags: UInt32 = 0) throws(NBDError)
        -> [UInt8]
    {
        // One byte more, so that an empty read has an address too.
        var bytes = [UInt8](repeating: 0xEE, count: count + 1)
        try Self.check(nbd_pread(handle, &bytes, count, offset, flags))
        bytes.removeLast()
        return bytes
    }

    package func write(_ bytes: [UInt8], at offset: UInt64, flags: UInt32 = 0) throws(NBDError) {
        let source = bytes.isEmpty ? [0] : bytes
        try Self.check(nbd_pwrite(handle, source, bytes.count, offset, flags))
    }

    package func trim(_ count: UInt64, at offset: UInt64, flags: UInt32 = 0) throws(NBDError) {
        try Self.check(nbd_trim(handle, count, offset, flags))
    }

    package func zero(_ count: UInt64, at offset: UInt64, flags: UInt32 = 0) throws(NBDError) {
        try Self.check(nbd_zero(handle, count, offset, flags))
    }

    package func cache(_ count: UInt64, at offset: UInt64) throws(NBDError) {
        try Self.check(nbd_cache(handle, count, offset, 0))
    }

    package func flush() throws(NBDError) {
        try Self.check(nbd_flush(handle, 0))
    }

    // MARK: Pipelined commands

    /// Names a command under way on this connection.
    package struct Cookie: Sendable {
        fileprivate let number: UInt64
    }

    /// A command's outcome so far.
    package enum Progress {
        case underWay
        case done
        case failed(NBDError)
    }

    /// Submits a read into `buffer`, which must live and be left alone until it is done.
    package func submitRead(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(NBDError) -> Cookie {
        try Self.cookie(
            nbd_aio_pread(
                handle, buffer.baseAddress, buffer.count, offset, nbd_completion_callback(), 0))
    }

    /// Submits a write of `buffer`, which must live and be left alone until it is done.
    package func submitWrite(
        _ buffer: UnsafeRawBufferPointer, at offset: UInt64, flags: UInt32 = 0
    ) throws(NBDError) -> Cookie {
        try Self.cookie(
            nbd_aio_pwrite(
                handle, buffer.baseAddress, buffer.count, offset, nbd_completion_callback(), flags))
    }

    package func submitZero(
        _ count: UInt64, at offset: UInt64, flags: UInt32 = 0
    ) throws(NBDError) -> Cookie {
        try Self.cookie(nbd_aio_zero(handle, count, offset, nbd_completion_callback(), flags))
    }

    package func submitFlush() throws(NBDError) -> Cookie {
        try Self.cookie(nbd_aio_flush(handle, nbd_completion_callback(), 0))
    }

    /// Moves bytes until something happens, at most `limit`; false when the connection is lost.
    package func poll(atMost limit: Duration) -> Bool {
        nbd_poll(handle, Int32(limit / .milliseconds(1))) >= 0 && !isLost
    }

    /// The outcome of `cookie`, told once: what is no longer under way is forgotten.
    package func progress(of cookie: Cookie) -> Progress {
        switch nbd_aio_command_completed(handle, cookie.number) {
        case 0: .underWay
        case 1: .done
        default: .failed(NBDError.last())
        }
    }

    /// Waits for `cookie`, at most `limit`.
    package func wait(for cookie: Cookie, atMost limit: Duration = .seconds(60)) throws(NBDError) {
        let deadline = ContinuousClock.now + limit
        while true {
            switch progress(of: cookie) {
            case .done: return
            case .failed(let error): throw error
            case .underWay: break
            }
            guard ContinuousClock.now < deadline else {
                throw NBDError(code: ETIMEDOUT, message: "no reply within \(limit)")
            }
            guard poll(atMost: .milliseconds(100)) else { throw NBDError.last() }
        }
    }

    /// Whether the server has gone, or broke the protocol.
    package var isLost: Bool {
        nbd_aio_is_dead(handle) != 0 || nbd_aio_is_closed(handle) != 0
    }

    private static func check(_ result: Int32) throws(NBDError) {
        guard result >= 0 else { throw NBDError.last() }
    }

    private static func cookie(_ result: Int64) throws(NBDError) -> Cookie {
        guard result >= 0 else { throw NBDError.last() }
        return Cookie(number: UInt64(result))
    }
}
