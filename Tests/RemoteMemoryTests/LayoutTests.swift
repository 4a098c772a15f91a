// Layouts: the few texts that name one, and all those that nearly do.

import RemoteMemory
import Testing

@Suite struct LayoutTests {
    @Test(arguments: 1...8)
    func `mirrors of one to eight copies can be had`(copies: Int) {
        let layout = Layout("mirror:\(copies)")
        #expect(layout == .mirror(copies: copies))
        #expect(layout?.memberCount == copies)
        #expect(layout?.description == "mirror:\(copies)")
    }

    @Test(arguments: [(2, 1), (3, 2), (4, 2), (8, 2), (10, 4), (12, 4)])
    func `erasure sets of up to sixteen members can be had`(data: Int, parity: Int) {
        let layout = Layout("erasure:\(data)+\(parity)")
        #expect(layout == .erasure(data: data, parity: parity))
        #expect(layout?.memberCount == data + parity)
        #expect(layout?.membersNeeded == data)
        #expect(layout?.description == "erasure:\(data)+\(parity)")
    }

    @Test(arguments: [
        "erasure:", "erasure:4", "erasure:4+", "erasure:+2", "erasure:1+1", "erasure:13+2",
        "erasure:4+0", "erasure:4+5", "erasure:4+-2", "erasure:04+2", "erasure:4+02",
        "erasure:4+2+1", "erasure:4 + 2", "erasure:4+2:16K", "erasure:12+5",
    ])
    func `other numbers are refused`(text: String) {
        #expect(Layout(text) == nil)
    }

    @Test func `every erasure set fits the places of a set`() {
        for data in Layout.erasureData {
            for parity in Layout.erasureParity where data + parity <= MemberIndex.limit {
                #expect(Layout("erasure:\(data)+\(parity)") != nil)
            }
        }
    }

    @Test func `a set of any layout leaves room for replacements`() {
        #expect(Layout.mirrorCopies.upperBound < MemberIndex.limit)
    }

    @Test(arguments: [
        "", ":", "mirror", "mirror:", ":2", "mirror:0", "mirror:9", "mirror:-1", "mirror:16",
        "mirror:99999999999999999999", "mirror:2:", "mirror::2", "mirror:2:2", ":mirror:2",
        "mirror:2 ", " mirror:2", "mirror: 2", "mirror :2", "mirror:2\n", "mirror:two",
        "mirror:2.0", "mirror:0x2", "mirror:٢", "mirror:２", "mirror:2\u{301}", "mirror:\u{301}2",
        "Mirror:2", "MIRROR:2", "mirrors:2", "mirror=2", "mirror：2", "erasure:2",
        "raid1", "2",
    ])
    func `anything else is refused`(text: String) {
        #expect(Layout(text) == nil)
    }

    @Test(arguments: ["mirror:+2", "mirror:02", "mirror:0000000002"])
    func `a layout is written in one way`(text: String) {
        #expect(Layout(text) == nil)
    }

    @Test func `orderings and states go by their names`() {
        // They stand in the registry: a renamed case would lose volumes.
        #expect(Ordering.allCases.map(\.rawValue) == ["parallel", "sequential"])
        #expect(
            MemberState.allCases.map(\.rawValue)
                == ["active", "suspect", "failed", "rebuilding", "removed"])
    }
}
