// What the log looks like: to people, to programs, to the journal.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(2)))
    struct Logs {
        /// The lines that an appliance logs, from its start to its end.
        private func lines(
            _ options: String..., environment: [String: String] = [:]
        ) throws -> [String] {
            let directory = try TemporaryDirectory()
            let process = try RunningProcess(
                [
                    HoldfastBinary.path, "appliance", "run", "--name", "a1", "--memory", "64M",
                    "--listen", "unix:\(directory.file("a1.sock"))",
                ] + options, environment: environment)
            let isThere = eventually(atMost: .seconds(20)) {
                access(directory.file("a1.sock"), F_OK) == 0 ? true : nil
            }
            #expect(isThere == true)
            _ = eventually(atMost: .seconds(20)) {
                process.standardError.text.contains("lending") ? true : nil
            }
            process.terminate()
            return process.standardError.lines
        }

        @Test func peopleGetTimeLevelComponentMessage() throws {
            let lines = try lines()
            let first = try #require(lines.first)
            let expected = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info a1: lending .+/
            #expect(first.wholeMatch(of: expected) != nil, "\(first)")
        }

        @Test func programsGetAnObjectALine() throws {
            let lines = try lines("--log-format", "json")
            #expect(!lines.isEmpty)
            for line in lines {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
                let record = try #require(object as? [String: String], "\(line)")
                #expect(record["level"] == "info")
                #expect(record["component"] == "a1")
                #expect(record["message"]?.isEmpty == false)
                #expect(record["time"]?.hasSuffix("Z") == true)
            }
        }

        @Test func whatIsLessImportantThanAskedForIsLeftOut() throws {
            // (Nothing else would be logged, so nothing is waited for.)
            let directory = try TemporaryDirectory()
            let process = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", "a1", "--memory", "64M",
                "--listen", "unix:\(directory.file("a1.sock"))", "--log-level", "warning",
            ])
            let isThere = eventually(atMost: .seconds(20)) {
                access(directory.file("a1.sock"), F_OK) == 0 ? true : nil
            }
            #expect(isThere == true)
            process.terminate()
            #expect(process.standardError.text == "")
        }

        /// The variable is believed only when it names this very output.
        @Test func theJournalOfSomebodyElseIsNotWrittenFor() throws {
            let lines = try lines(environment: ["JOURNAL_STREAM": "1:1"])
            #expect(lines.first?.hasPrefix("<") == false)
        }

        @Test func theJournalGetsPrioritiesAndNoTime() throws {
            // Standard error is a file here: its numbers can be known before the process starts.
            let directory = try TemporaryDirectory()
            let log = directory.file("log")
            #expect(FileManager.default.createFile(atPath: log, contents: nil))
            var status = stat()
            #expect(stat(log, &status) == 0)
            let process = try RunningProcess(
                [
                    "sh", "-c", "exec \"$@\" 2>>'\(log)'", "sh", HoldfastBinary.path, "appliance",
                    "run", "--name", "a1", "--memory", "64M", "--listen",
                    "unix:\(directory.file("a1.sock"))",
                ], environment: ["JOURNAL_STREAM": "\(status.st_dev):\(status.st_ino)"])
            let text = try eventually(atMost: .seconds(20)) {
                let text = try String(contentsOfFile: log, encoding: .utf8)
                return text.hasSuffix("\n") ? text : nil
            }
            process.terminate()
            #expect(text?.hasPrefix("<6>a1: lending ") == true, "\(text ?? "nothing")")
        }

        @Test(arguments: [["--log-format", "xml"], ["--log-level", "loud"]])
        func whatIsNoFormatOrLevelIsAUsageError(options: [String]) throws {
            let directory = try TemporaryDirectory()
            let run = try ToolRun(
                [HoldfastBinary.path, "serve", "--dir", directory.path] + options)
            #expect(run.status == 64, "\(run)")
        }
    }
}
