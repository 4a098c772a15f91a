// What is said to the kernel about its NBD devices, and what it says, as values.

import CNetlink

/// A device to be attached.
package struct ConnectRequest: Hashable {
    /// Nil for any that is free; the kernel makes one more if none is.
    package var device: DeviceIndex?
    /// In bytes.
    package var size: UInt64
    /// The device's logical block size, in bytes.
    package var blockSize: UInt32
    /// The server's transmission flags.
    package var flags: UInt16
    /// In seconds.
    package var deadTimeout: UInt64
    package var backend: Backend

    package init(
        device: DeviceIndex?, size: UInt64, blockSize: UInt32, flags: UInt16, deadTimeout: UInt64,
        backend: Backend
    ) {
        self.device = device
        self.size = size
        self.blockSize = blockSize
        self.flags = flags
        self.deadTimeout = deadTimeout
        self.backend = backend
    }

    package func message(family: Int32, sockets: [Int32]) throws(KernelDeviceError)
        -> NetlinkMessage
    {
        var message = try NetlinkMessage(family: family, command: NBDCommand.connect)
        if let device { try message.put(NBDAttribute.index, device.number) }
        try message.put(NBDAttribute.size, size)
        try message.put(NBDAttribute.blockSize, UInt64(blockSize))
        try message.put(NBDAttribute.timeout, UInt64(backend.timeout))
        try message.put(NBDAttribute.serverFlags, UInt64(flags))
        try message.put(NBDAttribute.deadTimeout, deadTimeout)
        try message.put(NBDAttribute.backend, backend.text)
        try message.put(sockets: sockets)
        return message
    }
}

/// What is to change of an attached device.
package struct ReconfigureRequest: Hashable {
    package var device: DeviceIndex
    package var backend: Backend
    /// In bytes; nil to leave it.
    package var size: UInt64?

    package init(device: DeviceIndex, backend: Backend, size: UInt64? = nil) {
        self.device = device
        self.backend = backend
        self.size = size
    }

    /// Sockets take the places of dead ones; those for which there is no place are let go of.
    package func message(family: Int32, sockets: [Int32]) throws(KernelDeviceError)
        -> NetlinkMessage
    {
        var message = try NetlinkMessage(family: family, command: NBDCommand.reconfigure)
        try message.put(NBDAttribute.index, device.number)
        try message.put(NBDAttribute.backend, backend.text)
        if let size { try message.put(NBDAttribute.size, size) }
        if !sockets.isEmpty { try message.put(sockets: sockets) }
        return message
    }
}

/// A device to be detached, whatever it is doing.
package struct DisconnectRequest: Hashable {
    package var device: DeviceIndex

    package init(device: DeviceIndex) { self.device = device }

    package func message(family: Int32) throws(KernelDeviceError) -> NetlinkMessage {
        var message = try NetlinkMessage(family: family, command: NBDCommand.disconnect)
        try message.put(NBDAttribute.index, device.number)
        return message
    }
}

/// A message from the kernel.
package enum KernelMessage: Hashable {
    /// A request is done; 0, or a negative errno.
    case result(sequence: UInt32, error: Int32)
    /// Which device a connect request got.
    case connected(DeviceIndex)
    /// One of the device's connections is dead.
    case linkDead(DeviceIndex)
    /// What is of no interest here.
    case other

    /// All the messages in a datagram; what is cut short is left out.
    package static func read(_ bytes: [UInt8]) -> [KernelMessage] {
        var messages: [KernelMessage] = []
        var rest = Int32(clamping: bytes.count)
        unsafe bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            var header = unsafe UnsafeMutableRawPointer(mutating: base)
                .assumingMemoryBound(to: nlmsghdr.self)
            while unsafe nlmsg_ok(header, rest) != 0 {
                unsafe messages.append(read(header))
                guard let next = unsafe nlmsg_next(header, &rest) else { return }
                unsafe header = next
            }
        }
        return messages
    }

    private static func read(_ header: UnsafeMutablePointer<nlmsghdr>) -> KernelMessage {
        let kind = unsafe Int(header.pointee.nlmsg_type)
        if kind == NLMSG_ERROR {
            let size = unsafe Int(nlmsg_datalen(header))
            guard size >= MemoryLayout<nlmsgerr>.size, let data = unsafe nlmsg_data(header) else {
                return .other
            }
            let answer = unsafe data.loadUnaligned(as: nlmsgerr.self)
            return .result(sequence: answer.msg.nlmsg_seq, error: answer.error)
        }
        // (Smaller numbers are netlink's own messages.)
        guard kind >= NLMSG_MIN_TYPE, unsafe genlmsg_valid_hdr(header, 0) != 0,
            let body = unsafe genlmsg_hdr(header),
            let attribute = unsafe nla_find(
                genlmsg_attrdata(body, 0), genlmsg_attrlen(body, 0), Int32(NBDAttribute.index)),
            unsafe nla_len(attribute) == MemoryLayout<UInt32>.size
        else { return .other }
        let device = unsafe DeviceIndex(nla_get_u32(attribute))
        switch unsafe Int(body.pointee.cmd) {
        case NBDCommand.connect: return .connected(device)
        case NBDCommand.linkDead: return .linkDead(device)
        default: return .other
        }
    }
}
