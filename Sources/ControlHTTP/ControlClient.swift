// Asks a client device in another process, over its control socket.
//
// One connection per request: a command makes one request, and between two polls of a progress bar
// the device may have been restarted. The kernel says at once when the device's process is gone. One
// that hangs is given up when it answers nothing to what it could answer at once; what takes as long
// as it takes, such as a scrub, has no limit: cancel the task to give up.

public import Control
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

    /// How long an answer to a short request may take to begin: an appliance that is asked for it and
    /// hangs takes a second or two of that.
    public static let usualPatience = Duration.seconds(30)

    public let socket: ControlSocket
    private let patience: Duration

    /// A client of the device that runs for `directory`; nothing is connected before it is asked.
    public init(directory: String, patience: Duration = usualPatience) {
        socket = ControlSocket(directory: directory)
        self.patience = patience
    }

    public func ping() async throws(ControlError) {
        try await tell(.short, .get, "ping")
    }

    public func status() async throws(ControlError) -> DeviceStatus {
        try await ask(.short, .get, "status")
    }

    public func volumes() async throws(ControlError) -> [VolumeStatus] {
        try await ask(.short, .get, "volumes")
    }

    public func volume(named name: String) async throws(ControlError) -> VolumeStatus {
        try await ask(.short, .get, "volumes", name)
    }

    public func createVolume(
        _ creation: VolumeCreation
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.long, .post, "volumes", body: creation)
    }

    public func deleteVolume(named name: String) async throws(ControlError) {
        try await tell(.long, .delete, "volumes", name)
    }

    public func changeVolume(
        named name: String, _ change: VolumeChange
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.long, .patch, "volumes", name, body: change)
    }

    public func resizeVolume(
        named name: String, _ resize: VolumeResize
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.long, .post, "volumes", name, "resize", body: resize)
    }

    public func limitVolume(
        named name: String, _ change: LimitChange
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.short, .post, "volumes", name, "limit", body: change)
    }

    public func moveMember(
        ofVolume volume: String, _ move: MemberMove
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.long, .post, "volumes", volume, "move", body: move)
    }

    public func appliances() async throws(ControlError) -> [ApplianceStatus] {
        try await ask(.short, .get, "appliances")
    }

    public func addAppliance(
        _ addition: ApplianceAddition
    ) async throws(ControlError) -> ApplianceStatus {
        try await ask(.short, .post, "appliances", body: addition)
    }

    public func removeAppliance(named name: String) async throws(ControlError) {
        try await tell(.short, .delete, "appliances", name)
    }

    public func drainAppliance(
        named name: String, _ drain: DrainStart
    ) async throws(ControlError) -> ApplianceStatus {
        try await ask(.long, .post, "appliances", name, "drain", body: drain)
    }

    public func snapshots(
        ofVolume volume: String
    ) async throws(ControlError) -> [SnapshotStatus] {
        try await ask(.short, .get, "volumes", volume, "snapshots")
    }

    public func createSnapshot(
        ofVolume volume: String, _ creation: SnapshotCreation
    ) async throws(ControlError) -> CreatedSnapshot {
        try await ask(.long, .post, "volumes", volume, "snapshots", body: creation)
    }

    public func deleteSnapshot(
        named name: String, ofVolume volume: String
    ) async throws(ControlError) {
        try await tell(.long, .delete, "volumes", volume, "snapshots", name)
    }

    public func rebuild(
        volume: String, _ start: RebuildStart
    ) async throws(ControlError) -> VolumeStatus {
        try await ask(.long, .post, "volumes", volume, "rebuild", body: start)
    }

    public func scrub(volume: String) async throws(ControlError) -> ScrubReport {
        try await ask(.long, .post, "volumes", volume, "scrub")
    }
}

extension ControlClient {
    /// What an answer is waited for.
    private enum Length {
        /// It could come at once.
        case short
        /// It comes when something is done.
        case long
    }

    /// Makes a request whose answer has a body.
    private func ask<Answer: Decodable>(
        _ length: Length, _ method: HTTPRequest.Method, _ path: String...,
        body: (any Encodable)? = nil
    ) async throws(ControlError) -> Answer {
        let text = try await exchange(length, method, path, body)
        do {
            return try ControlJSON.decoder().decode(Answer.self, from: text)
        } catch {
            throw unintelligible("\(error)")
        }
    }

    /// Makes a request whose answer is that it was done.
    private func tell(
        _ length: Length, _ method: HTTPRequest.Method, _ path: String...
    ) async throws(ControlError) {
        _ = try await exchange(length, method, path, nil)
    }

    private func exchange(
        _ length: Length, _ method: HTTPRequest.Method, _ path: [String], _ body: (any Encodable)?
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
            (response, text) = try await send(
                head, content, within: length == .short ? patience : nil)
        } catch {
            throw unreachable(error)
        }
        guard response.status.kind == .successful else {
            throw (try? ControlJSON.decoder().decode(ControlError.self, from: text))
                ?? unintelligible("\(response.status)")
        }
        return text
    }

    private func send(
        _ head: HTTPRequest, _ body: Data?, within patience: Duration?
    ) async throws -> (HTTPResponse, Data) {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(unixDomainSocketPath: socket.path) { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let patience {
                        try channel.pipeline.syncOperations.addHandler(
                            AnswerDeadline(TimeAmount(patience)))
                    }
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
        if let late = error as? LateAnswer {
            return unresponsive(late.process.map { ", process \($0)," } ?? "")
        }
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
        case EAGAIN:
            // (So many wait that not even the kernel takes one more in.)
            return unresponsive("")
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

    private func unresponsive(_ process: String) -> ControlError {
        ControlError(
            .unavailable,
            "The client device of \(socket.directory)\(process) does not answer: if it hangs, "
                + "'holdfast serve --take-over --dir \(socket.directory)' puts another in its place."
        )
    }

    private func unintelligible(_ detail: String) -> ControlError {
        ControlError(
            .failed,
            "The client device of \(socket.directory) gave an answer that makes no sense here "
                + "(\(detail)): check that it and this command are of the same version.")
    }
}
