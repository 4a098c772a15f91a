// The package on a system with systemd: what it does when it comes, while it is there, and when it goes.

import TestSupport
import Testing

@Suite(
    .serialized,
    .enabled(if: PackageGuest.obstacle == nil, Comment(rawValue: PackageGuest.obstacle ?? "")))
struct InstallationTests {
    private func expectDone(
        _ names: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let guest = try PackageGuest.current
        for name in names {
            let step = guest.step(name)
            #expect(step.succeeded, "\(step)", sourceLocation: sourceLocation)
        }
    }

    @Test func `it is installed whole, and its libraries are found`() throws {
        try expectDone("install", "files", "libraries", "manual")
        let libraries = try PackageGuest.current.step("libraries").text
        #expect(!libraries.contains("not found") && !libraries.contains("swift"))
    }

    @Test func `nothing is started or enabled by installing it`() throws {
        let guest = try PackageGuest.current
        #expect(guest.step("idle").text == "inactive\ninactive\ninactive\n")
        #expect(guest.step("enabled").text == "disabled\ndisabled\ndisabled\n")
    }

    @Test func `its units have no mistakes where they are installed`() throws {
        let step = try PackageGuest.current.step("units")
        #expect(step.succeeded && step.text.isEmpty, "\(step)")
    }

    @Test func `a configured appliance and the client device start, and serve a volume`() throws {
        try expectDone("configure", "start", "volume", "use")
        let status = try PackageGuest.current.step("status").text
        #expect(status.contains("Status: \"lending 256.0 MiB"), "\(status)")
    }

    @Test func `they run as a user of their own, and what root put there is theirs`() throws {
        let step = try PackageGuest.current.step("owner")
        #expect(step.text == "holdfast\nholdfast\nholdfast\n", "\(step)")
    }

    @Test func `a reload keeps serving`() throws { try expectDone("reload", "after-reload") }

    @Test func `a killed client device is back, with its data`() throws { try expectDone("kill") }

    @Test func `a restart of either loses nothing`() throws {
        try expectDone("restart-client", "after-restart-client", "restart-appliance")
    }

    @Test(arguments: ["hand-over", "hand-over-tls"])
    func `clients that are connected do not notice a restart of the client device`(
        name: String
    ) throws {
        let step = try PackageGuest.current.step(name)
        #expect(step.succeeded, "\(step)")
        #expect(step.text.contains("connections left to the next client device: 1"), "\(step)")
        #expect(step.text.contains("connections from before: 1, gone on with: 1"), "\(step)")
        #expect(step.text.contains("read 65536/65536 bytes at offset 1048576"), "\(step)")
        #expect(!step.text.contains("failed"), "\(step)")
        // (What the kernel seals with goes along with the socket.)
        let sealed = step.text.contains(/TlsCurrTxSw\s+1\n/)
        #expect(sealed == (name == "hand-over-tls"), "\(step)")
    }

    @Test func `clients wait at systemd's socket while the client device is restarted`() throws {
        try expectDone("socket")
    }

    @Test func `with the drop-in of the documentation swap can be served`() throws {
        let step = try PackageGuest.current.step("swap")
        #expect(step.succeeded && step.text.contains("\n-1000\n"), "\(step)")
        let locked = step.text.firstMatch(of: /VmLck:\s+(\d+) kB/).flatMap { Int($0.output.1) }
        #expect(try #require(locked, "\(step)") > 0, "\(step)")
    }

    @Test func `an upgrade restarts the client device, and leaves the appliance alone`() throws {
        let step = try PackageGuest.current.step("upgrade")
        #expect(step.succeeded, "\(step)")
        #expect(step.text.contains("the appliance went on"), "\(step)")
        #expect(step.text.contains("the client device was restarted"), "\(step)")
    }

    @Test func `stopped services have ended in order`() throws {
        try expectDone("stop")
        let step = try PackageGuest.current.step("stopped")
        let ends = step.text.split(separator: "\n").sorted()
        #expect(
            ends == [
                "ExecMainStatus=0", "ExecMainStatus=0", "Result=success", "Result=success",
            ], "\(step)")
    }

    @Test func `removing it stops what runs, and keeps registry and key`() throws {
        try expectDone("start-again", "remove", "state")
        let guest = try PackageGuest.current
        #expect(guest.step("removed").text == "inactive\ninactive\ninactive\n")
        #expect(guest.step("state").text.contains("cluster.key"))
    }

    @Test func `a purge leaves nothing`() throws {
        try expectDone("purge")
        let step = try PackageGuest.current.step("remaining")
        #expect(step.text.isEmpty, "\(step)")
    }

    @Test func `no service complained, but for the one that was killed`() throws {
        let step = try PackageGuest.current.step("journal")
        let complaints = step.text.split(separator: "\n").filter { line in
            ["Failed", "timed out", "core-dump"].contains { line.contains($0) }
        }
        #expect(complaints.allSatisfy { $0.contains("Failed with result 'signal'") }, "\(step)")
        #expect(complaints.count == 1, "\(step)")
    }
}
