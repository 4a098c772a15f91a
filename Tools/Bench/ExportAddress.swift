// Where a server is reached: the Unix socket and the export's name, or both in an NBD URI
// (NetworkBlockDevice/nbd doc/uri.md; only the form of Unix sockets without TLS).

struct ExportAddress: Sendable, Equatable {
    private static let scheme = "nbd+unix://"
    private static let socketKey = "socket="

    let socketPath: String
    let exportName: String

    init(socketPath: String, exportName: String) {
        self.socketPath = socketPath
        self.exportName = exportName
    }

    /// Reads `nbd+unix:///vol0?socket=/run/nbd.sock`.
    init(uri: String) throws(BenchError) {
        guard uri.hasPrefix(Self.scheme), let question = uri.firstIndex(of: "?") else {
            throw .unusableURI(uri)
        }
        let path = uri[..<question].dropFirst(Self.scheme.count)
        let query = uri[uri.index(after: question)...].split(separator: "&")
        guard path.isEmpty || path.hasPrefix("/"),
            let socket = query.first(where: { $0.hasPrefix(Self.socketKey) }),
            let name = Self.percentDecoded(path.dropFirst()),
            let socketPath = Self.percentDecoded(socket.dropFirst(Self.socketKey.count)),
            !socketPath.isEmpty
        else { throw .unusableURI(uri) }
        self.init(socketPath: socketPath, exportName: name)
    }

    var uri: String {
        Self.scheme + "/" + Self.percentEncoded(exportName) + "?" + Self.socketKey
            + Self.percentEncoded(socketPath)
    }

    private static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(rest.prefix(2)) ?? "", radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func percentEncoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { encoded, byte in
            let scalar = Unicode.Scalar(byte)
            let isPlain = scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
            if byte < 0x80, isPlain || "-._~/@".unicodeScalars.contains(scalar) {
                encoded.unicodeScalars.append(scalar)
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
    }
}
