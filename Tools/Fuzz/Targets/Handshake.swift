// The handshake: whatever way its bytes are cut, the answers and the verdict are the same, and bounded; nobody
// comes by an export that is not his.

import BlockServer
import NBDProtocol

private let catalog = ExportCatalog([
    Export(name: "vol0", description: "mirror:3", size: 1 << 30, isReadOnly: false),
    Export(name: "vol0@monday", description: "a snapshot", size: 1 << 20, isReadOnly: true),
    Export(name: "größer", description: "", size: 1, isReadOnly: false),
])

/// How the server is set up, and what the client may use under TLS.
private struct Rules {
    let policy: TLSPolicy
    let access: ExportAccess

    init(_ choice: UInt8) {
        policy = [.off, .allowed, .required, .off][Int(choice & 3)]
        access = choice & 4 == 0 ? .everything : .volumes(["vol0"])
    }
}

private struct Course: Equatable {
    var outcome = NegotiationOutcome.goesOn
    var output: [UInt8] = []
    var unread: [UInt8] = []
    var isSecure = false
}

private func course(of input: [UInt8], inPiecesOf size: Int, _ rules: Rules) -> Course {
    var negotiation = Negotiation(
        tls: rules.policy, access: rules.policy == .off ? rules.access : .everything)
    var course = Course()
    var rest = input[...]
    while !rest.isEmpty, course.outcome == .goesOn {
        let piece = Array(rest.prefix(size))
        rest = rest.dropFirst(size)
        course.outcome = negotiation.receive(piece.span, catalog: catalog)
        if course.outcome == .startTLS {
            guard rules.policy != .off, !course.isSecure else { fatalError("TLS out of turn") }
            negotiation.becomeSecure(for: rules.access)
            course.isSecure = true
            course.outcome = .goesOn
        }
    }
    course.output = negotiation.output
    if case .transmission = course.outcome { course.unread = negotiation.unread + rest }
    return course
}

func fuzzHandshake(_ input: [UInt8]) {
    guard input.count > 1 else { return }
    let rules = Rules(input[0])
    let shape = input[1]
    // (Every other input gets past the client's flags.)
    var bytes = Array(input.dropFirst(2))
    if shape & 1 == 0 {
        var opening: [UInt8] = [0, 0, 0, 3]
        if shape & 2 == 0 { opening += "IHAVEOPT".utf8 }
        bytes = opening + bytes
    }
    let whole = course(of: bytes, inPiecesOf: max(bytes.count, 1), rules)
    let cut = course(of: bytes, inPiecesOf: 1 + Int(shape >> 2), rules)
    // (What comes behind STARTTLS in one piece with it was said in the clear, and ends the connection.)
    guard whole == cut || rules.policy != .off else {
        fatalError("in pieces of \(1 + shape >> 2) it is \(cut.outcome), not \(whole.outcome)")
    }
    for course in [whole, cut] {
        if case .transmission(let export, _) = course.outcome {
            guard course.isSecure || rules.policy != .required else {
                fatalError("in the clear, where TLS is required")
            }
            let limited = course.isSecure || rules.policy == .off
            guard !limited || rules.access.covers(export.name) else {
                fatalError("\(export.name) is not his")
            }
        }
        // (The longest answer to one option is a list of all exports, or its own text.)
        guard course.output.count <= 1 << 10 + bytes.count * 64 else {
            fatalError("\(bytes.count) bytes were answered with \(course.output.count)")
        }
    }
}
