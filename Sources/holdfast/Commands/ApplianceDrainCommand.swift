// holdfast appliance drain: empty an appliance, so that it can be removed.

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

extension ApplianceCommand {
    /// `holdfast appliance drain`.
    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move all members off an appliance, so that it can be removed.",
            discussion: """
                No new member is placed on the appliance from now on, also after a restart. Its members \
                are moved to others, one volume after another, as 'holdfast volume move' does it; no \
                volume is ever below its redundancy. It is refused when they find no place elsewhere.

                Snapshots are not moved: those on the appliance are named at the end. Copy what is \
                needed of them, and delete them.

                Ending the command does not end the work. --cancel ends it: the appliance is used \
                again, and what was moved away stays where it is.

                Example:
                  holdfast appliance drain rack2 && holdfast appliance remove rack2
                """)

        @Argument(help: "The appliance's name.")
        var name: String
        @Flag(help: "Use the appliance again, and move nothing more.")
        var cancel = false
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let appliance = try await place.client.drainAppliance(
                named: name, DrainStart(isCancelled: cancel))
            guard !cancel else {
                return try output.show(
                    DrainReport(appliance: appliance, members: 0, snapshots: []),
                    ["\(name) is used again"])
            }
            let report = try await follow()
            try output.show(report, report.lines)
        }

        /// Shows how far it is until no volume has a member on the appliance.
        private func follow() async throws -> DrainReport {
            var bar = ProgressBar(title: name, isSilent: output.isJSON)
            var progress = DrainProgress(of: name)
            while true {
                let status = try await place.client.status()
                let report = try DrainReport(of: name, in: status)
                if report.members == 0 || !report.appliance.isDraining {
                    try bar.finish()
                    guard report.appliance.isDraining else {
                        throw ControlError(
                            .conflict,
                            "The draining of \(name) was called off meanwhile: start it again if it is "
                                + "still to be emptied.")
                    }
                    return report
                }
                if let problem = report.hindrance(in: status) {
                    try bar.finish()
                    throw ControlError(.failed, problem)
                }
                try bar.show(progress.update(status))
                try await Task.sleep(for: ControlClient.pollInterval)
            }
        }
    }
}

/// What is left on an appliance that is being emptied.
struct DrainReport: Codable {
    var appliance: ApplianceStatus
    /// How many members volumes still have there.
    var members: Int
    /// Snapshots that are kept there, as `VOLUME@SNAPSHOT`.
    var snapshots: [String]

    init(appliance: ApplianceStatus, members: Int, snapshots: [String]) {
        self.appliance = appliance
        self.members = members
        self.snapshots = snapshots
    }

    init(of name: String, in status: DeviceStatus) throws(ControlError) {
        guard let appliance = status.appliances.first(where: { $0.name == name }) else {
            throw ControlError(
                .notFound,
                "The appliance \(name) was removed meanwhile: there is nothing left to do.")
        }
        self.init(
            appliance: appliance,
            members: status.volumes.reduce(0) { count, volume in
                count + volume.members.count { $0.appliance == name }
            },
            snapshots: status.volumes.flatMap(\.snapshots).filter { snapshot in
                guard let regions = snapshot.regions else { return snapshot.appliance == name }
                return regions.contains { $0.appliance == name }
            }
            .map { "\($0.volume)@\($0.name)" })
    }

    /// Why the work does not go on, and what to do; nil while it does.
    func hindrance(in status: DeviceStatus) -> String? {
        let volumes = status.volumes.filter { volume in
            volume.members.contains { $0.appliance == appliance.name }
        }
        // Whoever is not being moved may be waiting for its turn.
        guard volumes.allSatisfy({ $0.rebuild == nil }) else { return nil }
        return volumes.lazy.compactMap(\.hindrance).first
    }

    var lines: [String] {
        let name = appliance.name
        guard let first = snapshots.first else {
            return ["\(name) is empty: 'holdfast appliance remove \(name)' forgets it"]
        }
        let parts = first.split(separator: "@")
        let example = parts.joined(separator: " ")
        let many = snapshots.count == 1 ? "the snapshot" : "the snapshots"
        return [
            "\(name) holds no member, but \(many) \(snapshots.joined(separator: ", ")): copy what is "
                + "needed, and delete with 'holdfast snapshot delete \(example)'; then 'holdfast "
                + "appliance remove \(name)' forgets it"
        ]
    }
}

/// How far an appliance is emptied: volumes that are gone from it count whole, those being moved as far
/// as their rebuild is.
struct DrainProgress {
    private let name: String
    private var sizes: [String: ByteCount] = [:]

    init(of name: String) { self.name = name }

    mutating func update(_ status: DeviceStatus) -> RebuildProgress {
        let holders = status.volumes.filter { volume in
            volume.members.contains { $0.appliance == name }
        }
        for volume in holders { sizes[volume.name] = volume.sizeBytes }
        var progress = RebuildProgress(doneBytes: .zero, totalBytes: .zero, bytesPerSecond: .zero)
        for (volume, size) in sizes {
            progress.totalBytes = progress.totalBytes + size
            guard let holder = holders.first(where: { $0.name == volume }) else {
                progress.doneBytes = progress.doneBytes + size
                continue
            }
            guard let rebuild = holder.rebuild else { continue }
            let part = UInt64(rebuild.fraction * Double(size.bytes))
            progress.doneBytes = progress.doneBytes + min(size, ByteCount(part))
            progress.bytesPerSecond = progress.bytesPerSecond + rebuild.bytesPerSecond
        }
        if progress.bytesPerSecond > .zero {
            let rest = progress.totalBytes - progress.doneBytes
            progress.secondsLeft = Double(rest.bytes) / Double(progress.bytesPerSecond.bytes)
        }
        return progress
    }
}
