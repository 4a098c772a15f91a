// What a client may not exceed, and what a server may not exceed in answering it.

import BlockServer
import NBDProtocol
import Testing

@Suite struct NegotiationLimitTests {
    static let ceiling = Int(Negotiation.largestOption)

    @Test func `the largest option is consumed`() {
        let data = Array(repeating: UInt8(7), count: Self.ceiling)
        let input = Client.flags(3) + Client.option(99, data) + Client.option(3)
        let transcript = Transcript([input])
        #expect(transcript.output == Server.greeting + Server.unsupported(99) + Server.list)
        #expect(transcript.outcome == .goesOn)
    }

    @Test func `a larger option is refused before its data comes`() {
        let header = Client.option(3, Array(repeating: 7, count: Self.ceiling + 1)).prefix(16)
        let transcript = Transcript([Client.flags(3) + header])
        #expect(transcript.outcome == .close(.optionTooLarge(UInt32(Self.ceiling + 1))))
        #expect(transcript.output == Server.greeting)
    }

    @Test func `the largest option fits a name and all information requests`() {
        let name = String(repeating: "x", count: 4096)
        #expect(Client.information(name, Array(0...1000)).count <= Self.ceiling)
    }

    @Test func `as many options as are allowed are answered, and no more`() {
        let most = Negotiation.mostOptions
        let allowed = Client.flags(3) + (0..<most).flatMap { _ in Client.option(99) }
        let transcript = Transcript([allowed])
        #expect(transcript.outcome == .goesOn)
        let answers = (0..<most).flatMap { _ in Server.unsupported(99) }
        #expect(transcript.output == Server.greeting + answers)
        let more = Transcript([allowed, Client.option(7, Client.information("vol0"))])
        #expect(more.outcome == .close(.tooManyOptions))
        #expect(more.output == Server.greeting + answers)
    }

    @Test func `options wait while there is much to be sent`() {
        let exports = (0..<2000).map {
            Export(
                name: "vol\($0)", description: String(repeating: "x", count: 200), size: 1,
                isReadOnly: false)
        }
        let catalog = ExportCatalog(exports)
        var negotiation = Negotiation()
        let lists = Client.flags(3) + (0..<200).flatMap { _ in Client.option(3) }
        var taken: [UInt8] = []
        var bytes = lists
        repeat {
            #expect(negotiation.receive(bytes.span, catalog: catalog) == .goesOn)
            bytes = []
            #expect(negotiation.output.count < Negotiation.mostOutput + 600_000)
            taken += negotiation.output
            negotiation.output = []
        } while negotiation.isHeldBack
        // All are answered in the end.
        let one = 2000 * (20 + 4 + 200) + exports.reduce(0) { $0 + $1.name.utf8.count } + 20
        #expect(taken.count == Server.greeting.count + 200 * one)
    }

    @Test func `the last option allowed may choose an export`() {
        let before = (1..<Negotiation.mostOptions).flatMap { _ in Client.option(99) }
        let go = Client.option(7, Client.information("vol0"))
        let transcript = Transcript([Client.flags(3) + before + go])
        #expect(transcript.outcome == .transmission(Exports.volume, TransmissionTerms()))
    }

    @Test(arguments: [6, 7] as [UInt32], [100, 4075, 4076, 4096])
    func `a refusal's text stays within the protocol's limit of a string`(
        option: UInt32, length: Int
    ) throws {
        let name = String(repeating: "x", count: length)
        let input = Client.flags(3) + Client.option(option, Client.information(name))
        let reply = Transcript([input]).output.dropFirst(Server.greeting.count)
        let type = Array(reply.dropFirst(12).prefix(4))
        #expect(type == [0x80, 0, 0, 6])
        let text = Array(reply.dropFirst(20))
        #expect(text.count <= Wire.longestString)
        #expect(bigEndian(UInt32(text.count)) == Array(reply.dropFirst(16).prefix(4)))
    }

    @Test func `a catalogue is looked at anew for every option`() {
        var negotiation = Negotiation()
        let empty = ExportCatalog()
        let go = Client.option(7, Client.information("vol0"))
        let first = Client.flags(3) + go
        #expect(negotiation.receive(first.span, catalog: empty) == .goesOn)
        #expect(
            negotiation.receive(go.span, catalog: Exports.catalog)
                == .transmission(Exports.volume, TransmissionTerms()))
    }

    @Test func `a list of nothing is an acknowledgement`() {
        let transcript = Transcript(
            [Client.flags(3) + Client.option(3)], catalog: ExportCatalog())
        #expect(transcript.output == Server.greeting + Server.ack(3))
    }

    @Test func `a reason to close says what was wrong`() {
        let reasons: [(CloseReason, String)] = [
            (.unknownClientFlags(0x84), "0x84"), (.badOptionMagic(0xfeed), "0xfeed"),
            (.optionTooLarge(70_000), "70000"), (.optionTooLarge(70_000), "65536"),
            (.tooManyOptions, "1000"), (.unknownExport("vol9"), "'vol9'"),
            (.badRequestMagic(0xbeef), "0xbeef"), (.payloadTooLarge(40 << 20), "41943040"),
            (.payloadTooLarge(40 << 20), "33554432"),
        ]
        for (reason, word) in reasons { #expect(reason.description.contains(word)) }
    }
}
