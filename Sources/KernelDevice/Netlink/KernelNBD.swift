// A netlink socket to the kernel's nbd family: requests with their answers, or its events.
//
// Requests and events go over sockets of their own, so that an answer is never behind a queue of events, and
// a thread that waits for the kernel keeps nobody else waiting.

import CNetlink
import Glibc

/// A connection to the kernel's nbd family; to be used by one thread at a time.
@safe final class KernelNBD {
    private let socket: OpaquePointer
    private let family: Int32

    /// Nil when the kernel has no such family now.
    init?() throws(KernelDeviceError) {
        guard let socket = unsafe nl_socket_alloc() else {
            throw .system(call: "nl_socket_alloc", errno: ENOMEM)
        }
        // (There are systems without any netlink, too.)
        let isConnected = unsafe genl_connect(socket) == 0
        let family = isConnected ? unsafe genl_ctrl_resolve(socket, NBD_GENL_FAMILY_NAME) : -1
        guard family >= 0 else {
            unsafe nl_socket_free(socket)
            return nil
        }
        // (From here on the end of this object frees it.)
        unsafe self.socket = socket
        self.family = family
    }

    deinit { unsafe nl_socket_free(socket) }

    // MARK: Requests

    /// Attaches a device to a server by way of these sockets; returns which.
    func connect(
        _ request: ConnectRequest, sockets: [Int32]
    ) throws(KernelDeviceError) -> DeviceIndex {
        let (error, device) = try send(request.message(family: family, sockets: sockets))
        if error == -EBUSY, let device = request.device { throw .deviceInUse(device) }
        try check(error, "attach a device")
        guard let device = device ?? request.device else {
            throw .kernel(request: "attach a device", reason: "it does not say which")
        }
        return device
    }

    /// Changes an attached device; false when it is attached no more, or to something else.
    func reconfigure(
        _ request: ReconfigureRequest, sockets: [Int32] = []
    ) throws(KernelDeviceError) -> Bool {
        let (error, _) = try send(request.message(family: family, sockets: sockets))
        if error == -EINVAL { return false }
        try check(error, "reconfigure \(request.device)")
        return true
    }

    /// Detaches a device; what it has not written yet fails.
    func disconnect(_ device: DeviceIndex) throws(KernelDeviceError) {
        let (error, _) = try send(DisconnectRequest(device: device).message(family: family))
        try check(error, "detach \(device)")
    }

    private func check(_ error: Int32, _ request: String) throws(KernelDeviceError) {
        guard error != 0 else { return }
        if error == -EPERM { throw .notRoot }
        throw .kernel(request: request, reason: KernelDeviceError.text(-error))
    }

    /// Sends a request and waits for its result.
    private func send(
        _ message: consuming NetlinkMessage
    ) throws(KernelDeviceError) -> (error: Int32, device: DeviceIndex?) {
        guard unsafe nl_send_auto(socket, message.pointer) >= 0,
            let header = unsafe nlmsg_hdr(message.pointer)
        else { throw .system(call: "sending to the kernel", errno: errno) }
        let sequence = unsafe header.pointee.nlmsg_seq
        var device: DeviceIndex?
        while true {
            for answer in KernelMessage.read(try receive() ?? []) {
                switch answer {
                case .connected(let index): device = index
                case .result(sequence, let error): return (error, device)
                case .result, .linkDead, .other: continue
                }
            }
        }
    }

    /// The next datagram; nil when there is none now, on a socket that does not wait.
    private func receive() throws(KernelDeviceError) -> [UInt8]? {
        var sender = sockaddr_nl()
        var buffer: UnsafeMutablePointer<UInt8>?
        let count = unsafe nl_recv(socket, &sender, &buffer, nil)
        guard count >= 0 else {
            if count == -NLE_AGAIN || count == -NLE_INTR { return nil }
            // (libnl says this of a queue that ran over.)
            throw .system(
                call: "receiving from the kernel", errno: count == -NLE_NOMEM ? ENOBUFS : EIO)
        }
        defer { unsafe free(buffer) }
        guard let buffer = unsafe buffer, count > 0 else { return nil }
        return unsafe [UInt8](UnsafeRawBufferPointer(start: buffer, count: Int(count)))
    }

    // MARK: Events

    /// Wants to be told of dead connections from now on, without waiting for them.
    func subscribe() throws(KernelDeviceError) {
        let group = unsafe genl_ctrl_resolve_grp(
            socket, NBD_GENL_FAMILY_NAME, NBD_GENL_MCAST_GROUP_NAME)
        unsafe nl_socket_disable_seq_check(socket)
        guard group >= 0, unsafe nl_socket_add_membership(socket, group) == 0,
            unsafe nl_socket_set_nonblocking(socket) == 0
        else { throw .system(call: "subscribing to the kernel's events", errno: errno) }
    }

    var descriptor: Int32 { unsafe nl_socket_get_fd(socket) }

    /// The devices with a dead connection that were told of since the last call.
    ///
    /// - Throws: `KernelDeviceError` when some were lost.
    func deadLinks() throws(KernelDeviceError) -> [DeviceIndex] {
        var devices: [DeviceIndex] = []
        while let bytes = try receive() {
            for case .linkDead(let device) in KernelMessage.read(bytes) { devices.append(device) }
        }
        return devices
    }
}
