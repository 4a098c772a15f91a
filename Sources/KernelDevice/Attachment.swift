// Attaching and detaching: one command each, from the arguments to a device that can be used.
//
//     attach    find the server ─▶ load the module ─▶ see that a helper runs ─▶ connect ─▶ CONNECT ─▶ size shows
//     detach    find the device ─▶ see that nobody uses it ─▶ DISCONNECT ─▶ nothing shows
//
// The helper runs before the device is there, so that no moment is left in which a dead connection is
// nobody's business.

import CLinux
import Glibc
package import NBDProtocol

/// What to attach, and how.
public struct Attachment: Sendable {
    /// I/O waits for a server for this long, in seconds, when it is to wait for ever: a century.
    private static let forever: UInt64 = 100 * 365 * 86_400

    public let backend: Backend
    /// Nil for any that is free.
    public let device: DeviceIndex?
    /// How long I/O waits for a server that is gone, in seconds; 0 for ever.
    public let deadTimeout: UInt64

    public init(_ backend: Backend, as device: DeviceIndex?, deadTimeout: UInt64) {
        self.backend = backend
        self.device = device
        self.deadTimeout = deadTimeout
    }

    /// Attaches; what is attached already in this way is left as it is.
    ///
    /// - Parameters:
    ///   - kernel: how to reach the kernel's devices.
    ///   - startHelper: makes a helper run, unless one does.
    /// - Returns: the device, which can be used.
    /// - Throws: `KernelDeviceError`; nothing is attached then.
    public func attach(
        _ kernel: KernelSupport = KernelSupport(),
        startHelper: () throws(KernelDeviceError) -> Void
    ) throws(KernelDeviceError) -> AttachedDevice {
        try backend.check()
        if let present = try alreadyAttached() {
            try startHelper()
            return present
        }
        // (The server first: what is wrong there is said even where there is no such kernel.)
        let facts = try ServerConnection(to: backend, .know).facts
        guard facts.size % 512 == 0, facts.size > 0 else {
            throw .badSize(export: backend.export, bytes: facts.size)
        }
        let family = try kernel.open(alternative: alternative)
        try startHelper()
        let connections = try ServerConnections(to: backend)
        let request = ConnectRequest(
            device: device, size: connections.facts.size,
            blockSize: Self.blockSize(for: connections.facts),
            flags: connections.facts.flags.rawValue,
            deadTimeout: deadTimeout == 0 ? Self.forever : deadTimeout, backend: backend)
        let index = try family.connect(request, sockets: connections.descriptors)
        return try whenReady(index)
    }

    /// The same export, if it is attached as is wanted.
    private func alreadyAttached() throws(KernelDeviceError) -> AttachedDevice? {
        let present = DeviceFacts().attached().first { $0.backend.isSameExport(as: backend) }
        guard let present else { return nil }
        guard device == nil || device == present.device else {
            throw .alreadyAttached(export: backend.export, present.device)
        }
        return present
    }

    /// The device's logical block size: the server's preference where the kernel can have it, so that file
    /// systems align to it.
    package static func blockSize(for facts: ExportFacts) -> UInt32 {
        let page = UInt32(sysconf(Int32(_SC_PAGESIZE)))
        let wanted = facts.preferredBlock
        let isPossible =
            wanted >= 512 && wanted <= page && wanted & (wanted - 1) == 0
            && facts.size % UInt64(wanted) == 0
        return isPossible ? wanted : 512
    }

    /// A command that does without the kernel's devices.
    private var alternative: String {
        "nbdfuse FILE 'nbd+unix:///\(backend.export)?socket=\(backend.socketPath)'"
    }

    private func whenReady(_ device: DeviceIndex) throws(KernelDeviceError) -> AttachedDevice {
        let facts = DeviceFacts()
        let isReady = Patience.wait {
            unsafe facts.size(of: device) > 0 && access(device.path, F_OK) == 0
        }
        guard isReady else { throw .neverReady(device) }
        guard let attached = facts.attached(device) else { throw .kernelTooOld }
        return attached
    }
}

/// A device to detach.
public struct Detachment: Sendable {
    public let device: DeviceIndex

    /// The device `target` names: itself, or by what is attached as it.
    ///
    /// - Parameters:
    ///   - target: `/dev/nbdN`, or the export.
    ///   - directory: the export's client device, as an absolute path.
    /// - Throws: `KernelDeviceError` for what is not attached, or not ours.
    public init(_ target: String, directory: String) throws(KernelDeviceError) {
        if target.hasPrefix("/") {
            device = try DeviceIndex(path: target)
            let facts = DeviceFacts()
            guard facts.attached(device) != nil else {
                throw facts.isAttached(device) ? .notOurs(device) : .notAttached(target)
            }
            return
        }
        let found = DeviceFacts().attached().first {
            $0.backend.export == target && $0.backend.directory == directory
        }
        guard let found else { throw .notAttached(target) }
        device = found.device
    }

    /// Detaches; unless `isForced`, only what nobody uses.
    public func detach(isForced: Bool) throws(KernelDeviceError) {
        let uses = DeviceUse().uses(of: device)
        guard uses.isEmpty || isForced else { throw .inUse(device, uses) }
        guard let kernel = try KernelNBD() else { throw .notAttached(device.path) }
        try kernel.disconnect(device)
        // (The kernel lets go of it when the last one has closed it.)
        guard uses.isEmpty else { return }
        let isGone = Patience.wait { !DeviceFacts().isAttached(device) }
        guard isGone else { throw .stillDetaching(device) }
    }
}

/// The way to the kernel's devices.
public struct KernelSupport: Sendable {
    private let load: @Sendable () -> Void

    public init() { load = Self.loadModule }

    /// With another way to load the module, for tests.
    init(load: @escaping @Sendable () -> Void) { self.load = load }

    /// The family's socket; loads the module if need be.
    func open(alternative: String) throws(KernelDeviceError) -> KernelNBD {
        guard geteuid() == 0 else { throw .notRoot }
        if let kernel = try KernelNBD() { return kernel }
        load()
        guard let kernel = try KernelNBD() else {
            throw .noKernelSupport(alternative: alternative)
        }
        return kernel
    }

    @Sendable private static func loadModule() {
        var process: pid_t = 0
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // What it has to say of a kernel without modules is said better here.
        for stream in 0...2 as ClosedRange<Int32> {
            unsafe posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_RDWR, 0)
        }
        let words: [String] = ["modprobe", "nbd"]
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe arguments.forEach { unsafe free($0) } }
        for program in ["/sbin/modprobe", "/usr/sbin/modprobe"] {
            let result = unsafe posix_spawn(
                &process, program, &actions, nil, &arguments, clinux_environment())
            guard result == 0 else { continue }
            while waitpid(process, nil, 0) < 0, errno == EINTR {}
            return
        }
    }
}

/// Waiting for what should be a matter of moments.
enum Patience {
    private static let pause: useconds_t = 20_000
    /// In nanoseconds.
    private static let limit: UInt64 = 10_000_000_000

    /// False when it did not happen in time.
    static func wait<Failure>(until isDone: () throws(Failure) -> Bool) throws(Failure) -> Bool {
        let end = clinux_monotonic_nanoseconds() + limit
        while try !isDone() {
            guard clinux_monotonic_nanoseconds() < end else { return false }
            usleep(pause)
        }
        return true
    }
}
