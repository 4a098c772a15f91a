// One client device to a directory: who holds the claim, who is told so, and what a successor changes.

import CLinux
import ClientDevice
import Foundation
import Glibc
import RemoteMemory
import Testing

@Suite struct DeviceClaimTests {
    /// A directory that goes when `body` is done.
    private func withDirectory(_ body: (String) throws -> Void) throws {
        let directory = "/tmp/hfd-" + UUID().uuidString.prefix(13)
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(directory)
    }

    @Test func `the record names this process, for its user alone`() throws {
        try withDirectory { directory in
            #expect(DeviceClaim.record(in: directory) == nil)
            let claim = try DeviceClaim.take(directory)
            let record = try #require(DeviceClaim.record(in: directory))
            #expect(record.process == getpid())
            #expect(record.owner == claim.owner)
            #expect(record.startedAt > 0)
            #expect(claim.stands)
            var status = stat()
            #expect(lstat("\(directory)/\(DeviceClaim.fileName)", &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
        }
    }

    @Test func `a second one is refused, and told of the first and of --take-over`() throws {
        try withDirectory { directory in
            let claim = try DeviceClaim.take(directory)
            let refusal = ClaimError.held(directory: directory, by: getpid())
            #expect(throws: refusal) { _ = try DeviceClaim.take(directory) }
            #expect(refusal.description.contains("process \(getpid())"))
            #expect(refusal.description.contains("--take-over"))
            #expect(DeviceClaim.holder(of: directory) == getpid())
            withExtendedLifetime(claim) {}
        }
    }

    @Test func `the claim goes with its holder, the record stays`() throws {
        try withDirectory { directory in
            do {
                let claim = try DeviceClaim.take(directory)
                withExtendedLifetime(claim) {}
            }
            #expect(DeviceClaim.holder(of: directory) == nil)
            #expect(DeviceClaim.record(in: directory)?.process == getpid())
            let next = try DeviceClaim.take(directory)
            #expect(DeviceClaim.record(in: directory)?.owner == next.owner)
        }
    }

    @Test func `who is replaced holds nothing, and takes nothing away at its end`() throws {
        try withDirectory { directory in
            var hung: DeviceClaim? = try DeviceClaim.take(directory)
            let successor = try DeviceClaim.replace(directory)
            #expect(hung?.stands == false)
            #expect(successor.stands)
            #expect(hung?.owner != successor.owner)
            hung = nil
            #expect(successor.stands)
            #expect(DeviceClaim.record(in: directory)?.owner == successor.owner)
            #expect(throws: ClaimError.self) { _ = try DeviceClaim.take(directory) }
            let names = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(names == [DeviceClaim.fileName])
        }
    }

    @Test func `of two successors the later one stands`() throws {
        try withDirectory { directory in
            let claims = try (0..<3).map { _ in try DeviceClaim.replace(directory) }
            #expect(claims.map(\.stands) == [false, false, true])
        }
    }

    @Test func `a directory that is not there is named`() {
        let path = "/tmp/hfd-none/\(DeviceClaim.fileName)"
        #expect(throws: ClaimError.system(path: path, errno: ENOENT)) {
            _ = try DeviceClaim.take("/tmp/hfd-none")
        }
    }

    @Test(arguments: [
        "", "1", "1\n", "1\n2\n", "x\n2\n\(owner)\n", "0\n2\n\(owner)\n", "-1\n2\n\(owner)\n",
        "1\nx\n\(owner)\n", "1\n2\nabc\n", "1\n2\n\(owner)", "1\n2\n\(owner)\n\n",
    ])
    func `what is no record is not taken for one`(text: String) {
        #expect(DeviceRecord(text) == nil)
    }

    private static let owner = OwnerID(Identifier(high: 1, low: 2))

    @Test func `a record reads back`() {
        let record = DeviceRecord(process: 41, startedAt: 77, owner: Self.owner)
        #expect(DeviceRecord(record.description) == record)
        #expect(record.description.hasPrefix("41\n"), "systemd reads the first line")
    }

    // MARK: Ending the process

    /// A child that does nothing.
    private func sleeper() throws -> Int32 {
        var process: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("60"), nil]
        defer { arguments.forEach { free($0) } }
        try #require(
            posix_spawnp(&process, "sleep", nil, nil, &arguments, clinux_environment()) == 0)
        return process
    }

    private func startTime(of process: Int32) throws -> UInt64 {
        let text = try String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
        let rest = try #require(text.split(separator: ")").last)
        return try #require(UInt64(rest.split(separator: " ")[19]))
    }

    @Test func `a hung process is killed, and gone when that returns`() throws {
        let process = try sleeper()
        kill(process, SIGSTOP)
        let record = DeviceRecord(
            process: process, startedAt: try startTime(of: process), owner: Self.owner)
        try Predecessor(record).end()
        var status: Int32 = 0
        #expect(waitpid(process, &status, WNOHANG) == process)
        #expect(status & 0x7f == SIGKILL)
        // There is nobody to be killed a second time.
        try Predecessor(record).end()
    }

    @Test func `another process that has the number now is left alone`() throws {
        let process = try sleeper()
        defer {
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        let earlier = try startTime(of: process) - 1
        let record = DeviceRecord(process: process, startedAt: earlier, owner: Self.owner)
        try Predecessor(record).end()
        #expect(waitpid(process, nil, WNOHANG) == 0, "somebody else was killed")
    }

    @Test func `nobody answers where nobody listens`() throws {
        try withDirectory { directory in
            #expect(!Predecessor.answers(in: directory))
        }
    }
}
