// holdfast scrub VOLUME

import ArgumentParser
import Control
import ControlHTTP

/// `holdfast scrub`.
struct ScrubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scrub",
        abstract: "Prove that the members of a volume agree.",
        discussion: """
            Compares all of the volume's data on all of its active members, beside the running I/O. \
            They differ only where an appliance's memory is broken, or by a bug. In an erasure set whose \
            parity is at least two, one member that is wrong is told from the others, and mended. Exit \
            status 1 when they still differ.

            Example:
              holdfast scrub vol0
            """)

    /// How often the client device is asked how far it is.
    private static let pollInterval = Duration.milliseconds(250)

    @Argument(help: "The volume's name.")
    var volume: String
    @OptionGroup var place: DirectoryOption
    @OptionGroup var output: OutputOption

    func run() async throws {
        let report = try await withThrowingTaskGroup(of: Void.self) { [self] group in
            group.addTask { try await showProgress() }
            // The scrub itself: whatever it ends with, there is no more progress to be shown.
            defer { group.cancelAll() }
            return try await place.client.scrub(volume: volume)
        }
        try ProgressBar(title: volume, isSilent: output.isJSON).finish()
        try output.show(report, describe(report))
        let left = report.mismatchedExtents - min(report.mendedExtents, report.mismatchedExtents)
        guard left == 0 else {
            throw ControlError(
                .failed,
                "The members of \(volume) differ in \(left) extents: copy what "
                    + "matters off the volume, and see the client device's log.")
        }
    }

    private func showProgress() async throws {
        var bar = ProgressBar(title: volume, isSilent: output.isJSON)
        while true {
            do {
                try await Task.sleep(for: Self.pollInterval)
            } catch {
                return
            }
            // Not being told how far it is does not stop a scrub.
            guard let status = try? await place.client.volume(named: volume) else { continue }
            if let progress = status.scrub, !Task.isCancelled { try bar.show(progress) }
        }
    }

    private func describe(_ report: ScrubReport) -> [String] {
        let compared = "\(report.membersCompared) members, \(report.comparedBytes) each"
        guard report.mismatchedExtents > 0 else { return ["\(volume) agrees: \(compared)"] }
        let place = report.firstMismatchOffset.map { ", the first at byte \($0)" } ?? ""
        let mended = report.mendedExtents > 0 ? "; \(report.mendedExtents) of them are mended" : ""
        return [
            "\(volume) differs in \(report.mismatchedExtents) extents\(place)\(mended): \(compared)"
        ]
    }
}
