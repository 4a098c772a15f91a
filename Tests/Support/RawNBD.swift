// NBD by hand: for what no well-behaved client would send.

import Glibc

/// Numbers of the protocol (NetworkBlockDevice/nbd, doc/proto.md).
package enum Wire {
    package static let nbdMagic: UInt64 = 0x4e42_444d_4147_4943
    package static let optionMagic: UInt64 = 0x4948_4156_454f_5054
    package static let optionReplyMagic: UInt64 = 0x3_e889_0455_65a9
    package static let requestMagic: UInt32 = 0x2560_9513
    package static let extendedRequestMagic: UInt32 = 0x21e4_1c71
    package static let simpleReplyMagic: UInt32 = 0x6744_6698
    package static let structuredReplyMagic: UInt32 = 0x668e_33ef
    package static let extendedReplyMagic: UInt32 = 0x6e8a_278c

    package enum Option {
        package static let exportName: UInt32 = 1
        package static let abort: UInt32 = 2
        package static let list: UInt32 = 3
        package static let startTLS: UInt32 = 5
        package static let info: UInt32 = 6
        package static let go: UInt32 = 7
        package static let structuredReply: UInt32 = 8
        package static let setMetaContext: UInt32 = 10
        package static let extendedHeaders: UInt32 = 11
    }

    package enum Reply {
        package static let ack: UInt32 = 1
        package static let server: UInt32 = 2
        package static let info: UInt32 = 3
        package static let errorUnsupported: UInt32 = 1 << 31 + 1
        package static let errorPolicy: UInt32 = 1 << 31 + 2
        package static let errorInvalid: UInt32 = 1 << 31 + 3
        package static let errorTLSRequired: UInt32 = 1 << 31 + 5
        package static let errorUnknown: UInt32 = 1 << 31 + 6
        package static let errorShutdown: UInt32 = 1 << 31 + 7
        package static let errorTooBig: UInt32 = 1 << 31 + 9
    }

    package enum Command {
        package static let read: UInt16 = 0
        package static let write: UInt16 = 1
        package static let disconnect: UInt16 = 2
        package static let flush: UInt16 = 3
        package static let trim: UInt16 = 4
        package static let cache: UInt16 = 5
        package static let writeZeroes: UInt16 = 6
        package static let blockStatus: UInt16 = 7
    }
}

/// `value` as the protocol sends it: most significant byte first.
package func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

/// A socket to an NBD server and the bytes one chooses to send; for use by one thread at a time.
package final class RawNBD {
    /// A reply to an option.
    package struct OptionReply: Equatable {
        package let option: UInt32
        package let type: UInt32
        package let payload: [UInt8]
    }

    private let descriptor: Int32

    /// Connects to the Unix socket at `path` and says nothing yet.
    package init(_ path: String, receiveLimit: Duration = .seconds(20)) throws {
        descriptor = try Self.socket(AF_UNIX, receiveLimit)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        try Self.connect(descriptor, address, path)
    }

    /// Connects to a port of loopback and says nothing yet.
    package init(port: UInt16, receiveLimit: Duration = .seconds(20)) throws {
        descriptor = try Self.socket(AF_INET, receiveLimit)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        try Self.connect(descriptor, address, "port \(port)")
    }

    private static func socket(_ family: Int32, _ receiveLimit: Duration) throws -> Int32 {
        let descriptor = Glibc.socket(family, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw HarnessError("no socket") }
        var limit = timeval(tv_sec: Int(limit: receiveLimit), tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        return descriptor
    }

    private static func connect<Name>(_ descriptor: Int32, _ address: Name, _ place: String) throws
    {
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Name>.size))
            }
        }
        guard result == 0 else {
            throw HarnessError("\(place): \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        close(descriptor)
    }

    // MARK: Bytes

    /// Sends `bytes`; what a server that closed meanwhile does not take is dropped.
    package func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Says that nothing more will be sent.
    package func finishSending() {
        _ = shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Receives exactly `count` bytes.
    package func receive(_ count: Int) throws(HarnessError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var got = 0
        while got < count {
            let result = bytes[got...].withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            guard result > 0 else {
                throw HarnessError(
                    "the server \(result == 0 ? "closed" : "failed or fell silent") after "
                        + "\(got) of \(count) bytes")
            }
            got += result
        }
        return bytes
    }

    package func receive<Value: FixedWidthInteger>(_ type: Value.Type) throws(HarnessError) -> Value
    {
        try receive(MemoryLayout<Value>.size).reduce(0) { $0 << 8 | Value($1) }
    }

    /// Whether the server closes, whatever it sends before, within the receive limit.
    package func isClosedByServer() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET || errno == EPIPE }
        }
    }

    // MARK: Handshake

    /// Takes the greeting and answers with `flags` (fixed newstyle and no zeroes).
    package func greet(flags: UInt32 = 3) throws(HarnessError) {
        guard try receive(UInt64.self) == Wire.nbdMagic,
            try receive(UInt64.self) == Wire.optionMagic
        else { throw HarnessError("the greeting has other magic numbers") }
        guard try receive(UInt16.self) == 3 else {
            throw HarnessError("the server is not fixed newstyle with NO_ZEROES")
        }
        send(bigEndian(flags))
    }

    package func sendOption(_ option: UInt32, _ payload: [UInt8] = [], length: UInt32? = nil) {
        send(
            bigEndian(Wire.optionMagic) + bigEndian(option)
                + bigEndian(length ?? UInt32(payload.count)) + payload)
    }

    package func receiveOptionReply() throws(HarnessError) -> OptionReply {
        guard try receive(UInt64.self) == Wire.optionReplyMagic else {
            throw HarnessError("an option reply has another magic number")
        }
        let option = try receive(UInt32.self)
        let type = try receive(UInt32.self)
        let length = try receive(UInt32.self)
        guard length <= 65536 else { throw HarnessError("an option reply of \(length) bytes") }
        return OptionReply(option: option, type: type, payload: try receive(Int(length)))
    }

    /// Sends `option` and gives the last reply to it: the first that is neither info nor server.
    package func ask(_ option: UInt32, _ payload: [UInt8] = []) throws(HarnessError) -> OptionReply
    {
        sendOption(option, payload)
        while true {
            let reply = try receiveOptionReply()
            guard reply.option == option else { throw HarnessError("a reply to another option") }
            if reply.type != Wire.Reply.info, reply.type != Wire.Reply.server { return reply }
        }
    }

    /// The payload of GO and INFO.
    package static func exportRequest(_ name: [UInt8], information: [UInt16] = []) -> [UInt8] {
        bigEndian(UInt32(name.count)) + name + bigEndian(UInt16(information.count))
            + information.flatMap { bigEndian($0) }
    }

    /// Greets and enters transmission on `export`, after the options that `negotiates` has asked for.
    package func enter(
        _ export: String, _ negotiates: (RawNBD) throws(HarnessError) -> Void = { _ in }
    ) throws(HarnessError) {
        try greet()
        try negotiates(self)
        let reply = try ask(Wire.Option.go, Self.exportRequest(Array(export.utf8)))
        guard reply.type == Wire.Reply.ack else {
            throw HarnessError("GO \(export) was answered with \(reply)")
        }
    }

    // MARK: Transmission

    /// A request as it goes over the wire, without payload.
    package static func request(
        _ command: UInt16, flags: UInt16 = 0, cookie: UInt64 = 1, offset: UInt64 = 0,
        length: UInt32 = 0, magic: UInt32 = Wire.requestMagic
    ) -> [UInt8] {
        bigEndian(magic) + bigEndian(flags) + bigEndian(command) + bigEndian(cookie)
            + bigEndian(offset) + bigEndian(length)
    }

    /// Receives a simple reply's head: the error (an NBD errno, 0 for none) and the cookie.
    package func receiveReply() throws(HarnessError) -> (error: UInt32, cookie: UInt64) {
        guard try receive(UInt32.self) == Wire.simpleReplyMagic else {
            throw HarnessError("a reply has another magic number")
        }
        return (try receive(UInt32.self), try receive(UInt64.self))
    }
}

extension Int {
    fileprivate init(limit: Duration) {
        self = Int(limit.components.seconds)
    }
}
