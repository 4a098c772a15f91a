// The names and forms in the JSON are what scripts depend on: they are held still here.

import Control
import ControlHTTP
import Foundation
import RemoteMemory
import Testing

@Suite("JSON") struct JSONTests {
    @Test("a device's status is written with these names and forms")
    func golden() throws {
        var status = DeviceStatus.sample
        status.volumes.removeLast()
        status.volumes[0].scrub = .sample
        status.volumes[0].rebuildLimit = .mebibytes(64)
        status.volumes[0].obstacle = "needs memory"
        status.volumes[0].members[1].isLeaving = true
        status.appliances[1].isDraining = true
        #expect(try text(status) == goldenStatus)
        let decoded = try ControlJSON.decoder().decode(
            DeviceStatus.self, from: Data(goldenStatus.utf8))
        #expect(decoded == status)
    }

    @Test("requests and other answers are written with these names")
    func others() throws {
        #expect(
            try compact(
                VolumeCreation(name: "v", size: ByteCount(4096), layout: .mirror(copies: 2)))
                == #"{"layout":"mirror:2","name":"v","ordering":"parallel","size":4096}"#)
        #expect(
            try compact(SnapshotCreation(name: "s")) == #"{"immediate":false,"name":"s"}"#)
        #expect(try compact(RebuildStart(limit: .kibibytes(4))) == #"{"limit":4096}"#)
        #expect(try compact(RebuildStart()) == "{}")
        #expect(
            try compact(VolumeChange(layout: .mirror(copies: 3))) == #"{"layout":"mirror:3"}"#)
        #expect(try compact(MemberMove(from: "a")) == #"{"from":"a"}"#)
        #expect(try compact(MemberMove(from: "a", to: "b")) == #"{"from":"a","to":"b"}"#)
        #expect(try compact(DrainStart()) == #"{"isCancelled":false}"#)
        #expect(
            try compact(ApplianceAddition(name: "a", address: "unix:/x"))
                == #"{"address":"unix:/x","name":"a"}"#)
        #expect(
            try compact(ControlError(.insufficientMemory, "Add memory."))
                == #"{"code":"insufficientMemory","message":"Add memory."}"#)
        #expect(
            try compact(
                ScrubReport(
                    volume: "v", membersCompared: 3, comparedBytes: ByteCount(1),
                    mismatchedExtents: 1, firstMismatchOffset: ByteOffset(2)))
                == #"{"comparedBytes":1,"firstMismatchOffset":2,"membersCompared":3,"#
                + #""mendedExtents":0,"mismatchedExtents":1,"volume":"v"}"#)
        let created = try compact(CreatedSnapshot(snapshot: .sample, heldMilliseconds: 1.5))
        #expect(created.hasPrefix(#"{"heldMilliseconds":1.5,"snapshot":{"appliance":"a","#))
    }

    @Test("byte counts beyond what a double holds exactly survive")
    func largeNumbers() throws {
        let creation = VolumeCreation(
            name: "v", size: ByteCount(UInt64(1) << 63 | 1), layout: .mirror(copies: 1))
        let decoded = try ControlJSON.decoder().decode(
            VolumeCreation.self, from: ControlJSON.encoder().encode(creation))
        #expect(decoded == creation)
    }

    @Test("a member index that no set can have is refused", arguments: [-1, MemberIndex.limit])
    func memberIndex(index: Int) throws {
        let member = MemberStatus(
            index: MemberIndex(0), appliance: "a", region: RegionID(Identifier(high: 0, low: 0)),
            state: .active)
        let json = try compact(member)
        #expect(json.contains(#""index":0"#))
        let wrong = json.replacingOccurrences(of: #""index":0"#, with: #""index":\#(index)"#)
        #expect(throws: DecodingError.self) {
            try ControlJSON.decoder().decode(MemberStatus.self, from: Data(wrong.utf8))
        }
    }

    @Test("a newer device's additional names are skipped, and null is as good as absent")
    func tolerance() throws {
        let json = #"{"address":"unix:/x","failureDomain":null,"name":"a","new":[1]}"#
        let decoded = try ControlJSON.decoder().decode(
            ApplianceAddition.self, from: Data(json.utf8))
        #expect(decoded == ApplianceAddition(name: "a", address: "unix:/x"))
        var appliance = ApplianceStatus.sample
        appliance.incarnation = nil
        let text = try compact(appliance)
        #expect(!text.contains("incarnation"))
        let withNull = #"{"incarnation":null,"# + text.dropFirst()
        #expect(
            try ControlJSON.decoder().decode(ApplianceStatus.self, from: Data(withNull.utf8))
                == appliance)
    }

    private func text(_ value: some Encodable) throws -> String {
        String(decoding: try ControlJSON.encoder(pretty: true).encode(value), as: UTF8.self)
    }

    private func compact(_ value: some Encodable) throws -> String {
        String(decoding: try ControlJSON.encoder().encode(value), as: UTF8.self)
    }
}
