// What the operator chose for connections between machines, and what follows from it for each address.
//
//                          no proof       certificates    key             key and certificates
//     unix socket          plain          plain           plain           plain
//     loopback             plain          TLS             plain + key     plain + key
//     other                refused (1)    TLS             TLS (2)         TLS + key (2)
//
//     (1) unless --insecure: plain, without any proof    (2) with --no-encryption: plain + key
//
// "+ key" is the challenge of the opening. It is made under TLS too: with a key alone it repeats what TLS
// has proven, with certificates it makes both necessary. A server takes what the table has for the peer,
// and TLS also where it could do without.

import CLinux
import Glibc
public import Reactor

/// Why an address may not be used.
public enum SecurityError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Whoever reaches the network could read and write every volume.
    case unprotected(Address)
    /// Without encryption certificates prove nothing, and there is no key.
    case unprovable(Address)
    /// What was chosen anew has no key, and what it is to replace has one.
    case keyless

    public var description: String {
        switch self {
        case .unprotected(let address):
            "\(address) can be reached from other machines, so both sides must prove who they are: give "
                + "--cluster-key or certificates (or --insecure on a network that is yours alone)"
        case .unprovable(let address):
            "\(address) cannot be protected by certificates without encryption: leave out "
                + "--no-encryption or give --cluster-key"
        case .keyless:
            "the cluster key is gone, and nothing goes on without: put its file back, or stop this "
                + "process and start it without a key"
        }
    }
}

/// How a connection is protected.
public enum Protection: Sendable {
    case tls(TLSContext)
    /// As it is; with the challenge of the opening if there is a key.
    case plain
}

/// What the operator chose.
public struct PeerSecurity: Sendable {
    public let key: ClusterKey?
    public let certificates: TLSCertificates?
    public let allowsInsecure: Bool
    public let encrypts: Bool
    /// What TLS connections are made with, if there is anything to make them with.
    private let context: TLSContext?

    /// No proof of any kind: for Unix sockets and loopback.
    public static let local = PeerSecurity()

    private init() {
        key = nil
        certificates = nil
        allowsInsecure = false
        encrypts = true
        context = nil
    }

    /// - Throws: `TLSError` when the files of the certificates cannot be used.
    public init(
        key: ClusterKey?, certificates: TLSCertificates? = nil, allowsInsecure: Bool = false,
        encrypts: Bool = true
    ) throws(TLSError) {
        self.key = key
        self.certificates = certificates
        self.allowsInsecure = allowsInsecure
        self.encrypts = encrypts
        if let certificates {
            context = try TLSContext(certificates: certificates)
        } else if let key {
            context = try TLSContext(key: key.derived(for: "holdfast tls 1.3"))
        } else {
            context = nil
        }
    }

    /// How a client device connects to an appliance there.
    public func protection(ofConnectionTo address: Address) throws(SecurityError) -> Protection {
        guard case .tcp(let host, _) = address else { return .plain }
        guard !takesPlain(fromLoopback: Self.isLoopback(host)) else { return .plain }
        guard let context else { throw .unprotected(address) }
        guard encrypts else { throw .unprovable(address) }
        return .tls(context.connecting(to: host))
    }

    /// Whether anybody who proves what is asked for can connect there, and nobody else.
    public func mayListen(at address: Address) throws(SecurityError) {
        _ = try protection(ofConnectionTo: address)
    }

    /// Whether it may take the place of what was chosen before, at the same addresses.
    ///
    /// A key file that disappeared is a mistake, and not the wish to go on without proof.
    public func mayReplace(_ former: PeerSecurity) throws(SecurityError) {
        if former.key != nil, key == nil { throw .keyless }
    }

    /// What the operator should be told about an address, once; nil when all is well.
    public func warning(about address: Address) -> String? {
        guard case .tcp(let host, _) = address, !Self.isLoopback(host),
            takesPlain(fromLoopback: false)
        else { return nil }
        return key == nil
            ? "whoever can reach \(address) can read and write every volume: --insecure is on"
            : "whoever is on the way to \(address) can read and change all data: --no-encryption is on"
    }

    /// Takes over a connection that was accepted; the descriptor must be non-blocking.
    public func accept(
        _ descriptor: Int32, from peerIsLoopback: Bool, isBusy: Bool = false
    ) -> IncomingStream {
        IncomingStream(
            descriptor, key: key, tls: context,
            takesPlain: takesPlain(fromLoopback: peerIsLoopback), isBusy: isBusy)
    }

    /// Whether a connection may do without TLS.
    private func takesPlain(fromLoopback isLoopback: Bool) -> Bool {
        if isLoopback { return key != nil || certificates == nil }
        if key != nil { return !encrypts }
        return certificates == nil && allowsInsecure
    }

    /// Whether a host is this machine under an address that no other can reach.
    public static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" { return true }
        var short = in_addr()
        if unsafe inet_pton(AF_INET, host, &short) == 1 {
            return UInt32(bigEndian: short.s_addr) >> 24 == 127
        }
        var long = in6_addr()
        guard unsafe inet_pton(AF_INET6, host, &long) == 1 else { return false }
        return unsafe withUnsafeBytes(of: long) { unsafe isLoopback($0) }
    }

    /// Whether who is connected there is on this machine: by loopback, or by a Unix socket.
    public static func isLoopback(peerOf descriptor: Int32) -> Bool {
        var peer = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutablePointer(to: &peer) { place in
            unsafe place.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getpeername(descriptor, $0, &size)
            }
        }
        guard result == 0 else { return false }
        return unsafe withUnsafeBytes(of: peer) { bytes in
            switch Int32(peer.ss_family) {
            case AF_UNIX: true
            case AF_INET: unsafe bytes[4] == 127
            case AF_INET6: unsafe isLoopback(UnsafeRawBufferPointer(rebasing: bytes[8..<24]))
            default: false
            }
        }
    }

    /// `::1`, or 127.0.0.0/8 as it appears on a socket for both families.
    private static func isLoopback(_ address: UnsafeRawBufferPointer) -> Bool {
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127]
        let one = [UInt8](repeating: 0, count: 15) + [1]
        return unsafe address.starts(with: mapped) || address.elementsEqual(one)
    }
}
