// Images carried in and out by the usual tools.

import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct Copy {
        /// A file of the volume's size: 64 MiB of noise, a hole, and a last sector.
        private func makeImage(in directory: TemporaryDirectory) throws -> String {
            let image = directory.file("image")
            try ToolRun.output(
                "sh", "-c",
                """
                head -c 64M /dev/urandom >'\(image)' && truncate -s 256M '\(image)' &&
                head -c 512 /dev/urandom |
                    dd of='\(image)' bs=512 seek=524287 conv=notrunc status=none
                """)
            return image
        }

        private func checksum(_ file: String) throws -> String {
            String(try ToolRun.output("sha256sum", file).prefix(64))
        }

        @Test(.needs(.tool("nbdcopy")))
        func nbdcopyBringsBackWhatItTookIn() throws {
            let directory = try TemporaryDirectory()
            let image = try makeImage(in: directory)
            let expected = try checksum(image)
            let up = try HoldfastUp.current
            for connections in ["--connections=1", "--connections=4"] {
                let back = directory.file("back")
                try ToolRun.output("nbdcopy", connections, "--flush", image, up.uri)
                try ToolRun.output("nbdcopy", connections, up.uri, back)
                #expect(try checksum(back) == expected)
                try ToolRun.output("rm", back)
            }
        }

        @Test(.needs(.tool("qemu-img")))
        func qemuImgConvertsAndCompares() throws {
            let directory = try TemporaryDirectory()
            let image = try makeImage(in: directory)
            let back = directory.file("back.qcow2")
            let uri = try HoldfastUp.current.uri
            try ToolRun.output("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri)
            try ToolRun.output("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
            try ToolRun.output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, back)
            try ToolRun.output("qemu-img", "compare", "-f", "raw", "-F", "qcow2", image, back)
        }
    }
}
