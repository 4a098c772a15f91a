// A client device that hangs is succeeded: by force where it could still store into memory, and so that
// it does no harm when it wakes up where it could not.

import Foundation
import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct TakeOver {
        private static let small = ["--size", "64M", "--layout", "mirror:3"]

        /// `holdfast serve` in a directory.
        private func serve(
            _ directory: TemporaryDirectory, _ options: String...
        ) throws -> RunningProcess {
            try RunningProcess([HoldfastBinary.path, "serve", "--dir", directory.path] + options)
        }

        /// The pid of who answers in a directory; nil when nobody does.
        private func answering(_ directory: TemporaryDirectory) throws -> pid_t? {
            // (Whoever asks one that hangs waits for its answer.)
            let run = try? ToolRun(
                [HoldfastBinary.path, "status", "--json", "--dir", directory.path],
                atMost: .seconds(2))
            guard let run, run.succeeded else { return nil }
            let report = try JSONDecoder().decode(
                StatusReport.self, from: Data(run.standardOutput.utf8))
            return report.pid
        }

        /// Waits until `process` is the one that answers.
        private func expectAnswers(
            _ process: RunningProcess, _ directory: TemporaryDirectory,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let answers = try eventually(atMost: .seconds(30)) {
                process.isRunning ? try answering(directory) == process.pid ? true : nil : false
            }
            #expect(
                answers == true, "\(process.standardError.text)", sourceLocation: sourceLocation)
        }

        @Test func memoryThatAHungOneHasMappedIsTakenByForce() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            let hung = try up.suspend(.client)
            let successor = try serve(up.directory, "--take-over")
            try expectAnswers(successor, up.directory)
            #expect(kill(hung, 0) != 0 && errno == ESRCH, "the hung one is still there")
            let log = successor.standardError.text
            #expect(log.contains("process \(hung) is killed"), "\(log)")
            #expect(log.contains("memory that it has mapped"), "\(log)")
            try writer.waitForWrites(500)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
            // The supervisor looks after the new one, and starts none of its own beside it.
            #expect(try up.status().pid == successor.pid)
            #expect(up.stop() == .exited(0))
            #expect(successor.waitForExit(atMost: .seconds(20)) == .exited(0))
        }

        @Test func overAndOver() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            var successors: [RunningProcess] = []
            for _ in 0..<count("HOLDFAST_CHAOS_TAKEOVERS", default: 5) {
                let hung = try up.status().pid
                #expect(kill(hung, SIGSTOP) == 0)
                let successor = try serve(up.directory, "--take-over")
                successors.append(successor)
                try expectAnswers(successor, up.directory)
                try writer.waitForWrites(300)
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func oneThatAnswersIsNotTakenOver() throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            let pid = try up.status().pid
            let second = try serve(up.directory, "--take-over")
            #expect(second.waitForExit(atMost: .seconds(30)) == .exited(1))
            let sentence = second.standardError.text
            #expect(sentence.contains("process \(pid), answers"), "\(sentence)")
            #expect(try up.status().pid == pid)
            #expect(try NBDConnection(up.uri).read(512, at: 0).count == 512)
        }

        @Test func aSecondOneIsToldWhoServesAndWhatToDo() throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            let pid = try up.status().pid
            let second = try serve(up.directory)
            #expect(second.waitForExit(atMost: .seconds(30)) == .exited(1))
            let sentence = second.standardError.text
            #expect(sentence.contains("process \(pid)"), "\(sentence)")
            #expect(sentence.contains("--take-over"), "\(sentence)")
        }

        @Test func withNobodyThereItIsAnOrdinaryStart() throws {
            let directory = try TemporaryDirectory()
            let first = try serve(directory, "--take-over")
            try expectAnswers(first, directory)
            #expect(first.terminate() == .exited(0))
            let second = try serve(directory)
            try expectAnswers(second, directory)
            #expect(second.terminate() == .exited(0))
        }

        /// Nothing is mapped, so the hung one is left alone until it wakes up.
        @Test func aZombieThatWakesUpEndsByItselfAndTakesNothingWithIt() throws {
            let directory = try TemporaryDirectory()
            let zombie = try serve(directory, "--nbd", "tcp:127.0.0.1:0")
            try expectAnswers(zombie, directory)
            let port = try port(in: directory)
            zombie.signal(SIGSTOP)
            let successor = try serve(
                directory, "--take-over", "--nbd", "tcp:127.0.0.1:\(port)")
            try expectAnswers(successor, directory)
            #expect(zombie.isRunning)
            // The port is the zombie's as long as it is there; the directory's socket is not.
            #expect(successor.standardError.text.contains("until it is free"))
            #expect(canConnect(directory.file("nbd.sock")))

            zombie.signal(SIGCONT)
            #expect(zombie.waitForExit(atMost: .seconds(20)) == .exited(75))
            let log = zombie.standardError.text
            #expect(log.contains("critical") && log.contains("has taken over"), "\(log)")
            #expect(log.contains("process \(successor.pid)"), "\(log)")
            #expect(canConnect(directory.file("nbd.sock")), "it took its successor's socket along")
            #expect(try answering(directory) == successor.pid)
            let isServed = eventually(atMost: .seconds(30)) {
                successor.standardError.text.contains("serving NBD at tcp") ? true : nil
            }
            #expect(isServed == true, "\(successor.standardError.text)")
            #expect(try self.port(in: directory) == port)
            #expect(successor.terminate() == .exited(0))
        }

        @Test func aZombieThatIsToldToEndTakesNothingWithItEither() throws {
            let directory = try TemporaryDirectory()
            let zombie = try serve(directory)
            try expectAnswers(zombie, directory)
            zombie.signal(SIGSTOP)
            let successor = try serve(directory, "--take-over")
            try expectAnswers(successor, directory)
            zombie.signal(SIGTERM)
            zombie.signal(SIGCONT)
            #expect(zombie.waitForExit(atMost: .seconds(20)) != nil)
            #expect(try answering(directory) == successor.pid)
            #expect(canConnect(directory.file("nbd.sock")))
            #expect(successor.terminate() == .exited(0))
        }

        /// The TCP port that a client device without other addresses serves at.
        private func port(in directory: TemporaryDirectory) throws -> Int {
            let run = try ToolRun(
                [HoldfastBinary.path, "status", "--json", "--dir", directory.path])
            let report = try JSONDecoder().decode(
                StatusReport.self, from: Data(run.standardOutput.utf8))
            let uri = try #require(report.nbd.first { $0.hasPrefix("nbd://") }, "\(report.nbd)")
            return try #require(URL(string: uri)?.port)
        }

        private func canConnect(_ path: String) -> Bool {
            guard let raw = try? RawNBD(path) else { return false }
            withExtendedLifetime(raw) {}
            return true
        }
    }
}
