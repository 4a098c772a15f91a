// Which parity belongs to which data: a systematic code of which any K shards give back all the others.
//
// A stripe of K data shards gets M parity shards of the same size. Byte by byte, in GF(2^8):
//
//     ┌ 1 0 0 ┐ ┌ d0 ┐   ┌ d0 ┐        data shards as they are (systematic)
//     │ 0 1 0 │ │ d1 │ = │ d1 │
//     │ 0 0 1 │ └ d2 ┘   │ d2 │
//     │ 1 1 1 │          │ p0 │        the first parity is the XOR of the data: K+1 is parity
//     └ 1 a b ┘          └ p1 ┘
//
// The coefficients are a Cauchy matrix, 1 / (x_i + y_j) with all x_i and y_j distinct: each of its square
// submatrices can be inverted. That is the same as: any K rows of the whole matrix can (the code is MDS).
// Multiplying rows and columns by anything but zero leaves that so; done until the first row and the first
// column are ones, it turns the first parity into plain XOR.
//
// Sources: J. Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", ICSI TR-95-048, 1995 (Cauchy
// matrices); J. S. Plank and L. Xu, "Optimizing Cauchy Reed-Solomon Codes", NCA 2006 (scaling them).

/// The code of `erasure:K+M`.
public struct ErasureCode: Hashable, Sendable {
    /// How many data shards a stripe may have.
    ///
    /// One would be a mirror; with more than twelve a lost member
    /// costs twelve times its size to read back, for 4 % less memory than ten have with the same parity.
    public static let dataShardRange = 2...12
    /// How many parity shards a stripe may have; each is written with every write.
    public static let parityShardRange = 1...4

    /// K: how many shards hold data, and how many suffice.
    public let dataShards: Int
    /// M: how many shards may be lost.
    public let parityShards: Int
    /// What data shard `column` is multiplied by for parity `row`, at `row * dataShards + column`.
    public let coefficients: [UInt8]

    public init(dataShards: Int, parityShards: Int) throws(ErasureCodingError) {
        guard Self.dataShardRange.contains(dataShards),
            Self.parityShardRange.contains(parityShards)
        else { throw .unsupported(dataShards: dataShards, parityShards: parityShards) }
        self.dataShards = dataShards
        self.parityShards = parityShards
        coefficients = Self.cauchyMatrix(rows: parityShards, columns: dataShards)
    }

    /// K+M: how many shards a stripe has.
    public var shardCount: Int { dataShards + parityShards }
    /// Shards 0 up to K-1.
    public var data: ShardSet { ShardSet(0..<dataShards) }
    /// Shards K up to K+M-1.
    public var parity: ShardSet { ShardSet(dataShards..<shardCount) }

    /// What the data shards are multiplied by for parity shard `shard`.
    func row(ofParity shard: ShardIndex) -> ArraySlice<UInt8> {
        let first = (shard.number - dataShards) * dataShards
        return coefficients[first..<first + dataShards]
    }

    private static func cauchyMatrix(rows: Int, columns: Int) -> [UInt8] {
        // The points y are 0 up to K-1, the points x those after them; adding is XOR.
        let matrix = (0..<rows).map { row in
            (0..<columns).map { GaloisField.inverse(UInt8(columns + row) ^ UInt8($0)) }
        }
        // Each column by its first element, then each row by what its first element has become.
        return matrix.flatMap { row in
            let scaled = zip(row, matrix[0]).map { GaloisField.quotient($0, $1) }
            return scaled.map { GaloisField.quotient($0, scaled[0]) }
        }
    }
}

/// What is wrong with a code that was asked for.
public enum ErasureCodingError: Error, Hashable, Sendable, CustomStringConvertible {
    case unsupported(dataShards: Int, parityShards: Int)

    /// One sentence that says what to do.
    public var description: String {
        switch self {
        case .unsupported(let dataShards, let parityShards):
            "erasure:\(dataShards)+\(parityShards) is not supported: choose "
                + "\(ErasureCode.dataShardRange.lowerBound) to "
                + "\(ErasureCode.dataShardRange.upperBound) data and "
                + "\(ErasureCode.parityShardRange.lowerBound) to "
                + "\(ErasureCode.parityShardRange.upperBound) parity regions."
        }
    }
}
