// A client's side of a handshake, written out byte by byte, and what a server made of it.

import BlockServer
import NBDProtocol

/// The bytes of an integer, most significant first; independent of the sources' own writer.
func bigEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

/// Exports to choose from: one writable volume and one snapshot.
enum Exports {
    static let volume = Export(
        name: "vol0", description: "mirror:2", size: 1 << 30, isReadOnly: false)
    static let snapshot = Export(
        name: "vol0@monday", description: "a snapshot", size: 1 << 20, isReadOnly: true)
    static let catalog = ExportCatalog([snapshot, volume])

    /// HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE and FAST_ZERO.
    static let volumeFlags: UInt16 = 0xd6d
    /// The same without TRIM, WRITE_ZEROES and FAST_ZERO, with READ_ONLY.
    static let snapshotFlags: UInt16 = 0x50f
    /// DF, which structured replies bring along.
    static let df: UInt16 = 0x80
}

/// What clients send.
enum Client {
    static func flags(_ flags: UInt32) -> [UInt8] { bigEndian(flags) }

    static func option(_ option: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        Array("IHAVEOPT".utf8) + bigEndian(option) + bigEndian(UInt32(data.count)) + data
    }

    /// The data of INFO and GO.
    static func information(_ name: [UInt8], _ requests: [UInt16] = []) -> [UInt8] {
        bigEndian(UInt32(name.count)) + name + bigEndian(UInt16(requests.count))
            + requests.flatMap { bigEndian($0) }
    }

    static func information(_ name: String, _ requests: [UInt16] = []) -> [UInt8] {
        information(Array(name.utf8), requests)
    }
}

/// What servers send.
enum Server {
    static let greeting: [UInt8] = Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]

    static func reply(_ option: UInt32, _ type: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        [0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9] + bigEndian(option) + bigEndian(type)
            + bigEndian(UInt32(data.count)) + data
    }

    static func ack(_ option: UInt32) -> [UInt8] { reply(option, 1) }
    static func unsupported(_ option: UInt32) -> [UInt8] { reply(option, 0x8000_0001) }
    static func invalid(_ option: UInt32) -> [UInt8] { reply(option, 0x8000_0003) }

    static func unknown(_ option: UInt32, _ name: String) -> [UInt8] {
        reply(option, 0x8000_0006, Array("there is no export '\(name)'".utf8))
    }

    static func entry(_ name: String, _ description: String) -> [UInt8] {
        reply(3, 2, bigEndian(UInt32(name.utf8.count)) + Array((name + description).utf8))
    }

    static let list =
        entry("vol0", "mirror:2") + entry("vol0@monday", "a snapshot") + ack(3)

    /// The answer to INFO and GO, with what was asked for between the export and its block sizes.
    static func information(
        _ option: UInt32, _ size: UInt64, _ flags: UInt16, _ between: [(UInt16, String)] = []
    ) -> [UInt8] {
        var bytes = reply(option, 3, [0, 0] + bigEndian(size) + bigEndian(flags))
        for (type, text) in between {
            bytes += reply(option, 3, bigEndian(type) + Array(text.utf8))
        }
        let sizes: [UInt32] = [1, 4096, 32 << 20]
        return bytes + reply(option, 3, [0, 3] + sizes.flatMap { bigEndian($0) }) + ack(option)
    }

    static func volume(_ option: UInt32, _ between: [(UInt16, String)] = []) -> [UInt8] {
        information(option, 1 << 30, Exports.volumeFlags, between)
    }

    static func snapshot(_ option: UInt32, _ between: [(UInt16, String)] = []) -> [UInt8] {
        information(option, 1 << 20, Exports.snapshotFlags, between)
    }

    /// The answer to EXPORT_NAME, which is no option reply.
    static func bare(_ size: UInt64, _ flags: UInt16, zeroes: Bool) -> [UInt8] {
        bigEndian(size) + bigEndian(flags) + Array(repeating: 0, count: zeroes ? 124 : 0)
    }
}

/// All that came of one handshake.
struct Transcript: Equatable {
    var output: [UInt8] = []
    var outcome = NegotiationOutcome.goesOn
    /// How many bytes had been given when the outcome came.
    var decidedAfter = 0
    var unread: [UInt8] = []

    /// Feeds `pieces` one after the other; also those that come after the end.
    init(_ pieces: [[UInt8]], catalog: ExportCatalog = Exports.catalog, takesOutput: Bool = false) {
        var negotiation = Negotiation()
        var given = 0
        for piece in pieces {
            let outcome = negotiation.receive(piece.span, catalog: catalog)
            given += piece.count
            if self.outcome == .goesOn, outcome != .goesOn {
                self.outcome = outcome
                decidedAfter = given
            }
            if takesOutput {
                output += negotiation.output
                negotiation.output = []
            }
        }
        output += negotiation.output
        unread = negotiation.unread
    }
}
