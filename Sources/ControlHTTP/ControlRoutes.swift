// Which HTTP request is which call of the device, and how whatever goes wrong is answered.
//
//     GET    /v1/status
//     GET    /v1/volumes                            POST   /v1/volumes
//     GET    /v1/volumes/NAME                       DELETE /v1/volumes/NAME
//     PATCH  /v1/volumes/NAME                       POST   /v1/volumes/NAME/move
//     POST   /v1/volumes/NAME/limit
//     POST   /v1/volumes/NAME/rebuild               POST   /v1/volumes/NAME/scrub
//     GET    /v1/volumes/NAME/snapshots             POST   /v1/volumes/NAME/snapshots
//     DELETE /v1/volumes/NAME/snapshots/SNAPSHOT
//     GET    /v1/appliances                         POST   /v1/appliances
//     DELETE /v1/appliances/NAME                    POST   /v1/appliances/NAME/drain
//
// Every answer but that to DELETE has a JSON body; every error's body is a ControlError.

internal import Control
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore

/// The routes of the control interface to one device.
struct ControlRoutes {
    typealias Context = BasicRequestContext

    let device: any ControlledDevice
    let logger: Logger

    func router() -> Router<Context> {
        let router = Router(context: Context.self)
        router.add(middleware: ErrorsAsJSON(logger: logger))
        let version1 = router.group("v1")
        version1.get("ping") { [device] _, _ in
            try await device.ping()
            return Response(status: .noContent)
        }
        version1.get("status") { [device] _, _ in try Self.reply(try await device.status()) }
        addVolumes(to: version1.group("volumes"))
        addSnapshots(to: version1.group("volumes/:volume/snapshots"))
        addAppliances(to: version1.group("appliances"))
        return router
    }

    private func addVolumes(to group: RouterGroup<Context>) {
        group.get { [device] _, _ in try Self.reply(try await device.volumes()) }
        group.post { [device] request, _ in
            let creation = try await Self.body(of: request, as: VolumeCreation.self)
            return try Self.reply(try await device.createVolume(creation), .created)
        }
        group.get(":volume") { [device] _, context in
            try Self.reply(try await device.volume(named: try Self.name("volume", in: context)))
        }
        group.delete(":volume") { [device] _, context in
            try await device.deleteVolume(named: try Self.name("volume", in: context))
            return Response(status: .noContent)
        }
        group.patch(":volume") { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let change = try await Self.body(of: request, as: VolumeChange.self)
            return try Self.reply(try await device.changeVolume(named: volume, change))
        }
        group.post(":volume/resize") { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let resize = try await Self.body(of: request, as: VolumeResize.self)
            return try Self.reply(try await device.resizeVolume(named: volume, resize))
        }
        group.post(":volume/limit") { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let change = try await Self.body(of: request, as: LimitChange.self)
            return try Self.reply(try await device.limitVolume(named: volume, change))
        }
        group.post(":volume/move") { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let move = try await Self.body(of: request, as: MemberMove.self)
            return try Self.reply(try await device.moveMember(ofVolume: volume, move))
        }
        group.post(":volume/rebuild") { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let start = try await Self.body(
                of: request, as: RebuildStart.self, or: RebuildStart())
            return try Self.reply(try await device.rebuild(volume: volume, start))
        }
        group.post(":volume/scrub") { [device] _, context in
            try Self.reply(try await device.scrub(volume: try Self.name("volume", in: context)))
        }
    }

    private func addSnapshots(to group: RouterGroup<Context>) {
        group.get { [device] _, context in
            let volume = try Self.name("volume", in: context)
            return try Self.reply(try await device.snapshots(ofVolume: volume))
        }
        group.post { [device] request, context in
            let volume = try Self.name("volume", in: context)
            let creation = try await Self.body(of: request, as: SnapshotCreation.self)
            return try Self.reply(
                try await device.createSnapshot(ofVolume: volume, creation), .created)
        }
        group.delete(":snapshot") { [device] _, context in
            try await device.deleteSnapshot(
                named: try Self.name("snapshot", in: context),
                ofVolume: try Self.name("volume", in: context))
            return Response(status: .noContent)
        }
    }

    private func addAppliances(to group: RouterGroup<Context>) {
        group.get { [device] _, _ in try Self.reply(try await device.appliances()) }
        group.post { [device] request, _ in
            let addition = try await Self.body(of: request, as: ApplianceAddition.self)
            return try Self.reply(try await device.addAppliance(addition), .created)
        }
        group.post(":appliance/drain") { [device] request, context in
            let appliance = try Self.name("appliance", in: context)
            let drain = try await Self.body(of: request, as: DrainStart.self, or: DrainStart())
            return try Self.reply(try await device.drainAppliance(named: appliance, drain))
        }
        group.delete(":appliance") { [device] _, context in
            try await device.removeAppliance(named: try Self.name("appliance", in: context))
            return Response(status: .noContent)
        }
    }

    private static func name(_ parameter: String, in context: Context) throws -> String {
        guard let name = PathSegment.decode(try context.parameters.require(parameter)) else {
            throw ControlError(
                .invalid, "The request's path is not percent-encoded UTF-8: encode the names in it."
            )
        }
        return name
    }

    private static func body<Body: Decodable>(
        of request: Request, as type: Body.Type, or absent: Body? = nil
    ) async throws -> Body {
        let buffer = try await request.body.collect(upTo: ControlServer.maximumBodyBytes)
        // (Nothing is said where nothing needs to be.)
        if buffer.readableBytes == 0, let absent { return absent }
        do {
            return try ControlJSON.decoder().decode(type, from: Data(buffer.readableBytesView))
        } catch let error as DecodingError {
            throw ControlError(
                .invalid,
                "The request's body is not the JSON of a \(type): "
                    + ControlJSON.explanation(of: error) + ".")
        }
    }

    static func reply(
        _ value: some Encodable, _ status: HTTPResponse.Status = .ok
    ) throws -> Response {
        let text = try ControlJSON.encoder().encode(value)
        return Response(
            status: status, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: text)))
    }
}

/// Answers whatever goes wrong with a `ControlError`, the library's own refusals included.
private struct ErrorsAsJSON: RouterMiddleware {
    let logger: Logger

    @concurrent func handle(
        _ request: Request, context: ControlRoutes.Context,
        next: @concurrent (Request, ControlRoutes.Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let failure = controlError(for: error, request)
            return try ControlRoutes.reply(failure, failure.code.httpStatus)
        }
    }

    private func controlError(for error: any Error, _ request: Request) -> ControlError {
        switch error {
        case let error as ControlError:
            return error
        case is NIOTooManyBytesError:
            return ControlError(
                .invalid,
                "The request's body has more than \(ControlServer.maximumBodyBytes) bytes, which "
                    + "none that makes sense has: check what is sent.")
        case let error as HTTPError where error.status == .notFound:
            return ControlError(
                .notFound,
                "The control interface has no \(request.method.rawValue) \(request.uri.path): check "
                    + "that the command and the client device are of the same version.")
        case is CancellationError:
            return ControlError(
                .unavailable,
                "The client device stopped before this was done: start it, then check with "
                    + "'holdfast status' and ask again.")
        default:
            logger.error(
                "control request failed",
                metadata: ["request": "\(request.method) \(request.uri.path)", "error": "\(error)"])
            return ControlError(
                .failed, "The client device could not answer (\(error)): see its log.")
        }
    }
}
