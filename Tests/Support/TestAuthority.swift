// An authority that issues certificates for one test, by the `openssl` command.

/// Issues certificates, each as the paths of its file and of its private key's.
package struct TestAuthority: Sendable {
    package let directory: TemporaryDirectory
    /// The authority's own certificate.
    package var certificate: String { directory.file("\(name).pem") }
    private let name: String

    /// A new authority, whose files go into a directory that others may share.
    package init(_ name: String = "authority", in directory: TemporaryDirectory? = nil) throws {
        self.name = name
        self.directory = try directory ?? TemporaryDirectory()
        try ToolRun.output(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=\(name)", "-days", "2", "-keyout",
            self.directory.file("\(name).key"), "-out", certificate)
    }

    /// Issues a certificate for hosts such as `DNS:a.example` or `IP:127.0.0.1`.
    ///
    /// It is valid from now for so many days; -1 makes one that expired yesterday.
    package func issue(
        _ leaf: String, for hosts: String = "DNS:localhost,IP:127.0.0.1", days: Int = 1
    ) throws -> (certificate: String, privateKey: String) {
        let request = directory.file("\(leaf).csr")
        let (issued, key) = (directory.file("\(leaf).pem"), directory.file("\(leaf).key"))
        try ToolRun.output(
            "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=\(leaf)", "-addext", "subjectAltName=\(hosts)", "-keyout", key,
            "-out", request)
        try ToolRun.output(
            "openssl", "x509", "-req", "-in", request, "-CA", certificate, "-CAkey",
            directory.file("\(name).key"), "-set_serial", "1", "-copy_extensions", "copyall",
            "-days", "\(days)", "-out", issued)
        return (issued, key)
    }
}
