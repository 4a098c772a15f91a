// A client of the block device: connections, requests in flight on each, and what it was told.
//
// Its requests are bytes, parsed and judged by the server's own rules; its connections begin with a whole
// handshake. It reconnects when a server dies, and sometimes leaves in the middle of its requests.

import BlockServer
import NBDProtocol
import RemoteMemory
import ResiliencySet

/// One client with one connection at a time.
final class SimulatedClient {
    /// What it waits for.
    struct Waiting {
        var kind: RequestKind
        var blocks: Range<Int>
        var invoked: UInt64
        var write: UInt32
    }

    let number: Int
    unowned let world: World
    private(set) var device: SimulatedDevice?
    /// Counts connections, so that replies to an earlier one are not taken for this one's.
    private(set) var session = 0
    private var waiting: [UInt64: Waiting] = [:]
    private var nextCookie: UInt64 = 1
    private var isConnecting = false
    private let isLoyal: Bool
    private var isResting = false

    init(number: Int, world: World) {
        self.number = number
        self.world = world
        isLoyal = world.clientChance.oneIn(2)
    }

    var isIdle: Bool { waiting.isEmpty }

    // MARK: Connections

    func connect() {
        guard device == nil, !isConnecting else { return }
        isConnecting = true
        world.after(UInt64(world.clientChance.within(50...500)) * 1000) { [self] in
            isConnecting = false
            guard device == nil else { return }
            guard let current = world.devices.last(where: { $0.isServing && $0.life == .running })
            else { return }
            guard handshake(current) else { return world.violated("a handshake failed") }
            session += 1
            device = current
            think()
        }
    }

    /// A fixed newstyle handshake with the real server side.
    private func handshake(_ device: SimulatedDevice) -> Bool {
        var server = Negotiation()
        let catalog = ExportCatalog([
            Export(
                name: "vol0", description: "", size: device.engine.size.bytes, isReadOnly: false)
        ])
        var bytes: [UInt8] = [0, 0, 0, 3]
        bytes += Array("IHAVEOPT".utf8)
        bytes += [0, 0, 0, 7, 0, 0, 0, 10, 0, 0, 0, 4]
        bytes += Array("vol0".utf8) + [0, 0]
        guard case .transmission(let export, _) = server.receive(bytes.span, catalog: catalog)
        else {
            return false
        }
        return export.size == device.engine.size.bytes
    }

    /// The server's process is gone; its connections with it.
    func deviceDied(_ dead: SimulatedDevice) {
        if device === dead { disconnect() }
    }

    /// Leaves, whatever is in flight; a change that was may have happened or not.
    func disconnect() {
        guard device != nil else { return }
        if !waiting.isEmpty { world.probes.hit(.clientLeftMidRequest) }
        device = nil
        waiting = [:]
        session += 1
    }

    /// Gives a server up that does not answer, when there is a newer one.
    func leaveOutdated() {
        guard let device, device !== world.devices.last, world.devices.last?.isServing == true
        else { return }
        // (Some stay as long as they are answered.)
        guard
            !isLoyal || device.life != .running || device.engine.phase == .fenced
                || world.isHealing
        else { return }
        disconnect()
    }

    // MARK: Requests

    /// Sends what its depth allows, as long as there is something left to do.
    func think() {
        guard device != nil else { return connect() }
        if world.scenario.script != nil { return followScript() }
        while waiting.count < world.scenario.depth, world.takeRequest() { sendNext() }
    }

    /// Does the next thing of the script, when the last is done.
    private func followScript() {
        guard waiting.isEmpty, !isResting, !world.isHealing else { return }
        switch world.nextScripted() {
        case .request(let kind, let blocks): send(kind.request, blocks)
        case .lose(let lost):
            for index in lost { world.appliances[index].kill() }
            rest(300)
        case .move:
            world.currentDevice?.wantsMove = true
            followScript()
        case .snapshot:
            world.currentDevice?.wantsSnapshot = true
            followScript()
        case .rest(let milliseconds): rest(milliseconds)
        case nil: world.isScriptOver = true
        }
    }

    private func rest(_ milliseconds: UInt64) {
        isResting = true
        world.after(milliseconds * 1_000_000) { [self] in
            isResting = false
            think()
        }
    }

    private func sendNext() {
        guard let device else { return }
        let scenario = world.scenario
        // (Whatever it was told when it came: who is connected may use what is new.)
        let blocks = Int(device.engine.size.bytes / Scenario.blockSize)
        let kinds: [RequestKind] = [
            .write, .write, .write, .write, .write, .read, .read, .read, .zero, .discard,
        ]
        let kind = world.clientChance.pick(from: kinds)
        let most = world.clientChance.oneIn(8) ? scenario.longestRequest : 2
        let count = min(blocks, world.clientChance.within(1...most))
        // (A few hot blocks: requests are to conflict.)
        let room = blocks - count
        let start =
            world.clientChance.oneIn(2)
            ? world.clientChance.below(min(room, 3) + 1) : world.clientChance.below(room + 1)
        send(kind, start..<start + count)
    }

    func send(_ kind: RequestKind, _ blocks: Range<Int>) {
        guard let device else { return }
        let cookie = nextCookie
        nextCookie += 1
        let write =
            kind == .read ? 0 : world.ledger.invoke(blocks, at: world.now, on: device.number)
        waiting[cookie] = Waiting(kind: kind, blocks: blocks, invoked: world.now, write: write)
        world.requestCount += 1
        if kind == .write { world.lastWrite = world.events...world.events }
        if !world.isHealing || kind != .read {
            world.note(
                "client \(number) asks: \(kind) \(blocks)\(write == 0 ? "" : " as \(write)")")
        }
        let header = encode(kind, blocks, cookie)
        let session = session
        world.after(UInt64(world.clientChance.within(5...50)) * 1000, at: .device(device)) {
            [self] in
            device.receive(header, write: write, from: self, session: session)
        }
    }

    private func encode(_ kind: RequestKind, _ blocks: Range<Int>, _ cookie: UInt64) -> [UInt8] {
        let block = Scenario.blockSize
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Wire.requestHeaderSize)
        bytes.append(wire: Wire.requestMagic)
        let flags: CommandFlags = kind == .zero ? .noHole : []
        bytes.append(wire: flags.rawValue)
        let type =
            switch kind {
            case .read: CommandType.read
            case .write: CommandType.write
            case .zero: CommandType.writeZeroes
            case .discard: CommandType.trim
            }
        bytes.append(wire: type)
        bytes.append(wire: cookie)
        bytes.append(wire: UInt64(blocks.lowerBound) * block)
        bytes.append(wire: UInt32(UInt64(blocks.count) * block))
        return bytes
    }

    /// A reply arrives; `data` is one tag a granule.
    func receive(_ cookie: UInt64, session: Int, isError: Bool, data: [UInt64]) {
        guard session == self.session, let request = waiting.removeValue(forKey: cookie) else {
            return
        }
        world.note(
            "client \(number) hears: \(request.kind) \(request.blocks) \(isError ? "failed" : "done")"
        )
        if isError { world.probes.hit(.failedAfterPatience) }
        if request.kind == .read, !isError {
            world.took(data, of: request.blocks, since: request.invoked)
        } else if request.kind != .read {
            world.lastWrite = world.lastWrite.lowerBound...world.events
            world.ledger.end(request.write, at: world.now, isAcknowledged: !isError)
        }
        think()
    }
}

// MARK: - The server's side

extension SimulatedDevice {
    /// The bytes of a request arrive.
    func receive(_ bytes: [UInt8], write: UInt32, from client: SimulatedClient, session: Int) {
        let header = RequestHeader(bytes.span.bytes)
        guard RequestRules.frameFault(header, .simple) == nil else {
            return world.violated("a good request was taken for a bad frame")
        }
        let kind: RequestKind
        switch RequestRules.verdict(
            header, size: engine.size.bytes, isReadOnly: false)
        {
        case .read: kind = .read
        case .write: kind = .write
        case .zero(let keepAllocated): kind = keepAllocated ? .zero : .discard
        case .acknowledge, .refuse, .disconnect, .blockStatus:
            return world.violated("a good request was refused")
        }
        let range = ByteRange(
            start: ByteOffset(header.offset), count: ByteCount(header.length))
        guard engine.hasRoom, let token = freeTokens.popLast() else {
            stalled.append { [self] in
                receive(bytes, write: write, from: client, session: session)
            }
            return
        }
        requests[token] = Request(
            client: client, session: session, cookie: header.cookie, kind: kind, range: range,
            write: write)
        if engine.active.isEmpty || !engine.absent.isEmpty { world.probes.hit(.waitedBelowMinimum) }
        engine.setTime(world.now)
        engine.submit(kind, range, token: UInt32(token))
        drain()
    }

    /// The engine answers a request.
    func answer(_ token: Int, _ outcome: RequestOutcome) {
        let request = requests[token]
        guard let client = request.client else {
            return world.violated("token \(token) was answered twice")
        }
        requests[token] = Request()
        freeTokens.append(token)
        if outcome == .failed, engine.phase == .fenced, !request.data.isEmpty {
            world.probes.hit(.zombieReadHeld)
        }
        if outcome == .done, request.kind != .read { world.checkAcknowledged(request, self) }
        let isError = outcome == .failed
        world.after(UInt64(world.clientChance.within(5...50)) * 1000) {
            // (A cookie is the client's own: the server hands its eight bytes back as they came.)
            client.receive(
                UInt64(bigEndian: request.cookie), session: request.session, isError: isError,
                data: request.data)
        }
    }
}
