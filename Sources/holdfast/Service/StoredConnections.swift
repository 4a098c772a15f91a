// Connections of clients in the service manager's descriptor store (FileDescriptorStoreMax= of the unit), from
// the orderly end of one client device to the start of the next.
//
//     client-N    the socket of a client
//     clients     a file in memory that says of each what was negotiated, its keys under TLS, and what it had
//                 begun to send
//
// (Keys in the store are where only root can read them, as they were in this process.)
//
// Without a store, or one that is too small, what is not kept is closed with the process.

import BlockServer
import CLinux
import ClientDevice
import Foundation
import Glibc
import Logging
import Reactor

/// What is kept of connections, and by which names.
struct StoredConnections {
    /// The name of the file that tells of the others.
    static let tableName = "clients"
    private static let prefix = "client-"
    /// The largest table, in bytes: every client may be in the middle of a large write.
    private static let largestTable = 1 << 30

    /// One line of the table.
    private struct Entry: Codable {
        var name: String
        var tls: SuspendedTLS?
        var export: String
        var terms: TransmissionTerms
        var received: Data
    }

    /// Whether a descriptor that was passed is of this store, by its name.
    static func holds(_ name: String) -> Bool {
        name == tableName || name.hasPrefix(prefix)
    }

    /// Has `manager` keep connections, which are closed here; returns when it does.
    static func keep(
        _ connections: [StandingConnection], by manager: ServiceManager, _ log: Logger
    ) {
        defer { for connection in connections { close(connection.descriptor) } }
        guard !connections.isEmpty else { return }
        let entries = connections.enumerated().map { number, connection in
            Entry(
                name: "\(prefix)\(number)", tls: connection.tls, export: connection.export,
                terms: connection.terms, received: Data(connection.received))
        }
        do {
            let table = try write(JSONEncoder().encode(entries))
            defer { close(table) }
            for (entry, connection) in zip(entries, connections) {
                try manager.keep(connection.descriptor, as: entry.name)
            }
            try manager.keep(table, as: tableName)
            try manager.synchronize()
            log.info("connections left to the next client device: \(connections.count)")
        } catch {
            log.warning("connections are closed, since they cannot be kept: \(error)")
        }
    }

    private static func write(_ table: Data) throws(ServiceManagerError) -> Int32 {
        let file = unsafe clinux_memfd_create("holdfast-clients", UInt32(MFD_CLOEXEC))
        guard file >= 0 else { throw .system(call: "memfd_create", errno: errno) }
        var done = 0
        while done < table.count {
            let count = unsafe table.withUnsafeBytes { bytes in
                unsafe pwrite(
                    file, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done,
                    off_t(done))
            }
            guard count > 0 else {
                let code = errno
                close(file)
                throw .system(call: "pwrite", errno: code)
            }
            done += count
        }
        return file
    }

    private let descriptors: [String: Int32]

    /// Those that were passed to this process, by name.
    init(_ descriptors: [String: Int32]) { self.descriptors = descriptors }

    /// Takes them out of the store of `manager`, and gives those of which the table tells; others are closed.
    func take(from manager: ServiceManager?, _ log: Logger) -> [StandingConnection] {
        guard !descriptors.isEmpty else { return [] }
        var left = descriptors
        defer {
            for descriptor in left.values {
                // (A manager that does not answer may have a copy: closing this one would tell the client nothing.)
                shutdown(descriptor, Int32(SHUT_RDWR))
                close(descriptor)
            }
        }
        do {
            // (As long as they are in there, closing one later would not close it for its client.)
            for name in Set(descriptors.keys) { try manager?.forget(name) }
            try manager?.synchronize()
            guard let table = descriptors[Self.tableName] else { return [] }
            let entries = try JSONDecoder().decode([Entry].self, from: Self.read(table))
            return entries.compactMap { entry in
                guard let descriptor = left.removeValue(forKey: entry.name) else { return nil }
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
                clinux_set_nonblocking(descriptor)
                return StandingConnection(
                    descriptor: descriptor, tls: entry.tls, export: entry.export,
                    terms: entry.terms, received: Array(entry.received))
            }
        } catch {
            log.warning("connections from before are closed, since they cannot be used: \(error)")
            return []
        }
    }

    private static func read(_ file: Int32) throws(ServiceManagerError) -> Data {
        var status = stat()
        guard unsafe fstat(file, &status) == 0 else {
            throw .system(call: "fstat", errno: errno)
        }
        guard status.st_size <= largestTable else { throw .system(call: "table", errno: EFBIG) }
        var table = Data(count: Int(status.st_size))
        var done = 0
        while done < table.count {
            let count = unsafe table.withUnsafeMutableBytes { bytes in
                unsafe pread(
                    file, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done,
                    off_t(done))
            }
            guard count > 0 else { throw .system(call: "pread", errno: errno) }
            done += count
        }
        return table
    }
}
