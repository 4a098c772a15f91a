// Options for connections between machines, the same for appliances and client devices.

import ArgumentParser
import Glibc
import Logging
import Reactor
import TCPTransport

/// What proves to other machines who this is, and what they have to prove.
struct SecurityOptions: ParsableArguments {
    /// The name of the key that is taken without being asked for, in the directory of --dir.
    static let standardKey = "cluster.key"

    @Option(
        help: ArgumentHelp(
            "The cluster key, the same on all machines, from 'holdfast key create' (default: "
                + "cluster.key in --dir, if there is one).", valueName: "file"))
    var clusterKey: String?
    @Option(
        help: ArgumentHelp("This machine's certificate, in PEM form.", valueName: "file"))
    var tlsCertificate: String?
    @Option(
        help: ArgumentHelp("The private key of the certificate.", valueName: "file"))
    var tlsKey: String?
    @Option(
        help: ArgumentHelp(
            "The authority that issued the certificates of all machines.", valueName: "file"))
    var tlsAuthority: String?
    @Flag(
        help: "Let other machines connect without any proof. For a network that is yours alone.")
    var insecure = false
    @Flag(
        help: "Prove the cluster key, then send data as it is. For a network that nobody reads.")
    var noEncryption = false

    mutating func validate() throws {
        let given = [tlsCertificate, tlsKey, tlsAuthority].count { $0 != nil }
        guard given == 0 || given == 3 else {
            throw ValidationError(
                "give all of --tls-certificate, --tls-key and --tls-authority, or none of them")
        }
    }

    /// What the options come to; a key that is not named is looked for in `directory`.
    func security(directory: String?) throws -> PeerSecurity {
        var certificates: TLSCertificates?
        if let tlsCertificate, let tlsKey, let tlsAuthority {
            certificates = TLSCertificates(
                certificate: tlsCertificate, privateKey: tlsKey, authority: tlsAuthority)
        }
        let key = try keyFile(in: directory).map { try ClusterKey(file: $0) }
        return try PeerSecurity(
            key: key, certificates: certificates, allowsInsecure: insecure,
            encrypts: !noEncryption)
    }

    /// Reads the files again and lets them be adopted; what was in use stays so when that fails.
    func reread(
        directory: String?, _ log: Logger, adopt: (PeerSecurity) async throws -> Void
    ) async {
        do {
            let security = try security(directory: directory)
            try await adopt(security)
            guard security.key != nil || security.certificates != nil else {
                return log.info("SIGHUP: nothing to reread")
            }
            log.info("SIGHUP: the cluster key and certificates were reread, for new connections")
        } catch {
            log.error("SIGHUP: \(error); those in use stay so")
        }
    }

    private func keyFile(in directory: String?) -> String? {
        if let clusterKey { return clusterKey }
        guard let directory else { return nil }
        // (What is there and cannot be read is an error, not a reason to go on without.)
        let file = "\(directory)/\(Self.standardKey)"
        return unsafe access(file, F_OK) == 0 || errno != ENOENT ? file : nil
    }
}
