// The opening of a connection to an appliance: nobody gets in without the key, and little is said to strangers.

import TCPTransport

private let key = ClusterKey.random()

func fuzzOpening(_ input: [UInt8]) {
    guard let first = input.first else { return }
    let isKeyed = first & 1 == 0
    var opening = ServerOpening(
        key: isKeyed ? key : nil, binding: first & 2 == 0 ? [1, 2, 3] : [],
        isBusy: first & 12 == 12)
    var rest = input.dropFirst()
    var outcome = OpeningOutcome.goesOn
    while !rest.isEmpty, outcome == .goesOn {
        let piece = Array(rest.prefix(1 + Int(first >> 4)))
        rest = rest.dropFirst(piece.count)
        outcome = opening.receive(piece.span)
    }
    if case .opened = outcome, isKeyed { fatalError("opened without the key") }
    guard opening.output.count <= 256 else {
        fatalError("a stranger was told \(opening.output.count) bytes")
    }
}
