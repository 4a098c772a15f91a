// Fencing by proof: memory that a process may have mapped is granted to a new owner only when the kernel
// says that the process is gone, however long that takes and whatever it closed.

import Appliance
import Glibc
import RemoteMemory
import Testing

@Suite struct FencingTests {
    @Test func anOwnerMayComeBack() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let owner = OwnerID(.random())
        for epoch in [1, 1, 2, 7] as [UInt64] {
            close(try connection.open(id, owner: owner, epoch: Epoch(epoch)).memory.descriptor)
        }
    }

    @Test func olderEpochsAreOver() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let owner = OwnerID(.random())
        close(try connection.open(id, owner: owner, epoch: Epoch(5)).memory.descriptor)
        for other in [owner, OwnerID(.random())] {
            let error = refusal { _ = try connection.open(id, owner: other, epoch: Epoch(4)) }
            #expect(error == .staleEpoch(given: Epoch(4), known: Epoch(5)))
            #expect(error?.description.contains("epoch 4 is over, the region is at 5") == true)
        }
    }

    @Test func anotherOwnerWaitsForThisProcess() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        close(try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(1)).memory.descriptor)
        let error = refusal {
            _ = try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(2))
        }
        #expect(error == .holderAlive(processID: getpid()))
        #expect(error?.description.contains("process \(getpid()) still has the region") == true)
    }

    /// The other process closes its connection at once: that proves nothing.
    @Test func theNextOwnerWaitsForTheEndOfTheProcess() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let (first, second) = (OwnerID(.random()), OwnerID(.random()))
        let holder = try OtherProcess(
            appliance.path, sends: .open(region: id, owner: first, epoch: Epoch(1)))
        #expect(holder.descriptors == 1)
        guard case .region(let description) = holder.reply else {
            Issue.record("\(holder.reply)")
            return
        }
        #expect(description.region == id)
        for epoch in [1, 2, 100] as [UInt64] {
            let error = refusal {
                _ = try connection.open(id, owner: second, epoch: Epoch(epoch))
            }
            #expect(error == .holderAlive(processID: holder.identifier))
        }
        // Looking is free all the while.
        close(try connection.view(id).memory.descriptor)

        holder.end()
        close(try connection.open(id, owner: second, epoch: Epoch(2)).memory.descriptor)
        let late = refusal { _ = try connection.open(id, owner: first, epoch: Epoch(1)) }
        #expect(late == .staleEpoch(given: Epoch(1), known: Epoch(2)))
    }

    /// Being gone does not excuse an epoch that is over.
    @Test func epochsOutliveTheirOwner() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let holder = try OtherProcess(
            appliance.path, sends: .open(region: id, owner: OwnerID(.random()), epoch: Epoch(9)))
        holder.end()
        let error = refusal {
            _ = try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(8))
        }
        #expect(error == .staleEpoch(given: Epoch(8), known: Epoch(9)))
    }

    /// While this process has a region, another gets the refusal and no memory.
    @Test func refusedProcessesGetNoMemory() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        close(try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(1)).memory.descriptor)
        let other = try OtherProcess(
            appliance.path, sends: .open(region: id, owner: OwnerID(.random()), epoch: Epoch(2)))
        #expect(other.descriptors == 0)
        #expect(other.reply == .refused(.holderAlive(processID: getpid())))
        let stranger = try OtherProcess(appliance.path, sends: .view(region: id))
        #expect(stranger.descriptors == 1)
    }
}
