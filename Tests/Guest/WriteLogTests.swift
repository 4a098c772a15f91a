// The reader of write logs, on logs made by hand; this needs no guest.

import Foundation
import TestSupport
import Testing

/// A log as dm-log-writes makes it, in a file.
private struct MadeLog {
    private static let blockSize = 512
    private var bytes: [UInt8] = []
    private var count = 0
    private let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
    }

    private static func numbers(_ numbers: [UInt64]) -> [UInt8] {
        numbers.flatMap { number in (0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) } }
    }

    private static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: blockSize - bytes.count)
    }

    static func block(_ value: UInt8) -> [UInt8] {
        [UInt8](repeating: value, count: blockSize)
    }

    mutating func add(_ block: UInt64, _ values: [UInt8], _ flags: WriteLog.Flags = []) {
        let head = [block, UInt64(values.count), flags.rawValue, UInt64(values.count * 512)]
        bytes += Self.padded(Self.numbers(head))
        if !flags.contains(.discard) { bytes += values.flatMap(Self.block) }
        count += 1
    }

    mutating func flush() {
        bytes += Self.padded(Self.numbers([0, 0, WriteLog.Flags.flush.rawValue, 0]))
        count += 1
    }

    mutating func mark(_ name: String) {
        let flags = WriteLog.Flags.mark.rawValue
        let head = Self.numbers([0, 0, flags, UInt64(name.utf8.count)])
        bytes += Self.padded(head + Array(name.utf8))
        count += 1
    }

    func read(magic: UInt64 = 0x6a_7366_7773_6872, missing: Int = 0) throws -> WriteLog {
        let head = Self.padded(Self.numbers([magic, 1, UInt64(count), 512]))
        let path = directory.file("log")
        try Data((head + bytes).dropLast(missing)).write(to: URL(fileURLWithPath: path))
        return try WriteLog(path: path)
    }
}

extension Outside {
    @Suite struct WriteLogs {
        @Test func entriesAreFoundBehindTheDataOfThoseBefore() throws {
            var made = try MadeLog()
            made.add(7, [1, 2])
            made.flush()
            made.add(100, [0, 0, 0], .discard)
            made.mark("here")
            made.add(9, [3], .fua)
            let log = try made.read()
            #expect(log.blockSize == 512)
            #expect(log.entries.map(\.blocks) == [7..<9, 0..<0, 100..<103, 0..<0, 9..<10])
            #expect(log.entries.map(\.flags) == [[], .flush, .discard, .mark, .fua])
            #expect(try log.position(ofMark: "here") == 3)
            #expect(throws: HarnessError.self) { try log.position(ofMark: "there") }
        }

        @Test func whatIsNoLogIsRefused() throws {
            var made = try MadeLog()
            made.add(7, [1, 2])
            #expect(throws: HarnessError.self) { try made.read(magic: 1) }
            // (Of the last data nothing is read before it is asked for.)
            #expect(throws: HarnessError.self) { try made.read(missing: 1025) }
        }

        @Test func aFlushMakesDurableWhatIsBeforeItAndNothingElse() throws {
            var made = try MadeLog()
            made.add(1, [10])
            made.add(1, [11])
            made.flush()
            made.add(1, [12])
            made.add(2, [20])
            made.mark("end")
            made.add(1, [13])
            let log = try made.read()
            let durable = log.durable(at: try log.position(ofMark: "end"))
            #expect(durable.flushes == 1 && durable.fuaWrites == 0)
            #expect(durable.allowed == [1: [1, 3, 6]])

            for value in [11, 12, 13] as [UInt8] {
                #expect(try log.problem(in: 1, MadeLog.block(value), [1, 3, 6]) == nil)
            }
            let stale = try log.problem(in: 1, MadeLog.block(10), [1, 3, 6])
            #expect(stale == "block 1 holds entry 0, not one of [1, 3, 6]")
            let foreign = try log.problem(in: 1, MadeLog.block(0), [1, 3, 6])
            #expect(foreign == "block 1 holds entry none, not one of [1, 3, 6]")
        }

        @Test func aFUAWriteIsDurableByItself() throws {
            var made = try MadeLog()
            made.add(1, [10], .fua)
            made.add(1, [11], .fua)
            made.add(1, [12])
            made.mark("end")
            made.add(1, [13], .fua)
            let log = try made.read()
            let durable = log.durable(at: try log.position(ofMark: "end"))
            #expect(durable.flushes == 0 && durable.fuaWrites == 2)
            #expect(
                durable.allowed == [1: [1, 2, 4]], "the last was not acknowledged before the end")
        }

        @Test func whatIsDiscardedIsZero() throws {
            var made = try MadeLog()
            made.add(5, [10, 11])
            made.add(5, [0, 0], .discard)
            made.flush()
            let log = try made.read()
            let durable = log.durable(at: log.entries.count)
            #expect(durable.allowed == [5: [1], 6: [1]])
            #expect(try log.problem(in: 6, MadeLog.block(0), [1]) == nil)
            #expect(try log.problem(in: 6, MadeLog.block(11), [1]) != nil)
        }
    }
}
