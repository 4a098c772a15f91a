// What a client device may ask for, and what it is answered.

import Reactor
import CLinux
import Glibc
import RemoteMemory
import TCPTransport

extension ApplianceServer {
    /// Carries a request out; the descriptor, unless negative, goes with the reply and is the caller's.
    func answer(_ request: ApplianceRequest, from peer: ControlPeer)
        -> (ApplianceReply, descriptor: Int32)
    {
        defer { endDeadKeys() }
        do throws(ApplianceRefusal) {
            switch request {
            case .describe: return (.description(description), -1)
            case .allocate(let region, let size, _):
                return (.region(try pool.allocate(region, dataSize: size)), -1)
            case .open(let region, let owner, let epoch) where !peer.isLocal:
                let (key, description) = try pool.open(region, owner: owner, epoch: epoch)
                return (.granted(region: description, key: key), -1)
            case .open(let region, let owner, let epoch):
                let (descriptor, description) = try pool.open(
                    region, owner: owner, epoch: epoch, process: peer.process)
                return (.region(description), descriptor)
            case .view(let region) where !peer.isLocal:
                let (key, description) = try pool.viewKey(region)
                return (.granted(region: description, key: key), -1)
            case .view(let region):
                let (descriptor, description) = try pool.view(region)
                return (.region(description), descriptor)
            case .measure(let region): return (.region(try pool.describe(region)), -1)
            case .grow(let region, let owner, let epoch, let size):
                return (.region(try pool.grow(region, owner: owner, epoch: epoch, to: size)), -1)
            case .free(let region): return (.region(try pool.free(region)), -1)
            case .enrol(let region, let cluster):
                return (.region(try pool.enrol(region, in: cluster)), -1)
            case .observe(let region): return (.observation(try pool.observe(region)), -1)
            case .fence(let region, let epoch):
                return (.region(try pool.fence(region, below: epoch)), -1)
            case .statistics: return (.statistics(statistics), -1)
            }
        } catch {
            return (.refused(error), -1)
        }
    }

    /// What a key that an access connection comes with opens.
    func attach(to region: RegionID, key: Identifier) throws(AccessStatus)
        -> AccessGrant
    {
        try pool.access(region, by: key)
    }

    private var description: ApplianceDescription {
        ApplianceDescription(
            name: name, incarnation: incarnation, processID: getpid(), capacity: pool.capacity,
            allocated: pool.allocated, resident: pool.resident,
            hostAvailable: HostMemory.available, bootID: HostMemory.bootID,
            regions: pool.identifiers, addresses: addresses.map(\.description))
    }
}
