// The next step from the members a set has to those it is to have. Pure: everything it goes by is in the
// registry, so after a restart the next client device goes on where this one stood.
//
//     present   not failed, their memory not lost           staying   present, and not to leave
//     whole     present, with every acknowledged write      wanted    how many the layout wants
//
//     present < wanted                        add one: redundancy is missing
//     staying < wanted                        add one: it will take the place of one that leaves
//     staying > wanted                        remove one that is being rebuilt, else one that is whole
//     whole and staying ≥ wanted              remove one that leaves
//
// Nothing whole is removed unless as many whole ones as wanted stay: a member that leaves counts as
// redundancy until its successor is whole. So the set is never below what it is or is to be, whichever is
// less, and a change called off half way (the mark is gone, the layout is back) undoes itself.

package import RemoteMemory

/// What is to become of a set's members next.
package enum SetShape {
    /// A member that is present.
    package struct Member: Hashable, Sendable {
        package var index: MemberIndex
        /// It has every acknowledged write, and its appliance is there.
        package var isWhole: Bool
        /// It was told to leave, or its appliance is to be emptied.
        package var isLeaving: Bool
        package var site: PlacementSite
        /// How much of its appliance is free, of 1000.
        package var freePerMille: Int

        package init(
            index: MemberIndex, isWhole: Bool, isLeaving: Bool, site: PlacementSite,
            freePerMille: Int
        ) {
            self.index = index
            self.isWhole = isWhole
            self.isLeaving = isLeaving
            self.site = site
            self.freePerMille = freePerMille
        }
    }

    /// One step.
    package enum Step: Hashable, Sendable {
        case nothing
        /// One more member; `isUrgent` when redundancy is missing, not only to be moved.
        case add(isUrgent: Bool)
        /// `keeping` whole members at least must be left.
        case remove(MemberIndex, keeping: Int)
    }

    /// The next step of a set with these `members` that wants so many.
    package static func next(_ members: [Member], wanted: Int) -> Step {
        let staying = members.filter { !$0.isLeaving }
        if members.count < wanted { return .add(isUrgent: true) }
        if staying.count < wanted { return .add(isUrgent: false) }
        let whole = staying.filter(\.isWhole)
        if staying.count > wanted {
            // The last to come has the least.
            if let unfinished = staying.last(where: { !$0.isWhole }) {
                return .remove(unfinished.index, keeping: 1)
            }
            if let spare = spare(among: whole) { return .remove(spare.index, keeping: wanted) }
        }
        guard whole.count >= wanted else { return .nothing }
        let leaving = members.filter(\.isLeaving)
        guard let first = leaving.first(where: { !$0.isWhole }) ?? leaving.first else {
            return .nothing
        }
        return .remove(first.index, keeping: wanted)
    }

    /// The whole member that is missed least: it shares most with others, then its appliance is fullest.
    private static func spare(among members: [Member]) -> Member? {
        func sharing(_ member: Member) -> [Int] {
            [
                members.count { $0.site.appliance == member.site.appliance },
                members.count { $0.site.domain == member.site.domain },
                members.count { $0.site.host == member.site.host },
                -member.freePerMille, member.index.number,
            ]
        }
        return members.max { sharing($0).lexicographicallyPrecedes(sharing($1)) }
    }
}
