// A server that is about to end: every option is refused with ERR_SHUTDOWN, before TLS, under it and without it.

import BlockServer
import NBDProtocol
import Testing

@Suite struct ShutdownTests {
    private static let text = Array("the server is shutting down".utf8)

    /// A conversation of which the end is announced behind the client's flags.
    private static func talk(_ policy: TLSPolicy) -> Negotiation {
        var negotiation = Negotiation(tls: policy)
        _ = negotiation.receive(Client.flags(3).span, catalog: Exports.catalog)
        negotiation.output = []
        return negotiation
    }

    private static let options: [(UInt32, [UInt8])] = [
        (3, []), (3, [1]), (5, []), (6, Client.information("vol0")),
        (7, Client.information("vol0")), (7, Client.information("nothing")), (7, []), (8, []),
        (9, []), (10, []), (11, []), (99, [1, 2, 3]),
    ]

    @Test(arguments: options, TLSPolicy.allCases)
    func `whatever is asked for is refused, and the client may ask again`(
        option: (UInt32, [UInt8]), policy: TLSPolicy
    ) {
        var negotiation = Self.talk(policy)
        negotiation.announceShutdown()
        let bytes = Client.option(option.0, option.1)
        let refusal = Server.reply(option.0, 0x8000_0007, Self.text)
        for _ in 0..<2 {
            #expect(negotiation.receive(bytes.span, catalog: Exports.catalog) == .goesOn)
            #expect(negotiation.output == refusal)
            negotiation.output = []
        }
    }

    @Test(arguments: TLSPolicy.allCases)
    func `ABORT is acknowledged, and EXPORT_NAME ends the connection`(policy: TLSPolicy) {
        var negotiation = Self.talk(policy)
        negotiation.announceShutdown()
        let abort = Client.option(2)
        #expect(negotiation.receive(abort.span, catalog: Exports.catalog) == .close(.aborted))
        #expect(negotiation.output == Server.ack(2))
        var other = Self.talk(policy)
        other.announceShutdown()
        let name = Client.option(1, Array("vol0".utf8))
        #expect(other.receive(name.span, catalog: Exports.catalog) == .close(.shuttingDown))
        #expect(other.output.isEmpty)
    }

    @Test func `what was agreed on before does not help, nor does TLS`() {
        var negotiation = Self.talk(.required)
        let startTLS = Client.option(5)
        #expect(negotiation.receive(startTLS.span, catalog: Exports.catalog) == .startTLS)
        negotiation.announceShutdown()
        negotiation.becomeSecure(for: .everything)
        negotiation.output = []
        let go = Client.option(7, Client.information("vol0"))
        #expect(negotiation.receive(go.span, catalog: Exports.catalog) == .goesOn)
        #expect(negotiation.output == Server.reply(7, 0x8000_0007, Self.text))
    }

    @Test func `half of an option is waited for`() {
        var negotiation = Self.talk(.off)
        negotiation.announceShutdown()
        let go = Client.option(7, Client.information("vol0"))
        #expect(
            negotiation.receive(Array(go.prefix(20)).span, catalog: Exports.catalog) == .goesOn)
        #expect(negotiation.output.isEmpty)
        #expect(
            negotiation.receive(Array(go.dropFirst(20)).span, catalog: Exports.catalog) == .goesOn)
        #expect(negotiation.output == Server.reply(7, 0x8000_0007, Self.text))
    }
}
