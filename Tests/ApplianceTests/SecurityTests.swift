// An appliance on the network takes nobody who cannot prove that he may be there, and speaks TLS whole.

import Appliance
import Reactor
import RemoteMemory
import TCPTransport
import TestSupport
import Testing

@Suite struct SecurityTests {
    /// Records are cut where they please: large requests and replies, both ways at once.
    @Test func `access under TLS moves what it should`() throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf")
        let security = try PeerSecurity(
            key: nil,
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: authority.certificate))
        let appliance = try RunningAppliance(security: security)
        let connection = try appliance.connectByNetwork(security: security)
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: .mebibytes(16), populate: true)
        let key = try connection.key(id, OwnerID(.random()), Epoch(1))
        let client = try AccessClient(appliance, id, key, security: security)
        #expect(client.stream.isEncrypted)
        for round in 1...3 as ClosedRange<UInt8> {
            let bytes = pattern(round, 9_000_001)
            #expect(client.write(bytes, at: 4095) == .done)
            client.send(
                AccessClient.request(.read, tag: 1, [.data(4095, bytes.count)])
                    + AccessClient.request(.write, tag: 2, [.data(4095, bytes.count, .hole)])
                    + AccessClient.request(.read, tag: 3, [.data(4096, 8 << 20)]))
            #expect(client.reply()?.body == bytes)
            #expect(client.reply()?.status == .done)
            #expect(client.reply()?.content == .zeroes)
        }
        #expect(throws: ApplianceConnectionError.self) { _ = try appliance.connectByNetwork() }
    }

    @Test func `without the cluster key nobody comes in`() throws {
        let directory = try TestSupport.TemporaryDirectory()
        try ClusterKey.create(file: directory.file("key"))
        try ClusterKey.create(file: directory.file("other"))
        let security = try PeerSecurity(key: ClusterKey(file: directory.file("key")))
        let other = try PeerSecurity(key: ClusterKey(file: directory.file("other")))
        let appliance = try RunningAppliance(security: security)
        #expect(try appliance.connectByNetwork(security: security).describe().name == "left")
        let strangers: [(PeerSecurity, OpeningError)] = [
            (.local, .keyRequired), (other, .wrongKey),
        ]
        for (stranger, problem) in strangers {
            let expected = ApplianceConnectionError.notConnected(
                .rejected(appliance.network, problem))
            #expect(throws: expected) { _ = try appliance.connectByNetwork(security: stranger) }
        }
        #expect(try appliance.connect().statistics().refused == 2)
    }

    @Test func `what is adopted holds for those who come, not for those who are there`()
        async throws
    {
        let directory = try TestSupport.TemporaryDirectory()
        try ClusterKey.create(file: directory.file("key"))
        try ClusterKey.create(file: directory.file("other"))
        let former = try PeerSecurity(key: ClusterKey(file: directory.file("key")))
        let next = try PeerSecurity(key: ClusterKey(file: directory.file("other")))
        let appliance = try RunningAppliance(security: former)
        let there = try appliance.connectByNetwork(security: former)
        try await appliance.adopt(next)
        #expect(try there.describe().name == "left")
        let expected = ApplianceConnectionError.notConnected(
            .rejected(appliance.network, .wrongKey))
        #expect(throws: expected) { _ = try appliance.connectByNetwork(security: former) }
        #expect(try appliance.connectByNetwork(security: next).describe().name == "left")
        // A region is attached to over a connection of its own, which has to be opened too.
        let id = RegionID(.random())
        try there.allocate(id, dataSize: .mebibytes(1), populate: false)
        let key = try there.key(id, OwnerID(.random()), Epoch(1))
        #expect(throws: expected) { _ = try there.attach(id, key: key) }
        there.security = next
        _ = try there.attach(id, key: key)
        await #expect(throws: SecurityError.keyless) {
            try await appliance.adopt(.local)
        }
        #expect(throws: expected) { _ = try appliance.connectByNetwork(security: former) }
    }

    @Test func `other machines are not listened to without proof`() {
        let address = Address.tcp(host: "0.0.0.0", port: 0)
        #expect(throws: ApplianceStartError.security(.unprotected(address))) {
            _ = try ApplianceServer(name: "a", capacity: .mebibytes(8), addresses: [address])
        }
    }
}
