// Deliberate mistakes of a client device or appliance. Each has to be found: this proves that the checks
// can fail.

/// One mistake, made throughout a run.
public enum Mutation: String, CaseIterable, Sendable, CustomStringConvertible {
    case acknowledgesUnrecorded
    case believesEveryCommit
    case believesLostMemory
    case believesOldChanges
    case completesEarly
    case cutsWithoutDraining
    case dataBeforeIntent
    case forgetsDirtyBits
    case forgetsHeldMarks
    case forgetsParity
    case forgetsTwins
    case growsUnprepared
    case ignoresLease
    case keepsRecords
    case servesUnfenced
    case skipsCopies
    case skipsFencing
    case skipsRedo
    case skipsRepair
    case storesEmptyMaps
    case storesInPlaceAtOnce
    case swapsRepairSource
    case trustsLandedMark
    case trustsRecords

    /// How many seeds it may take to find it.
    public var seedsAllowed: Int {
        switch self {
        case .skipsCopies, .completesEarly, .skipsRepair: 500
        default: 20_000
        }
    }

    public var description: String {
        switch self {
        case .acknowledgesUnrecorded:
            "Writes are acknowledged before the registry holds who missed them."
        case .believesEveryCommit: "A failed commit of the registry counts as made."
        case .believesLostMemory: "An appliance that lost its memory counts as the one it was."
        case .believesOldChanges:
            "What was saved of changes since snapshots is believed though others had the volume."
        case .completesEarly: "A write is done, and its range unlocked, before it has landed."
        case .cutsWithoutDraining: "A snapshot is cut while writes are in flight."
        case .dataBeforeIntent: "The data of a write is stored before its intent."
        case .forgetsDirtyBits: "Writes do not mark their extents in the dirty maps."
        case .forgetsHeldMarks:
            "Writes that were held for a snapshot do not count as changes behind it."
        case .forgetsParity: "A write to a part of a stripe leaves the parity as it was."
        case .forgetsTwins: "What is written while a twin is made is not written there."
        case .growsUnprepared: "A volume grows, and its regions stay what they were."
        case .keepsRecords: "A record that is dropped after a takeover stays in its redo slot."
        case .storesInPlaceAtOnce:
            "A member of an erasure set has bytes in place before all others have their records."
        case .trustsRecords:
            "A record is believed without the check of its bytes where placement has no order."
        case .ignoresLease: "Reads are answered without knowing whether the set was taken over."
        case .servesUnfenced:
            "A new owner does not wait for the lease of a member it could not fence."
        case .skipsCopies: "Rebuilding an extent copies nothing."
        case .skipsFencing: "Accesses of an old owner land after a takeover."
        case .skipsRedo: "Writes to the last copy do not go by way of the redo area."
        case .skipsRepair: "A new owner does not look at the intents."
        case .storesEmptyMaps: "Dirty maps are stored without their bits."
        case .swapsRepairSource: "Repair copies from the member it should copy to."
        case .trustsLandedMark: "The landed mark is believed where placement has no order."
        }
    }
}
