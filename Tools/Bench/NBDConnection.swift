// The client's half of the NBD handshake (NetworkBlockDevice/nbd doc/proto.md, "Fixed newstyle
// negotiation"), on a blocking Unix socket. It asks for simple replies only: NBD_OPT_GO, and
// NBD_OPT_EXPORT_NAME for servers that do not know it.

import Glibc

/// The numbers of the protocol that this client needs.
enum NBD {
    static let serverMagic: UInt64 = 0x4e42_444d_4147_4943
    static let optionMagic: UInt64 = 0x4948_4156_454f_5054
    static let optionReplyMagic: UInt64 = 0x0003_e889_0455_65a9
    static let requestMagic: UInt32 = 0x2560_9513
    static let simpleReplyMagic: UInt32 = 0x6744_6698

    static let fixedNewstyle: UInt16 = 1 << 0
    static let noZeroes: UInt16 = 1 << 1
    static let optionExportName: UInt32 = 1
    static let optionGo: UInt32 = 7
    static let replyAcknowledge: UInt32 = 1
    static let replyInformation: UInt32 = 3
    static let replyErrorBit: UInt32 = 1 << 31
    static let replyUnsupported: UInt32 = (1 << 31) + 1
    static let informationExport: UInt16 = 0
    static let commandRead: UInt16 = 0
    static let commandWrite: UInt16 = 1
    static let commandDisconnect: UInt16 = 2
    static let flagReadOnly: UInt16 = 1 << 1

    static let requestBytes = 28
    static let replyBytes = 16
    /// The longest option reply this client accepts, in bytes; information replies are far shorter.
    static let optionReplyBytesLimit: UInt32 = 64 << 10
    /// Zeroes that end the answer to EXPORT_NAME unless both sides agreed to leave them out.
    static let exportNamePaddingBytes = 124
}

/// A connection in transmission mode; closing it says goodbye.
struct NBDConnection: ~Copyable {
    /// A server that says nothing for this long is reported, not waited for.
    static let stallSeconds = 20

    let descriptor: Int32
    private(set) var exportBytes: UInt64 = 0
    private(set) var isReadOnly = false
    private var isTransmitting = false

    private init(owning descriptor: Int32) { self.descriptor = descriptor }

    static func open(_ address: ExportAddress) throws(BenchError) -> NBDConnection {
        var connection = NBDConnection(owning: try connect(to: address.socketPath))
        try connection.negotiate(exportName: address.exportName)
        connection.isTransmitting = true
        return connection
    }

    deinit {
        if isTransmitting { disconnect() }
        close(descriptor)
    }

    private func disconnect() {
        var goodbye = Wire()
        goodbye.append(NBD.requestMagic)
        goodbye.append(UInt16(0))
        goodbye.append(NBD.commandDisconnect)
        goodbye.append(UInt64(0))
        goodbye.append(UInt64(0))
        goodbye.append(UInt32(0))
        _ = send(descriptor, goodbye.bytes, goodbye.bytes.count, Int32(MSG_NOSIGNAL))
    }

    private static func connect(to path: String) throws(BenchError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system(call: "socket", errno: errno, subject: path) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < room else {
            close(descriptor)
            throw .system(call: "connect", errno: ENAMETOOLONG, subject: path)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let reason = errno
            close(descriptor)
            throw .system(call: "connect", errno: reason, subject: path)
        }
        var patience = timeval(tv_sec: stallSeconds, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return descriptor
    }

    /// The process that listens on the other side; nil when the kernel does not know.
    var serverProcess: pid_t? {
        // struct ucred of socket(7), which Glibc's module does not show: pid, uid, gid.
        var credentials: (pid: pid_t, uid: uid_t, gid: gid_t) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        let status = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
        return status == 0 && credentials.pid > 0 ? credentials.pid : nil
    }

    // MARK: Negotiation

    private mutating func negotiate(exportName: String) throws(BenchError) {
        var greeting = try receive(18)
        guard greeting.take(UInt64.self) == NBD.serverMagic,
            greeting.take(UInt64.self) == NBD.optionMagic
        else { throw .protocolViolation("its greeting is not that of newstyle negotiation") }
        let offered = greeting.take(UInt16.self)
        guard offered & NBD.fixedNewstyle != 0 else {
            throw .protocolViolation("it does not speak fixed newstyle negotiation")
        }
        let noZeroes = offered & NBD.noZeroes
        var answer = Wire()
        answer.append(UInt32(NBD.fixedNewstyle | noZeroes))
        try transmit(answer)
        if try !go(exportName) {
            try chooseByName(exportName, hasPadding: noZeroes == 0)
        }
    }

    /// Asks for the export with NBD_OPT_GO; false when the server does not know that option.
    private mutating func go(_ name: String) throws(BenchError) -> Bool {
        var option = Wire()
        option.append(NBD.optionMagic)
        option.append(NBD.optionGo)
        option.append(UInt32(4 + name.utf8.count + 2))
        option.append(UInt32(name.utf8.count))
        option.bytes.append(contentsOf: name.utf8)
        option.append(UInt16(0))
        try transmit(option)
        var sawExport = false
        while true {
            var header = try receive(20)
            guard header.take(UInt64.self) == NBD.optionReplyMagic,
                header.take(UInt32.self) == NBD.optionGo
            else { throw .protocolViolation("its option reply has a wrong magic or option") }
            let kind = header.take(UInt32.self)
            let length = header.take(UInt32.self)
            guard length <= NBD.optionReplyBytesLimit else {
                throw .protocolViolation("its option reply is \(length) bytes long")
            }
            var payload = try receive(Int(length))
            switch kind {
            case NBD.replyAcknowledge:
                guard sawExport else { throw .protocolViolation("it never told the export's size") }
                return true
            case NBD.replyInformation where length >= 12:
                guard payload.take(UInt16.self) == NBD.informationExport else { continue }
                adopt(&payload)
                sawExport = true
            case NBD.replyUnsupported:
                return false
            case _ where kind & NBD.replyErrorBit != 0:
                let words = String(decoding: payload.rest, as: UTF8.self)
                let reason = words.isEmpty ? "option error \(kind & ~NBD.replyErrorBit)" : words
                throw .exportRefused(name: name, reason: reason)
            default:
                continue
            }
        }
    }

    private mutating func chooseByName(_ name: String, hasPadding: Bool) throws(BenchError) {
        var option = Wire()
        option.append(NBD.optionMagic)
        option.append(NBD.optionExportName)
        option.append(UInt32(name.utf8.count))
        option.bytes.append(contentsOf: name.utf8)
        try transmit(option)
        var answer = try receive(10 + (hasPadding ? NBD.exportNamePaddingBytes : 0))
        adopt(&answer)
    }

    private mutating func adopt(_ export: inout Wire) {
        exportBytes = export.take(UInt64.self)
        isReadOnly = export.take(UInt16.self) & NBD.flagReadOnly != 0
    }

    // MARK: Exact transfers, for the handshake only

    private func transmit(_ message: Wire) throws(BenchError) {
        let sent = send(
            descriptor, message.bytes, message.bytes.count, Int32(MSG_NOSIGNAL))
        guard sent == message.bytes.count else {
            throw .system(call: "send", errno: errno, subject: "the handshake")
        }
    }

    private func receive(_ count: Int) throws(BenchError) -> Wire {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let room = count - filled
            let got = bytes.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress.map { $0 + filled }, room, 0)
            }
            if got > 0 {
                filled += got
            } else if got == 0 {
                throw .protocolViolation("it closed the connection during the handshake")
            } else if errno == EAGAIN {
                throw .stalled(seconds: Self.stallSeconds)
            } else if errno != EINTR {
                throw .system(call: "recv", errno: errno, subject: "the handshake")
            }
            try Interruption.check()
        }
        return Wire(bytes: bytes)
    }
}

/// Big-endian numbers in a row.
private struct Wire {
    var bytes: [UInt8] = []
    private var position = 0

    init() {}
    init(bytes: [UInt8]) { self.bytes = bytes }

    var rest: ArraySlice<UInt8> { bytes[position...] }

    mutating func append(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func take<Value: FixedWidthInteger>(_: Value.Type) -> Value {
        let width = Value.bitWidth / 8
        defer { position += width }
        return bytes[position..<position + width].reduce(0) { $0 << 8 | Value($1) }
    }
}
