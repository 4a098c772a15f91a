// What NBD clients have to prove, at which address, and what they may use then.
//
//                        no credentials    --nbd-tls allowed     --nbd-tls required
//     nbd.sock           plain             plain or TLS          plain or TLS          its user's alone, by its mode
//     unix, loopback     plain             plain or TLS          TLS
//     other              refused (1)       refused (1)           TLS
//
//     (1) unless --nbd-insecure: whoever reaches it may use it
//
// TLS always comes with proof: a certificate of the authority, or a key of the file. Who connects without it
// has no name, and may use what `--nbd-allow` grants to everybody; at nbd.sock, everything.

package import BlockServer
package import Reactor
import TCPTransport

/// Why NBD may not be served at an address.
package struct UnprotectedAddress: Error, Hashable, Sendable, CustomStringConvertible {
    package let address: Address

    package var description: String {
        "\(address) can be reached from other machines, so NBD clients must prove who they are there: give "
            + "--nbd-psk-file, or --nbd-certificate, --nbd-key and --nbd-authority (or --nbd-insecure on a "
            + "network that is yours alone)"
    }
}

/// What the operator chose for NBD clients.
package struct DoorSecurity: Sendable {
    package let policy: TLSPolicy
    /// What TLS is spoken with; nil when the policy is off.
    let context: TLSContext?
    package let grants: ExportGrants
    package let allowsInsecure: Bool

    /// No TLS and no rules: for Unix sockets and loopback.
    package static let open = DoorSecurity(policy: .off, context: nil)

    package init(
        policy: TLSPolicy, context: TLSContext?, grants: ExportGrants = .none,
        allowsInsecure: Bool = false
    ) {
        precondition((policy == .off) == (context == nil), "TLS needs something to prove")
        self.policy = policy
        self.context = context
        self.grants = grants
        self.allowsInsecure = allowsInsecure
    }

    /// Whether everybody who can connect there is who may.
    package func mayListen(at address: Address) throws(UnprotectedAddress) {
        guard Self.isOpenToOthers(address), policy != .required, !allowsInsecure else { return }
        throw UnprotectedAddress(address: address)
    }

    /// What the operator should be told about an address, once; nil when all is well.
    package func warning(about address: Address) -> String? {
        guard Self.isOpenToOthers(address), policy != .required else { return nil }
        return "whoever can reach \(address) can read and write volumes: --nbd-insecure is on"
    }

    private static func isOpenToOthers(_ address: Address) -> Bool {
        guard case .tcp(let host, _) = address else { return false }
        return !PeerSecurity.isLoopback(host)
    }
}

/// A place to listen at, and whether it is the client device's own: there the file's mode lets in its user
/// alone, who could read the keys as well.
struct Doorway {
    let listener: Listener
    let isOwn: Bool

    func policy(_ security: DoorSecurity) -> TLSPolicy {
        isOwn && security.policy == .required ? .allowed : security.policy
    }

    func access(_ security: DoorSecurity, of names: [String]) -> ExportAccess {
        isOwn ? .everything : security.grants.access(of: names)
    }
}

extension TLSError {
    /// Why a client was not let in, in words for the log of the server.
    var ofClient: String {
        switch self {
        case .expired: "the client's certificate has expired: renew it"
        case .notYetValid:
            "the client's certificate is not valid yet: check the clocks of both machines"
        case .unknownAuthority:
            "the client's certificate was not issued by the authority of --nbd-authority"
        case .wrongKey: "the client has another key than --nbd-psk-file has for its name"
        case .noCommonProof:
            "the client shows no certificate, and no key of --nbd-psk-file: give it one"
        case .notTLS: "what the client sends is no TLS"
        case .oldVersion: "the client is too old for TLS 1.3"
        case .ownCertificateExpired: "the client says that --nbd-certificate has expired: renew it"
        case .ownAuthorityUnknown:
            "the client does not know the authority that issued --nbd-certificate"
        case .ownCertificateMissing, .ownCertificateRefused:
            "the client refuses --nbd-certificate: see that it names the host the client connects to"
        case .damaged: "what arrived is not what the client sealed: something between changes it"
        case .outOfTurn: "the client sends what may not come then"
        case .kernelKeepsKey:
            "the client asks for another key, and the kernel cannot change it: serve with "
                + "--no-nbd-kernel-tls"
        case .closed: "the client closed the connection in the TLS handshake"
        case .badCertificate, .wrongHost, .system, .failed, .unreadable, .noCertificate,
            .noPrivateKey, .exposedPrivateKey, .strangerPrivateKey:
            "TLS with the client failed: \(self)"
        }
    }
}
