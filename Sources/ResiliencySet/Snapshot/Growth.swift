// A set grows while it is used: its regions are larger already, and the registry is told as of a cut.
//
//     none ──request──▶ draining ──no change in flight──▶ ready ──registry holds it──▶ none, and larger
//                           └── too few members are left ──▶ none (refused)
//
// Reads go on throughout. A region that is larger than its set does no harm, so at every moment whoever takes over
// finds what the registry tells. What is new reads as zeroes in each region, and nobody misses any of it: neither a
// member that is rebuilt nor one that is away, whose region grows before it is opened again.
//
// Larger sets may have larger extents (RegionLayout). Then a map says that all of an extent is missing when any part
// of it was; and as maps are stored whole before any change goes on, single words are only ever stored into a map
// of extents that are as large. A successor that finds an older map finds in it how large extents were.

public import RemoteMemory

extension ResiliencySet {
    /// Starts to make the set as large as `size`, a multiple of `RegionLayout.volumeGranularity`.
    ///
    /// All regions are as large. False when it cannot be now: the set is not smaller, does not serve, lacks members that
    /// it needs, or is being cut. Ends with `recorded(.grow)`, `cutRefused`, or too few members.
    public mutating func beginGrowth(to size: ByteCount) -> Bool { begin(.growth(to: size)) }

    /// Whether writes are being held to grow.
    public var isGrowing: Bool {
        switch cut {
        case .draining(.growth), .ready(.growth): true
        case .none, .draining, .ready: false
        }
    }

    /// The registry has the new size.
    mutating func grow(to size: ByteCount) {
        self.size = size
        stripes = stripes?.grown(to: size)
        dirty.grow(to: size, extentSize: Self.extentSize(of: size, stripes, tuning))
        changeMaps.grow(to: size, extentSize: tuning.changeExtentSize)
        rebuild.cursor = 0
        cut = .none
        // (Whoever is absent is repaired when it is back, and is given the maps then.)
        guard absent.isEmpty else { return }
        for member in dirty.members.members {
            storeMap(of: member, on: keepers.subtracting(MemberSet(member)))
        }
    }
}
