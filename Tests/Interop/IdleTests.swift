// What connections and volumes cost that nobody uses: memory is bounded here, processor time is told.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(
        .timeLimit(.minutes(5)),
        .disabled(
            if: ProcessInfo.processInfo.environment["HOLDFAST_THREAD_SANITIZER"] != nil,
            "skipped: ThreadSanitizer takes memory of its own for what is used"))
    struct Idle {
        /// What a client device has taken so far.
        private struct Use {
            /// Memory of its own, without the regions that it has mapped, in bytes.
            var memory: Int
            /// In seconds.
            var processorTime: Double

            init(of pid: pid_t) throws {
                let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
                let line = try #require(
                    status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") })
                memory = 1024 * (try #require(Int(line.filter(\.isNumber))))
                // (Behind the name, which may have spaces in it, the state is the first word.)
                let stat = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
                let words = try #require(stat.split(separator: ")").last).split(separator: " ")
                let ticks = try #require(Int(words[11])) + (try #require(Int(words[12])))
                processorTime = Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
            }
        }

        /// Tells what each of `count` things costs since `before`; returns its memory in bytes.
        private func report(
            _ count: Int, _ things: String, _ pid: pid_t, since before: Use
        ) throws -> Int {
            let start = try Use(of: pid)
            let span = 3.0
            Thread.sleep(forTimeInterval: span)
            let end = try Use(of: pid)
            let each = (end.memory - before.memory) / count
            let share = (end.processorTime - start.processorTime) / span * 100
            print("\(count) \(things): \(each) bytes each; idle at \(share) % of a processor")
            return each
        }

        /// Sockets for as many clients, where the system lets this process have them.
        private func allowDescriptors(_ count: UInt) throws {
            var limit = rlimit()
            try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            guard limit.rlim_cur < count else { return }
            limit.rlim_cur = count
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        }

        @Test func `a connection that asks for nothing takes some kilobytes`() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let pid = try up.pid(of: .client)
            let total = 1000
            try allowDescriptors(UInt(2 * total))
            let before = try Use(of: pid)
            let idle = try (0..<total).map { _ in
                let raw = try RawNBD(up.socket)
                try raw.enter(up.volume)
                return raw
            }
            #expect(try report(total, "idle connections", pid, since: before) < 32 << 10)
            #expect(try NBDConnection(up.uri).read(512, at: 0).count == 512)
            withExtendedLifetime(idle) {}
        }

        @Test func `a volume that nobody uses takes some tens of kilobytes`() throws {
            let up = try HoldfastUp(
                ["--size", "64M", "--layout", "mirror:2", "--memory", "8G"])
            defer { up.stop() }
            let pid = try up.pid(of: .client)
            let total = count("HOLDFAST_IDLE_VOLUMES", default: 100)
            let before = try Use(of: pid)
            for number in 0..<total {
                try up.require(
                    "volume", "create", "v\(number)", "--size", "1M", "--layout", "mirror:2")
            }
            #expect(try report(total, "idle volumes", pid, since: before) < 160 << 10)
        }
    }
}
