// The commands where there is no device to be had: usage, and sentences that help.

import Foundation
import Glibc
import TestSupport
import Testing

@Suite struct AttachCommandTests {
    static func holdfast(_ arguments: [String]) throws -> ToolRun {
        try ToolRun([HoldfastBinary.path] + arguments)
    }

    @Test(arguments: [
        ["attach"], ["attach", "--list", "--helper"], ["attach", "vol0", "--list"],
        ["attach", "vol0", "--helper"], ["attach", "a b"], ["attach", "a@b@c"], ["attach", "@b"],
        ["attach", "vol0", "/dev/sda"], ["attach", "vol0", "/dev/nbd0p1"],
        ["attach", "vol0", "--connections", "0"], ["attach", "vol0", "--connections", "17"],
        ["attach", "vol0", "--timeout", "3601"], ["attach", "vol0", "--dead-timeout=-1"],
        ["detach"], ["detach", "/dev/sda"], ["detach", "a:b"],
    ])
    func `what makes no sense is a usage error`(arguments: [String]) throws {
        let run = try Self.holdfast(arguments)
        #expect(run.status == 64, "\(run)")
        #expect(run.standardOutput.isEmpty && run.standardError.hasPrefix("holdfast: "))
    }

    @Test func `without a client device it says how to start one`() throws {
        let directory = try TemporaryDirectory()
        let run = try Self.holdfast(["attach", "vol0", "--dir", directory.path])
        #expect(run.status == 1)
        #expect(
            run.standardError
                == "holdfast: no client device serves \(directory.path) (No such file or directory): "
                + "start 'holdfast serve --dir \(directory.path)', or name another with --dir\n")
    }

    @Test func `what is not attached is not detached`() throws {
        let directory = try TemporaryDirectory()
        let run = try Self.holdfast(["detach", "vol0", "--dir", directory.path])
        #expect(run.status == 1)
        let sentence = geteuid() == 0 ? "vol0 is not attached" : "for root"
        #expect(run.standardError.contains(sentence), "\(run)")
    }

    @Test func `the list is JSON for programs`() throws {
        let run = try Self.holdfast(["attach", "--list", "--json"])
        #expect(run.succeeded, "\(run)")
        let list = try JSONSerialization.jsonObject(with: Data(run.standardOutput.utf8))
        #expect(list is [Any])
    }

    /// Whether this kernel has no devices, nor a module for them.
    static var lacksSupport: Bool {
        access("/sys/module/nbd", F_OK) != 0
            && (try? ToolRun(["modprobe", "--dry-run", "nbd"]))?.succeeded != true
    }

    @Test(.enabled(if: lacksSupport, "this kernel has NBD devices"), .needs(.root, .tool("nbdkit")))
    func `without the kernel's support it offers another way`() throws {
        let directory = try TemporaryDirectory()
        let server = try Nbdkit(["memory", "1M"], in: directory)
        let run = try Self.holdfast(["attach", "vol0", "--dir", directory.path])
        #expect(run.status == 1)
        #expect(
            run.standardError.contains(
                "nbdfuse FILE 'nbd+unix:///vol0?socket=\(directory.path)/nbd.sock'"), "\(run)")
        withExtendedLifetime(server) {}
    }
}
