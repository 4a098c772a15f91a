// A program that the benchmark starts and ends. Its output goes to files in the benchmark's
// temporary directory: a pipe that nobody empties would stop a talkative server. It gets a process
// group of its own, so that ^C reaches only the benchmark, which then ends everything in order.

import FoundationEssentials
import Glibc

final class ServerProcess {
    /// How long a program may take to end after SIGTERM before it is killed, in milliseconds.
    private static let endingPatience = 15_000
    private static let pollMilliseconds: UInt32 = 5
    /// How much of a failed program's output is shown, in characters.
    private static let shownLogLength = 600

    let label: String
    let pid: pid_t
    private let endsWithSuccess: Bool
    private let outputPath: String
    private let errorPath: String
    /// How the program ended; nil while it runs.
    private(set) var status: Int32?

    /// Starts `arguments[0]`, sought in PATH.
    ///
    /// One that `endsWithSuccess` is remarked upon when its exit status after SIGTERM is not 0.
    init(
        _ arguments: [String], label: String, directory: String, endsWithSuccess: Bool = false
    ) throws(BenchError) {
        self.label = label
        self.endsWithSuccess = endsWithSuccess
        outputPath = "\(directory)/\(label).out"
        errorPath = "\(directory)/\(label).err"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let flags = O_WRONLY | O_CREAT | O_TRUNC
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, outputPath, flags, 0o600)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errorPath, flags, 0o600)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigemptyset(&defaults)
        sigaddset(&defaults, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        // A thread that blocks SIGTERM would otherwise have children that never notice it.
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        posix_spawnattr_setsigmask(&attributes, &unblocked)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        let environment = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
        var child = pid_t()
        let failure = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in
                posix_spawnp(
                    &child, arguments[0], &actions,
                    &attributes, argv, envp)
            }
        }
        switch failure {
        case 0: pid = child
        case ENOENT: throw .missingProgram(arguments[0])
        default: throw .system(call: "posix_spawn", errno: failure, subject: arguments[0])
        }
    }

    /// Fails when `program` is neither the path of a program nor one in PATH.
    static func require(_ program: String) throws(BenchError) {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let folders = program.contains("/") ? [] : path.split(separator: ":")
        let candidates = program.contains("/") ? [program] : folders.map { "\($0)/\(program)" }
        guard candidates.contains(where: { access($0, X_OK) == 0 }) else {
            throw .missingProgram(program)
        }
    }

    var output: String { readText(outputPath) ?? "" }

    /// The end of what the program wrote to standard error, on one line.
    var log: String {
        let text = readText(errorPath) ?? ""
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " / ")
        return String(line.suffix(Self.shownLogLength))
    }

    func failure(_ what: String) -> BenchError {
        .serverFailed(label: label, what: what, log: log)
    }

    var isRunning: Bool {
        if status == nil {
            var word: Int32 = 0
            if waitpid(pid, &word, WNOHANG) == pid { status = word }
        }
        return status == nil
    }

    /// Calls `probe` until it gives something; fails when the program ends first, or takes too long.
    func wait<Value>(
        seconds: Int, for what: String, probe: () throws(BenchError) -> Value?
    ) throws(BenchError) -> Value {
        for _ in 0..<seconds * 1000 / Int(Self.pollMilliseconds) {
            if let value = try probe() { return value }
            guard isRunning else { throw failure("ended before \(what)") }
            try Interruption.sleep(milliseconds: Self.pollMilliseconds)
        }
        throw failure("took more than \(seconds) s for \(what)")
    }

    /// Sends SIGINT, by which some programs are told that they have seen enough.
    func interrupt() {
        if isRunning { kill(pid, SIGINT) }
    }

    /// Waits for the end of a program that ends by itself; true when it succeeded.
    func waitForEnd() throws(BenchError) -> Bool {
        while isRunning { try Interruption.sleep(milliseconds: Self.pollMilliseconds) }
        return status == 0
    }

    /// Ends the program and all its descendants, kindly first; remarks on one that needed more.
    func stop() {
        let tree = ProcessTree(roots: [pid])
        let wasRunning = isRunning
        if wasRunning {
            kill(pid, SIGTERM)
            pause { !isRunning }
        }
        if isRunning {
            note("bench: \(label) did not end on SIGTERM and is killed")
            kill(pid, SIGKILL)
            pause { !isRunning }
        } else if wasRunning, endsWithSuccess, let status, status != 0 {
            note("bench: \(label) ended with wait status \(status) on SIGTERM; it said: \(log)")
        }
        let children = tree.members.filter { $0.pid != pid }
        pause(milliseconds: 2000) { !children.contains(where: \.isAlive) }
        for orphan in children where orphan.isAlive {
            note("bench: \(label) left process \(orphan.pid) behind, which is killed")
            kill(orphan.pid, SIGKILL)
        }
    }

    /// Sleeps until `condition`, uninterrupted, but not for ever.
    private func pause(
        milliseconds: Int = ServerProcess.endingPatience, until condition: () -> Bool
    ) {
        var left = milliseconds
        while left > 0, !condition() {
            usleep(Self.pollMilliseconds * 1000)
            left -= Int(Self.pollMilliseconds)
        }
    }
}

/// Lends `strings` as a null-terminated array of C strings.
private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { Glibc.free(pointer) } }
    return pointers.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("never empty") }
        return body(base)
    }
}
