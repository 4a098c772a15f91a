// Regions grow in place: within what the appliance lends, for their owner alone, and for everybody who has them.

import Appliance
import CLinux
import Foundation
import Glibc
import RemoteMemory
import SharedMemoryTransport
import TCPTransport
import Testing

@Suite struct GrowthTests {
    private let owner = OwnerID(.random())

    @Test func `what was there stays, and what is new reads as zeroes`() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region(.mebibytes(3))
        let region = try connection.map(id, owner: owner)
        region.view.storeData(
            pattern(1, 4096), at: ByteRange(start: ByteOffset(0), count: .kibibytes(4)))
        try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(9))
        #expect(try connection.describe(id).dataSize == .mebibytes(9))
        #expect(try connection.describe().allocated == .mebibytes(12))
        let larger = try region.enlarged(to: .mebibytes(9))
        #expect(larger.view.dataSize == .mebibytes(9) && larger.isWritable)
        let old = larger.view.bytes(ByteRange(start: ByteOffset(0), count: .kibibytes(4)))
        #expect(Array(UnsafeRawBufferPointer(start: old, count: 4096)) == pattern(1, 4096))
        // Who has the mapping of before sees what is stored by the other.
        larger.view.storeData(
            pattern(2, 4096), at: ByteRange(start: ByteOffset(4096), count: .kibibytes(4)))
        let seen = region.view.bytes(ByteRange(start: ByteOffset(4096), count: .kibibytes(4)))
        #expect(Array(UnsafeRawBufferPointer(start: seen, count: 4096)) == pattern(2, 4096))
        let end = larger.view.bytes(
            ByteRange(start: ByteOffset((9 << 20) - 4096), count: .kibibytes(4)))
        #expect(
            Array(UnsafeRawBufferPointer(start: end, count: 4096))
                == Array(repeating: 0, count: 4096))
    }

    @Test func `nobody can take its end away again`() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region(.mebibytes(1))
        let region = try connection.map(id, owner: owner)
        try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(5))
        let larger = try region.enlarged(to: .mebibytes(5))
        #expect(ftruncate(larger.view.descriptor, 4 << 20) == -1)
        #expect(throws: SharedMemoryError.self) { try larger.enlarged(to: .mebibytes(64)) }
    }

    @Test func `growing is for once, and never shrinks`() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region(.mebibytes(3))
        _ = try connection.map(id, owner: owner)
        for size in [5, 5, 3, 1, 5] as [UInt64] {
            try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(size))
            #expect(try connection.describe(id).dataSize == .mebibytes(5))
        }
        #expect(try connection.describe().allocated == .mebibytes(8))
    }

    @Test func `more than is left is refused, and changes nothing`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(16))
        let (connection, id) = try appliance.region(.mebibytes(4))
        _ = try connection.map(id, owner: owner)
        func grow(_ size: ByteCount) -> ApplianceRefusal? {
            refusal { try connection.grow(id, owner: owner, epoch: Epoch(1), to: size) }
        }
        let error = grow(.mebibytes(16))
        #expect(error == .insufficientMemory(needed: .mebibytes(12), free: .mebibytes(10)))
        for size in [RegionLayout.largestVolume, ByteCount(1 << 63), ByteCount(.max)] {
            guard case .insufficientMemory = grow(size) else {
                Issue.record("\(size) was lent")
                continue
            }
        }
        #expect(try connection.describe(id).dataSize == .mebibytes(4))
        #expect(grow(.mebibytes(14)) == nil, "what fits exactly is lent")
        #expect(try connection.describe().allocated == .mebibytes(16))
    }

    @Test func `it is for the owner, at no epoch that is over`() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region(.mebibytes(1))
        func grow(_ owner: OwnerID, _ epoch: UInt64) -> ApplianceRefusal? {
            refusal {
                try connection.grow(id, owner: owner, epoch: Epoch(epoch), to: .mebibytes(2))
            }
        }
        let nobody = grow(owner, 1)
        #expect(nobody == .staleEpoch(given: Epoch(1), known: Epoch(0)), "it is nobody's yet")
        _ = try connection.map(id, owner: owner, epoch: Epoch(4))
        #expect(grow(OwnerID(.random()), 9) == .staleEpoch(given: Epoch(9), known: Epoch(4)))
        #expect(grow(owner, 3) == .staleEpoch(given: Epoch(3), known: Epoch(4)))
        #expect(try connection.describe(id).dataSize == .mebibytes(1))
        #expect(grow(owner, 7) == nil, "members change, and the grant is of before")
        let stranger = RegionID(.random())
        let unknown = refusal {
            try connection.grow(stranger, owner: owner, epoch: Epoch(4), to: .mebibytes(2))
        }
        #expect(unknown == .noSuchRegion(stranger))
    }

    @Test func `who came by a key goes on, and reaches what is new`() throws {
        let appliance = try RunningAppliance()
        let connection = try appliance.connectByNetwork()
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: .mebibytes(3), populate: false)
        let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(1)))
        #expect(client.write(pattern(3, 100_000), at: 4000) == .done)
        let place: UInt64 = (3 << 20) - 4096
        #expect(client.write(pattern(4, 8192), at: place) == .refused)
        try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(8))
        #expect(client.write(pattern(4, 8192), at: place) == .done)
        #expect(client.read(place, 8192) == pattern(4, 8192))
        #expect(client.read(4000, 100_000) == pattern(3, 100_000))
        #expect(client.read((8 << 20) - 4096, 4096) == [UInt8](repeating: 0, count: 4096))
        #expect(client.write([1], at: 8 << 20) == .refused)
        // What was never written is no hole that was filled by growing.
        #expect(try connection.describe(id).resident < .mebibytes(1))
    }

    @Test func `a region that is kept has its size after a restart`() throws {
        let shared = MemoryDirectoryTests.Shared()
        let (id, incarnation) = try {
            let appliance = try shared.start()
            let connection = try appliance.connectByNetwork()
            let id = RegionID(.random())
            try connection.allocate(id, dataSize: .mebibytes(3), populate: false)
            let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(1)))
            try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(8))
            #expect(client.write(pattern(5, 8192), at: 7 << 20) == .done)
            appliance.end()
            return (id, appliance.incarnation)
        }()
        let appliance = try shared.start()
        #expect(appliance.incarnation == incarnation)
        let connection = try appliance.connectByNetwork()
        #expect(try connection.describe(id).dataSize == .mebibytes(8))
        let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(1)))
        #expect(client.read(7 << 20, 8192) == pattern(5, 8192))
        // (Whose it is, is kept too.)
        try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(9))
    }

    @Test func `a file that grew and was not recorded is what it was, and grows again`() throws {
        let shared = MemoryDirectoryTests.Shared()
        let (id, incarnation) = try {
            let appliance = try shared.start()
            let connection = try appliance.connectByNetwork()
            let id = RegionID(.random())
            try connection.allocate(id, dataSize: .mebibytes(3), populate: false)
            let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(1)))
            #expect(client.write(pattern(6, 8192), at: 0) == .done)
            appliance.end()
            return (id, appliance.incarnation)
        }()
        // As an appliance leaves it that dies between the two.
        #expect(truncate("\(shared.path)/\(id).region", 40 << 20) == 0)
        let appliance = try shared.start()
        #expect(appliance.incarnation == incarnation)
        let connection = try appliance.connectByNetwork()
        #expect(try connection.describe(id).dataSize == .mebibytes(3))
        let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(1)))
        #expect(client.read(0, 8192) == pattern(6, 8192))
        #expect(client.write([1], at: 3 << 20) == .refused)
        for size in [5, 48] as [UInt64] {
            try connection.grow(id, owner: owner, epoch: Epoch(1), to: .mebibytes(size))
            #expect(client.write(pattern(7, 4096), at: size << 20 - 4096) == .done)
        }
    }
}
