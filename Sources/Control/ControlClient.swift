// Asks a client device in another process, over its control socket.
//
// One connection per request: a command makes one request, and between two polls of a progress bar
// the device may have been restarted. There is no timeout, because a scrub takes as long as it
// takes and the kernel says at once when the device's process is gone; cancel the task to give up.

internal import FoundationEssentials
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes
internal import NIOHTTPTypesHTTP1
internal import NIOPosix

/// A client device in another process on this machine.
public struct ControlClient: ControlledDevice {
    /// The most bytes an answer may have; some thousand volumes fit.
    public static let maximumAnswerBytes = 64 * 1024 * 1024

    public let socket: ControlSocket

    /// A client of the device that runs for `directory`; nothing is connected before it is asked.
    public init(directory: String) {
        socket = ControlSocket(directory: directory)
    }

    public func ping() async throws(ControlError) {
        try await tell(.get, "ping")
    }

    public func status() async throws(ControlError) -> DeviceStatus {
        try await ask(.get, "status")
    }

    public func volumes() async throws(ControlError) -> [VolumeStatus] {
        try await ask(.get, "volumes")
    }

    public func volume(named name: String) async throws(ControlError) -> VolumeStatus {
        try await ask(.get, "volumes", name)
    }

    public func createVolume(
        _ creation: VolumeCreation
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.post, "volumes", body: creation)
    }

    public func deleteVolume(named name: String) async throws(ControlError) {
        try await tell(.delete, "volumes", name)
    }

    public func changeVolume(
        named name: String, _ change: VolumeChange
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.patch, "volumes", name, body: change)
    }

    public func moveMember(
        ofVolume volume: String, _ move: MemberMove
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.post, "volumes", volume, "move", body: move)
    }

    public func appliances() async throws(ControlError) -> [ApplianceStatus] {
        try await ask(.get, "appliances")
    }

    public func addAppliance(
        _ addition: ApplianceAddition
    ) async throws(ControlError) -> ApplianceStatus {
        try await ask(.post, "appliances", body: addition)
    }

    public func removeAppliance(named name: String) async throws(ControlError) {
        try await tell(.delete, "appliances", name)
    }

    public func drainAppliance(
        named name: String, _ drain: DrainStart
    ) async throws(ControlError) -> ApplianceStatus {
        try await ask(.post, "appliances", name, "drain", body: drain)
    }

    public func snapshots(
        ofVolume volume: String
    ) async throws(ControlError) -> [SnapshotStatus] {
        try await ask(.get, "volumes", volume, "snapshots")
    }

    public func createSnapshot(
        ofVolume volume: String, _ creation: SnapshotCreation
    ) async throws(ControlError) -> CreatedSnapshot {
        try await ask(.post, "volumes", volume, "snapshots", body: creation)
    }

    public func deleteSnapshot(
        named name: String, ofVolume volume: String
    ) async throws(ControlError) {
        try await tell(.delete, "volumes", volume, "snapshots", name)
    }

    public func rebuild(
        volume: String, _ start: RebuildStart
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.post, "volumes", volume, "rebuild", body: start)
    }

    public func scrub(volume: String) async throws(ControlError) -> ScrubReport {
        try await ask(.post, "volumes", volume, "scrub")
    }
}

extension ControlClient {
    /// Makes a request whose answer has a body.
    private func ask<Answer: Decodable>(
        _ method: HTTPRequest.Method, _ path: String..., body: (any Encodable)? = nil
    ) async throws(ControlError) -> Answer {
        let text = try await exchange(method, path, body)
        do {
            return try ControlJSON.decoder().decode(Answer.self, from: text)
        } catch {
            throw unintelligible("\(error)")
        }
    }

    /// Makes a request whose answer is that it was done.
    private func tell(_ method: HTTPRequest.Method, _ path: String...) async throws(ControlError) {
        _ = try await exchange(method, path, nil)
    }

    private func exchange(
        _ method: HTTPRequest.Method, _ path: [String], _ body: (any Encodable)?
    ) async throws(ControlError) -> Data {
        guard !path.contains("") else {
            throw ControlError(.invalid, "A name is empty: give the name of what is meant.")
        }
        try socket.checkLength()
        var head = HTTPRequest(
            method: method, scheme: "http", authority: "holdfast",
            path: "/v1/" + path.map(PathSegment.encode).joined(separator: "/"))
        head.headerFields[.connection] = "close"
        let response: HTTPResponse
        let text: Data
        do {
            let content = try body.map { try ControlJSON.encoder().encode($0) }
            head.headerFields[.contentLength] = content.map { String($0.count) }
            (response, text) = try await send(head, content)
        } catch {
            throw unreachable(error)
        }
        guard response.status.kind == .successful else {
            throw (try? ControlJSON.decoder().decode(ControlError.self, from: text))
                ?? unintelligible("\(response.status)")
        }
        return text
    }

    private func send(_ head: HTTPRequest, _ body: Data?) async throws -> (HTTPResponse, Data) {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(unixDomainSocketPath: socket.path) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPClientCodec())
                    return try NIOAsyncChannel<HTTPResponsePart, HTTPRequestPart>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var parts: [HTTPRequestPart] = [.head(head)]
            if let body { parts.append(.body(ByteBuffer(bytes: body))) }
            parts.append(.end(nil))
            try await outbound.write(contentsOf: parts)
            var response: HTTPResponse?
            var text = Data()
            for try await part in inbound {
                switch part {
                case .head(let head):
                    response = head
                case .body(let bytes):
                    guard text.count + bytes.readableBytes <= Self.maximumAnswerBytes else {
                        throw unintelligible("it has more than \(Self.maximumAnswerBytes) bytes")
                    }
                    text.append(contentsOf: bytes.readableBytesView)
                case .end:
                    if let response { return (response, text) }
                }
            }
            throw ChannelError.eof
        }
    }

    /// What an error of the connection means for the user.
    private func unreachable(_ error: any Error) -> ControlError {
        if let error = error as? ControlError { return error }
        if Task.isCancelled {
            return ControlError(
                .unavailable,
                "The request was given up before the client device of \(socket.directory) answered: "
                    + "check with 'holdfast status' what was done.")
        }
        switch (error as? IOError)?.errnoCode {
        case ENOENT, ECONNREFUSED, ENOTDIR:
            return ControlError(
                .unavailable,
                "No client device is running for \(socket.directory): start one with "
                    + "'holdfast up --dir \(socket.directory)' or "
                    + "'holdfast serve --dir \(socket.directory)'.")
        case EACCES, EPERM:
            return ControlError(
                .unavailable,
                "The client device of \(socket.directory) belongs to somebody else: ask as the user "
                    + "that runs it, or as root.")
        default:
            return ControlError(
                .unavailable,
                "The client device of \(socket.directory) went away before it answered (\(error)): "
                    + "see its log, and check with 'holdfast status' what was done.")
        }
    }

    private func unintelligible(_ detail: String) -> ControlError {
        ControlError(
            .failed,
            "The client device of \(socket.directory) gave an answer that makes no sense here "
                + "(\(detail)): check that it and this command are of the same version.")
    }
}
