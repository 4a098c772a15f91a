// This program once more, in a process of its own, with other arguments.

import Glibc

/// A process that ended, and what it wrote to standard output.
struct ChildRun: Equatable {
    struct Failure: Error, CustomStringConvertible {
        let call: String
        let number: Int32

        var description: String {
            "\(call) failed: \(strerror(number).map { String(cString: $0) } ?? "unknown error")"
        }
    }

    let output: String
    /// The exit status; 0 when a signal ended it.
    let status: Int32
    /// The signal that ended it.
    let signal: Int32?

    init(output: String, status: Int32, signal: Int32?) {
        self.output = output
        self.status = status
        self.signal = signal
    }

    /// Runs this program with `arguments`, and waits for its end.
    init(_ arguments: [String]) throws(Failure) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(call: "pipe", number: errno) }
        defer { close(ends[0]) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let spawned = Result { () throws(Failure) in
            try Self.spawn(arguments, output: ends[1])
        }
        // The end of the output is seen once nobody else can write any more.
        close(ends[1])
        let child = try spawned.get()
        output = Self.readAll(ends[0])
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 {
            guard errno == EINTR else { throw Failure(call: "waitpid", number: errno) }
        }
        // As in wait(2): the low seven bits are the signal, the next byte the status.
        let number = status & 0x7f
        self.signal = number == 0 ? nil : number
        self.status = status >> 8 & 0xff
    }

    private static func spawn(
        _ arguments: [String], output: Int32
    ) throws(Failure) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        let vector = (["simulate"] + arguments).map { strdup($0) } + [nil]
        defer { for text in vector { free(text) } }
        var child = pid_t()
        let status = posix_spawn(&child, "/proc/self/exe", &actions, nil, vector, environ)
        guard status == 0 else { throw Failure(call: "posix_spawn", number: status) }
        return child
    }

    private static func readAll(_ descriptor: Int32) -> String {
        var bytes: [UInt8] = []
        while true {
            var count = 0
            let piece = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, filled in
                count = read(descriptor, buffer.baseAddress, buffer.count)
                filled = max(0, count)
            }
            if count == 0 || (count < 0 && errno != EINTR) {
                return String(decoding: bytes, as: UTF8.self)
            }
            bytes += piece
        }
    }
}
