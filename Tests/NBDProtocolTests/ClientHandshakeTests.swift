// The handshake from the client's side, against bytes written by hand: what is sent, and what each answer of
// a server leads to. Cut anywhere, it comes to the same.

import NBDProtocol
import Testing

@Suite struct ClientHandshakeTests {
    /// "NBDMAGIC", "IHAVEOPT", fixed newstyle and no zeroes.
    static let greeting: [UInt8] = Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]

    static func reply(_ type: UInt32, to option: UInt32 = 7, _ data: [UInt8] = []) -> [UInt8] {
        [0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]
            + [option, type, UInt32(data.count)].flatMap { number in
                [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
            } + data
    }

    /// One gibibyte; flags, read-only, flush, several connections.
    static let export: [UInt8] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 0x07]
    /// Of 512 bytes at least, 4096 for best, 32 MiB at most.
    static let blocks: [UInt8] = [0, 3, 0, 0, 2, 0, 0, 0, 0x10, 0, 2, 0, 0, 0]

    static func answers(_ option: UInt32 = 7) -> [UInt8] {
        reply(3, to: option, export) + reply(3, to: option, blocks) + reply(1, to: option)
    }

    static let facts = ExportFacts(
        size: 1 << 30, flags: [.hasFlags, .readOnly, .sendFlush, .canMultiConn],
        smallestBlock: 512, preferredBlock: 4096)

    static func receive(
        _ bytes: [UInt8], by handshake: inout ClientHandshake
    ) -> ClientHandshake.Outcome {
        handshake.receive(bytes.span)
    }

    /// What becomes of a handshake with a server that says this.
    static func outcome(
        _ bytes: [UInt8], to purpose: ClientHandshake.Purpose = .use
    ) -> ClientHandshake.Outcome {
        var handshake = ClientHandshake(export: "vol", to: purpose)
        return Self.receive(bytes, by: &handshake)
    }

    @Test func `the greeting is answered with one GO`() {
        var handshake = ClientHandshake(export: "vol", to: .use)
        #expect(handshake.output.isEmpty)
        #expect(Self.receive(Self.greeting, by: &handshake) == .goesOn)
        #expect(
            handshake.output == [0, 0, 0, 3] + Array("IHAVEOPT".utf8) + [
                0, 0, 0, 7, 0, 0, 0, 11, 0, 0, 0, 3, 0x76, 0x6f, 0x6c, 0, 1, 0, 3,
            ])
    }

    @Test func `a server that sends zeroes is not asked to leave them out`() {
        var handshake = ClientHandshake(export: "vol", to: .use)
        _ = Self.receive((Self.greeting.dropLast() + [1]), by: &handshake)
        #expect(handshake.output.prefix(4) == [0, 0, 0, 1])
    }

    @Test func `what is asked for the sake of knowing ends with ABORT`() {
        var handshake = ClientHandshake(export: "vol", to: .know)
        _ = Self.receive(Self.greeting, by: &handshake)
        #expect(handshake.output[12..<16] == [0, 0, 0, 6])
        handshake.output = []
        #expect(Self.receive(Self.answers(6), by: &handshake) == .done(Self.facts))
        #expect(handshake.output == Array("IHAVEOPT".utf8) + [0, 0, 0, 2, 0, 0, 0, 0])
    }

    @Test(arguments: 1...90)
    func `however it is cut, the facts are the same`(piece: Int) {
        var handshake = ClientHandshake(export: "vol", to: .use)
        var outcome = ClientHandshake.Outcome.goesOn
        var rest = (Self.greeting + Self.answers())[...]
        while !rest.isEmpty {
            #expect(outcome == .goesOn)
            #expect(handshake.needed > 0 && handshake.needed <= rest.count)
            outcome = Self.receive(Array(rest.prefix(piece)), by: &handshake)
            rest = rest.dropFirst(piece)
        }
        #expect(outcome == .done(Self.facts))
        #expect(handshake.needed == 0)
    }

    @Test func `who receives what is needed reads nothing of the transmission phase`() {
        var handshake = ClientHandshake(export: "vol", to: .use)
        var rest = (Self.greeting + Self.answers() + [0x67, 0x44, 0x66, 0x98])[...]
        while case let count = handshake.needed, count > 0 {
            _ = Self.receive(Array(rest.prefix(count)), by: &handshake)
            rest = rest.dropFirst(count)
        }
        #expect(rest == [0x67, 0x44, 0x66, 0x98])
    }

    @Test func `without block sizes there are the specification's`() {
        let bytes = Self.greeting + Self.reply(3, Self.export) + Self.reply(1)
        guard case .done(let facts) = Self.outcome(bytes) else {
            Issue.record("no facts")
            return
        }
        #expect(facts.smallestBlock == 1 && facts.preferredBlock == 4096)
    }

    @Test(
        arguments: [
            (Array("SSH-2.0-OpenSSH_9.2".utf8), .notAServer),
            (Array("NBDMAGIC".utf8) + [0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53, 0, 0], .tooOld),
            (Array("NBDMAGICIHAVEOPT".utf8) + [0, 2], .tooOld),
            (greeting + reply(0x8000_0006), .unknownExport("vol")),
            (greeting + reply(0x8000_0007), .shuttingDown),
            (greeting + reply(0x8000_0001), .refused(type: 0x8000_0001)),
            (greeting + reply(0x8000_0005), .refused(type: 0x8000_0005)),
            (greeting + reply(2), .nonsense),
            (greeting + reply(1), .nonsense),
            (greeting + reply(1, to: 6), .nonsense),
            (greeting + [UInt8](repeating: 0, count: 20), .nonsense),
            (greeting + reply(3, [UInt8](repeating: 9, count: 70_000)), .nonsense),
        ] as [([UInt8], HandshakeFailure)])
    func `everything else is a failure with a name`(
        bytes: [UInt8], failure: HandshakeFailure
    ) {
        #expect(Self.outcome(bytes) == .failed(failure))
        #expect(!failure.description.isEmpty)
    }

    @Test func `a server that tells for ever is cut off`() {
        var handshake = ClientHandshake(export: "vol", to: .use)
        var outcome = Self.receive(Self.greeting, by: &handshake)
        var count = 0
        while outcome == .goesOn {
            outcome = Self.receive(Self.reply(3, [0, 9]), by: &handshake)
            count += 1
        }
        #expect(outcome == .failed(.nonsense))
        #expect(count * 22 <= ClientHandshake.longestAnswer + 22)
    }
}
