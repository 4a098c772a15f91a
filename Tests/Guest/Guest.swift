// Whether this is the guest: a machine with a kernel of its own, started for these tests.

import Foundation

/// The machine that these tests need.
enum Guest {
    static var isHere: Bool { ProcessInfo.processInfo.environment["HOLDFAST_GUEST"] == "1" }
}
