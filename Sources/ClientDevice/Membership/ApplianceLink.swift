// The control connection to one appliance, on a thread of its own: whoever waits for an appliance that does
// not answer delays nobody else.

import Appliance
import CLinux
import Glibc
import Reactor
import RemoteMemory
import SharedMemoryTransport
import TCPTransport

/// Calls one appliance; each call waits for its answer on this actor's thread.
actor ApplianceLink: EventHandler {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe loop.asUnownedSerialExecutor()
    }

    /// How long the header of a region far away may take to be read, in milliseconds.
    private static let visitTime = 2000

    private let address: Address
    private var security: PeerSecurity
    private var connection: ApplianceConnection?
    /// Called when the appliance hangs up.
    private let hungUp: @Sendable () -> Void

    /// A link that is not connected yet.
    init(
        to address: Address, named name: String, security: PeerSecurity,
        hungUp: @escaping @Sendable () -> Void
    ) throws(ReactorError) {
        self.address = address
        self.security = security
        self.hungUp = hungUp
        loop = try EventLoop(name: name)
        loop.start(self)
    }

    /// Ends the link's thread.
    nonisolated func stop() { loop.stop() }

    /// Whether its regions are reached by messages rather than by memory.
    nonisolated var isRemote: Bool {
        if case .tcp = address { true } else { false }
    }

    // MARK: Events

    nonisolated func ready(_ token: UInt64, _ readiness: Readiness) {
        assumeIsolated { $0.disconnect() }
        hungUp()
    }

    nonisolated func turnEnded() -> Rest { .untilWoken }

    // MARK: Calls

    /// Connects anew.
    func connect() throws(ApplianceConnectionError) -> ApplianceDescription {
        disconnect()
        let connection = try ApplianceConnection(address: address, security: security)
        let description = try connection.describe()
        self.connection = connection
        try? loop.watch(
            connection.descriptor, for: .hungUp, token: UInt64(connection.descriptor))
        return description
    }

    /// Opens connections with other proof from now on; those that stand go on.
    func adopt(_ security: PeerSecurity) {
        self.security = security
        connection?.security = security
    }

    /// Drops the connection.
    func disconnect() {
        if let connection { loop.unwatch(connection.descriptor) }
        connection = nil
    }

    /// Calls the appliance; a connection on which a call failed is dropped, as its answer may still come.
    func call<Result: Sendable>(
        _ body: @Sendable (ApplianceConnection) throws(ApplianceConnectionError) -> Result
    ) throws(ApplianceConnectionError) -> Result {
        guard let connection else { throw .closed }
        do throws(ApplianceConnectionError) {
            return try body(connection)
        } catch {
            if case .refused = error { throw error }
            disconnect()
            throw error
        }
    }

    /// Opens a region for `owner`: nobody else's accesses land from then on.
    ///
    /// What its previous owner had put aside is stored in place, unless it is a fresh region: that one gets
    /// its label. One that was away when its volume grew does so first.
    func open(
        _ region: RegionID, owner: OwnerID, epoch: Epoch, size: ByteCount,
        labelling label: RegionLabel? = nil
    ) throws -> MemberMemory {
        let grant = try call { connection throws(ApplianceConnectionError) in
            let grant = try connection.open(region, owner: owner, epoch: epoch)
            if grant.description.dataSize < size {
                do throws(ApplianceConnectionError) {
                    try connection.grow(region, owner: owner, epoch: epoch, to: size)
                } catch {
                    if case .descriptor(let descriptor, _) = grant { close(descriptor) }
                    throw error
                }
            }
            return grant
        }
        let memory = try hold(grant, region, size: size, isWritable: true)
        switch memory {
        case .mapped(let region):
            if let label { region.view.writeLabel(label) } else { region.view.replayRedo() }
        case .remote(let visit):
            if let label {
                try visit.label(label, within: Self.visitTime)
            } else {
                try visit.finishRedo(within: Self.visitTime)
            }
        }
        return memory
    }

    /// Opens a region that is only read from now on.
    func view(_ region: RegionID, size: ByteCount) throws -> MemberMemory {
        let grant = try call { connection throws(ApplianceConnectionError) in
            try connection.view(region)
        }
        return try hold(grant, region, size: size, isWritable: false)
    }

    /// Makes the dirty maps of `members` in a region count for nothing.
    func dropMaps(of members: [MemberIndex], in memory: MemberMemory) throws(ChannelFault) {
        switch memory {
        case .mapped(let region): for member in members { region.view.dropMap(of: member) }
        case .remote(let visit): try visit.dropMaps(of: members, within: Self.visitTime)
        }
    }

    private func hold(
        _ grant: RegionGrant, _ region: RegionID, size: ByteCount, isWritable: Bool
    ) throws -> MemberMemory {
        switch grant {
        case .descriptor(let descriptor, let description):
            return .mapped(
                try MappedRegion(
                    descriptor: descriptor, dataSize: size, isHuge: description.isHuge,
                    isWritable: isWritable, isSealed: !description.isKept))
        case .key(let key, _):
            guard let connection else { throw ApplianceConnectionError.closed }
            let stream = try connection.attach(region, key: key)
            let channel = RegionChannel(stream, dataSize: size)
            return .remote(try RegionVisit(channel, within: Self.visitTime))
        }
    }
}

extension MemberMemory {
    /// What the region says it is.
    var label: RegionLabel? {
        switch self {
        case .mapped(let region): region.view.readLabel()
        case .remote(let visit): visit.readLabel()
        }
    }

    var isRemote: Bool {
        if case .remote = self { true } else { false }
    }
}
