// A key file is good only if nobody else can have read it, and nothing ever shows what is in it.

import CLinux
import Foundation
import Glibc
import TCPTransport
import TestSupport
import Testing

@Suite struct ClusterKeyTests {
    private static let digits = String(repeating: "0123456789abcdef", count: 4)

    /// What reading a file with these contents and this mode ends with.
    private static func reading(_ text: String, mode: mode_t = 0o600) throws -> ClusterKeyError? {
        let directory = try TemporaryDirectory()
        let file = directory.file("k")
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        chmod(file, mode)
        do throws(ClusterKeyError) {
            _ = try ClusterKey(file: file)
            return nil
        } catch {
            switch error {
            case .exposed: return .exposed(file: "")
            case .malformed: return .malformed(file: "")
            default: return error
            }
        }
    }

    @Test func `a new key is read as it was written`() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("cluster.key")
        let key = try ClusterKey.create(file: file)
        #expect(try ClusterKey(file: file).derived(for: "a") == key.derived(for: "a"))
        #expect(key.derived(for: "a") != key.derived(for: "b"))
        let other = try ClusterKey.create(file: directory.file("other"))
        #expect(other.derived(for: "a") != key.derived(for: "a"))
        var status = stat()
        #expect(stat(file, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        #expect(status.st_size == 65)
    }

    @Test func `a file that is there is never written over`() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("k")
        let key = try ClusterKey.create(file: file)
        #expect(throws: ClusterKeyError.exists(file: file)) { try ClusterKey.create(file: file) }
        #expect(try ClusterKey(file: file).derived(for: "a") == key.derived(for: "a"))
        let nowhere = directory.file("none/k")
        #expect(throws: ClusterKeyError.unwritable(file: nowhere, errno: ENOENT)) {
            try ClusterKey.create(file: nowhere)
        }
    }

    @Test(arguments: [0o600, 0o400, 0o700] as [mode_t])
    func `a file for its owner alone is taken`(mode: mode_t) throws {
        #expect(try Self.reading(Self.digits + "\n", mode: mode) == nil)
    }

    @Test(arguments: [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666] as [mode_t])
    func `a file that others may use is refused`(mode: mode_t) throws {
        #expect(try Self.reading(Self.digits + "\n", mode: mode) == .exposed(file: ""))
    }

    @Test func `digits may be upper case, and the newline missing`() throws {
        #expect(try Self.reading(Self.digits) == nil)
        #expect(try Self.reading(Self.digits.uppercased() + "\n") == nil)
    }

    private static let malformed: [String] = {
        let short = String(digits.dropLast())
        return [
            "", "\n", "00\n", short, short + "\n", digits + "0", digits + "0\n", digits + "\n\n",
            digits + digits, short + "g\n", " " + short, short.dropLast() + "é\n", short + "\0\n",
        ]
    }()

    @Test(arguments: malformed)
    func `what is no key is refused`(text: String) throws {
        #expect(try Self.reading(text) == .malformed(file: ""))
    }

    @Test func `what is no file is refused`() throws {
        let directory = try TemporaryDirectory()
        chmod(directory.path, 0o700)
        // (Nobody writes to it: reading would wait for ever.)
        let pipe = directory.file("pipe")
        try #require(mkfifo(pipe, 0o600) == 0)
        #expect(throws: ClusterKeyError.malformed(file: pipe)) { try ClusterKey(file: pipe) }
        #expect(throws: ClusterKeyError.malformed(file: directory.path)) {
            _ = try ClusterKey(file: directory.path)
        }
        let missing = directory.file("missing")
        let error = ClusterKeyError.unreadable(file: missing, errno: ENOENT)
        #expect(throws: error) { _ = try ClusterKey(file: missing) }
        #expect(error.description.contains("holdfast key create \(missing)"))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func `another user's file is refused`() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("k")
        try ClusterKey.create(file: file)
        #expect(chown(file, 12345, 12345) == 0)
        #expect(throws: ClusterKeyError.foreign(file: file)) { _ = try ClusterKey(file: file) }
    }

    @Test func `nothing shows the key`() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("k")
        try Data((String(repeating: "2a", count: 32) + "\n").utf8).write(
            to: URL(fileURLWithPath: file))
        chmod(file, 0o600)
        let key = try ClusterKey(file: file)
        var dumped = ""
        dump(key, to: &dumped)
        dump(try PeerSecurity(key: key), to: &dumped)
        for text in ["\(key)", String(reflecting: key), "\([key])", dumped] {
            #expect(!text.contains("- 42") && !text.contains("42, 42"), "\(text)")
            #expect(!text.contains("element") && !text.contains("2a2a"), "\(text)")
        }
    }
}
