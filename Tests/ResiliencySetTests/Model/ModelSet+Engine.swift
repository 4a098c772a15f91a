// What the engine says of itself. (It cannot be copied, so `#expect` cannot look into it.)

import RemoteMemory
import ResiliencySet

extension ModelSet {
    var active: MemberSet { engine.active }
    var rebuilding: MemberSet { engine.rebuilding }
    var absent: MemberSet { engine.absent }
    var suspects: MemberSet { engine.suspects }
    var phase: ResiliencySet.Phase { engine.phase }
    var isQuiet: Bool { engine.isQuiet }
    var hasRoom: Bool { engine.hasRoom }
    var isScrubbing: Bool { engine.isScrubbing }
    var scrubStanding: ScrubStanding { engine.scrubStanding }

    func isCutting(_ number: Int) -> Bool { engine.isCutting(MemberIndex(number)) }
    func knowsDirtyMap(of number: Int) -> Bool { engine.knowsDirtyMap(of: MemberIndex(number)) }
    /// The words of the map of `lost` that stands in `member`'s region.
    func storedMap(of lost: Int, on member: Int) -> [UInt64]? {
        memories[MemberIndex(member)]?.maps[MemberIndex(lost)]?.words
    }
    func rebuildStanding(of number: Int) -> RebuildStanding? {
        engine.rebuildStanding(of: MemberIndex(number))
    }
}
