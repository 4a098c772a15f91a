// holdfast volume set | move: changes of a volume that is in use.
//
// The client device starts the change and carries it on by itself; the command only looks on. So a
// command that is ended, or a client device that is started anew, does not end the change.

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

extension VolumeCommand {
    /// `holdfast volume set`.
    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change how many copies a volume has, while it is used.",
            discussion: """
                For more copies, members are added and rebuilt beside the I/O; for fewer, members are \
                removed, those first that are still being rebuilt, then those that share an appliance, \
                a failure domain or a host with another, then the one on the fullest appliance. As \
                many whole copies as the smaller of the two layouts has are there throughout.

                It is refused, and nothing is changed, when the appliances do not have the room. Ending \
                the command does not end the change; giving the former layout calls it off.

                Example:
                  holdfast volume set vol0 --layout mirror:3
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @Option(help: "How it is to be spread over appliances: mirror:N.")
        var layout: Layout
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let started = try await place.client.changeVolume(
                named: name, VolumeChange(layout: layout))
            let volume = try await place.client.follow(started, output) { volume in
                volume.health == .healthy && volume.members.count == volume.layout.memberCount
            }
            try output.show(volume, ["\(name) is \(volume.layout) and \(volume.health.rawValue)"])
        }
    }

    /// `holdfast volume move`.
    struct Move: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move a member of a volume to another appliance, while it is used.",
            discussion: """
                A new member is rebuilt on the other appliance beside the I/O; when it is whole, the \
                former one is removed and its memory freed. Until then both are members: the volume is \
                never below its redundancy. Without --to the appliance is chosen as for a new volume.

                Ending the command does not end the move. To move everything off an appliance, use \
                'holdfast appliance drain'.

                Example:
                  holdfast volume move vol0 --from rack1 --to rack4
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @Option(help: ArgumentHelp("The appliance that holds the member.", valueName: "appliance"))
        var from: String
        @Option(
            help: ArgumentHelp(
                "The appliance that is to hold it; by default the one that suits best.",
                valueName: "appliance"))
        var to: String?
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let started = try await place.client.moveMember(
                ofVolume: name, MemberMove(from: from, to: to))
            let volume = try await place.client.follow(started, output) { volume in
                !volume.members.contains { $0.appliance == from }
            }
            let places = volume.members.map(\.appliance).joined(separator: ", ")
            try output.show(volume, ["\(name) is \(volume.health.rawValue), on \(places)"])
        }
    }
}

extension ControlClient {
    /// How often the client device is asked how far a change is.
    static let pollInterval = Duration.milliseconds(250)

    /// Shows the progress of a volume's change until `isDone`; throws when nothing leads there any more.
    func follow(
        _ started: VolumeStatus, _ output: OutputOption, until isDone: (VolumeStatus) -> Bool
    ) async throws -> VolumeStatus {
        var volume = started
        var bar = ProgressBar(title: volume.name, isSilent: output.isJSON)
        while !isDone(volume) {
            if let problem = volume.hindrance {
                try bar.finish()
                throw ControlError(.failed, problem)
            }
            if let progress = volume.rebuild { try bar.show(progress) }
            try await Task.sleep(for: Self.pollInterval)
            volume = try await self.volume(named: volume.name)
        }
        try bar.finish()
        return volume
    }
}

extension VolumeStatus {
    /// Why a change does not go on, and what to do; nil while it does.
    var hindrance: String? {
        switch health {
        case .waiting, .lost: return RebuildCommand.problem(with: self)
        case .healthy, .degraded, .rebuilding:
            return obstacle.map {
                "A member of \(name) cannot be added yet (\($0)): see to that, and the change, which is "
                    + "recorded, goes on by itself."
            }
        }
    }
}
