// What QEMU offers for the same purpose: its quorum driver, which writes everything to three NBD servers
// and reads from the first.
//
//     load generator ─ Unix socket ─ qemu-nbd, driver=quorum ─┬─ TCP, loopback ─ nbdkit memory
//                                                             ├─ TCP, loopback ─ nbdkit memory
//                                                             └─ TCP, loopback ─ nbdkit memory
//
// A write is answered when all three have answered. (`vote-threshold` only says how many must succeed, and
// how many reads must agree if more than one were read; 1 is refused for three children.)

import Glibc
import RemoteMemory

extension Contestant {
    /// How many copies are kept.
    private static let quorumChildren = 3

    /// Starts the three memory servers, and qemu-nbd in front of them.
    static func quorum(size: ByteCount, in setting: Setting) throws(BenchError) -> Contestant {
        for program in ["qemu-nbd", "nbdkit"] { try ServerProcess.require(program) }
        var helpers: [ServerProcess] = []
        do {
            var options = "driver=quorum,vote-threshold=2,read-pattern=fifo"
            for child in 0..<quorumChildren {
                let port = try freePort()
                let command = [
                    "nbdkit", "-f", "-i", "127.0.0.1", "-p", String(port), "memory",
                    String(size.bytes),
                ]
                helpers.append(
                    try ServerProcess(
                        setting.placement.placingServer(command), label: "memory-\(child + 1)",
                        directory: setting.directory))
                try waitForListener(at: port, of: helpers[child])
                options += ",children.\(child).driver=nbd,children.\(child).server.type=inet"
                options += ",children.\(child).server.host=127.0.0.1"
                options += ",children.\(child).server.port=\(port)"
            }
            return try command(
                "qemu-nbd -k {socket} -t -e 16 --cache=none --image-opts \(options)",
                label: "quorum", export: "", size: size, in: setting, helpers: helpers)
        } catch {
            for helper in helpers { helper.stop() }
            throw error
        }
    }

    /// A TCP port that nobody uses now.
    private static func freePort() throws(BenchError) -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else {
            throw .system(call: "socket", errno: errno, subject: "a free port")
        }
        defer { close(descriptor) }
        var address = loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, length) == 0
                    && getsockname(descriptor, generic, &length) == 0
            }
        }
        guard status else { throw .system(call: "bind", errno: errno, subject: "a free port") }
        return UInt16(bigEndian: address.sin_port)
    }

    /// Waits until `process` accepts connections at `port`.
    private static func waitForListener(
        at port: UInt16, of process: ServerProcess
    ) throws(BenchError) {
        _ = try process.wait(seconds: startingPatience, for: "accepting connections") {
            () throws(BenchError) -> Bool? in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = loopback(port: port)
            let status = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            return status == 0 ? true : nil
        }
    }

    private static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}
