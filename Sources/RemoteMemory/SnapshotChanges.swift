/// Which extents of a volume were changed from a snapshot on until the next one, or until now; in a form that can
/// be kept.
public struct SnapshotChanges: Hashable, Sendable {
    /// The epoch that began with the snapshot's cut.
    public let cut: Epoch
    /// The bytes that one bit stands for.
    public let extentSize: ByteCount
    /// One bit an extent, the lowest first; nil when nobody knows, and all may have been changed.
    public let words: [UInt64]?

    public init(cut: Epoch, extentSize: ByteCount, words: [UInt64]?) {
        self.cut = cut
        self.extentSize = extentSize
        self.words = words
    }
}
