// Names that strangers choose begin no line in the log, and tell no terminal what to do.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(3)))
    struct ForgedText {
        /// It would end its line, begin one that looks like ours, clear the screen in two ways, and turn what follows.
        private static let evil =
            "x\n<2>client-device: forged\u{1B}[2J\u{9B}2J\u{202E}\u{2028}\u{7F}\r\né"
        /// What people see of it.
        private static let shown =
            "x␤<2>client-device: forged␛[2J<U+009B>2J<U+202E><U+2028>␡␍␤é"

        private let directory: TemporaryDirectory

        init() throws { directory = try TemporaryDirectory() }

        /// What a client device logs to whom an export of that name was named, beyond its start.
        private func log(_ options: [String], journal: Bool = false) throws -> String {
            let file = directory.file("log")
            #expect(FileManager.default.createFile(atPath: file, contents: nil))
            var status = stat()
            #expect(stat(file, &status) == 0)
            let process = try RunningProcess(
                [
                    "sh", "-c", "exec \"$@\" 2>>'\(file)'", "sh", HoldfastBinary.path, "serve",
                    "--dir", directory.file("d"),
                ] + options,
                environment: journal
                    ? ["JOURNAL_STREAM": "\(status.st_dev):\(status.st_ino)"] : [:])
            let client = eventually(atMost: .seconds(20)) {
                try? RawNBD(directory.file("d/nbd.sock"))
            }
            let raw = try #require(client)
            try raw.greet()
            raw.sendOption(Wire.Option.exportName, Array(Self.evil.utf8))
            #expect(raw.isClosedByServer())
            let text = try eventually(atMost: .seconds(20)) {
                let text = try String(contentsOfFile: file, encoding: .utf8)
                return text.contains("there is no export") && text.hasSuffix("\n") ? text : nil
            }
            process.terminate()
            return try #require(text)
        }

        /// The lines of a log, which has nothing in it that is not seen.
        private func lines(_ log: String) -> [Substring] {
            let unseen = log.unicodeScalars.filter { scalar in
                scalar != "\n"
                    && (scalar.properties.generalCategory == .control
                        || [0x202E, 0x2028].contains(scalar.value))
            }
            #expect(unseen.isEmpty, "\(unseen.map { String($0.value, radix: 16) })")
            return log.split(separator: "\n")
        }

        @Test func peopleSeeWhatAnExportNameIs() throws {
            let lines = lines(try log([]))
            for line in lines { #expect(line.firstMatch(of: /^\d{4}-\d\d-\d\dT/) != nil) }
            let sentence =
                "client-device: closing a connection in its handshake: there is no export '\(Self.shown)'"
            #expect(lines.count { $0.hasSuffix(sentence) } == 1, "\(lines)")
        }

        @Test func theJournalGetsOnePriorityALine() throws {
            let lines = lines(try log([], journal: true))
            for line in lines { #expect(line.firstMatch(of: /^<[4-6]>client-device:./) != nil) }
            #expect(lines.count { $0.hasSuffix("there is no export '\(Self.shown)'") } == 1)
        }

        @Test func programsGetWhatAnExportNameWas() throws {
            let messages = try lines(try log(["--log-format", "json"])).map { line in
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
                return try #require((object as? [String: String])?["message"])
            }
            #expect(messages.count { $0.hasSuffix("there is no export '\(Self.evil)'") } == 1)
        }

        @Test func whatAnApplianceCallsItselfIsShownAsItIs() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:1"])
            let socket = directory.file("a.sock")
            let appliance = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", Self.evil, "--memory", "64M",
                "--listen", "unix:\(socket)",
            ])
            let isThere = eventually(atMost: .seconds(20)) {
                access(socket, F_OK) == 0 ? true : nil
            }
            #expect(isThere == true)
            let run = try up.cli("appliance", "add", "a2", "unix:\(socket)")
            #expect(run.status == 1)
            #expect(
                run.standardError
                    == "holdfast: the appliance at unix:\(socket) is named \(Self.shown)\n",
                "\(run)")
            appliance.terminate()
            for line in lines(appliance.standardError.text) {
                #expect(line.contains(" info \(Self.shown): "))
            }
        }

        @Test func whatACertificateOrAKeyIsCalledIsShownAsItIs() throws {
            let name = "al\u{1B}[2Jice"
            let server = try SecureServer("required", ["--log-level", "debug"])
            let folder = directory.file("client")
            try issue("\(name)\nforged", of: server.authority, into: folder)
            #expect(
                try NBDConnection(server.uri(.certificate, files: folder)).read(1, at: 0) == [0])
            #expect(server.logged("a client is under TLS: 'al␛[2Jice␤forged', 'x'") != nil)
            // (The name of a key stands on a line of a file: there is no line break in it.)
            let keys = server.directory.file("keys.psk")
            try SecureServer.writeKeys(keys, [name: 0xa1])
            try #require(kill(try server.up.pid(of: .client), SIGHUP) == 0)
            #expect(server.logged("may use was reread") != nil)
            let uri = server.uri(.key, name: "al%1B%5B2Jice", files: keys)
            #expect(try NBDConnection(uri).read(1, at: 0) == [0])
            #expect(server.logged("a client is under TLS: 'al␛[2Jice'") != nil)
            #expect(!server.up.supervisor.standardError.text.contains("\u{1B}"))
        }

        /// A folder as libnbd wants it, with a certificate of that common name.
        private func issue(
            _ name: String, of authority: TestAuthority, into folder: String
        ) throws {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true)
            let request = directory.file("request")
            try ToolRun.output(
                "openssl", "req", "-new", "-utf8", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=\(name)", "-addext",
                "subjectAltName=DNS:x", "-keyout", folder + "/client-key.pem", "-out", request)
            try ToolRun.output(
                "openssl", "x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey",
                authority.directory.file("authority.key"), "-set_serial", "7", "-copy_extensions",
                "copyall", "-days", "1", "-out", folder + "/client-cert.pem")
            try ToolRun.output("cp", authority.certificate, folder + "/ca-cert.pem")
        }
    }
}
