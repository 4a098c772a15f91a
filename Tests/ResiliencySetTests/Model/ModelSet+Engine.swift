// What the engine says of itself. (It cannot be copied, so `#expect` cannot look into it.)

import RemoteMemory
import ResiliencySet

extension ModelSet {
    var active: MemberSet { engine.active }
    var rebuilding: MemberSet { engine.rebuilding }
    var phase: ResiliencySet.Phase { engine.phase }
    var isQuiet: Bool { engine.isQuiet }
    var hasRoom: Bool { engine.hasRoom }
    var isScrubbing: Bool { engine.isScrubbing }
    var scrubStanding: ScrubStanding { engine.scrubStanding }

    func isCutting(_ number: Int) -> Bool { engine.isCutting(MemberIndex(number)) }
    func rebuildStanding(of number: Int) -> RebuildStanding? {
        engine.rebuildStanding(of: MemberIndex(number))
    }
}
