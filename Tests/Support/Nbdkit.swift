// Another NBD server, for testing the harness itself: one whose failures are known.

/// nbdkit under way on a Unix socket; killed when the last reference goes.
package final class Nbdkit: Sendable {
    package let uri: String
    package let socket: String
    package let process: RunningProcess
    private let directory: TemporaryDirectory

    /// Starts nbdkit with a plugin and its parameters, such as `["memory", "64M"]`.
    ///
    /// - Parameters:
    ///   - plugin: The plugin, or filters and plugin, and their parameters.
    ///   - directory: Where its socket goes; another server's after that one's end.
    /// - Throws: `HarnessError` when it does not serve within some seconds.
    package init(_ plugin: [String], in directory: TemporaryDirectory? = nil) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        socket = directory.file("nbd.sock")
        uri = "nbd+unix:///?socket=\(socket)"
        _ = try ToolRun(["rm", "-f", socket])
        process = try RunningProcess(["nbdkit", "-f", "-U", socket] + plugin)
        let uri = uri
        guard eventually(atMost: .seconds(10), { try? NBDConnection(uri) }) != nil else {
            throw HarnessError("nbdkit does not serve: \(process.standardError.text)")
        }
    }
}
