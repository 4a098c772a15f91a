// Input nobody would send, guided by what code it reaches: what a network can say to us is said to the real code.
//
//     fuzz TARGET [libFuzzer's options] [CORPUS]...
//
// Built with coverage counters in all our modules; `Tools/fuzz` does that. A target traps when something is
// wrong, which ends the run and leaves the input in a file.

import CFuzzer
import Glibc

/// What is fuzzed: each is given one input at a time.
enum FuzzTarget: String, CaseIterable {
    /// The handshake of an NBD connection, as the state machine it is.
    case handshake
    /// Requests of an NBD client, to a volume with two members.
    case transmission
    /// The first messages on a connection to an appliance.
    case opening
    /// Client-side accesses, to an appliance with one region.
    case access
    /// What is asked of an appliance by its socket.
    case control
    /// Records of TLS, by who has the key.
    case records

    var consume: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32 {
        switch self {
        case .handshake: { input, count in Self.run(input, count, fuzzHandshake) }
        case .transmission: { input, count in Self.run(input, count, fuzzTransmission) }
        case .opening: { input, count in Self.run(input, count, fuzzOpening) }
        case .access: { input, count in Self.run(input, count, fuzzAccess) }
        case .control: { input, count in Self.run(input, count, fuzzControl) }
        case .records: { input, count in Self.run(input, count, fuzzRecords) }
        }
    }

    private static func run(
        _ input: UnsafePointer<UInt8>?, _ count: Int, _ body: ([UInt8]) -> Void
    ) -> Int32 {
        body(Array(UnsafeBufferPointer(start: input, count: count)))
        return 0
    }
}

@main
enum Fuzz {
    static func main() {
        guard let name = CommandLine.arguments.dropFirst().first,
            let target = FuzzTarget(rawValue: name)
        else {
            let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: " | ")
            let usage = Array("usage: fuzz \(names) [libFuzzer's options] [CORPUS]...\n".utf8)
            _ = write(STDERR_FILENO, usage, usage.count)
            exit(64)
        }
        // The driver sees a program of this name, and everything behind it.
        var count = CommandLine.argc - 1
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? =
            CommandLine.unsafeArgv + 1
        exit(LLVMFuzzerRunDriver(&count, &arguments, target.consume))
    }
}
