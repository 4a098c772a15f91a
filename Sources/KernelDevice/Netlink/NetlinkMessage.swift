// A message of the kernel's nbd family, built by libnl. The family's attributes by number:
//
//     1 index │ 2 size │ 3 block size │ 4 timeout │ 5 server's flags │ 7 sockets │ 8 dead timeout │ 10 backend
//
// Sockets are nested twice: a list of items, each with a descriptor, which the kernel takes a reference of
// while the message is handled.

import CNetlink
import Glibc

/// One request; freed with its value.
@safe package struct NetlinkMessage: ~Copyable {
    let pointer: OpaquePointer

    /// A request of the family with this number.
    init(family: Int32, command: Int) throws(KernelDeviceError) {
        guard let message = unsafe nlmsg_alloc() else {
            throw .system(call: "nlmsg_alloc", errno: ENOMEM)
        }
        // Port and sequence number are filled in when it is sent.
        let flags = Int32(NLM_F_REQUEST | NLM_F_ACK)
        let body = unsafe genlmsg_put(
            message, 0, 0, family, 0, flags, UInt8(command), UInt8(NBD_GENL_VERSION))
        precondition(unsafe body != nil, "a new message has room for its head")
        unsafe pointer = message
    }

    deinit { unsafe nlmsg_free(pointer) }

    mutating func put(_ attribute: Int, _ value: UInt32) throws(KernelDeviceError) {
        try check(unsafe nla_put_u32(pointer, Int32(attribute), value))
    }

    mutating func put(_ attribute: Int, _ value: UInt64) throws(KernelDeviceError) {
        try check(unsafe nla_put_u64(pointer, Int32(attribute), value))
    }

    mutating func put(_ attribute: Int, _ value: String) throws(KernelDeviceError) {
        try check(unsafe nla_put_string(pointer, Int32(attribute), value))
    }

    /// The descriptors of connections, in the family's nested form.
    mutating func put(sockets: [Int32]) throws(KernelDeviceError) {
        try nest(NBDAttribute.sockets) { (list: inout Self) throws(KernelDeviceError) in
            for socket in sockets {
                try list.nest(NBDAttribute.socketItem) {
                    (item: inout Self) throws(KernelDeviceError) in
                    try item.put(NBDAttribute.socketDescriptor, UInt32(bitPattern: socket))
                }
            }
        }
    }

    private mutating func nest(
        _ attribute: Int, _ fill: (inout Self) throws(KernelDeviceError) -> Void
    ) throws(KernelDeviceError) {
        guard let start = unsafe nla_nest_start(pointer, Int32(attribute)) else {
            throw .system(call: "nla_nest_start", errno: EMSGSIZE)
        }
        try fill(&self)
        try check(unsafe nla_nest_end(pointer, start))
    }

    private func check(_ result: Int32) throws(KernelDeviceError) {
        guard result < 0 else { return }
        throw .system(call: "building a netlink message", errno: EMSGSIZE)
    }

    /// The message as it is sent.
    package var bytes: [UInt8] {
        guard let header = unsafe nlmsg_hdr(pointer) else { return [] }
        return unsafe [UInt8](
            UnsafeRawBufferPointer(start: header, count: Int(header.pointee.nlmsg_len)))
    }
}

/// The family's numbers, as integers of one type.
enum NBDAttribute {
    static let index = Int(NBD_ATTR_INDEX)
    static let size = Int(NBD_ATTR_SIZE_BYTES)
    static let blockSize = Int(NBD_ATTR_BLOCK_SIZE_BYTES)
    static let timeout = Int(NBD_ATTR_TIMEOUT)
    static let serverFlags = Int(NBD_ATTR_SERVER_FLAGS)
    static let sockets = Int(NBD_ATTR_SOCKETS)
    static let deadTimeout = Int(NBD_ATTR_DEAD_CONN_TIMEOUT)
    static let backend = Int(NBD_ATTR_BACKEND_IDENTIFIER)
    static let socketItem = Int(NBD_SOCK_ITEM)
    static let socketDescriptor = Int(NBD_SOCK_FD)
}

/// The family's requests and events.
enum NBDCommand {
    static let connect = Int(NBD_CMD_CONNECT)
    static let disconnect = Int(NBD_CMD_DISCONNECT)
    static let reconfigure = Int(NBD_CMD_RECONFIGURE)
    static let linkDead = Int(NBD_CMD_LINK_DEAD)
}
