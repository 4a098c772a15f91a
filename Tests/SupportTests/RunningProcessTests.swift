import Glibc
import TestSupport
import Testing

@Suite struct RunningProcessTests {
    @Test func outputAndStatusOfAToolAreKept() throws {
        let run = try ToolRun(["sh", "-c", "echo one; echo two >&2; exit 3"])
        #expect(run.status == 3)
        #expect(run.standardOutput == "one\n")
        #expect(run.standardError == "two\n")
    }

    @Test func aToolThatHangsIsAnError() throws {
        #expect(throws: HarnessError.self) {
            try ToolRun(["sleep", "1000"], atMost: .milliseconds(100))
        }
    }

    @Test func aProgramThatDoesNotExistFails() throws {
        #expect(try ToolRun(["holdfast-no-such-program"]).succeeded == false)
    }

    @Test func linesAreReadAsTheyCome() throws {
        let process = try RunningProcess(["sh", "-c", "echo first; exec sleep 1000"])
        #expect(process.standardOutput.waitForLine(atMost: .seconds(10)) == "first")
        #expect(process.isRunning)
        process.signal(SIGTERM)
        #expect(process.waitForExit(atMost: .seconds(10)) == .signalled(SIGTERM))
        #expect(process.standardOutput.waitForLine(atMost: .seconds(10)) { $0 == "second" } == nil)
    }

    @Test func aProcessEndsWithItsLastReference() throws {
        var process: RunningProcess? = try RunningProcess(["sleep", "1000"])
        let pid = try #require(process?.pid)
        #expect(kill(pid, 0) == 0)
        process = nil
        let isGone = eventually(atMost: .seconds(10)) { kill(pid, 0) != 0 ? true : nil }
        #expect(isGone == true)
    }

    @Test func aProcessThatIgnoresSIGTERMIsKilledAfterItsGrace() throws {
        let process = try RunningProcess([
            "sh", "-c", "trap '' TERM; echo ready; while :; do :; done",
        ])
        _ = process.standardOutput.waitForLine(atMost: .seconds(10))
        #expect(process.terminate(grace: .milliseconds(200)) == .signalled(SIGKILL))
    }
}
