// What is in the package, looked at without installing it.

import Foundation
import TestSupport
import Testing

@Suite(
    .enabled(if: BuiltPackage.file != nil, Comment(rawValue: BuiltPackage.obstacle)),
    .needs(.tool("dpkg-deb")))
struct ContentTests {
    /// The commands that `--experimental-dump-help` tells of, such as `volume create`.
    private struct Command: Decodable {
        let commandName: String
        let subcommands: [Command]?

        var all: [String] {
            [commandName]
                + (subcommands ?? []).filter { $0.commandName != "help" }
                .flatMap(\.all).map { "\(commandName)-\($0)" }
        }
    }

    private struct Dump: Decodable { let command: Command }

    private static let units = [
        "holdfast.service", "holdfast-appliance.service", "holdfast-attach-helper.service",
        "holdfast-attach@.service",
    ]

    @Test
    func `every library the program is linked with comes by a dependency, and none is Swift's`()
        throws
    {
        let package = try BuiltPackage.current
        let needed = try ToolRun.output("objdump", "-p", package.path("/usr/bin/holdfast"))
            .split(separator: "\n").filter { $0.contains("NEEDED") }
            .compactMap { $0.split(separator: " ").last.map(String.init) }
        #expect(needed.contains("libsqlite3.so.0"))
        let depends = try package.list("Depends").map { $0.split(separator: " ")[0] }
        for library in needed where !library.hasPrefix("ld-linux") {
            #expect(!library.localizedCaseInsensitiveContains("swift"))
            #expect(!library.localizedCaseInsensitiveContains("Foundation"))
            // (What it is asked for by, the loader finds; what it is a file of, dpkg knows.)
            let path = try ToolRun.output("ldd", package.path("/usr/bin/holdfast"))
                .split(separator: "\n").first { $0.contains("\(library) =>") }?
                .split(separator: " ").dropFirst(2).first
            let file = try #require(path.map { URL(filePath: String($0)).lastPathComponent })
            let owners = try ToolRun.output("dpkg-query", "--search", "*/\(file)")
            #expect(
                depends.contains { owners.contains("\($0):") || owners.contains("\($0),") },
                "\(library) is in \(owners)")
        }
    }

    @Test func `every command has a manual page, and each is free of warnings`() throws {
        let package = try BuiltPackage.current
        let dump = try ToolRun.output(package.path("/usr/bin/holdfast"), "--experimental-dump-help")
        let commands = try JSONDecoder().decode(Dump.self, from: Data(dump.utf8)).command.all
        let folder = "/usr/share/man/man1"
        #expect(try package.names(in: folder) == commands.map { "\($0).1.gz" }.sorted())
        for command in commands {
            let page = try ToolRun(
                ["man", "--warnings", "-l", package.path("\(folder)/\(command).1.gz")],
                environment: ["MANWIDTH": "200", "MANPAGER": "cat"])
            #expect(page.succeeded && page.standardError.isEmpty, "\(page)")
            // (Bold is written by backspaces where no terminal is.)
            let words = command.replacing("-", with: " ")
            #expect(page.standardOutput.contains(words), "\(page)")
            #expect(page.standardOutput.contains("SEE ALSO"), "\(page)")
        }
    }

    @Test func `completions are what their shell reads, and know every family of commands`() throws
    {
        let package = try BuiltPackage.current
        let bash = package.path("/usr/share/bash-completion/completions/holdfast")
        #expect(try ToolRun(["bash", "-n", bash]).succeeded)
        let zsh = try package.text("/usr/share/zsh/vendor-completions/_holdfast")
        #expect(zsh.hasPrefix("#compdef holdfast\n"))
        let fish = try package.text("/usr/share/fish/vendor_completions.d/holdfast.fish")
        for text in [try String(contentsOfFile: bash, encoding: .utf8), zsh, fish] {
            for family in ["serve", "volume", "snapshot", "appliance", "status", "key"] {
                #expect(text.contains(family))
            }
        }
    }

    @Test func `bash completes a command`() throws {
        let file = try BuiltPackage.current.path("/usr/share/bash-completion/completions/holdfast")
        let script = """
            source \(file); COMP_WORDS=(holdfast snap); COMP_CWORD=1; COMP_LINE='holdfast snap'
            COMP_POINT=13; _holdfast holdfast snap holdfast; echo "${COMPREPLY[@]}"
            """
        #expect(try ToolRun.output("bash", "-c", script).contains("snapshot"))
    }

    @Test(arguments: units)
    func `a unit has no mistakes`(unit: String) throws {
        let package = try BuiltPackage.current
        // (Programs are looked for where the package is unpacked; the rest of the system is not there.)
        let text = try package.text("/lib/systemd/system/\(unit)")
        for line in text.split(separator: "\n") where line.contains("=/usr/bin/holdfast ") {
            #expect(line.hasPrefix("Exec"))
        }
        let copy = try TemporaryDirectory()
        try text.replacing("/usr/bin/holdfast ", with: package.path("/usr/bin/holdfast "))
            .write(toFile: copy.file(unit), atomically: false, encoding: .utf8)
        let run = try ToolRun([
            "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy.file(unit),
        ])
        #expect(run.succeeded && run.standardError.isEmpty, "\(run)")
    }

    /// `systemd-analyze security` gives points for what is left open: 10 is everything.
    @Test(arguments: zip(units, [20, 20, 40, 40]))
    func `a service is confined`(unit: String, exposure: Int) throws {
        let package = try BuiltPackage.current
        let run = try ToolRun([
            "systemd-analyze", "security", "--offline=yes", "--no-pager",
            "--threshold=\(exposure)", package.path("/lib/systemd/system/\(unit)"),
        ])
        #expect(run.succeeded, "\(run)")
    }

    @Test(.needs(.tool("lintian"))) func `Debian's own checks find nothing`() throws {
        let file = try #require(BuiltPackage.file)
        let run = try ToolRun(
            ["lintian", "--allow-root", "--fail-on", "error,warning", file], atMost: .seconds(300))
        #expect(run.succeeded && run.standardOutput.isEmpty, "\(run)")
    }
}
