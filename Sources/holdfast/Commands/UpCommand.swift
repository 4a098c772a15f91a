// holdfast up: everything on this host, with one command.

import ArgumentParser
import CLinux
import ClientDevice
import Control
import ControlHTTP
import Glibc
import Logging
import Reactor
import Registry
import RemoteMemory

/// `holdfast up`.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run appliances, a client device and a volume on this host, in the foreground.",
        discussion: """
            Prints the volume's NBD URI on its first line once it can be connected to. ^C or SIGTERM \
            stops everything and gives the memory back; a second one does so at once.

            Example:
              holdfast up --dir /tmp/hold --size 4G
            """)

    @OptionGroup var directory: DirectoryOption
    @Option(help: "The volume to create and serve.")
    var volume = "vol0"
    @Option(help: "Its size.")
    var size = ByteCount.gibibytes(1)
    @Option(
        help: """
            How its data is kept: mirror:N holds a full copy on each of N appliances, erasure:K+M data on \
            K and parity on M more.
            """)
    var layout = Layout.mirror(copies: 3)
    @Option(help: ChunkOption.help)
    var chunk: ByteCount?
    @Option(help: "How appliances are reached: shared-memory, or tcp on loopback.")
    var transport = TransportKind.sharedMemory
    @OptionGroup var server: NBDOptions
    @Option(
        help: "What each appliance may lend; by default room for the volume and three snapshots.")
    var memory: ByteCount?
    @Flag(help: "Touch all memory of the volume before it is served.")
    var populate = false
    @OptionGroup var eviction: EvictionOption
    @OptionGroup var logging: LogOptions

    mutating func validate() throws {
        guard NameRule.allows(volume) else { throw ValidationError(NameRule.sentence) }
        guard size > .zero, size.bytes % RegionLayout.volumeGranularity.bytes == 0,
            size <= RegionLayout.largestVolume
        else {
            throw ValidationError(
                "a volume has 4 KiB up to \(RegionLayout.largestVolume), in steps of 4 KiB")
        }
        do throws(RegistryError) {
            _ = try regionDataSize()
        } catch {
            throw ValidationError("\(error)")
        }
        guard chunk == nil || layout.isErasure else {
            throw ValidationError("a mirror has no chunks; leave --chunk out")
        }
    }

    /// What each appliance holds of the volume.
    private func regionDataSize() throws(RegistryError) -> ByteCount {
        try VolumeRecord(
            name: volume, id: VolumeID(.random()), size: size, layout: layout,
            ordering: .parallel, chunk: chunk ?? StripeGeometry.usualChunk, members: []
        ).regionDataSize
    }

    func run() async throws {
        let service = ServiceReport(manager: ServiceManager())
        let log = logging.logger("supervisor")
        let path = try ServeCommand.prepare(directory.directory)
        let region = RegionLayout.regionSize(forDataOf: try regionDataSize())
        // (What the client device would refuse again and again is refused at once.)
        let door = try server.security()
        for address in server.nbd { try door.mayListen(at: try Address(address)) }
        if server.limits.nbdConnections != nil {
            try server.limits.checkDescriptors(atAddresses: 1 + server.nbd.count, log)
        }
        let supervisor = Supervisor(
            SupervisorPlan(
                directory: path, volume: volume, size: size, layout: layout, chunk: chunk,
                memory: memory ?? ByteCount(region.bytes * 4), nbd: server.arguments,
                populate: populate,
                transport: transport, evictAfter: eviction.evictAfter, logging: logging.arguments),
            log: log)
        let (stops, continuation) = AsyncStream.makeStream(of: Int.self)
        let control = ControlClient(directory: path)
        let status: @Sendable () async -> String? = {
            (try? await control.volumes()).map(ServiceReport.line)
        }
        SignalWatch.start(
            hungUp: service.rereading(status: status) {
                log.info("SIGHUP: passed on to the client device")
                await supervisor.hangUpClient()
            },
            received: { count in continuation.yield(count) })
        let stopping = Task {
            for await count in stops {
                if count > 1 {
                    await supervisor.kill()
                    Glibc.exit(1)
                }
                service.manager?.stopping()
                Task {
                    await supervisor.stop()
                    Glibc.exit(0)
                }
            }
        }
        do {
            try Terminal.writeLine(Self.welcome(try await supervisor.start(), path))
            service.begin(status: status) { try await control.ping() }
        } catch {
            await supervisor.stop()
            throw error
        }
        await stopping.value
    }

    private static func kept(_ volume: VolumeStatus) -> String {
        switch volume.layout {
        case .mirror: "in \(volume.members.count) copies"
        case .erasure: "as \(volume.layout)"
        }
    }

    private static func welcome(_ volume: VolumeStatus, _ directory: String) -> String {
        """
        \(volume.uri)
        \(volume.sizeBytes) \(kept(volume)). In another terminal:
          nbdinfo "\(volume.uri)"
          holdfast attach \(volume.name) --dir \(directory)     (as root; prints the device)
          mkfs.ext4 /dev/nbd0 && mount /dev/nbd0 /mnt
          holdfast snapshot create \(volume.name) monday --dir \(directory)
          holdfast status --watch --dir \(directory)
        ^C stops everything and gives the memory back.
        """
    }
}

/// `--transport`.
enum TransportKind: String, ExpressibleByArgument, CaseIterable, Sendable {
    case sharedMemory = "shared-memory"
    case tcp
}
