// One step at a time from the members a set has to those it is to have, never below what it is to be.

import ClientDevice
import RemoteMemory
import Testing

@Suite struct SetShapeTests {
    /// A set in one word: `a` whole, `r` rebuilding, capitals for those that are to leave.
    static func members(_ word: String) -> [SetShape.Member] {
        word.enumerated().map { number, letter in
            SetShape.Member(
                index: MemberIndex(number), isWhole: letter == "a" || letter == "A",
                isLeaving: letter.isUppercase,
                site: PlacementSite(
                    appliance: "appliance \(number)", domain: .appliance("appliance \(number)"),
                    host: "host"), freePerMille: 500)
        }
    }

    struct Case: CustomTestStringConvertible, Sendable {
        let word: String
        let wanted: Int
        let step: SetShape.Step
        var testDescription: String { "\(word) → \(wanted): \(step)" }
    }

    static func remove(_ number: Int, keeping minimum: Int) -> SetShape.Step {
        .remove(MemberIndex(number), keeping: minimum)
    }

    static let cases = [
        Case(word: "aa", wanted: 2, step: .nothing),
        Case(word: "ar", wanted: 2, step: .nothing),
        Case(word: "a", wanted: 1, step: .nothing),
        // Missing.
        Case(word: "a", wanted: 2, step: .add(isUrgent: true)),
        Case(word: "aa", wanted: 3, step: .add(isUrgent: true)),
        Case(word: "aA", wanted: 3, step: .add(isUrgent: true)),
        Case(word: "", wanted: 1, step: .add(isUrgent: true)),
        // A move: added, rebuilt, removed.
        Case(word: "aA", wanted: 2, step: .add(isUrgent: false)),
        Case(word: "aAr", wanted: 2, step: .nothing),
        Case(word: "aAa", wanted: 2, step: remove(1, keeping: 2)),
        Case(word: "A", wanted: 1, step: .add(isUrgent: false)),
        Case(word: "Ar", wanted: 1, step: .nothing),
        Case(word: "Aa", wanted: 1, step: remove(0, keeping: 1)),
        Case(word: "AAr", wanted: 2, step: .add(isUrgent: false)),
        // One that leaves and is not whole goes when nobody can need it any more.
        Case(word: "aRr", wanted: 2, step: .nothing),
        Case(word: "aaR", wanted: 2, step: remove(2, keeping: 2)),
        Case(word: "aAaR", wanted: 2, step: remove(3, keeping: 2)),
        // The move's target died after its source was lost: that is urgent now.
        Case(word: "a", wanted: 2, step: .add(isUrgent: true)),
        // Fewer copies.
        Case(word: "aaa", wanted: 2, step: remove(2, keeping: 2)),
        Case(word: "aar", wanted: 2, step: remove(2, keeping: 1)),
        Case(word: "arr", wanted: 2, step: remove(2, keeping: 1)),
        Case(word: "raa", wanted: 2, step: remove(0, keeping: 1)),
        Case(word: "arra", wanted: 1, step: remove(2, keeping: 1)),
        // A move called off: the successor is one too many.
        Case(word: "aar", wanted: 2, step: remove(2, keeping: 1)),
        // Fewer copies while one moves: what was to be its successor goes, and then so may it.
        Case(word: "aaAr", wanted: 2, step: remove(3, keeping: 1)),
        Case(word: "aaA", wanted: 2, step: remove(2, keeping: 2)),
    ]

    @Test(arguments: cases)
    func aSetTakesTheStepThatIsDue(row: Case) {
        #expect(SetShape.next(Self.members(row.word), wanted: row.wanted) == row.step)
    }

    /// From every set of up to five members to every size: the steps end, with as many as were wanted, and
    /// there were never fewer whole members than the set had or is to have.
    @Test func theStepsLeadThereWithoutGivingUpRedundancy() throws {
        for word in Self.words(upTo: 5) where word.contains("a") || word.contains("A") {
            for wanted in 1...5 {
                var members = Self.members(word)
                let floor = min(members.count(where: \.isWhole), wanted)
                var steps = 0
                var next = 5
                while true {
                    let step = SetShape.next(members, wanted: wanted)
                    switch step {
                    case .add:
                        var added = Self.members("r")[0]
                        added.index = MemberIndex(next)
                        next += 1
                        members.append(added)
                    case .remove(let member, let minimum):
                        members.removeAll { $0.index == member }
                        let left = members.count { $0.isWhole }
                        #expect(left >= minimum, "\(word) → \(wanted)")
                    case .nothing:
                        // Time passes: a rebuild ends.
                        guard let index = members.firstIndex(where: { !$0.isWhole }) else { break }
                        members[index].isWhole = true
                    }
                    let whole = members.count { $0.isWhole }
                    #expect(whole >= floor, "\(word) → \(wanted)")
                    steps += 1
                    try #require(steps < 40, "\(word) → \(wanted) does not end")
                    if step == .nothing, members.allSatisfy(\.isWhole),
                        SetShape.next(members, wanted: wanted) == .nothing
                    {
                        break
                    }
                }
                #expect(members.count == wanted, "\(word) → \(wanted)")
                let leaving = members.count { $0.isLeaving }
                #expect(leaving == 0, "\(word) → \(wanted)")
            }
        }
    }

    static func words(upTo length: Int) -> [String] {
        guard length > 0 else { return [""] }
        let shorter = words(upTo: length - 1)
        return shorter
            + shorter.filter { $0.count == length - 1 }.flatMap { word in
                "arAR".map { word + String($0) }
            }
    }

    // MARK: Which one is spared

    static func spared(_ sites: [(appliance: String, domain: String, host: String, free: Int)])
        -> Int?
    {
        let members = sites.enumerated().map { number, site in
            SetShape.Member(
                index: MemberIndex(number), isWhole: true, isLeaving: false,
                site: PlacementSite(
                    appliance: site.appliance, domain: .label(site.domain), host: site.host),
                freePerMille: site.free)
        }
        guard case .remove(let member, _) = SetShape.next(members, wanted: sites.count - 1) else {
            return nil
        }
        return member.number
    }

    @Test func whoSharesAnApplianceGoesFirst() {
        #expect(
            Self.spared([("a", "x", "h", 1), ("b", "y", "i", 900), ("b", "y", "i", 900)]) == 2)
    }

    @Test func thenWhoSharesADomain() {
        #expect(
            Self.spared([("a", "x", "h", 900), ("b", "x", "i", 900), ("c", "y", "j", 1)]) == 1)
    }

    @Test func thenWhoSharesAHost() {
        #expect(
            Self.spared([("a", "x", "h", 900), ("b", "y", "h", 800), ("c", "z", "i", 1)]) == 1)
    }

    @Test func thenWhoseApplianceIsFullest() {
        #expect(
            Self.spared([("a", "x", "h", 300), ("b", "y", "i", 100), ("c", "z", "j", 200)]) == 1)
    }
}
