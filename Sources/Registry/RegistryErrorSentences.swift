// One sentence for each error: what is the matter, then what to do. Programs match cases; only
// people read these.

import RemoteMemory

extension RegistryError: CustomStringConvertible {
    /// One sentence that says what to do.
    public var description: String {
        switch self {
        case .notFound(let kind, let name):
            "There is no \(kind) \(name): list what exists and check the name."
        case .alreadyExists(let kind, let name):
            "The \(kind) \(name) already exists: choose another name or remove it first."
        case .invalidName(let kind, let name):
            "\(name.debugDescription) is no \(kind) name: a name has \(NameRule.sentence)."
        case .staleEpoch(let expected, let found):
            "The volume is at epoch \(found), not \(expected), because its owner or members changed "
                + "meanwhile: read it again and decide anew."
        case .notOwner(let expected, nil):
            "The volume has no owner, so client device \(expected) cannot change it: take it over first."
        case .notOwner(let expected, .some(let found)):
            "The volume belongs to client device \(found), not \(expected): stop serving it, "
                + "or take it over again."
        case .superseded(let owner):
            "Client device \(owner) has taken over everything: ask that one."
        case .illegalChange(let reason): reason.description
        case .inUse(let use): use.description
        case .storage(let fault, let message): "\(fault) (\(message))."
        }
    }
}

extension IllegalChange: CustomStringConvertible {
    /// One sentence that says what to do.
    public var description: String {
        switch self {
        case .nothingToDo:
            "The change names no member: name at least one."
        case .noSuchMember(let index):
            "The volume has no member \(index): read the volume again."
        case .indexTaken(let index):
            "The volume already has a member \(index): give the new member a free index."
        case .regionTaken(let region):
            "Region \(region) is in use or was: allocate a new region."
        case .wrongState(let action, let index, let found):
            "Member \(index) is \(found.rawValue), but only \(action.allowed) can be "
                + "\(action.participle): read the volume again."
        case .additionNotRebuilding(let index, let state):
            "The new member \(index) is \(state.rawValue): add it as rebuilding, then promote it."
        case .freshMemberNotActive(let index, let state):
            "Member \(index) of an empty volume is \(state.rawValue): make it active."
        case .noMembers:
            "An empty volume needs members: give at least one."
        case .lastActiveMember(let index):
            "Member \(index) is the last active one: extend the volume by a member, wait for its "
                + "rebuild, then cut the snapshot."
        case .secondCut:
            "One change can cut one snapshot: cut the next one in a change of its own."
        case .incompleteGeneration(let needed):
            "A snapshot of this layout is made of \(needed) regions, one for each member: name all of them."
        case .noTwins(let layout):
            "Members of \(layout) have no twins: add a member, and remove another when that one is whole."
        case .successorNotActive(let index, let state):
            "The region that is to be member \(index) is \(state.rawValue): only one that holds everything "
                + "can take its place."
        case .volumeIsLost:
            "No member holds the volume's data any more: reset the volume to start it empty."
        case .volumeIsNotLost:
            "A member still holds the volume's data: delete the volume if its data is to go."
        case .removedMember(let index):
            "Member \(index) is removed: leave it out of the record."
        case .layoutOutOfRange(let layout):
            "The layout \(layout) is none that a set can have: choose mirror:\(Layout.mirrorCopies.lowerBound) up to "
                + "mirror:\(Layout.mirrorCopies.upperBound), or an erasure:K+M of at most "
                + "\(MemberIndex.limit) members."
        case .chunkOutOfRange(let error): error.description
        case .fixedLayout(let layout):
            "A volume of \(layout) keeps that layout, as do mirrors theirs beside it: create another volume "
                + "and copy the contents."
        case .sizeOutOfRange(let size):
            "A size of \(size.bytes) bytes is out of range: choose one from 1 byte up to below 2^63."
        case .growthOutOfRange(let size):
            "A volume grows to a multiple of \(RegionLayout.volumeGranularity), up to "
                + "\(RegionLayout.largestVolume); \(size.bytes) bytes is none: choose another size."
        case .wouldNotGrow(let former, let size):
            "The volume has \(former) and cannot become \(size): what stands at its end would be lost, so "
                + "volumes only grow; create a smaller one and copy what is needed."
        case .epochOutOfRange(let epoch):
            "Epoch \(epoch) is beyond what the registry can record: create a new volume."
        }
    }
}

extension RegistryUse: CustomStringConvertible {
    /// One sentence that says what to do.
    public var description: String {
        switch self {
        case .applianceHoldsMember(let appliance, let volume):
            "Appliance \(appliance) holds a member of volume \(volume): move that member to another "
                + "appliance or delete the volume first."
        case .applianceHoldsSnapshot(let appliance, let volume, let snapshot):
            "Appliance \(appliance) holds the snapshot \(volume)@\(snapshot): delete that first."
        case .volumeHasSnapshots(let volume, let count):
            "Volume \(volume) has \(count == 1 ? "a snapshot" : "\(count) snapshots"): delete "
                + "\(count == 1 ? "it" : "them") first."
        }
    }
}

extension StorageFault: CustomStringConvertible {
    /// What is wrong and what to do, without a full stop: the cause in brackets follows.
    public var description: String {
        switch self {
        case .diskFull: "There is no space left for the registry: free some and try again"
        case .readOnly: "The registry cannot be written: make its directory writable and try again"
        case .corrupt: "The registry is damaged: put back a copy of its directory"
        case .busy:
            "Another process is in the middle of changing the registry: try again, or stop that one"
        case .cannotOpen:
            "The registry cannot be opened: check that its directory exists and is yours"
        case .inputOutput: "The registry's disk reports errors: check the kernel log, then the disk"
        case .newerVersion: "A newer Holdfast wrote the registry: run that version or a later one"
        case .unexpected: "The registry met a fault in Holdfast itself: please report it"
        }
    }
}
