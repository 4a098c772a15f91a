// What the helper tells of itself: JSON to whoever connects to its socket, which only root can. Nothing is
// asked: there is nothing to misunderstand.

import CLinux
import FoundationEssentials
import Glibc

/// The helper's view of its devices.
public struct HelperReport: Codable, Hashable, Sendable {
    /// One device.
    public struct Device: Codable, Hashable, Sendable {
        public var device: String
        /// For how long it has had no connection, in milliseconds; nil while all is well.
        public var waitingMilliseconds: Int64?

        package init(device: String, waitingMilliseconds: Int64?) {
            self.device = device
            self.waitingMilliseconds = waitingMilliseconds
        }
    }

    public var process: Int32
    public var devices: [Device]

    package init(process: Int32, devices: [Device]) {
        self.process = process
        self.devices = devices
    }

    /// How long a helper may take to answer, in seconds: it looks at all devices, and no further.
    private static let patience = 30

    /// Asks the helper; nil when none runs.
    public static func ask(
        _ directory: RuntimeDirectory
    ) throws(KernelDeviceError) -> HelperReport? {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard descriptor >= 0 else { throw .system(call: "socket", errno: errno) }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard unsafe clinux_unix_connect(descriptor, directory.socketPath) == 0 else {
            return nil
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer.prefix(count)
        }
        // (One that ended meanwhile said nothing, or not all.)
        return try? JSONDecoder().decode(HelperReport.self, from: Data(bytes))
    }

    /// The report as it is sent.
    package var bytes: [UInt8] {
        guard let data = try? JSONEncoder().encode(self) else {
            preconditionFailure("numbers and names are always JSON")
        }
        return Array(data)
    }
}
