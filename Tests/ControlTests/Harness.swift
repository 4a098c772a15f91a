// A real server on a Unix socket in a directory of its own, and ways to speak to it that the real
// client does not have.

import Control
import ControlHTTP
import Foundation
import Glibc
import Logging
import Synchronization

/// Runs `body` with a fresh directory, which is removed afterwards.
func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    // Short, because a Unix socket's path may have 107 bytes only.
    let path = "/tmp/hfc-" + UUID().uuidString.prefix(13)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try await body(path)
}

/// Runs `body` while a server of `device` listens in `directory`; rethrows what the server throws.
func withServer<Result: Sendable>(
    _ device: any ControlledDevice, in directory: String, isSucceeding: Bool = false,
    _ body: (ControlClient) async throws -> Result
) async throws -> Result {
    try await withThrowingTaskGroup(of: Void.self) { group in
        let (listening, continuation) = AsyncStream<Void>.makeStream()
        group.addTask {
            defer { continuation.finish() }
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let server = ControlServer(
                device: device, directory: directory, isSucceeding: isSucceeding, logger: logger)
            try await server.run { continuation.yield() }
        }
        var iterator = listening.makeAsyncIterator()
        guard await iterator.next() != nil else {
            try await group.waitForAll()
            throw CancellationError()
        }
        let result = try await body(ControlClient(directory: directory))
        group.cancelAll()
        try await group.waitForAll()
        return result
    }
}

/// Runs `body` with a server of `device` in a fresh directory.
func withServer<Result: Sendable>(
    _ device: any ControlledDevice, _ body: (ControlClient) async throws -> Result
) async throws -> Result {
    try await withDirectory { directory in try await withServer(device, in: directory, body) }
}

/// Runs blocking code where it cannot starve the tasks of the server under test.
func blocking<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
        Thread { continuation.resume(returning: body()) }.start()
    }
}

/// A Unix stream socket that was bound to `path`, or connected to it; nil when that was refused.
func unixSocket(_ path: String, binding: Bool = false) -> CInt? {
    let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let outcome = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
            let size = socklen_t(MemoryLayout<sockaddr_un>.size)
            return binding ? bind(descriptor, rebound, size) : connect(descriptor, rebound, size)
        }
    }
    if outcome == 0 { return descriptor }
    close(descriptor)
    return nil
}

/// An answer as it is on the wire.
struct RawAnswer: Sendable {
    let text: String

    /// The number in the status line.
    var status: Int { Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0 }
    var body: String {
        text.range(of: "\r\n\r\n").map { String(text[$0.upperBound...]) } ?? ""
    }
    var error: ControlError? {
        try? ControlJSON.decoder().decode(ControlError.self, from: Data(body.utf8))
    }
}

/// Sends `method path` with a body and reads until the server closes the connection.
func exchange(
    _ directory: String, _ method: String, _ path: String, body: String? = nil,
    announcedLength: Int? = nil
) async -> RawAnswer {
    let length = announcedLength ?? body?.utf8.count ?? 0
    let request =
        "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + "Content-Length: \(length)\r\n\r\n" + (body ?? "")
    return await blocking {
        guard let descriptor = unixSocket(directory + "/control.sock") else {
            return RawAnswer(text: "refused")
        }
        defer { close(descriptor) }
        let bytes = Array(request.utf8)
        _ = send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
        return RawAnswer(text: readAll(descriptor))
    }
}

/// Everything that can be read from `descriptor` until its end or an error.
func readAll(_ descriptor: CInt) -> String {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return String(decoding: all, as: UTF8.self) }
        all += buffer[..<count]
    }
}
