// The machine these tests need: one with a kernel of its own, which may load modules, lose disks and crash.
// Tools/vm starts it, Tools/test runs this target in it. Elsewhere every test here is skipped by name.
//
// Everything is some 10 to 100 times slower there than outside, so sizes are small. Nothing is judged by the
// clock, but how long a disk stood still is told.

import Foundation
import Testing

/// The machine that these tests need.
enum Guest {
    static var isHere: Bool { ProcessInfo.processInfo.environment["HOLDFAST_GUEST"] == "1" }

    /// Says what was measured, in a line that Tools/test shows.
    static func tell(_ sentence: String) {
        FileHandle.standardOutput.write(Data("guest: \(sentence)\n".utf8))
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips where this is no guest.
    static var inGuest: Self {
        .enabled(if: Guest.isHere, "skipped: this is no guest; Tools/test starts one where it can")
    }
}

/// The parent of the suites that see a volume as the kernel's disk: they take turns with its devices.
@Suite(.serialized, .inGuest) enum Disk {}

/// The parent of the suites here that need no guest, or start one themselves.
@Suite(.serialized) enum Outside {}
