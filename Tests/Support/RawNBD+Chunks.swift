// Structured replies and extended headers by hand: what Debian's clients do not speak, or hide.

/// How a connection talks once it is in transmission.
package enum RawForm: Sendable, CaseIterable {
    case structured
    case extended
}

/// One chunk of a reply.
package struct RawChunk: Equatable, Sendable {
    package var isLast: Bool
    package var type: UInt16
    package var cookie: UInt64
    package var payload: [UInt8]

    /// The integer at `position` of the payload.
    package func integer<Value: FixedWidthInteger>(at position: Int, _ type: Value.Type) -> Value {
        payload[position..<position + MemoryLayout<Value>.size].reduce(0) { $0 << 8 | Value($1) }
    }
}

extension RawNBD {
    /// Asks for chunks, and for a context of `export`, which is to get this ID.
    package func negotiate(
        _ form: RawForm, contextOf export: String, _ context: String = "base:allocation",
        id: UInt32 = 1
    ) throws(HarnessError) {
        let option = form == .extended ? Wire.Option.extendedHeaders : Wire.Option.structuredReply
        guard try ask(option).type == Wire.Reply.ack else {
            throw HarnessError("\(form) replies are refused")
        }
        sendOption(
            Wire.Option.setMetaContext,
            bigEndian(UInt32(export.utf8.count)) + Array(export.utf8) + bigEndian(UInt32(1))
                + bigEndian(UInt32(context.utf8.count)) + Array(context.utf8))
        let selected = try receiveOptionReply()
        guard selected.type == 4, selected.payload == bigEndian(id) + Array(context.utf8),
            try receiveOptionReply().type == Wire.Reply.ack
        else { throw HarnessError("\(context) is not selected: \(selected)") }
    }

    /// A request as it goes over the wire in `form`, without payload.
    package static func request(
        _ form: RawForm, _ command: UInt16, flags: UInt16 = 0, cookie: UInt64, offset: UInt64 = 0,
        length: UInt64 = 0
    ) -> [UInt8] {
        switch form {
        case .structured:
            request(
                command, flags: flags, cookie: cookie, offset: offset, length: UInt32(length))
        case .extended:
            bigEndian(Wire.extendedRequestMagic) + bigEndian(flags) + bigEndian(command)
                + bigEndian(cookie) + bigEndian(offset) + bigEndian(length)
        }
    }

    /// Receives one chunk; of an extended one, `offset` must be that of its request.
    package func receiveChunk(_ form: RawForm, offset: UInt64) throws(HarnessError) -> RawChunk {
        let magic =
            form == .extended ? Wire.extendedReplyMagic : Wire.structuredReplyMagic
        guard try receive(UInt32.self) == magic else {
            throw HarnessError("a chunk has another magic number")
        }
        let flags = try receive(UInt16.self)
        let type = try receive(UInt16.self)
        let cookie = try receive(UInt64.self)
        let length: UInt64
        switch form {
        case .structured: length = UInt64(try receive(UInt32.self))
        case .extended:
            guard try receive(UInt64.self) == offset else {
                throw HarnessError("a chunk names another offset than its request")
            }
            length = try receive(UInt64.self)
        }
        guard flags <= 1, length <= 64 << 20 else {
            throw HarnessError("a chunk with flags \(flags) and \(length) bytes")
        }
        return RawChunk(
            isLast: flags == 1, type: type, cookie: cookie, payload: try receive(Int(length)))
    }

    /// Receives the chunks of one reply, to its last.
    package func receiveChunks(_ form: RawForm, offset: UInt64) throws(HarnessError) -> [RawChunk] {
        var chunks: [RawChunk] = []
        repeat {
            chunks.append(try receiveChunk(form, offset: offset))
        } while !chunks[
            chunks.count - 1
        ].isLast
        return chunks
    }
}
