// The erasure codec beside the library it is built on, by turns: what our side of the call costs.
//
// ISA-L alone is what a program in C would do: its tables made once, then one call after the other on the
// same shards. Both run on one core, on shards that fit the cache and on shards that come from memory.

import CISAL
import ErasureCoding
import Glibc

/// What is measured of one code with one size of shards.
struct CodecFigures: Codable, Sendable {
    let code: String
    let shardBytes: Int
    /// Data encoded per second, in GB: by the codec, by ISA-L alone.
    let encode: Double
    let libraryEncode: Double
    /// Data of one shard that is changed, per second, in GB.
    let update: Double
    /// Data of one shard that is reconstructed, per second, in GB.
    let reconstruct: Double

    var ratio: Double { encode / libraryEncode }
}

struct CodecBench {
    /// How much of ISA-L's own speed the codec is to reach.
    static let target = 0.8
    /// How many shards are encoded in turn at a time, in bytes: enough to be told from the clock's noise.
    private static let turnBytes = 64 << 20

    let rounds: Int
    let seconds: Double

    /// Two sizes of shards: those of a small request, and those of long sequential writes.
    func measure() throws(ErasureCodingError) -> [CodecFigures] {
        var figures: [CodecFigures] = []
        for (data, parity) in [(2, 1), (4, 2), (8, 2), (10, 4)] {
            for shardBytes in [4 << 10, 4 << 20] {
                let code = try ErasureCode(dataShards: data, parityShards: parity)
                figures.append(measure(code, shardBytes: shardBytes))
            }
        }
        return figures
    }

    private func measure(_ code: ErasureCode, shardBytes: Int) -> CodecFigures {
        let stripe = BenchStripe(code, shardBytes: shardBytes)
        var samples: [[Double]] = [[], [], [], []]
        let works: [(bytes: Int, work: () -> Void)] = [
            (shardBytes * code.dataShards, stripe.encode),
            (shardBytes * code.dataShards, stripe.encodeByLibraryAlone),
            (shardBytes, stripe.update),
            (shardBytes, stripe.reconstruct),
        ]
        // By turns, so that whatever else the machine does hits all alike.
        for round in 0...rounds {
            for (index, (bytes, work)) in works.enumerated() {
                let speed = Self.speed(
                    of: work, bytes: bytes, seconds: seconds / Double(works.count))
                // (The first round only warms up.)
                if round > 0 { samples[index].append(speed) }
            }
        }
        let medians = samples.map { $0.sorted()[$0.count / 2] }
        return CodecFigures(
            code: "\(code.dataShards)+\(code.parityShards)", shardBytes: shardBytes,
            encode: medians[0], libraryEncode: medians[1], update: medians[2],
            reconstruct: medians[3])
    }

    /// Gigabytes a second of some work that is repeated for a while.
    private static func speed(of work: () -> Void, bytes: Int, seconds: Double) -> Double {
        let calls = max(1, min(turnBytes / bytes, 1000))
        var (done, elapsed) = (0, 0.0)
        let start = now()
        repeat {
            for _ in 0..<calls { work() }
            done += calls
            elapsed = now() - start
        } while elapsed < seconds
        return Double(done * bytes) / elapsed / 1e9
    }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

extension [CodecFigures] {
    var text: String {
        var table = Table(
            leadingColumns: 1,
            rows: [
                [
                    "code", "shard", "encode GB/s", "ISA-L alone", "ratio", "target", "change GB/s",
                    "reconstruct GB/s",
                ]
            ])
        for figures in self {
            table.rows.append([
                figures.code, "\(figures.shardBytes >> 10)K", decimal(figures.encode, 1),
                decimal(figures.libraryEncode, 1), decimal(figures.ratio, 2),
                "≥ \(decimal(CodecBench.target, 2))", decimal(figures.update, 1),
                decimal(figures.reconstruct, 1),
            ])
        }
        return table.text
    }
}

/// Owns the shards that are worked on, and what ISA-L alone needs.
private final class BenchStripe {
    private let code: ErasureCode
    private let codec: ISALCodec
    private let shardBytes: Int
    private let shards = Shards()
    private let memory: UnsafeMutableRawPointer
    private let tables: UnsafeMutablePointer<UInt8>
    private let pointers: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>

    init(_ code: ErasureCode, shardBytes: Int) {
        self.code = code
        self.shardBytes = shardBytes
        codec = ISALCodec(code)
        let count = code.shardCount
        // One shard more: what another is changed to.
        memory = .allocate(byteCount: (count + 1) * shardBytes, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0x5a, count: (count + 1) * shardBytes)
        pointers = .allocate(capacity: count)
        for number in 0..<count {
            let place = memory + number * shardBytes
            shards[ShardIndex(number)] = place
            pointers[number] = place.assumingMemoryBound(to: UInt8.self)
        }
        tables = .allocate(capacity: 32 * code.dataShards * code.parityShards)
        let matrix = UnsafeMutablePointer<UInt8>.allocate(capacity: count * code.dataShards)
        gf_gen_cauchy1_matrix(matrix, Int32(count), Int32(code.dataShards))
        ec_init_tables(
            Int32(code.dataShards), Int32(code.parityShards),
            matrix + code.dataShards * code.dataShards, tables)
        matrix.deallocate()
    }

    deinit {
        memory.deallocate()
        tables.deallocate()
        pointers.deallocate()
    }

    func encode() { codec.encode(shards, count: shardBytes) }

    func encodeByLibraryAlone() {
        ec_encode_data(
            Int32(shardBytes), Int32(code.dataShards), Int32(code.parityShards), tables,
            pointers, pointers + code.dataShards)
    }

    func update() {
        codec.update(
            shards, changing: ShardIndex(0), from: memory,
            to: memory + code.shardCount * shardBytes, count: shardBytes)
    }

    func reconstruct() {
        codec.reconstruct(
            ShardSet(0..<1), from: ShardSet(1..<code.dataShards + 1), in: shards,
            count: shardBytes)
    }
}
