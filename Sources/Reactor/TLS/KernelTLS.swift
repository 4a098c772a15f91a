// Sealing in the kernel: what is sent from then on is plain bytes here, and records on the wire. It saves a copy
// in this process, and all of the sealing where the network card does it.
//
// Only sending. Clients change their key as they go (GnuTLS after 2^24 records), and a kernel before 6.14 cannot
// follow that: it would end the connections that are used the most. Nor can it change the key that it seals with,
// which is then used for longer than RFC 8446 section 5.5 recommends, as by everybody who lets it seal.

import CLinux

/// The kernel's TLS, where there is one and the socket is of TCP.
enum KernelTLS {
    /// Has the kernel seal what is sent from now on; false when it does not, and nothing has changed.
    static func seal(_ descriptor: Int32, _ secret: TrafficSecret, sequence: UInt64) -> Bool {
        let (key, vector) = (secret.key, secret.initialVector)
        return unsafe clinux_kernel_tls_seal(
            descriptor, Int32(secret.suite.rawValue), key, vector, sequence) == 0
    }

    /// Sends a message about the connection as a record of its own, if it goes at once.
    static func send(_ type: UInt8, _ message: [UInt8], to descriptor: Int32) {
        unsafe clinux_kernel_tls_send(descriptor, type, message, message.count)
    }
}
