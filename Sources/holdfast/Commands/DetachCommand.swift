// holdfast detach

import ArgumentParser
import Control
import Glibc
import KernelDevice

/// `holdfast detach`.
struct DetachCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "detach",
        abstract: "Let go of an attached volume.",
        discussion: """
            What is mounted or otherwise in use is left alone, and its users are named. --force \
            detaches it all the same: what has not been written yet is lost to whoever wrote it. It \
            also ends the waiting for a client device that will not come back.

            Examples:
              umount /mnt && holdfast detach vol0
              holdfast detach /dev/nbd0 --force
            """)

    @Argument(
        help: ArgumentHelp("VOLUME, VOLUME@SNAPSHOT or /dev/nbdN.", valueName: "volume-or-device"))
    var target: String
    @Flag(help: "Detach it even if it is in use.")
    var force = false
    @OptionGroup var place: DirectoryOption

    mutating func validate() throws {
        if target.hasPrefix("/") {
            try ExportName.checkDevice(target)
        } else {
            try ExportName.check(target)
        }
    }

    func run() async throws {
        guard geteuid() == 0 else { throw KernelDeviceError.notRoot }
        try Detachment(target, directory: place.absolute).detach(isForced: force)
    }
}
