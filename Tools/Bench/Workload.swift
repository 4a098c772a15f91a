// What is asked of a server, and what Holdfast is to reach beside its peers.

import RemoteMemory

/// One kind of request, its size, and how many of them are in flight.
struct Workload: Hashable, Sendable {
    enum Operation: String, Sendable { case read, write }
    enum Order: String, Sendable { case random, sequential }

    /// Sends all new requests in one `sendmsg`, so at most the kernel's limit of vectors (UIO_MAXIOV).
    static let depthLimit = 1024
    /// The most that every NBD server must take in one request, in bytes.
    static let blockBytesLimit: UInt64 = 32 << 20

    let operation: Operation
    let block: ByteCount
    let depth: Int
    var order: Order = .random

    var name: String {
        let kibibytes = block.bytes >> 10
        let size = kibibytes > 0 ? "\(kibibytes)K" : "\(block.bytes)"
        return "\(size) \(operation) depth \(depth)" + (order == .random ? "" : " sequential")
    }
}

extension Workload {
    /// The cells that have targets, in the order they are measured.
    static let standard: [Workload] = [
        Workload(operation: .read, block: .kibibytes(4), depth: 32),
        Workload(operation: .write, block: .kibibytes(4), depth: 32),
        Workload(operation: .read, block: .kibibytes(128), depth: 8),
        Workload(operation: .write, block: .kibibytes(128), depth: 8),
        Workload(operation: .read, block: .kibibytes(4), depth: 1),
        Workload(operation: .write, block: .kibibytes(4), depth: 1),
    ]

    /// What layouts are compared by.
    static let besideLayout: [Workload] = [
        Workload(operation: .read, block: .kibibytes(4), depth: 32),
        Workload(operation: .write, block: .kibibytes(4), depth: 32),
        Workload(operation: .write, block: .mebibytes(1), depth: 4, order: .sequential),
        Workload(operation: .read, block: .kibibytes(4), depth: 1),
        Workload(operation: .write, block: .kibibytes(4), depth: 1),
    ]

    /// How a volume is written once before it is measured: every byte of it, so that it is resident.
    static let filling = Workload(
        operation: .write, block: .kibibytes(128), depth: 8, order: .sequential)

    /// Reads `read:4K:32` or `write:128K:8:sequential`; nil when `text` is anything else.
    init?(parsing text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (3...4).contains(parts.count),
            let operation = Operation(rawValue: String(parts[0])),
            let block = ByteCount(parsing: parts[1]),
            (1...Self.blockBytesLimit).contains(block.bytes), block.bytes.isMultiple(of: 512),
            let depth = Int(parts[2]), (1...Self.depthLimit).contains(depth),
            let order = Order(rawValue: parts.count == 4 ? String(parts[3]) : "random")
        else { return nil }
        self.init(operation: operation, block: block, depth: depth, order: order)
    }
}

/// What the ratio Holdfast / peer is to be.
struct Target: Sendable, Equatable {
    enum Quantity: String, Sendable { case throughput, medianLatency }

    let quantity: Quantity
    let bound: Double

    /// Throughput is to be at least, latency at most, the bound.
    func isMet(by ratio: Double) -> Bool {
        switch quantity {
        case .throughput: ratio >= bound
        case .medianLatency: ratio <= bound
        }
    }
}

/// Who is measured beside Holdfast.
enum PeerKind: Sendable {
    /// One copy in one process, such as nbdkit's memory plugin.
    case single
    /// Three copies behind QEMU's quorum driver.
    case quorum
}

/// What is to be reached, by how appliances are reached.
enum TargetSet: Sendable {
    case sharedMemory, tcp
    /// An erasure set beside a mirror, and beside itself while members of it are lost.
    case erasure, degraded

    /// The target of `workload` beside a peer; nil when there is none.
    func target(of workload: Workload, beside peer: PeerKind) -> Target? {
        let cell = (workload.operation, workload.block.bytes >> 10, workload.depth)
        if self == .erasure, workload.order == .sequential {
            return cell == (.write, 1024, 4) ? Target(quantity: .throughput, bound: 0.8) : nil
        }
        guard workload.order == .random else { return nil }
        return switch (self, peer) {
        case (.erasure, _):
            switch cell {
            case (.read, 4, 32): Target(quantity: .throughput, bound: 0.8)
            case (.write, 4, 32): Target(quantity: .throughput, bound: 0.4)
            default: nil
            }
        case (.degraded, _):
            cell == (.read, 4, 32) ? Target(quantity: .throughput, bound: 0.5) : nil
        case (.sharedMemory, .single): Self.sharedMemoryTarget(cell)
        case (.sharedMemory, .quorum): nil
        case (.tcp, .single):
            switch cell {
            case (.write, 4, 32): Target(quantity: .throughput, bound: 1)
            case (.read, 4, 32): Target(quantity: .throughput, bound: 1.5)
            default: nil
            }
        case (.tcp, .quorum):
            switch cell {
            case (.write, 4, 32): Target(quantity: .throughput, bound: 15)
            case (.write, 4, 1): Target(quantity: .medianLatency, bound: 0.5)
            default: nil
            }
        }
    }

    private static func sharedMemoryTarget(
        _ cell: (operation: Workload.Operation, kibibytes: UInt64, depth: Int)
    ) -> Target? {
        switch cell {
        case (.read, 4, 32): Target(quantity: .throughput, bound: 4)
        case (.write, 4, 32): Target(quantity: .throughput, bound: 2)
        case (.read, 128, 8): Target(quantity: .throughput, bound: 1.5)
        case (.write, 128, 8): Target(quantity: .throughput, bound: 1)
        case (_, 4, 1): Target(quantity: .medianLatency, bound: 0.6)
        default: nil
        }
    }
}
