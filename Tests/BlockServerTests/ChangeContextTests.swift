// holdfast:dirty/SNAPSHOT: which exports have it, what finds it, and its IDs.

import BlockServer
import NBDProtocol
import RemoteMemory
import Testing

@Suite struct ChangeContextTests {
    private static let monday = SnapshotMark(name: "monday", cut: Epoch(7))
    private static let tuesday = SnapshotMark(name: "tuesday", cut: Epoch(9))

    private static func catalog(snapshots: [SnapshotMark] = [monday, tuesday]) -> ExportCatalog {
        ExportCatalog([
            Export(
                name: "vol0", description: "", size: 1 << 30, isReadOnly: false,
                snapshots: snapshots),
            Export(name: "vol0@monday", description: "", size: 1 << 30, isReadOnly: true),
            Export(
                name: "vol0@tuesday", description: "", size: 1 << 30, isReadOnly: true,
                snapshots: [monday]),
        ])
    }

    /// What is found, with its ID, of an export: by LIST (9) or SET (10).
    struct Case: Sendable, CustomTestStringConvertible {
        var option: UInt32
        var export: String
        var queries: [String]
        var found: [(UInt32, String)]

        init(
            _ option: UInt32, _ export: String, _ queries: [String], _ found: [(UInt32, String)]
        ) {
            self.option = option
            self.export = export
            self.queries = queries
            self.found = found
        }

        var testDescription: String { "\(option == 9 ? "LIST" : "SET") \(queries) of \(export)" }
    }

    private static let base = "base:allocation"
    private static let resiliency = "holdfast:resiliency"
    private static let sinceMonday = "holdfast:dirty/monday"
    private static let sinceTuesday = "holdfast:dirty/tuesday"

    static let cases = [
        Case(9, "vol0", [], [(0, base), (0, resiliency), (0, sinceMonday), (0, sinceTuesday)]),
        Case(
            9, "vol0", ["holdfast:"], [(0, resiliency), (0, sinceMonday), (0, sinceTuesday)]),
        Case(9, "vol0", ["holdfast:dirty/"], [(0, sinceMonday), (0, sinceTuesday)]),
        Case(9, "vol0", [sinceTuesday, sinceTuesday], [(0, sinceTuesday)]),
        Case(9, "vol0@tuesday", ["holdfast:dirty/"], [(0, sinceMonday)]),
        Case(9, "vol0@monday", ["holdfast:dirty/"], []),
        Case(9, "vol0", ["holdfast:dirty/mon", "holdfast:dirty", "dirty/:monday"], []),
        Case(10, "vol0", [sinceMonday], [(3, sinceMonday)]),
        Case(10, "vol0", [sinceTuesday, sinceMonday], [(3, sinceMonday), (4, sinceTuesday)]),
        Case(
            10, "vol0", [sinceTuesday, base, resiliency],
            [(1, base), (2, resiliency), (5, sinceTuesday)]),
        Case(10, "vol0@tuesday", [sinceMonday], [(3, sinceMonday)]),
        Case(10, "vol0@monday", [sinceMonday], []),
        Case(10, "vol0@tuesday", [sinceTuesday], []),
        // Only a name selects.
        Case(10, "vol0", ["holdfast:dirty/", "holdfast:", "holdfast:dirty/wednesday"], []),
    ]

    @Test(arguments: cases)
    func `queries find the snapshots that are older than the export`(test: Case) {
        let transcript = Transcript(
            [
                Client.flags(3) + MetaContextTests.structured
                    + Client.option(
                        test.option, MetaContextTests.queries(test.export, test.queries))
            ], catalog: Self.catalog())
        let entries = test.found.flatMap {
            MetaContextTests.entry(test.option, id: $0.0, $0.1)
        }
        #expect(
            transcript.output
                == Server.greeting + Server.ack(8) + entries + Server.ack(test.option))
    }

    private func terms(_ queries: [String]) throws -> TransmissionTerms {
        let input =
            Client.flags(3) + MetaContextTests.structured
            + Client.option(10, MetaContextTests.queries("vol0", queries))
            + Client.option(7, Client.information("vol0"))
        let transcript = Transcript([input], catalog: Self.catalog())
        guard case .transmission(_, let terms) = transcript.outcome else {
            throw NoTransmission()
        }
        return terms
    }

    private struct NoTransmission: Error {}

    @Test func `what was chosen is told by its cut, not by its name`() throws {
        let terms = try terms([Self.sinceTuesday, Self.base])
        #expect(terms.contexts == [.allocation, .changes(since: Self.tuesday)])
        let another = SnapshotMark(name: "tuesday", cut: Epoch(11))
        #expect(terms.contexts.last != .changes(since: another))
    }

    @Test func `what a client may not use tells nothing of its snapshots`() {
        var negotiation = Negotiation(access: .volumes(["other"]))
        let input =
            Client.flags(3) + MetaContextTests.structured
            + MetaContextTests.list("vol0", "holdfast:dirty/")
        #expect(negotiation.receive(input.span, catalog: Self.catalog()) == .goesOn)
        let refusal = Server.reply(9, 0x8000_0002)
        #expect(negotiation.output == Server.greeting + Server.ack(8) + refusal)
    }

    @Test(arguments: [MetaContext.mostSelected, MetaContext.mostSelected + 1])
    func `no more are selected than a request can be answered for`(count: Int) {
        let marks = (0..<20).map { SnapshotMark(name: "s\($0)", cut: Epoch(UInt64($0))) }
        let wanted = marks.prefix(count).map { MetaContext.changes(since: $0).name }
        let transcript = Transcript(
            [
                Client.flags(3) + MetaContextTests.structured
                    + Client.option(10, MetaContextTests.queries("vol0", wanted))
                    + Client.option(7, Client.information("vol0"))
            ], catalog: Self.catalog(snapshots: marks))
        guard case .transmission(_, let terms) = transcript.outcome else {
            Issue.record("no transmission: \(transcript.outcome)")
            return
        }
        let isTooMuch = count > MetaContext.mostSelected
        #expect(terms.contexts.map(\.name) == (isTooMuch ? [] : wanted))
        let ids = terms.contexts.enumerated().map { $0.element.id(at: $0.offset) }
        #expect(Set(ids).count == ids.count && !ids.contains(0))
        let refusal = Server.greeting + Server.ack(8) + Server.reply(10, 0x8000_0009)
        #expect(transcript.output.starts(with: refusal) == isTooMuch)
    }
}
