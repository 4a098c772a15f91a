// Options for whom NBD is served to, the same for `serve` and for `up`, which hands them on.

public import ArgumentParser
public import BlockServer
import ClientDevice
import Foundation
import Logging
import Reactor

/// Where NBD is served, what clients prove there, and what they may use then.
struct NBDOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where else to serve NBD: unix:PATH or tcp:HOST:PORT.", valueName: "address"))
    var nbd: [String] = []
    @Option(
        help: ArgumentHelp(
            "Whether NBD clients speak TLS at --nbd addresses: off, allowed or required (required, if "
                + "there is anything to prove it with).", valueName: "policy"))
    var nbdTls: TLSPolicy?
    @Option(
        help: ArgumentHelp("The NBD server's certificate, in PEM form.", valueName: "file"))
    var nbdCertificate: String?
    @Option(help: ArgumentHelp("The private key of --nbd-certificate.", valueName: "file"))
    var nbdKey: String?
    @Option(
        help: ArgumentHelp(
            "The authority that issued the certificates of NBD clients.", valueName: "file"))
    var nbdAuthority: String?
    @Option(
        help: ArgumentHelp(
            "Keys of NBD clients, as psktool writes them: NAME:KEY on a line.", valueName: "file"))
    var nbdPskFile: String?
    @Flag(
        inversion: .prefixedNo,
        help: "Leave encrypting what NBD clients are sent over TCP to the kernel, where it can.")
    var nbdKernelTls = true
    @Option(
        help: ArgumentHelp(
            "What an NBD client may use: IDENTITY=VOLUME,VOLUME, with * for everybody or everything. May "
                + "be given several times; without any, who is let in may use everything.",
            valueName: "rule"))
    var nbdAllow: [String] = []
    @Option(
        help: ArgumentHelp(
            "More of --nbd-allow: a rule on a line; reread at SIGHUP.", valueName: "file"))
    var nbdAllowFile: String?
    @Flag(
        help:
            "Serve NBD at addresses of the network without TLS. For a network that is yours alone.")
    var nbdInsecure = false
    @Flag(
        help: """
            When stopping, answer what NBD clients still ask for with ESHUTDOWN, for two seconds at most, and then \
            close; otherwise they only see a closed connection. Not where volumes are disks of Linux: its own NBD \
            client takes the answer for the end of the device.
            """)
    var nbdAnnounceShutdown = false
    @OptionGroup var limits: DoorLimitOptions

    mutating func validate() throws {
        do {
            for address in nbd { _ = try Address(address) }
            _ = try ExportGrants(nbdAllow)
        } catch {
            throw ValidationError("\(error)")
        }
        let given = [nbdCertificate, nbdKey, nbdAuthority].count { $0 != nil }
        guard given == 0 || given == 3 else {
            throw ValidationError(
                "give all of --nbd-certificate, --nbd-key and --nbd-authority, or none of them")
        }
        guard policy == .off || hasCredentials else {
            throw ValidationError(
                "--nbd-tls \(policy.rawValue) needs --nbd-psk-file, or --nbd-certificate, --nbd-key and "
                    + "--nbd-authority")
        }
    }

    private var hasCredentials: Bool { nbdCertificate != nil || nbdPskFile != nil }

    private var policy: TLSPolicy { nbdTls ?? (hasCredentials ? .required : .off) }

    /// What the options come to; reads the files.
    func security() throws -> DoorSecurity {
        var grants = try nbdAllow.isEmpty ? ExportGrants.none : ExportGrants(nbdAllow)
        if let nbdAllowFile { grants = grants.adding(try Self.grants(file: nbdAllowFile)) }
        guard policy != .off else {
            return DoorSecurity(
                policy: .off, context: nil, grants: grants, allowsInsecure: nbdInsecure)
        }
        var certificates: TLSCertificates?
        if let nbdCertificate, let nbdKey, let nbdAuthority {
            certificates = TLSCertificates(
                certificate: nbdCertificate, privateKey: nbdKey, authority: nbdAuthority)
        }
        let keys = try nbdPskFile.map { try PreSharedKeys(file: $0) }
        return DoorSecurity(
            policy: policy,
            context: try TLSContext(
                certificates: certificates, named: keys, lettingKernelSeal: nbdKernelTls),
            grants: grants, allowsInsecure: nbdInsecure)
    }

    private static func grants(file: String) throws -> ExportGrants {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw NBDOptionError.unreadable(file)
        }
        do throws(GrantError) {
            return try ExportGrants(text: text)
        } catch {
            throw NBDOptionError.badRule(error, file: file)
        }
    }

    /// Reads the files again and lets them be adopted; what was in use stays so when that fails.
    func reread(_ log: Logger, adopt: (DoorSecurity) async throws -> Void) async {
        guard policy != .off || nbdAllowFile != nil else { return }
        do {
            try await adopt(try security())
            log.info("SIGHUP: what NBD clients prove and may use was reread, for new connections")
        } catch {
            log.error("SIGHUP: \(error); what NBD clients prove and may use stays as it was")
        }
    }

    /// The same options for another process in the same directory.
    var arguments: [String] {
        var arguments = nbd.flatMap { ["--nbd", $0] } + nbdAllow.flatMap { ["--nbd-allow", $0] }
        let single = [
            ("--nbd-tls", nbdTls?.rawValue), ("--nbd-certificate", nbdCertificate),
            ("--nbd-key", nbdKey), ("--nbd-authority", nbdAuthority),
            ("--nbd-psk-file", nbdPskFile), ("--nbd-allow-file", nbdAllowFile),
        ]
        for case (let name, let value?) in single { arguments += [name, value] }
        if nbdInsecure { arguments.append("--nbd-insecure") }
        if !nbdKernelTls { arguments.append("--no-nbd-kernel-tls") }
        if nbdAnnounceShutdown { arguments.append("--nbd-announce-shutdown") }
        return arguments + limits.arguments
    }
}

/// Why the rules of a file cannot be used.
enum NBDOptionError: Error, CustomStringConvertible {
    case unreadable(String)
    case badRule(GrantError, file: String)

    var description: String {
        switch self {
        case .unreadable(let file): "the rules \(file) cannot be read: check the path"
        case .badRule(let error, let file): "\(file): \(error)"
        }
    }
}

extension TLSPolicy: ExpressibleByArgument {}
