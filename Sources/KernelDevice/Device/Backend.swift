// What a device belongs to, in the words that the kernel keeps with it.
//
//     holdfast:1:vol0@monday:4:5:/var/lib/holdfast
//              │ │            │ │ └─ the client device's directory
//              │ │            │ └─ the request timeout, in seconds
//              │ │            └─ connections
//              │ └─ export
//              └─ version of this text
//
// The kernel shows it in /sys/block/nbdN/backend for as long as the device is attached, and refuses to
// give a device the sockets of another backend. So it is all that a helper has to know, it is where the
// device is, and it cannot be out of date: a helper that was killed finds everything there, and needs no
// state of its own.

/// The volume or snapshot behind a device, and how it is attached.
public struct Backend: Hashable, Sendable {
    private static let prefix = "holdfast:1:"
    /// The kernel's attribute is a page, with a line break behind the text.
    static let longestText = 4000
    /// More connections gain nothing, and each is a thread of the kernel's.
    public static let connectionLimits = 1...16
    /// In seconds; 0 is the kernel's own, 30.
    public static let timeoutLimits = 0...3600

    /// `VOLUME` or `VOLUME@SNAPSHOT`.
    public let export: String
    public let connections: Int
    /// After how long without an answer a request is sent again, in seconds.
    public let timeout: Int
    /// The client device's directory, as an absolute path.
    public let directory: String

    public init(export: String, connections: Int, timeout: Int, directory: String) {
        precondition(Self.connectionLimits.contains(connections), "checked when arguments are")
        precondition(Self.timeoutLimits.contains(timeout), "checked when arguments are")
        self.export = export
        self.connections = connections
        self.timeout = timeout
        self.directory = directory
    }

    /// Reads what the kernel kept; nil when somebody else wrote it.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count)
            .split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, !parts[0].isEmpty, parts[3].hasPrefix("/"),
            let connections = Int(parts[1]), Self.connectionLimits.contains(connections),
            let timeout = Int(parts[2]), Self.timeoutLimits.contains(timeout)
        else { return nil }
        self.init(
            export: String(parts[0]), connections: connections, timeout: timeout,
            directory: String(parts[3]))
    }

    /// The text for the kernel.
    public var text: String {
        "\(Self.prefix)\(export):\(connections):\(timeout):\(directory)"
    }

    /// Where the client device listens.
    public var socketPath: String { directory + "/nbd.sock" }

    /// Throws when the text would not come back from the kernel as it is.
    package func check() throws(KernelDeviceError) {
        guard Backend(text) == self, !text.contains(where: \.isNewline), !text.contains("\0"),
            text.utf8.count <= Self.longestText
        else { throw .badBackend(text) }
    }

    /// Whether it is the same export, however it is attached.
    public func isSameExport(as other: Backend) -> Bool {
        export == other.export && directory == other.directory
    }
}
