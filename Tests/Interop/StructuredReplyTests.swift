// Chunks on the wire: holes of reads, status of blocks, errors with a text, lengths of 64 bits.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct StructuredReplies {
        /// Where these tests write; nobody else does.
        private static let start: UInt64 = 200 << 20
        private static let size: UInt64 = 256 << 20
        private static let kibibyte: UInt64 = 1024

        private let bystander: Bystander

        init() throws {
            bystander = try Bystander()
        }

        private func connect(_ form: RawForm) throws -> RawNBD {
            let raw = try RawNBD(HoldfastUp.current.socket)
            try raw.enter("vol0") { raw throws(HarnessError) in
                try raw.negotiate(form, contextOf: "vol0")
            }
            return raw
        }

        /// Sends a request and takes its reply.
        private func ask(
            _ raw: RawNBD, _ form: RawForm, _ command: UInt16, flags: UInt16 = 0,
            at offset: UInt64, _ length: UInt64, _ payload: [UInt8] = []
        ) throws -> [RawChunk] {
            let cookie = UInt64.random(in: .min ... .max)
            raw.send(
                RawNBD.request(
                    form, command, flags: flags, cookie: cookie, offset: offset, length: length)
                    + payload)
            let chunks = try raw.receiveChunks(form, offset: offset)
            #expect(chunks.allSatisfy { $0.cookie == cookie })
            #expect(chunks.dropLast().allSatisfy { !$0.isLast })
            return chunks
        }

        private func succeed(_ chunks: [RawChunk], _ comment: Comment) {
            #expect(chunks.count == 1 && chunks[0].type == 0 && chunks[0].payload == [], comment)
        }

        /// One mebibyte of holes with 64 KiB of data in it.
        private func prepare(_ raw: RawNBD, _ form: RawForm) throws {
            let writes: UInt16 = form == .extended ? 1 << 5 : 0
            succeed(
                try ask(raw, form, Wire.Command.trim, at: Self.start, 1 << 20), "TRIM")
            succeed(
                try ask(
                    raw, form, Wire.Command.write, flags: writes, at: Self.start + 256 << 10,
                    64 << 10, Array(repeating: 0xA5, count: 64 << 10)), "WRITE")
        }

        @Test(arguments: RawForm.allCases)
        func `a read of a sparse range sends its data and names its holes`(form: RawForm) throws {
            let raw = try connect(form)
            try prepare(raw, form)
            let chunks = try ask(raw, form, Wire.Command.read, at: Self.start, 1 << 20)
            try #require(chunks.map(\.type) == [2, 1, 2])
            let starts = chunks.map { $0.integer(at: 0, UInt64.self) - Self.start }
            #expect(starts == [0, 256 << 10, 320 << 10])
            #expect(chunks[0].integer(at: 8, UInt32.self) == 256 << 10)
            #expect(chunks[1].payload.dropFirst(8) == Array(repeating: 0xA5, count: 64 << 10)[...])
            #expect(chunks[2].integer(at: 8, UInt32.self) == 704 << 10)
        }

        @Test(arguments: RawForm.allCases)
        func `DF makes one chunk of it`(form: RawForm) throws {
            let raw = try connect(form)
            try prepare(raw, form)
            let chunks = try ask(
                raw, form, Wire.Command.read, flags: 1 << 2, at: Self.start, 1 << 20)
            try #require(chunks.map(\.type) == [1])
            var expected = [UInt8](repeating: 0, count: 1 << 20)
            expected.replaceSubrange(
                256 << 10..<320 << 10, with: repeatElement(0xA5, count: 64 << 10))
            #expect(chunks[0].integer(at: 0, UInt64.self) == Self.start)
            #expect(chunks[0].payload.dropFirst(8) == expected[...])
        }

        @Test(arguments: RawForm.allCases)
        func `BLOCK_STATUS tells data from holes`(form: RawForm) throws {
            let raw = try connect(form)
            try prepare(raw, form)
            let chunk = try #require(
                try ask(raw, form, Wire.Command.blockStatus, at: Self.start, 1 << 20).first)
            #expect(chunk.type == (form == .extended ? 6 : 5))
            #expect(chunk.integer(at: 0, UInt32.self) == 1)
            let expected: [(UInt64, UInt64)] = [(256 << 10, 3), (64 << 10, 0), (704 << 10, 3)]
            for (index, (length, status)) in expected.enumerated() {
                if form == .extended {
                    #expect(chunk.integer(at: 4, UInt32.self) == 3)
                    #expect(chunk.integer(at: 8 + index * 16, UInt64.self) == length)
                    #expect(chunk.integer(at: 16 + index * 16, UInt64.self) == status)
                } else {
                    #expect(UInt64(chunk.integer(at: 4 + index * 8, UInt32.self)) == length)
                    #expect(UInt64(chunk.integer(at: 8 + index * 8, UInt32.self)) == status)
                }
            }
            let one = try ask(
                raw, form, Wire.Command.blockStatus, flags: 1 << 3, at: Self.start + 4096, 1 << 20)
            #expect(one.map(\.payload.count) == [form == .extended ? 24 : 12])
            #expect(
                form == .extended
                    ? one[0].integer(at: 8, UInt64.self) == 252 << 10
                    : one[0].integer(at: 4, UInt32.self) == 252 << 10)
        }

        @Test(arguments: RawForm.allCases)
        func `errors come as chunks with a text, and the connection goes on`(form: RawForm) throws {
            let raw = try connect(form)
            let writes: UInt16 = form == .extended ? 1 << 5 : 0
            let wrong: [(UInt16, UInt16, UInt64, UInt64, [UInt8], UInt32)] = [
                (Wire.Command.read, 0, Self.size, 1, [], 22),
                (Wire.Command.read, 0x8000, 0, 1, [], 22),
                (Wire.Command.write, writes, Self.size, 4, [1, 2, 3, 4], 28),
                (Wire.Command.writeZeroes, 0x12, 0, 4096, [], 95),
                (Wire.Command.blockStatus, 0, Self.size, 1, [], 22),
                (Wire.Command.blockStatus, 0, 0, 0, [], 22),
                (77, 0, 0, 1, [], 22),
            ]
            for (command, flags, offset, length, payload, error) in wrong {
                let chunks = try ask(raw, form, command, flags: flags, at: offset, length, payload)
                try #require(chunks.map(\.type) == [0x8001], "command \(command)")
                #expect(chunks[0].integer(at: 0, UInt32.self) == error, "command \(command)")
                let count = Int(chunks[0].integer(at: 4, UInt16.self))
                #expect(count > 0 && chunks[0].payload.count == 6 + count)
                #expect(String(validating: chunks[0].payload.dropFirst(6), as: UTF8.self) != nil)
            }
            succeed(try ask(raw, form, Wire.Command.read, at: 0, 0), "a read of nothing")
            succeed(try ask(raw, form, Wire.Command.flush, at: 0, 0), "FLUSH")
        }

        @Test func `a read of more runs than a reply has chunks is still whole`() throws {
            let raw = try connect(.structured)
            succeed(
                try ask(raw, .structured, Wire.Command.trim, at: Self.start, 4 << 20), "TRIM")
            // Every second block, 512 of them.
            for block in stride(from: UInt64(0), to: 1024, by: 2) {
                let stamp = [UInt8](repeating: UInt8(truncatingIfNeeded: block / 2), count: 4096)
                succeed(
                    try ask(
                        raw, .structured, Wire.Command.write, at: Self.start + block * 4096, 4096,
                        stamp), "WRITE")
            }
            var contents = [UInt8](repeating: 0xEE, count: 4 << 20)
            for chunk in try ask(raw, .structured, Wire.Command.read, at: Self.start, 4 << 20) {
                let place = Int(chunk.integer(at: 0, UInt64.self) - Self.start)
                if chunk.type == 2 {
                    let count = Int(chunk.integer(at: 8, UInt32.self))
                    contents.replaceSubrange(
                        place..<place + count, with: repeatElement(0, count: count))
                } else {
                    contents.replaceSubrange(
                        place..<place + chunk.payload.count - 8, with: chunk.payload.dropFirst(8))
                }
            }
            for block in 0..<1024 {
                let expected: UInt8 = block % 2 == 0 ? UInt8(truncatingIfNeeded: block / 2) : 0
                #expect(
                    contents[block * 4096..<block * 4096 + 4096].allSatisfy { $0 == expected },
                    "block \(block)")
            }
        }

        @Test func `one request of 64 bits trims the whole volume's tail`() throws {
            let raw = try connect(.extended)
            try prepare(raw, .extended)
            succeed(
                try ask(
                    raw, .extended, Wire.Command.writeZeroes, flags: 1 << 4, at: Self.start,
                    Self.size - Self.start), "WRITE_ZEROES")
            let status = try ask(
                raw, .extended, Wire.Command.blockStatus, at: Self.start, Self.size - Self.start)
            #expect(status[0].integer(at: 8, UInt64.self) == Self.size - Self.start)
            #expect(status[0].integer(at: 16, UInt64.self) == 3)
        }

        @Test(arguments: RawForm.allCases)
        func `a payload larger than allowed ends the connection`(form: RawForm) throws {
            let raw = try connect(form)
            raw.send(
                RawNBD.request(
                    form, Wire.Command.write, cookie: 1, offset: 0, length: 32 << 20 + 1))
            #expect(raw.isClosedByServer())
        }

        @Test(.needs(.tool("nbdinfo")))
        func `nbdinfo maps the volume`() throws {
            struct Extent: Decodable {
                let offset: UInt64
                let length: UInt64
                let type: UInt32
            }
            let raw = try connect(.structured)
            try prepare(raw, .structured)
            let run = try ToolRun(["nbdinfo", "--map", "--json", HoldfastUp.current.uri])
            try #require(run.succeeded, "\(run)")
            let map = try JSONDecoder().decode([Extent].self, from: Data(run.standardOutput.utf8))
            #expect(map.reduce(0) { $0 + $1.length } == Self.size)
            let data = try #require(map.first { $0.offset == Self.start + 256 << 10 })
            #expect(data.type == 0 && data.length == 64 << 10)
        }

        @Test(.needs(.tool("nbdinfo")))
        func `nbdinfo maps what is redundant: all of it`() throws {
            let run = try ToolRun([
                "nbdinfo", "--map=holdfast:resiliency", "--totals", HoldfastUp.current.uri,
            ])
            try #require(run.succeeded, "\(run)")
            #expect(run.standardOutput.contains(/^\s*\d+\s+100\.0%\s+0\b/), "\(run)")
        }

        @Test(.needs(.tool("qemu-img")))
        func `QEMU maps the volume`() throws {
            struct Extent: Decodable {
                let start: UInt64
                let length: UInt64
                let data: Bool
                let zero: Bool
            }
            let raw = try connect(.structured)
            try prepare(raw, .structured)
            let run = try ToolRun([
                "qemu-img", "map", "--output=json", "-f", "raw", HoldfastUp.current.uri,
            ])
            try #require(run.succeeded, "\(run)")
            let map = try JSONDecoder().decode([Extent].self, from: Data(run.standardOutput.utf8))
            let data = try #require(map.first { $0.start == Self.start + 256 << 10 })
            #expect(data.data && !data.zero && data.length == 64 << 10)
            #expect(map.contains { !$0.data && $0.zero && $0.start + $0.length == data.start })
        }
    }
}
