// Everything that can end a benchmark early, each as one sentence that says what to do.

/// Why the benchmark could not go on.
indirect enum BenchError: Error, Equatable {
    /// A program this benchmark runs is not installed.
    case missingProgram(String)
    /// The operating system refused `call` with `errno` while working on `subject`.
    case system(call: String, errno: Int32, subject: String)
    /// A server ended, or did not become ready; `log` is the end of what it wrote.
    case serverFailed(label: String, what: String, log: String)
    /// `error` came up while the server `label` was under load.
    case underLoad(label: String, error: BenchError)
    /// The server and this client do not understand each other.
    case protocolViolation(String)
    /// The server refused the export, in its own words.
    case exportRefused(name: String, reason: String)
    /// A request was answered with an NBD error number.
    case requestFailed(operation: String, offset: UInt64, errno: UInt32)
    /// No reply came for `seconds`.
    case stalled(seconds: Int)
    /// The volume cannot hold what the workload needs.
    case volumeTooSmall(bytes: UInt64)
    /// `--verify` read something else than what was last written at `offset`.
    case wrongContent(offset: UInt64)
    /// fio ran but its report could not be used.
    case fioFailed(String)
    /// An address that is not an NBD URI of a Unix socket.
    case unusableURI(String)
    /// SIGINT, SIGTERM or SIGHUP arrived.
    case interrupted
}

extension BenchError: CustomStringConvertible {
    var description: String {
        switch self {
        case .missingProgram(let name):
            switch name {
            case "nbdkit", "fio":
                "\(name) is not installed; run: apt-get install nbdkit fio"
            case "qemu-nbd": "qemu-nbd is not installed; run: apt-get install qemu-utils"
            case "perf": "perf is not installed; run: apt-get install linux-perf"
            default:
                "\(name) cannot be found; give its path, or let Tools/bench build it"
            }
        case .system(let call, let errno, let subject):
            "\(call) failed on \(subject) with errno \(errno) (\(errorText(errno)))"
        case .serverFailed(let label, let what, let log):
            "\(label) \(what)" + (log.isEmpty ? "" : "; it said: \(log)")
        case .underLoad(let label, let error):
            "\(label), under load: \(error)"
        case .protocolViolation(let what):
            "the server broke the NBD protocol: \(what)"
        case .exportRefused(let name, let reason):
            "the server refused export \"\(name)\" (\(reason)); name another with --export"
        case .requestFailed(let operation, let offset, let errno):
            "a \(operation) at byte \(offset) was answered with NBD error \(errno) "
                + "(\(errorText(Int32(bitPattern: errno))))"
        case .stalled(let seconds):
            "the server sent nothing for \(seconds) s although requests are outstanding"
        case .volumeTooSmall(let bytes):
            "a volume of \(bytes) bytes is too small for this workload; choose a larger --size"
        case .wrongContent(let offset):
            "wrong content: byte \(offset) is not what was last written there"
        case .fioFailed(let what):
            "fio failed: \(what)"
        case .unusableURI(let text):
            "\"\(text)\" is not usable; give a URI such as nbd+unix:///vol0?socket=/run/nbd.sock"
        case .interrupted:
            "interrupted"
        }
    }
}
