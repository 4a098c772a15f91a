// The system goes down while a volume is mounted by fstab, all of it under units. What has to wait for what
// is told by the order of the console's lines: whoever is too late waits for a device that nobody serves.

import TestSupport
import Testing

@Suite(
    .serialized,
    .enabled(if: PackageGuest.obstacle == nil, Comment(rawValue: PackageGuest.obstacle ?? "")))
struct ShutdownTests {
    @Test func `a volume is attached by its unit, and has a device of its name`() throws {
        let step = try PackageGuest.current.step("attach")
        #expect(step.succeeded && step.text.contains("/dev/nbd"), "\(step)")
    }

    @Test func `a mount of fstab brings what it needs`() throws {
        let guest = try PackageGuest.current
        for name in ["start-enabled", "volume-again", "mount", "mounted"] {
            #expect(guest.step(name).succeeded, "\(guest.step(name))")
        }
        #expect(guest.step("mounted").text.contains("ext4"), "\(guest.step("mounted"))")
    }

    @Test func `a mount outlives restarts of the client device and of the helper`() throws {
        let step = try PackageGuest.current.step("restart-under-mount")
        #expect(step.succeeded && step.text.hasSuffix("active\nactive\n"), "\(step)")
        let pauses = try PackageGuest.current.step("journal").text.split(separator: "\n")
            .filter { $0.contains("connected again after") }
        #expect(!pauses.isEmpty)
        print("guest: the pause of restarting client device and helper at once:", pauses)
    }

    @Test func `the package is not removed from under a mount`() throws {
        let step = try PackageGuest.current.step("refusal")
        #expect(!step.succeeded && step.text.contains("'holdfast detach' them first"), "\(step)")
    }

    @Test func `unmounting, detaching, client device, appliance, helper end in this order`() throws
    {
        let guest = try PackageGuest.current
        let order = [
            "Unmounted mnt-vol0.mount", "Stopped holdfast-attach@vol0",
            "Stopped holdfast.service", "Stopped holdfast-appliance",
            "Stopped holdfast-attach-helper",
        ]
        // (Stopped before, for other tests; the last time counts.)
        let moments = order.map { guest.lastMoment(of: $0) }
        let console = guest.console.suffix(80).joined(separator: "\n")
        #expect(moments.allSatisfy { $0 != nil }, "\(console)")
        #expect(moments.compactMap(\.self) == moments.compactMap(\.self).sorted(), "\(console)")
    }

    @Test func `nothing fails or is waited for in vain on the way down`() throws {
        let guest = try PackageGuest.current
        let start = try #require(guest.lastMoment(of: "Unmounting mnt-vol0.mount"))
        let complaints = guest.console[start...].filter { line in
            ["FAILED", "Failed", "timed out", "I/O error", "blocked for more than", "Forcibly"]
                .contains { line.contains($0) }
        }
        #expect(complaints.isEmpty, "\(complaints)")
        #expect(guest.lastMoment(of: "reboot: Power down") != nil)
    }
}
