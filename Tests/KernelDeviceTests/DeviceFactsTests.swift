// What is read from the kernel's files, with made-up ones.

import Foundation
import KernelDevice
import Testing
import TestSupport

/// A directory that looks like /sys and /proc, as far as they are read here.
struct FakeKernel {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    var facts: DeviceFacts { DeviceFacts(root: directory.path) }
    var use: DeviceUse { DeviceUse(facts: facts, processes: directory.file("proc")) }

    func write(_ path: String, _ text: String) throws {
        let file = URL(fileURLWithPath: directory.file(path))
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    func link(_ path: String, to target: String) throws {
        let file = URL(fileURLWithPath: directory.file(path))
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: file.path, withDestinationPath: target)
    }

    /// A device with a size of 1 MiB.
    func attach(_ name: String, _ backend: String, readOnly: Bool = false) throws {
        try write("block/\(name)/size", "2048\n")
        try write("block/\(name)/ro", readOnly ? "1\n" : "0\n")
        try write("block/\(name)/pid", "42\n")
        try write("block/\(name)/backend", backend + "\n")
        try write("block/\(name)/dev", "43:0\n")
    }
}

@Suite struct DeviceFactsTests {
    @Test func `our devices are found in order, and nobody else's`() throws {
        let kernel = try FakeKernel()
        try kernel.attach("nbd10", "holdfast:1:vol1@s:4:5:/d", readOnly: true)
        try kernel.attach("nbd2", "holdfast:1:vol0:4:5:/d")
        try kernel.attach("nbd3", "rbd-nbd")
        try kernel.write("block/nbd4/size", "0\n")
        try kernel.write("block/sda/backend", "holdfast:1:vol0:4:5:/d\n")
        let found = kernel.facts.attached()
        #expect(found.map(\.device) == [DeviceIndex(2), DeviceIndex(10)])
        #expect(found.map(\.backend.export) == ["vol0", "vol1@s"])
        #expect(found.map(\.size) == [1 << 20, 1 << 20])
        #expect(found.map(\.isReadOnly) == [false, true])
        #expect(kernel.facts.isAttached(DeviceIndex(3)))
        #expect(!kernel.facts.isAttached(DeviceIndex(4)))
    }

    @Test func `a kernel without devices has none`() throws {
        let kernel = try FakeKernel()
        #expect(kernel.facts.attached().isEmpty)
        #expect(kernel.facts.size(of: DeviceIndex(0)) == 0)
    }
}

@Suite struct DeviceUseTests {
    static let mounts = """
        22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
        40 22 43:0 / /mnt/a\\040disk rw shared:1 - ext4 /dev/nbd0 rw
        41 22 43:96 / /mnt/other rw - ext4 /dev/nbd3 rw
        """

    @Test func `mounts are found by the device's number, with their real names`() {
        #expect(DeviceUse.mounts(of: ["43:0"], in: Self.mounts) == ["/mnt/a disk"])
        #expect(DeviceUse.mounts(of: ["43:1"], in: Self.mounts).isEmpty)
        #expect(DeviceUse.mounts(of: ["43:0"], in: "short\n\n").isEmpty)
    }

    @Test func `every kind of use is named`() throws {
        let kernel = try FakeKernel()
        try kernel.attach("nbd0", "holdfast:1:vol0:4:5:/d")
        try kernel.write("block/nbd0/nbd0p1/dev", "43:1\n")
        try kernel.write("block/nbd0/nbd0p1/holders/md7", "")
        try kernel.write("proc/swaps", "Filename Type\n/dev/nbd0p2 partition 1 0 -2\n")
        try kernel.link("proc/7/ns/mnt", to: "mnt:[1]")
        try kernel.write("proc/7/mountinfo", Self.mounts)
        try kernel.write("proc/7/comm", "fio\n")
        try kernel.link("proc/7/fd/3", to: "/dev/nbd0")
        try kernel.link("proc/8/ns/mnt", to: "mnt:[1]")
        try kernel.write("proc/8/mountinfo", Self.mounts)
        try kernel.link("proc/8/fd/3", to: "/dev/nbd01")
        #expect(
            kernel.use.uses(of: DeviceIndex(0)) == [
                "mounted at /mnt/a disk", "swap space /dev/nbd0p2", "part of md7",
                "open in process 7 (fio)",
            ])
        #expect(kernel.use.uses(of: DeviceIndex(5)).isEmpty)
    }

    @Test func `of many processes a few are named`() throws {
        let kernel = try FakeKernel()
        for process in 1...9 {
            try kernel.write("proc/\(process)/comm", "dd\n")
            try kernel.link("proc/\(process)/fd/1", to: "/dev/nbd0p1")
        }
        let uses = kernel.use.uses(of: DeviceIndex(0))
        #expect(uses.count == 5)
        #expect(uses.last == "and in 5 more")
    }

    @Test(arguments: [
        ("/dev/nbd1", true), ("/dev/nbd1p12", true), ("/dev/nbd12", false), ("/dev/nbd1x", false),
        ("/dev/nbd", false), ("/dev/nbd1p1 (deleted)", false),
    ])
    func `partitions are part of a device, and longer numbers are not`(path: String, isOne: Bool) {
        #expect(DeviceUse.isDevice(path[...], DeviceIndex(1)) == isOne)
    }
}
