// STRUCTURED_REPLY, EXTENDED_HEADERS and the choice of metadata contexts, as tables.

import BlockServer
import NBDProtocol
import Testing

@Suite struct MetaContextTests {
    static let structured = Client.option(8)
    static let extended = Client.option(11)
    static let context = "base:allocation"
    static let resiliency = "holdfast:resiliency"

    /// The data of LIST_META_CONTEXT and SET_META_CONTEXT.
    static func queries(_ name: String, _ queries: [String]) -> [UInt8] {
        bigEndian(UInt32(name.utf8.count)) + Array(name.utf8) + bigEndian(UInt32(queries.count))
            + queries.flatMap { bigEndian(UInt32($0.utf8.count)) + Array($0.utf8) }
    }

    static func set(_ name: String, _ wanted: String...) -> [UInt8] {
        Client.option(10, queries(name, wanted))
    }

    static func list(_ name: String, _ wanted: String...) -> [UInt8] {
        Client.option(9, queries(name, wanted))
    }

    static func entry(_ option: UInt32, id: UInt32, _ name: String) -> [UInt8] {
        Server.reply(option, 4, bigEndian(id) + Array(name.utf8))
    }

    static func found(_ option: UInt32, id: UInt32) -> [UInt8] {
        entry(option, id: id, context) + Server.ack(option)
    }

    static func extendedRequired(_ option: UInt32) -> [UInt8] {
        Server.reply(option, 0x8000_000a)
    }

    /// What a client sends before GO, and what it gets beside.
    static let forms: [Conversation] = [
        Conversation("STRUCTURED_REPLY", structured, Server.ack(8)),
        Conversation("STRUCTURED_REPLY with data", Client.option(8, [1]), Server.invalid(8)),
        Conversation(
            "STRUCTURED_REPLY twice", structured + structured, Server.ack(8) + Server.invalid(8)),
        Conversation("EXTENDED_HEADERS", extended, Server.ack(11)),
        Conversation("EXTENDED_HEADERS with data", Client.option(11, [1]), Server.invalid(11)),
        Conversation(
            "EXTENDED_HEADERS twice", extended + extended, Server.ack(11) + Server.invalid(11)),
        Conversation(
            "EXTENDED_HEADERS after STRUCTURED_REPLY", structured + extended,
            Server.ack(8) + Server.ack(11)),
        Conversation(
            "STRUCTURED_REPLY after EXTENDED_HEADERS", extended + structured,
            Server.ack(11) + extendedRequired(8)),
    ]

    static let lists: [Conversation] = [9, 10].flatMap { (option: UInt32) -> [Conversation] in
        let word = option == 9 ? "LIST" : "SET"
        let id: UInt32 = option == 9 ? 0 : 1
        func case_(_ what: String, _ data: [UInt8], _ answer: [UInt8]) -> Conversation {
            Conversation(
                "\(word) \(what)", structured + Client.option(option, data),
                Server.ack(8) + answer)
        }
        let good = queries("vol0", [context])
        let one = found(option, id: id)
        let ours = entry(option, id: id * 2, resiliency)
        let both = entry(option, id: id, context) + ours + Server.ack(option)
        let none = Server.ack(option)
        return [
            Conversation(
                "\(word) without STRUCTURED_REPLY", Client.option(option, good),
                Server.invalid(option)),
            Conversation(
                "\(word) with EXTENDED_HEADERS", extended + Client.option(option, good),
                Server.ack(11) + one),
            case_("of the context", good, one),
            case_("of the context of a snapshot", queries("vol0@monday", [context]), one),
            case_("of the context of the default", queries("", [context]), one),
            case_("of the context twice", queries("vol0", [context, context]), one),
            case_("of nothing", queries("vol0", []), option == 9 ? both : none),
            case_("of both, in any order", queries("vol0", [resiliency, context]), both),
            case_("of ours", queries("vol0", [resiliency]), ours + Server.ack(option)),
            case_(
                "of our namespace", queries("vol0", ["holdfast:"]),
                option == 9 ? ours + Server.ack(option) : none),
            case_("of a namespace", queries("vol0", ["base:"]), option == 9 ? one : none),
            case_("of another leaf", queries("vol0", ["base:x"]), none),
            case_("of another namespace", queries("vol0", ["qemu:dirty-bitmap:b"]), none),
            case_("of several", queries("vol0", ["x:", "base:allocation", "y:z"]), one),
            case_("without a colon", queries("vol0", ["base"]), Server.invalid(option)),
            case_(
                "of an unknown export", queries("vol1", [context]),
                Server.reply(option, 0x8000_0006)),
            case_("without data", [], Server.invalid(option)),
            case_("with a byte too many", good + [0], Server.invalid(option)),
            case_("with a byte too few", Array(good.dropLast()), Server.invalid(option)),
            case_(
                "with more queries than there are",
                bigEndian(UInt32(4)) + Array("vol0".utf8) + bigEndian(UInt32.max),
                Server.invalid(option)),
            case_(
                "with a query longer than all",
                bigEndian(UInt32(4)) + Array("vol0".utf8) + bigEndian(UInt32(1))
                    + bigEndian(UInt32.max) + [0x61, 0x3a],
                Server.invalid(option)),
        ]
    }

    @Test(arguments: forms + lists)
    func `options are answered as the specification says`(conversation: Conversation) {
        let transcript = Transcript([conversation.input])
        #expect(transcript.output == Server.greeting + conversation.answer)
        #expect(transcript.outcome == conversation.outcome)
        let bytewise = Transcript(conversation.input.map { [$0] }, takesOutput: true)
        #expect(bytewise.output == transcript.output)
    }

    /// What holds in transmission after some options and GO of vol0.
    private func terms(_ options: [UInt8], go name: String = "vol0") throws -> TransmissionTerms {
        let go = Client.option(7, Client.information(name))
        let transcript = Transcript([Client.flags(3) + options + go])
        guard case .transmission(_, let terms) = transcript.outcome else {
            Issue.record("no transmission: \(transcript.outcome)")
            return TransmissionTerms()
        }
        return terms
    }

    @Test func `the last choice of contexts holds, for its export alone`() throws {
        let chosen = [MetaContext.allocation]
        let set = Self.set("vol0", Self.context)
        #expect(try terms(Self.structured + set).contexts == chosen)
        #expect(try terms(Self.extended + set).contexts == chosen)
        #expect(try terms(Self.structured + Self.set("", Self.context)).contexts == chosen)
        #expect(try terms(Self.structured).contexts == [])
        #expect(try terms(Self.structured + Self.list("vol0", Self.context)).contexts == [])
        #expect(try terms(Self.structured + set, go: "vol0@monday").contexts == [])
        #expect(try terms(Self.structured + set + Self.set("vol0")).contexts == [])
        #expect(try terms(Self.structured + set + Self.set("vol1", Self.context)).contexts == [])
        #expect(try terms(Self.structured + set + Client.option(10, [1])).contexts == [])
        #expect(try terms(Self.structured + set + Self.list("vol0")).contexts == chosen)
    }

    @Test func `the form is what was agreed on`() throws {
        #expect(try terms([]).form == .simple)
        #expect(try terms(Self.structured).form == .structured)
        #expect(try terms(Self.extended).form == .extended)
        #expect(try terms(Self.structured + Self.extended).form == .extended)
        #expect(try terms(Client.option(8, [0])).form == .simple)
    }

    @Test func `DF is offered with structured replies`() {
        let info = Client.option(6, Client.information("vol0"))
        let plain = Transcript([Client.flags(3) + info])
        #expect(plain.output == Server.greeting + Server.volume(6))
        let chunks = Transcript([Client.flags(3) + Self.structured + info])
        #expect(
            chunks.output
                == Server.greeting + Server.ack(8)
                + Server.information(6, 1 << 30, Exports.volumeFlags | Exports.df))
    }
}

@Suite struct FormRulesTests {
    static func header(
        _ type: UInt16, flags: UInt16 = 0, offset: UInt64 = 0, length: UInt64
    ) -> RequestHeader {
        let bytes =
            bigEndian(UInt32(0x21e4_1c71)) + bigEndian(flags) + bigEndian(type)
            + bigEndian(UInt64(7)) + bigEndian(offset) + bigEndian(length)
        return RequestHeader(bytes.span.bytes, .extended)
    }

    private func verdict(
        _ header: RequestHeader, _ form: MessageForm = .extended, hasContexts: Bool = true,
        size: UInt64 = 1 << 40
    ) -> RequestVerdict {
        RequestRules.verdict(
            header, size: size, isReadOnly: false, form, hasContexts: hasContexts)
    }

    @Test func `each form has its magic`() {
        let header = Self.header(0, length: 1)
        #expect(RequestRules.frameFault(header, .extended) == nil)
        for form in [MessageForm.simple, .structured] {
            #expect(RequestRules.frameFault(header, form) == .badRequestMagic(0x21e4_1c71))
        }
        let compact = Rule.header(type: 0, length: 1)
        #expect(RequestRules.frameFault(compact, .extended) == .badRequestMagic(0x2560_9513))
        #expect(RequestRules.frameFault(compact, .structured) == nil)
    }

    @Test func `payloads are bounded, whatever command they come with`() {
        for type in [0, 1, 3, 7, 99] as [UInt16] {
            let large = Self.header(type, flags: 0x20, length: 32 << 20 + 1)
            #expect(RequestRules.frameFault(large, .extended) == .payloadTooLarge(32 << 20 + 1))
            #expect(
                RequestRules.frameFault(Self.header(type, flags: 0x20, length: 32 << 20), .extended)
                    == nil)
        }
        let wraps = Self.header(1, length: .max)
        #expect(RequestRules.frameFault(wraps, .extended) == .payloadTooLarge(.max))
    }

    @Test func `a payload belongs to a write alone`() {
        #expect(verdict(Self.header(1, flags: 0x20, length: 4096)) == .write)
        #expect(verdict(Self.header(1, flags: 0x21, length: 4096)) == .write)
        for type in [0, 4, 5, 6, 7] as [UInt16] {
            #expect(verdict(Self.header(type, flags: 0x20, length: 16)) == .refuse(.invalid))
        }
        #expect(
            verdict(Rule.header(flags: 0x20, type: 1, length: 16), .structured)
                == .refuse(.invalid))
    }

    @Test func `lengths of 64 bits are taken where nothing is transferred`() {
        #expect(verdict(Self.header(4, length: 1 << 40)) == .zero(keepAllocated: false))
        #expect(verdict(Self.header(6, length: 1 << 40)) == .zero(keepAllocated: false))
        #expect(verdict(Self.header(7, length: 1 << 40)) == .blockStatus)
        #expect(verdict(Self.header(0, length: 1 << 33)) == .refuse(.invalid))
        #expect(verdict(Self.header(6, offset: 1, length: 1 << 40)) == .refuse(.noSpace))
        #expect(verdict(Self.header(4, offset: .max, length: .max)) == .refuse(.invalid))
    }

    @Test func `BLOCK_STATUS needs contexts and a length, and knows REQ_ONE`() {
        #expect(verdict(Self.header(7, length: 1)) == .blockStatus)
        #expect(verdict(Self.header(7, flags: 8, length: 1)) == .blockStatus)
        #expect(verdict(Self.header(7, length: 1), hasContexts: false) == .refuse(.invalid))
        #expect(verdict(Self.header(7, length: 0)) == .refuse(.invalid))
        #expect(verdict(Self.header(7, flags: 4, length: 1)) == .refuse(.invalid))
        #expect(verdict(Self.header(7, offset: 1 << 40, length: 1)) == .refuse(.invalid))
    }

    @Test func `READ knows DF where there are chunks`() {
        #expect(verdict(Rule.header(flags: 4, type: 0, length: 1), .structured) == .read)
        #expect(verdict(Self.header(0, flags: 4, length: 1)) == .read)
        #expect(
            verdict(Rule.header(flags: 4, type: 0, length: 1), .simple) == .refuse(.invalid))
    }
}
