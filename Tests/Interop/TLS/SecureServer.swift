// `holdfast up` that asks NBD clients for proof, and everything that clients need to give it, or to fail.

import Foundation
import Glibc
import TestSupport
import Testing

/// A server with an authority and keys of its own; ends with the last reference.
final class SecureServer {
    /// What a client has to show.
    enum Proof: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case certificate, key
        var testDescription: String { rawValue }
    }

    static let name = "alice"

    let directory: TemporaryDirectory
    let authority: TestAuthority
    let up: HoldfastUp
    /// On loopback.
    let port: UInt16

    /// Serves over TCP with certificates and keys, under this policy of `--nbd-tls` and more options of `up`.
    init(_ policy: String = "required", _ options: [String] = []) throws {
        directory = try TemporaryDirectory()
        authority = try TestAuthority(in: directory)
        let server = try authority.issue("server")
        try Self.writeKeys(directory.file("keys.psk"), [Self.name: 0xa1, "bob": 0xb0])
        try Self.makeClient(of: authority, Self.name, in: directory.file("client"))
        up = try HoldfastUp(
            HoldfastUp.usualOptions + [
                "--nbd", "tcp:127.0.0.1:0", "--nbd-tls", policy,
                "--nbd-certificate", server.certificate, "--nbd-key", server.privateKey,
                "--nbd-authority", authority.certificate,
                "--nbd-psk-file", directory.file("keys.psk"),
            ] + options)
        let uri = try #require(try up.status().nbd.first { $0.contains("127.0.0.1") })
        port = try #require(URL(string: uri)?.port.flatMap { UInt16(exactly: $0) })
    }

    /// The keys of these clients, each as 32 times a byte.
    static func writeKeys(_ file: String, _ keys: [String: UInt8]) throws {
        let text = keys.map { name, byte in
            "\(name):\(String(repeating: String(byte, radix: 16), count: 32))\n"
        }
        try text.joined().write(toFile: file, atomically: true, encoding: .utf8)
        try #require(chmod(file, 0o600) == 0)
    }

    /// A folder as libnbd and QEMU want it, with a certificate of that name.
    static func makeClient(
        of authority: TestAuthority, _ name: String, in folder: String, days: Int = 1,
        trusting trusted: TestAuthority? = nil
    ) throws {
        let client = try authority.issue("client-\(name)", for: "DNS:\(name)", days: days)
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        try ToolRun.output("cp", client.certificate, folder + "/client-cert.pem")
        try ToolRun.output("cp", client.privateKey, folder + "/client-key.pem")
        try ToolRun.output("cp", (trusted ?? authority).certificate, folder + "/ca-cert.pem")
    }

    /// The URI of an export for a client that proves itself, by the files of this server unless told.
    func uri(
        _ proof: Proof, of export: String = "vol0", name: String = SecureServer.name,
        files: String? = nil
    ) -> String {
        switch proof {
        case .certificate:
            "nbds://localhost:\(port)/\(export)?tls-certificates=\(files ?? directory.file("client"))"
        case .key:
            "nbds://\(name)@localhost:\(port)/\(export)?tls-psk-file="
                + (files ?? directory.file("keys.psk"))
        }
    }

    var plainURI: String { "nbd://127.0.0.1:\(port)/vol0" }

    /// What QEMU's tools are told of a client's proof and of the export.
    func qemu(_ proof: Proof) -> (object: [String], image: String) {
        let object =
            switch proof {
            case .certificate:
                "tls-creds-x509,id=tls0,endpoint=client,dir=\(directory.file("client"))"
            case .key:
                "tls-creds-psk,id=tls0,endpoint=client,username=\(Self.name),dir=\(directory.path)"
            }
        return (
            ["--object", object],
            "driver=nbd,host=localhost,port=\(port),export=vol0,tls-creds=tls0"
        )
    }

    /// The first line of the client device's log that has this; nil when there is none in time.
    func logged(_ text: String) -> String? {
        up.supervisor.standardError.waitForLine(atMost: .seconds(20)) { $0.contains(text) }
    }
}
