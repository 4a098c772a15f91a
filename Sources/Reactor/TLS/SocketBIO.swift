// How OpenSSL reaches the socket. Its own socket BIO writes with `write`, which ends the whole process
// with SIGPIPE when the peer has gone; this one sends with MSG_NOSIGNAL.

import CLinux
import COpenSSL
import Glibc

/// Makes BIOs over sockets that stay their stream's own.
enum SocketBIO {
    /// OpenSSL's table of functions. (Sendable: made once, before anybody has it, and never changed.)
    @safe
    private struct Method: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    private static let method: Method = {
        let type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
        guard let method = unsafe BIO_meth_new(type, "holdfast socket") else {
            preconditionFailure("no memory for TLS")
        }
        unsafe BIO_meth_set_write(method, send)
        unsafe BIO_meth_set_read(method, receive)
        unsafe BIO_meth_set_ctrl(method, control)
        return unsafe Method(pointer: method)
    }()

    static func make(_ descriptor: Int32) -> OpaquePointer {
        guard let bio = unsafe BIO_new(method.pointer) else {
            preconditionFailure("no memory for TLS")
        }
        // The descriptor stands in the pointer itself; plus one, as a pointer of 0 is none.
        unsafe BIO_set_data(bio, UnsafeMutableRawPointer(bitPattern: Int(descriptor) + 1))
        unsafe BIO_set_init(bio, 1)
        return unsafe bio
    }
}

private func descriptor(_ bio: OpaquePointer) -> Int32 {
    Int32(unsafe Int(bitPattern: BIO_get_data(bio)) - 1)
}

private func isForLater(_ code: Int32) -> Bool { code == EAGAIN || code == EINTR }

private func send(_ bio: OpaquePointer?, _ bytes: UnsafePointer<CChar>?, _ count: Int32) -> Int32 {
    guard let bio = unsafe bio, let bytes = unsafe bytes else { return -1 }
    unsafe copenssl_clear_retry(bio)
    let sent = unsafe Glibc.send(descriptor(bio), bytes, Int(count), Int32(MSG_NOSIGNAL))
    if sent < 0, isForLater(errno) { unsafe copenssl_retry_write(bio) }
    return Int32(sent)
}

private func receive(
    _ bio: OpaquePointer?, _ place: UnsafeMutablePointer<CChar>?, _ count: Int32
) -> Int32 {
    guard let bio = unsafe bio, let place = unsafe place else { return -1 }
    unsafe copenssl_clear_retry(bio)
    let received = unsafe recv(descriptor(bio), place, Int(count), 0)
    if received < 0, isForLater(errno) { unsafe copenssl_retry_read(bio) }
    return Int32(received)
}

private func control(
    _ bio: OpaquePointer?, _ command: Int32, _ number: Int, _ pointer: UnsafeMutableRawPointer?
) -> Int {
    // (Nothing is kept back, so there is nothing to flush; all else is not known here.)
    command == BIO_CTRL_FLUSH ? 1 : 0
}
