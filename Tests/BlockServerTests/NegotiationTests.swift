// Every option with every payload that matters, as a table; each conversation also in every two
// pieces and byte by byte, because a network cuts where it likes.

import BlockServer
import NBDProtocol
import Testing

/// One conversation: what the client sends after its flags, and what must come of it.
struct Conversation: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var flags: UInt32 = 3
    var sent: [UInt8]
    var answer: [UInt8] = []
    var outcome = NegotiationOutcome.goesOn

    init(
        _ name: String, flags: UInt32 = 3, _ sent: [UInt8], _ answer: [UInt8] = [],
        _ outcome: NegotiationOutcome = .goesOn
    ) {
        testDescription = name
        self.flags = flags
        self.sent = sent
        self.answer = answer
        self.outcome = outcome
    }

    var input: [UInt8] { Client.flags(flags) + sent }
}

@Suite struct NegotiationTests {
    static let longest = String(repeating: "x", count: 4096)

    static let exportName: [Conversation] = [
        Conversation(
            "EXPORT_NAME without zeroes", Client.option(1, Array("vol0".utf8)),
            Server.bare(1 << 30, Exports.volumeFlags, zeroes: false),
            .transmission(Exports.volume, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME with zeroes", flags: 1, Client.option(1, Array("vol0".utf8)),
            Server.bare(1 << 30, Exports.volumeFlags, zeroes: true),
            .transmission(Exports.volume, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME of an old client", flags: 0, Client.option(1, Array("vol0".utf8)),
            Server.bare(1 << 30, Exports.volumeFlags, zeroes: true),
            .transmission(Exports.volume, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME of a snapshot", Client.option(1, Array("vol0@monday".utf8)),
            Server.bare(1 << 20, Exports.snapshotFlags, zeroes: false),
            .transmission(Exports.snapshot, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME of the default", Client.option(1),
            Server.bare(1 << 30, Exports.volumeFlags, zeroes: false),
            .transmission(Exports.volume, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME of nothing known", Client.option(1, Array("vol1".utf8)), [],
            .close(.unknownExport("vol1"))),
        Conversation(
            "EXPORT_NAME of the longest name", Client.option(1, Array(longest.utf8)), [],
            .close(.unknownExport(longest))),
        Conversation(
            "EXPORT_NAME of too long a name", Client.option(1, Array((longest + "x").utf8)), [],
            .close(.badExportName)),
        Conversation(
            "EXPORT_NAME with NUL", Client.option(1, Array("vol0\u{0}".utf8)), [],
            .close(.badExportName)),
        Conversation(
            "EXPORT_NAME of no UTF-8", Client.option(1, [0x76, 0xff]), [], .close(.badExportName)),
    ]

    static let simple: [Conversation] = [
        Conversation("ABORT", Client.option(2), Server.ack(2), .close(.aborted)),
        Conversation(
            "ABORT with a payload", Client.option(2, [1, 2, 3]), Server.ack(2), .close(.aborted)),
        Conversation("LIST", Client.option(3), Server.list),
        Conversation("LIST with a payload", Client.option(3, [0]), Server.invalid(3)),
        Conversation(
            "LIST with a long payload", Client.option(3, Array(repeating: 7, count: 300)),
            Server.invalid(3)),
        Conversation(
            "LIST twice", Client.option(3) + Client.option(3), Server.list + Server.list),
        Conversation(
            "LIST after a bad LIST", Client.option(3, [1]) + Client.option(3),
            Server.invalid(3) + Server.list),
    ]

    /// INFO and GO: the same but for what follows.
    static func information(_ option: UInt32) -> [Conversation] {
        let word = option == 7 ? "GO" : "INFO"
        func case_(
            _ what: String, _ name: String, _ requests: [UInt16], _ answer: [UInt8],
            _ export: Export
        ) -> Conversation {
            Conversation(
                "\(word) \(what)", Client.option(option, Client.information(name, requests)),
                answer,
                option == 7 ? .transmission(export, TransmissionTerms()) : .goesOn)
        }
        let name: (UInt16, String) = (1, "vol0")
        let description: (UInt16, String) = (2, "mirror:2")
        let volume = Exports.volume
        let known = [
            case_("asking nothing", "vol0", [], Server.volume(option), volume),
            case_("of the default", "", [], Server.volume(option), volume),
            case_(
                "of the default by its name", "", [1], Server.volume(option, [name]), volume),
            case_("of a snapshot", "vol0@monday", [], Server.snapshot(option), Exports.snapshot),
            case_(
                "of a snapshot's name and description", "vol0@monday", [1, 2],
                Server.snapshot(option, [(1, "vol0@monday"), (2, "a snapshot")]), Exports.snapshot),
            case_("for EXPORT", "vol0", [0], Server.volume(option), volume),
            case_("for NAME", "vol0", [1], Server.volume(option, [name]), volume),
            case_("for DESCRIPTION", "vol0", [2], Server.volume(option, [description]), volume),
            case_("for BLOCK_SIZE", "vol0", [3], Server.volume(option), volume),
            case_(
                "for everything", "vol0", [0, 1, 2, 3],
                Server.volume(option, [name, description]), volume),
            case_(
                "for everything, in another order", "vol0", [3, 2, 1, 0],
                Server.volume(option, [name, description]), volume),
            case_(
                "for things twice", "vol0", [1, 3, 1, 3, 0, 0], Server.volume(option, [name]),
                volume),
            case_(
                "for what nobody knows", "vol0", [4, 0xffff, 2, 0x8000],
                Server.volume(option, [description]), volume),
        ]
        return known + refused(option, word)
    }

    static func refused(_ option: UInt32, _ word: String) -> [Conversation] {
        let unknown = ["vol1", "vol", "vol00", "VOL0", "vol0@", "vol0 ", "名"].map {
            Conversation(
                "\(word) of '\($0)'", Client.option(option, Client.information($0, [1])),
                Server.unknown(option, $0))
        }
        let good = Client.information("vol0", [1, 3])
        let malformed: [(String, [UInt8])] = [
            ("of nothing", []), ("without a name", [0, 0, 0]),
            ("without a count", Array(good.prefix(8))),
            ("cut in its count", Array(good.prefix(9))),
            ("without its requests", Array(good.prefix(10))),
            ("cut in its requests", Array(good.dropLast())), ("with a byte too many", good + [0]),
            ("with a request too many", good + [0, 0]),
            ("with a name longer than all", [0, 0, 0xff, 0xff] + good.dropFirst(4)),
            ("with the longest length", [0xff, 0xff, 0xff, 0xff] + good.dropFirst(4)),
            ("of 4097 bytes of name", Client.information(longest + "x")),
            ("with NUL", Client.information("vol0\u{0}")),
            ("with NUL first", Client.information("\u{0}vol0")),
            ("of no UTF-8", Client.information([0x76, 0xff])),
            ("of half a character", Client.information([0x76, 0xc3])),
        ]
        return unknown
            + malformed.map {
                Conversation(
                    "\(word) \($0.0)", Client.option(option, $0.1), Server.invalid(option))
            }
    }

    static let unsupported: [Conversation] = [
        0, 4, 5, 12, 0x100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
    ].flatMap { (option: UInt32) in
        [0, 1, 16, 500].map { size in
            // What follows shows that the payload was consumed, even one that looks like an option.
            let payload = Array((Client.option(2) + Array(repeating: 0, count: 484)).prefix(size))
            return Conversation(
                "option \(option) with \(size) bytes",
                Client.option(option, payload) + Client.option(3),
                Server.unsupported(option) + Server.list)
        }
    }

    static let senseless: [Conversation] = [
        Conversation(
            "unknown flag 2", flags: 7, Client.option(3), [], .close(.unknownClientFlags(7))),
        Conversation(
            "unknown flag 31", flags: 0x8000_0001, [], [], .close(.unknownClientFlags(0x8000_0001))),
        Conversation("all flags", flags: .max, [], [], .close(.unknownClientFlags(.max))),
        Conversation(
            "a bad magic", Array("IHAVEOPU".utf8) + bigEndian(UInt32(3)) + [0, 0, 0, 0], [],
            .close(.badOptionMagic(0x4948_4156_454f_5055))),
        Conversation(
            "a bad magic after an option", Client.option(3) + Array(repeating: 0, count: 16),
            Server.list, .close(.badOptionMagic(0))),
        Conversation(
            "too large an option", Array("IHAVEOPT".utf8) + [0, 0, 0, 99, 0, 1, 0, 1], [],
            .close(.optionTooLarge(65_537))),
        Conversation(
            "the largest length", Array("IHAVEOPT".utf8) + [0, 0, 0, 7, 255, 255, 255, 255], [],
            .close(.optionTooLarge(.max))),
    ]

    static let mixed: [Conversation] = [
        Conversation("nothing but flags", []),
        Conversation("half an option", Array(Client.option(3).dropLast())),
        Conversation("a header whose data is to come", Array(Client.option(3, [1]).dropLast())),
        Conversation(
            "all of a careful client",
            Client.option(5) + Client.option(3) + Client.option(6, Client.information("vol0", [3]))
                + Client.option(6, Client.information("none"))
                + Client.option(7, Client.information("vol0@monday")),
            Server.unsupported(5) + Server.list + Server.volume(6) + Server.unknown(6, "none")
                + Server.snapshot(7), .transmission(Exports.snapshot, TransmissionTerms())),
        Conversation(
            "EXPORT_NAME after a refused GO",
            Client.option(7, Client.information("none")) + Client.option(1, Array("vol0".utf8)),
            Server.unknown(7, "none") + Server.bare(1 << 30, Exports.volumeFlags, zeroes: false),
            .transmission(Exports.volume, TransmissionTerms())),
    ]

    static let all =
        exportName + simple + information(6) + information(7) + unsupported + senseless + mixed

    @Test func `a server greets first`() {
        let transcript = Transcript([])
        #expect(transcript.output == Server.greeting)
        #expect(transcript.outcome == .goesOn)
    }

    @Test(arguments: all)
    func `an option has its answer`(conversation: Conversation) {
        let transcript = Transcript([conversation.input])
        #expect(transcript.output == Server.greeting + conversation.answer)
        #expect(transcript.outcome == conversation.outcome)
    }

    @Test(arguments: all)
    func `it does not matter where the network cuts`(conversation: Conversation) {
        let input = conversation.input
        let whole = Transcript([input])
        for cut in 0...input.count {
            let pieces = [Array(input.prefix(cut)), Array(input.dropFirst(cut))]
            let transcript = Transcript(pieces, takesOutput: true)
            #expect(transcript.output == whole.output, "cut after \(cut) bytes")
            #expect(transcript.outcome == whole.outcome, "cut after \(cut) bytes")
        }
        let transcript = Transcript(input.map { [$0] })
        #expect(transcript.output == whole.output)
        #expect(transcript.outcome == whole.outcome)
    }

    @Test(arguments: all.filter { if case .transmission = $0.outcome { true } else { false } })
    func `what follows the last option is kept as requests`(conversation: Conversation) {
        let input = conversation.input
        // The second one looks like an option: nothing of it may be answered.
        for requests in [Array(1...28), Client.option(2), [0x25]] as [[UInt8]] {
            let whole = Transcript([input + requests])
            #expect(whole.unread == requests)
            #expect(whole.output == Server.greeting + conversation.answer)
            #expect(whole.outcome == conversation.outcome)
            let bytewise = Transcript((input + requests).map { [$0] })
            #expect(bytewise.unread == requests)
            #expect(bytewise.output == whole.output)
            #expect(bytewise.decidedAfter == input.count)
        }
        #expect(Transcript([input]).unread.isEmpty)
    }

    @Test(arguments: all.filter { if case .close = $0.outcome { true } else { false } })
    func `nothing is answered after the end`(conversation: Conversation) {
        let more = Client.option(3) + Client.option(7, Client.information("vol0"))
        let together = Transcript([conversation.input + more])
        #expect(together.output == Server.greeting + conversation.answer)
        #expect(together.outcome == conversation.outcome)
        let apart = Transcript([conversation.input, more])
        #expect(apart.output == Server.greeting + conversation.answer)
        #expect(apart.outcome == conversation.outcome)
    }
}
