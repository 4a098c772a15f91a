// holdfast attach, and the helper behind it

import ArgumentParser
import Control
import KernelDevice
import Logging
import Registry
import RemoteMemory

/// `holdfast attach`.
struct AttachCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach",
        abstract: "Make a volume or a snapshot a disk of this machine: /dev/nbdN.",
        discussion: """
            Prints the device when it can be used. It is a disk like any other: it takes a file system, \
            swap space, a RAID. VOLUME@SNAPSHOT is read-only.

            While the client device is down, reads and writes wait; when it is back they go on. No \
            restart makes one fail. A helper, one for all devices of this machine, sees to that; it is \
            started when it does not run, and 'attach --helper' is it, for a service manager. When the \
            helper is killed the devices go on, and the next one takes charge of them.

            Examples:
              holdfast attach vol0 && mkfs.ext4 /dev/nbd0 && mount /dev/nbd0 /mnt
              holdfast attach vol0@monday --json
              holdfast attach --list
            """)

    @Argument(
        help: ArgumentHelp("What to attach: VOLUME or VOLUME@SNAPSHOT.", valueName: "volume"))
    var export: String?
    @Argument(help: "As which device; one that is free unless told.")
    var device: String?
    @Flag(help: "Show what is attached.")
    var list = false
    @Flag(help: "Be the helper: keep all devices of this machine attached, in the foreground.")
    var helper = false
    @OptionGroup var kernel: KernelOptions
    @OptionGroup var place: DirectoryOption
    @OptionGroup var output: OutputOption
    @OptionGroup var logging: LogOptions

    mutating func validate() throws {
        guard !(list && helper) else { throw ValidationError("--list and --helper are two things") }
        if list || helper {
            guard export == nil else {
                throw ValidationError("\(list ? "--list" : "--helper") is for all devices")
            }
            return
        }
        guard let export else {
            throw ValidationError("name a volume, or use --list to see what is attached")
        }
        try ExportName.check(export)
        if let device { try ExportName.checkDevice(device) }
    }

    func run() async throws {
        if helper { try runHelper() }
        guard !list else { return try showList() }
        let backend = Backend(
            export: export ?? "", connections: kernel.connections, timeout: kernel.timeout,
            directory: place.absolute)
        let attachment = Attachment(
            backend, as: try device.map { text in try DeviceIndex(path: text) },
            deadTimeout: UInt64(kernel.deadTimeout))
        let attached = try attachment.attach { () throws(KernelDeviceError) in
            try HelperProcess.ensure(
                RuntimeDirectory(), arguments: ["attach", "--helper"] + logging.arguments)
        }
        // (It is in the helper's hands when the helper has told of it.)
        _ = try HelperReport.ask(RuntimeDirectory())
        try output.show(DeviceLine(attached, nil), [attached.device.path])
    }

    private func runHelper() throws(KernelDeviceError) -> Never {
        let manager = ServiceManager()
        let helper = try Helper(RuntimeDirectory(), log: logging.logger("attach"))
        try helper.run { manager?.ready("keeping devices attached") }
    }

    private func showList() throws {
        let report = try HelperReport.ask(RuntimeDirectory())
        let lines = DeviceFacts().attached().map { DeviceLine($0, report) }
        var table = Table(
            .left("DEVICE"), .left("VOLUME"), .right("SIZE"), .left("ACCESS"), .left("STATE"),
            .left("DIRECTORY"))
        for line in lines {
            table.add(
                line.device, line.volume, ByteCount(line.size).description,
                line.readOnly ? "read-only" : "read-write", line.sentence, line.directory)
        }
        try output.show(lines, lines.isEmpty ? ["nothing is attached"] : table.lines)
    }
}

/// How the kernel is to treat a device.
struct KernelOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Over how many connections the kernel speaks to the client device.", valueName: "count")
    )
    var connections = 4
    @Option(
        help: ArgumentHelp(
            """
            After how many seconds without an answer a request is sent again, over a new connection. \
            It does not fail. After a crash of the client device this is what I/O pauses at least; 0 \
            is the kernel's own, 30.
            """, valueName: "seconds"))
    var timeout = 5
    @Option(
        help: ArgumentHelp(
            """
            For how many seconds I/O waits for a client device that is down, before it fails; 0 is \
            for ever.
            """, valueName: "seconds"))
    var deadTimeout = 0

    mutating func validate() throws {
        try Self.check(connections, "--connections", Backend.connectionLimits)
        try Self.check(timeout, "--timeout", Backend.timeoutLimits)
        try Self.check(deadTimeout, "--dead-timeout", 0...31_536_000)
    }

    private static func check(_ value: Int, _ name: String, _ limits: ClosedRange<Int>) throws {
        guard limits.contains(value) else {
            throw ValidationError(
                "\(name) is a number from \(limits.lowerBound) to \(limits.upperBound)")
        }
    }
}

/// What can be attached, by name.
enum ExportName {
    /// Fails with a usage error for what is no VOLUME or VOLUME@SNAPSHOT.
    static func check(_ name: String) throws {
        let parts = name.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ NameRule.allows(String($0)) }) else {
            throw ValidationError(
                "'\(name)' is no VOLUME or VOLUME@SNAPSHOT: each is a name of \(NameRule.sentence)")
        }
    }

    /// Fails with a usage error for what is no /dev/nbdN.
    static func checkDevice(_ path: String) throws {
        do throws(KernelDeviceError) {
            _ = try DeviceIndex(path: path)
        } catch {
            throw ValidationError(error.description)
        }
    }
}

/// An attached device as it is shown.
struct DeviceLine: Encodable {
    /// How it is kept attached.
    enum State: String, Encodable {
        case connected
        /// The client device is away, and I/O waits.
        case waiting
        /// No helper runs: should the client device restart, I/O waits for one.
        case unattended
    }

    let device: String
    let volume: String
    let directory: String
    let size: UInt64
    let readOnly: Bool
    let connections: Int
    let timeoutSeconds: Int
    let state: State
    let waitingMilliseconds: Int64?

    /// With what the helper says of it; nil when there is none.
    init(_ attached: AttachedDevice, _ report: HelperReport?) {
        device = attached.device.path
        volume = attached.backend.export
        directory = attached.backend.directory
        size = attached.size
        readOnly = attached.isReadOnly
        connections = attached.backend.connections
        timeoutSeconds = attached.backend.timeout
        let kept = report?.devices.first { $0.device == attached.device.path }
        waitingMilliseconds = kept?.waitingMilliseconds
        state = kept == nil ? .unattended : waitingMilliseconds == nil ? .connected : .waiting
    }

    /// The state for people.
    var sentence: String {
        guard let waitingMilliseconds else {
            return state == .unattended ? "unattended" : "connected"
        }
        return "waiting for \(waitingMilliseconds / 1000) s"
    }
}
