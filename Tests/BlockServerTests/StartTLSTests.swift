// STARTTLS under each policy: what is answered before it, what it forgets, and what may not be slipped in.

import BlockServer
import NBDProtocol
import Testing

@Suite struct StartTLSTests {
    static let startTLS = Client.option(5)
    static let begun = Server.reply(5, 1)

    /// A conversation that may go on under TLS, as what came of each part.
    private struct Talk: ~Copyable {
        var negotiation: Negotiation

        init(_ policy: TLSPolicy, access: ExportAccess = .everything) {
            negotiation = Negotiation(tls: policy, access: access)
            _ = negotiation.receive(Client.flags(3).span, catalog: Exports.catalog)
            negotiation.output = []
        }

        mutating func say(_ bytes: [UInt8]) -> (answer: [UInt8], outcome: NegotiationOutcome) {
            let outcome = negotiation.receive(bytes.span, catalog: Exports.catalog)
            defer { negotiation.output = [] }
            return (negotiation.output, outcome)
        }

        mutating func goUnderTLS(_ access: ExportAccess = .everything) {
            let (answer, outcome) = say(StartTLSTests.startTLS)
            #expect(answer == StartTLSTests.begun)
            #expect(outcome == .startTLS)
            negotiation.becomeSecure(for: access)
        }
    }

    private static let anything: [(UInt32, [UInt8])] = [
        (3, []), (3, [1]), (6, Client.information("vol0")), (7, Client.information("vol0")),
        (7, []), (8, []), (9, []), (10, []), (11, []), (4, []), (99, [1, 2, 3]),
        (.max, Array(repeating: 7, count: 500)),
    ]

    @Test(arguments: anything)
    func `where TLS is required nothing else is answered`(option: UInt32, data: [UInt8]) {
        var talk = Talk(.required)
        let (answer, outcome) = talk.say(Client.option(option, data))
        #expect(answer == Server.reply(option, 0x8000_0005, Array("begin with STARTTLS".utf8)))
        #expect(outcome == .goesOn)
        talk.goUnderTLS()
    }

    @Test func `where TLS is required EXPORT_NAME ends the connection, and ABORT is acknowledged`()
    {
        var talk = Talk(.required)
        let name = talk.say(Client.option(1, Array("vol0".utf8)))
        #expect(name.answer.isEmpty)
        #expect(name.outcome == .close(.notEncrypted))
        var other = Talk(.required)
        let abort = other.say(Client.option(2))
        #expect(abort.answer == Server.ack(2))
        #expect(abort.outcome == .close(.aborted))
    }

    @Test(arguments: [TLSPolicy.allowed, .required])
    func `under TLS everything is answered`(policy: TLSPolicy) {
        var talk = Talk(policy)
        talk.goUnderTLS()
        #expect(talk.say(Client.option(3)).answer == Server.list)
        let go = talk.say(Client.option(7, Client.information("vol0")))
        #expect(go.answer == Server.volume(7))
        #expect(go.outcome == .transmission(Exports.volume, TransmissionTerms()))
    }

    @Test(arguments: [TLSPolicy.allowed, .required])
    func `STARTTLS takes no data, and comes once`(policy: TLSPolicy) {
        var talk = Talk(policy)
        let (answer, outcome) = talk.say(Client.option(5, [0]))
        #expect(answer == Server.invalid(5))
        #expect(outcome == .goesOn)
        talk.goUnderTLS()
        #expect(talk.say(Self.startTLS).answer == Server.invalid(5))
    }

    @Test func `without TLS it is not known`() {
        var talk = Talk(.off)
        #expect(talk.say(Self.startTLS).answer == Server.unsupported(5))
    }

    @Test func `what was agreed on in the clear is forgotten`() {
        var talk = Talk(.allowed)
        let query = MetaContextTests.set("vol0", "base:allocation")
        #expect(talk.say(Client.option(8) + query).outcome == .goesOn)
        talk.goUnderTLS()
        // (Structured replies have to be asked for again, before contexts can be.)
        #expect(talk.say(query).answer == Server.invalid(10))
        let go = talk.say(Client.option(7, Client.information("vol0")))
        #expect(go.outcome == .transmission(Exports.volume, TransmissionTerms()))
    }

    @Test func `NO_ZEROES is still agreed on`() {
        var talk = Talk(.required)
        talk.goUnderTLS()
        let bare = talk.say(Client.option(1, Array("vol0".utf8)))
        #expect(bare.answer == Server.bare(1 << 30, Exports.volumeFlags, zeroes: false))
    }

    @Test(arguments: [[1], Client.option(3), Client.option(7, Client.information("vol0"))])
    func `what comes in the clear behind STARTTLS is not taken for the client's`(more: [UInt8]) {
        var talk = Talk(.allowed)
        let (answer, outcome) = talk.say(Self.startTLS + more)
        #expect(answer.isEmpty)
        #expect(outcome == .close(.inTheClearAfterStartTLS))
    }

    // MARK: Who may use what

    @Test func `a client is told of what it may use, and of nothing else`() {
        var talk = Talk(.required, access: .volumes([]))
        talk.goUnderTLS(.volumes(["other"]))
        #expect(talk.say(Client.option(3)).answer == Server.ack(3))
        for name in ["vol0", "vol0@monday", "nothing"] {
            let reply = talk.say(Client.option(7, Client.information(name)))
            let text = "this client may not use '\(name)': see --nbd-allow of the server"
            #expect(reply.answer == Server.reply(7, 0x8000_0002, Array(text.utf8)))
            #expect(reply.outcome == .goesOn)
        }
        // What it may use and is not there.
        #expect(
            talk.say(Client.option(7, Client.information("other"))).answer
                == Server.unknown(7, "other"))
        #expect(
            talk.say(Client.option(8) + MetaContextTests.list("vol0", "base:allocation")).answer
                == Server.ack(8) + Server.reply(9, 0x8000_0002))
        #expect(
            talk.say(Client.option(1, Array("vol0".utf8))).outcome
                == .close(.forbiddenExport("vol0")))
    }

    @Test func `the default export is the only one that may be used`() {
        let two = ExportCatalog([
            Exports.volume,
            Export(name: "vol1", description: "", size: 1, isReadOnly: false),
        ])
        #expect(two.find("") == nil)
        #expect(two.find("", for: .volumes(["vol0"])) == Exports.volume)
        #expect(two.find("", for: .volumes([])) == nil)
    }

    @Test func `snapshots follow their volume`() {
        var talk = Talk(.allowed)
        talk.goUnderTLS(.volumes(["vol0"]))
        #expect(talk.say(Client.option(3)).answer == Server.list)
        let go = talk.say(Client.option(7, Client.information("vol0@monday")))
        #expect(go.outcome == .transmission(Exports.snapshot, TransmissionTerms()))
    }

    @Test func `an export that is full is refused, and may be looked at`() {
        var catalog = Exports.catalog
        catalog.occupancy.full = ["vol0": 17]
        var negotiation = Negotiation()
        let bytes =
            Client.flags(3) + Client.option(7, Client.information("vol0"))
            + Client.option(6, Client.information("vol0"))
        #expect(negotiation.receive(bytes.span, catalog: catalog) == .goesOn)
        let text = "'vol0' takes no more connections: it has 17"
        #expect(
            negotiation.output == Server.greeting
                + Server.reply(7, 0x8000_0002, Array(text.utf8)) + Server.volume(6))
        var other = Negotiation()
        let name = Client.flags(3) + Client.option(1, Array("vol0".utf8))
        #expect(
            other.receive(name.span, catalog: catalog)
                == .close(.fullExport("vol0", connections: 17)))
    }

    @Test func `when there are too many in all, every export is refused`() {
        var catalog = Exports.catalog
        catalog.occupancy.total = 4096
        for name in ["vol0", "vol0@monday"] {
            var negotiation = Negotiation()
            let go = Client.flags(3) + Client.option(7, Client.information(name))
            #expect(negotiation.receive(go.span, catalog: catalog) == .goesOn)
            let text = "no more connections are taken: there are 4096"
            #expect(
                negotiation.output == Server.greeting
                    + Server.reply(7, 0x8000_0002, Array(text.utf8)))
        }
        var other = Negotiation()
        let name = Client.flags(3) + Client.option(1, Array("vol0".utf8))
        #expect(
            other.receive(name.span, catalog: catalog) == .close(.fullServer(connections: 4096)))
    }
}
