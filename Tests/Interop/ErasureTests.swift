// An erasure set as its users see it: every kind of request against a model, and a filesystem that lives through
// the loss of as many appliances as there is parity.

import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct Erasure {
        static let layouts = [
            ("erasure:2+1", "16K"), ("erasure:4+2", "16K"), ("erasure:8+2", "512"),
            ("erasure:3+2", "128K"), ("erasure:10+4", "4K"),
        ]

        @Test(arguments: layouts, ["shared-memory", "tcp"])
        func `writes, zeroes and trims of any size and place read back as a model has them`(
            layout: (String, String), transport: String
        ) throws {
            let size = 6 << 20
            let up = try HoldfastUp([
                "--size", "\(size)", "--layout", layout.0, "--chunk", layout.1, "--transport",
                transport,
            ])
            defer { up.stop() }
            let connection = try NBDConnection(up.uri)
            var model = [UInt8](repeating: 0, count: size)
            let seed = UInt64.random(in: .min ... .max)
            var random = SeededGenerator(seed: seed)
            for step in 0..<400 {
                let longest = [1, 600, 4096, 20_000, 70_000, 700_000].randomElement(using: &random)
                let count = Int.random(in: 1...(longest ?? 1), using: &random)
                let start = Int.random(in: 0...(size - count), using: &random)
                let range = start..<start + count
                switch step % 5 {
                case 0, 1:
                    let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
                    try connection.write(bytes, at: UInt64(start))
                    model.replaceSubrange(range, with: bytes)
                case 2 where step % 3 == 0:
                    try connection.zero(UInt64(count), at: UInt64(start))
                    model.replaceSubrange(range, with: repeatElement(0, count: count))
                case 2:
                    try connection.trim(UInt64(count), at: UInt64(start))
                    model.replaceSubrange(range, with: repeatElement(0, count: count))
                default:
                    let isRight =
                        try connection.read(count, at: UInt64(start)) == Array(model[range])
                    try #require(isRight, "seed \(seed), step \(step): \(range)")
                }
            }
            let isRight = try connection.read(size, at: 0) == model
            #expect(isRight, "seed \(seed)")
            let scrub = try up.cli("scrub", up.volume)
            #expect(scrub.succeeded, "\(scrub)")
        }

        @Test(
            .needs(
                .root, .fuse, .loopDevices, .tool("nbdfuse"), .tool("losetup"),
                .tool("mkfs.ext4"), .tool("e2fsck")))
        func `a filesystem lives through the loss of two appliances`() throws {
            let up = try HoldfastUp(["--size", "256M", "--layout", "erasure:4+2"])
            defer { up.stop() }
            let work = try TemporaryDirectory()
            let disk = try LoopDevice(of: up.uri)
            try ToolRun.output("mkfs.ext4", "-q", disk.path)
            let files = try Mount(disk)
            func fill(_ folder: String) throws {
                try ToolRun.output(
                    "sh", "-c",
                    """
                    set -e; cd '\(files.path)'; mkdir \(folder); cd \(folder)
                    head -c 30M /dev/urandom >large
                    i=0; while [ $i -lt 200 ]; do echo "file $i" >$i; i=$((i+1)); done
                    sync; sha256sum * >'\(work.file(folder))'
                    """)
            }
            try fill("before")
            let status = try up.status()
            for victim in status.appliances.prefix(2) { try up.kill(.appliance(victim.name)) }
            try fill("during")
            for victim in status.appliances.prefix(2) {
                _ = try up.waitForStatus("with \(victim.name) anew") {
                    let now = try $0.appliance(victim.name)
                    return now.state == "up" && now.incarnation != victim.incarnation
                }
            }
            try up.waitUntilHealthy()
            try files.unmount()
            let fsck = try ToolRun(["e2fsck", "-f", "-n", disk.path])
            #expect(fsck.succeeded, "\(fsck)")
            let again = try Mount(disk)
            for folder in ["before", "during"] {
                let check = try ToolRun(
                    [
                        "sh", "-c",
                        "cd '\(again.path)/\(folder)' && sha256sum --quiet -c '\(work.file(folder))'",
                    ])
                #expect(check.succeeded, "\(check)")
            }
            try again.unmount()
            try disk.detach()
        }

        @Test func `what an erasure set does not do is refused in words`() throws {
            let up = try HoldfastUp(["--size", "16M", "--layout", "erasure:2+1"])
            defer { up.stop() }
            let refused: [(command: [String], word: String)] = [
                (["snapshot", "create", "vol0", "monday", "--immediate"], "erasure:2+1"),
                (["volume", "set", "vol0", "--layout", "erasure:4+2"], "keeps"),
                (["volume", "set", "vol0", "--layout", "mirror:3"], "keeps"),
                (["volume", "move", "vol0", "--from", "appliance-1"], "stays on appliance-1"),
                (
                    [
                        "volume", "create", "other", "--size", "1G", "--layout", "erasure:4+2",
                        "--chunk", "3000",
                    ],
                    "power of two"
                ),
                (
                    [
                        "volume", "create", "other", "--size", "1G", "--layout", "mirror:2",
                        "--chunk", "4K",
                    ],
                    "no chunks"
                ),
            ]
            for (command, word) in refused {
                let run = try ToolRun([HoldfastBinary.path] + command + ["--dir", up.path])
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.contains(word), "\(run)")
            }
        }
    }
}
