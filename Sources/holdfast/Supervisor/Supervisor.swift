// The embedded default: appliances and a client device as real processes, kept alive from one.
//
//     holdfast up ─┬─ holdfast appliance run   (× members)    holds memory, serves no I/O
//                  └─ holdfast serve                          NBD, registry, control socket
//
// A dead client device is started again: it takes its sets over and repairs them, the memory untouched. A
// dead appliance is started again as a new, empty incarnation, and is rebuilt. When the supervisor itself
// is killed, the others go on; the next one in the same directory adopts the appliances.

import CLinux
import Appliance
import ClientDevice
import Control
import ControlHTTP
import FoundationEssentials
import Glibc
import Logging
import RemoteMemory
import TCPTransport

/// What `holdfast up` is to run.
struct SupervisorPlan: Sendable {
    var directory: String
    var volume: String
    var size: ByteCount
    var layout: Layout
    var chunk: ByteCount?
    var memory: ByteCount
    /// To whom NBD is served: options of the client device.
    var nbd: [String]
    var populate: Bool
    var transport: TransportKind
    /// How long an appliance may be silent, in milliseconds.
    var evictAfter: Int
    /// How the processes below are to log: options of theirs.
    var logging: [String]

    var applianceNames: [String] { (1...layout.memberCount).map(Self.applianceName) }
    static func applianceName(_ number: Int) -> String { "appliance-\(number)" }
    func socket(of appliance: String) -> String { "\(directory)/\(appliance).sock" }
    /// Where an appliance's TCP port is remembered: the registry names it, so it is to be the same again.
    func portFile(of appliance: String) -> String { "\(directory)/\(appliance).port" }
    var keyFile: String { "\(directory)/\(SecurityOptions.standardKey)" }
}

/// Why the supervisor gives up.
enum SupervisorError: Error, CustomStringConvertible {
    case directoryInUse(directory: String, process: Int32)
    case noDirectory(String, errno: Int32)
    case childFailed(String, how: String)
    case notReady(String)
    case notOnNetwork(String)
    case control(ControlError)
    case stopped

    var description: String {
        switch self {
        case .directoryInUse(let directory, let process):
            """
            \(directory) is in use by 'holdfast up', process \(process); \
            stop that one or choose another --dir
            """
        case .noDirectory(let directory, let code):
            unsafe """
            \(directory) cannot be used: \(String(cString: strerror(code))); \
            choose another --dir, or mend this one
            """
        case .childFailed(let name, let how):
            "\(name) \(how) before it was ready; see its messages above"
        case .notReady(let name): "\(name) is not ready after 30 seconds; see its messages above"
        case .notOnNetwork(let name):
            "\(name) runs already and is not reachable by TCP; stop it, or leave out --transport tcp"
        case .control(let error): error.message
        case .stopped: "stopped"
        }
    }
}

/// Keeps the processes of one directory running.
actor Supervisor {
    /// How long a child may take to be ready, in tries of 20 ms.
    private static let readyTries = 1500
    /// How long an orderly stop may take before processes are killed, in seconds.
    private static let stopSeconds = 15

    private let plan: SupervisorPlan
    private let log: Logger
    private var appliances: [String: ChildProcess] = [:]
    private var client: ChildProcess?
    private var isStopping = false
    private var lock: Int32 = -1

    init(_ plan: SupervisorPlan, log: Logger) {
        self.plan = plan
        self.log = log
    }

    /// Starts everything; returns the volume when it can be connected to.
    func start() async throws -> VolumeStatus {
        try claimDirectory()
        try await endOrphanedClient()
        if plan.transport == .tcp, unsafe access(plan.keyFile, F_OK) != 0 {
            try ClusterKey.create(file: plan.keyFile)
        }
        for name in plan.applianceNames { try await startAppliance(name) }
        for name in runningAppliances where appliances[name] == nil {
            try await startAppliance(name)
        }
        try startClient()
        return try await prepareVolume()
    }

    /// Stops the client device, then the appliances; everything in them goes with them.
    func stop() async {
        isStopping = true
        if let client { await end([client]) }
        await end(Array(appliances.values))
    }

    /// Ends everything at once.
    func kill() {
        isStopping = true
        client?.send(SIGKILL)
        for appliance in appliances.values { appliance.send(SIGKILL) }
    }

    /// Has the client device reread what it can.
    func hangUpClient() { client?.send(SIGHUP) }

    private func end(_ children: [ChildProcess]) async {
        for child in children { child.send(SIGTERM) }
        for _ in 0..<Self.stopSeconds * 100 {
            if children.allSatisfy(\.isGone) { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
        for child in children where !child.isGone {
            log.warning("process \(child.process) does not stop; it is killed")
            child.send(SIGKILL)
        }
    }

    // MARK: The directory

    private func claimDirectory() throws(SupervisorError) {
        let path = plan.directory + "/up.lock"
        lock = unsafe clinux_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0 else { throw .noDirectory(plan.directory, errno: errno) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            var digits = [UInt8](repeating: 0, count: 16)
            let count = unsafe pread(lock, &digits, digits.count, 0)
            let text = String(decoding: digits.prefix(max(0, count)), as: UTF8.self)
            throw .directoryInUse(directory: plan.directory, process: Int32(text) ?? 0)
        }
        ftruncate(lock, 0)
        let text = Array("\(getpid())".utf8)
        _ = unsafe pwrite(lock, text, text.count, 0)
    }

    /// A client device whose supervisor was killed is replaced: the new one has the new options, and
    /// takes over what it served.
    private func endOrphanedClient() async throws {
        guard let process = DeviceClaim.holder(of: plan.directory),
            let orphan = try? ChildProcess(adopting: process)
        else { return }
        log.info("replacing the client device that runs already, process \(process)")
        await end([orphan])
    }

    /// The process that listens at a Unix socket, if any does.
    private static func listener(at path: String) -> Int32? {
        let socket = clinux_socket_stream(AF_UNIX)
        defer { close(socket) }
        guard unsafe clinux_unix_connect(socket, path) == 0 else { return nil }
        let process = clinux_peer_pid(socket)
        return process > 0 ? process : nil
    }

    // MARK: Appliances

    /// Appliances that a killed supervisor left running, whether planned for or not: they may hold data.
    private var runningAppliances: [String] {
        (1...Layout.mirrorCopies.upperBound).map(SupervisorPlan.applianceName).filter {
            Self.listener(at: plan.socket(of: $0)) != nil
        }
    }

    private func startAppliance(_ name: String) async throws {
        let path = plan.socket(of: name)
        if let process = Self.listener(at: path), let running = try? ChildProcess(adopting: process)
        {
            log.info("\(name) runs already, process \(process): its memory is kept")
            appliances[name] = running
        } else {
            let child = try ChildProcess(
                starting: [
                    "appliance", "run", "--name", name, "--memory", "\(plan.memory.bytes)",
                    "--listen",
                    "unix:\(path)",
                ] + networkArguments(of: name) + plan.logging)
            appliances[name] = child
            try await waitUntilReady(name, child) { Self.listener(at: path) != nil }
        }
        watchAppliance(name)
    }

    /// What makes an appliance reachable by TCP too, if that is wanted.
    private func networkArguments(of name: String) -> [String] {
        guard plan.transport == .tcp else { return [] }
        let port = (try? String(contentsOfFile: plan.portFile(of: name), encoding: .utf8)) ?? "0"
        return ["--listen", "tcp:127.0.0.1:\(port)", "--cluster-key", plan.keyFile]
    }

    /// Where the client device is to find an appliance.
    private func address(of name: String) throws -> String {
        let path = plan.socket(of: name)
        guard plan.transport == .tcp else { return "unix:\(path)" }
        let addresses = try ApplianceConnection(path: path).describe().addresses
        guard let address = addresses.first(where: { $0.hasPrefix("tcp:") }) else {
            throw SupervisorError.notOnNetwork(name)
        }
        let port = address[
            address.index(after: address.lastIndex(of: ":") ?? address.startIndex)...]
        try String(port).write(
            toFile: plan.portFile(of: name), atomically: true, encoding: .utf8)
        return address
    }

    private func watchAppliance(_ name: String) {
        guard let child = appliances[name] else { return }
        Task {
            let how = await child.ended()
            guard !isStopping else { return }
            log.warning("\(name) \(how); starting a new, empty one")
            do {
                try await startAppliance(name)
            } catch {
                log.error("\(name): \(error)")
                try? await Task.sleep(for: .seconds(1))
                if !isStopping { watchAppliance(name) }
            }
        }
    }

    private func waitUntilReady(
        _ name: String, _ child: ChildProcess, _ isReady: () -> Bool
    ) async throws {
        for _ in 0..<Self.readyTries {
            if isReady() { return }
            guard !child.isGone else {
                throw SupervisorError.childFailed(name, how: await child.ended())
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw SupervisorError.notReady(name)
    }

    // MARK: The client device

    private func startClient() throws {
        var arguments = [
            "serve", "--dir", plan.directory, "--evict-after", "\(plan.evictAfter)ms",
        ]
        arguments += plan.nbd
        if plan.populate { arguments.append("--populate") }
        arguments += plan.logging
        watchClient(try ChildProcess(starting: arguments))
    }

    private func watchClient(_ child: ChildProcess) {
        client = child
        let started = ContinuousClock.now
        Task {
            let how = await child.ended()
            guard !isStopping, client === child else { return }
            // One that cannot run must not use up the machine with trying.
            if ContinuousClock.now - started < .seconds(1) {
                try? await Task.sleep(for: .milliseconds(200))
            }
            guard !isStopping else { return }
            if let process = DeviceClaim.holder(of: plan.directory),
                let successor = try? ChildProcess(adopting: process)
            {
                log.warning(
                    "the client device \(how); process \(process) has taken over: that one it is now"
                )
                return watchClient(successor)
            }
            log.warning("the client device \(how); starting it again")
            do { try startClient() } catch { log.error("\(error)") }
        }
    }

    /// Waits for the client device, and has it know the appliances and the volume.
    private func prepareVolume() async throws -> VolumeStatus {
        let control = ControlClient(directory: plan.directory)
        let status = try await ready(control)
        let known = Set(status.appliances.map(\.name))
        for name in plan.applianceNames where !known.contains(name) {
            _ = try await control.addAppliance(
                ApplianceAddition(name: name, address: try address(of: name)))
        }
        if let volume = status.volumes.first(where: { $0.name == plan.volume }) {
            guard volume.health == .lost else {
                if volume.sizeBytes != plan.size || volume.layout != plan.layout {
                    log.warning(
                        "\(plan.volume) is there already: \(volume.sizeBytes), \(volume.layout)")
                }
                return try await served(volume, control)
            }
            log.warning(
                """
                the contents of \(plan.volume) went with the appliances that held them; \
                it is created anew, empty
                """)
            for snapshot in volume.snapshots {
                try await control.deleteSnapshot(named: snapshot.name, ofVolume: plan.volume)
            }
            try await control.deleteVolume(named: plan.volume)
        }
        return try await control.createVolume(
            VolumeCreation(
                name: plan.volume, size: plan.size, layout: plan.layout, chunk: plan.chunk))
    }

    /// Waits until a volume that exists can be connected to.
    private func served(
        _ volume: VolumeStatus, _ control: ControlClient
    ) async throws -> VolumeStatus {
        var volume = volume
        for _ in 0..<Self.readyTries where volume.health == .waiting {
            try await Task.sleep(for: .milliseconds(20))
            volume = try await control.volume(named: volume.name)
        }
        guard volume.health != .waiting else {
            throw SupervisorError.notReady("volume \(volume.name)")
        }
        return volume
    }

    private func ready(_ control: ControlClient) async throws -> DeviceStatus {
        for _ in 0..<Self.readyTries {
            if isStopping { throw SupervisorError.stopped }
            if let client, client.isGone {
                isStopping = true
                throw SupervisorError.childFailed("the client device", how: "exited")
            }
            do throws(ControlError) {
                return try await control.status()
            } catch {
                guard error.code == .unavailable else { throw SupervisorError.control(error) }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw SupervisorError.notReady("the client device")
    }
}
