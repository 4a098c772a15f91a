// Where a helper is found: one lock, one socket, for its owner alone.

import CLinux
import Foundation
import Glibc
import KernelDevice
import Testing
import TestSupport

@Suite struct RuntimeDirectoryTests {
    @Test func `without a helper nobody answers`() throws {
        let directory = RuntimeDirectory(path: try TemporaryDirectory().path)
        #expect(try HelperReport.ask(directory) == nil)
    }

    @Test func `the report arrives as it was sent`() throws {
        let temporary = try TemporaryDirectory()
        let directory = RuntimeDirectory(path: temporary.path)
        let listener = try directory.listen()
        let report = HelperReport(
            process: 7,
            devices: [
                .init(device: "/dev/nbd0", waitingMilliseconds: nil),
                .init(device: "/dev/nbd1", waitingMilliseconds: 2500),
            ])
        Thread.detachNewThread {
            var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            poll(&entry, 1, 20_000)
            let connection = clinux_accept(listener)
            let bytes = report.bytes
            send(connection, bytes, bytes.count, 0)
            close(connection)
        }
        #expect(try HelperReport.ask(directory) == report)
        close(listener)
    }

    @Test func `the socket is its owner's alone, and takes the place of a dead helper's`() throws {
        let temporary = try TemporaryDirectory()
        let directory = RuntimeDirectory(path: temporary.path)
        close(try directory.listen())
        let listener = try directory.listen()
        defer { close(listener) }
        var status = stat()
        #expect(stat(directory.socketPath, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func `there is one helper`() throws {
        let temporary = try TemporaryDirectory()
        let directory = RuntimeDirectory(path: temporary.path + "/new")
        try directory.make()
        try directory.make()
        try directory.lock()
        #expect(throws: KernelDeviceError.helperRuns(directory: directory.path)) {
            try directory.lock()
        }
    }
}

@Suite struct SentenceTests {
    static let device = DeviceIndex(3)
    static let errors: [KernelDeviceError] = [
        .notRoot, .noKernelSupport(alternative: "nbdfuse FILE URI"), .kernelTooOld,
        .badDeviceName("x"), .badBackend("x"), .deviceInUse(device),
        .alreadyAttached(export: "vol0", device), .notAttached("vol0"), .notOurs(device),
        .noServer(directory: "/d", errno: ECONNREFUSED), .serverSilent(directory: "/d"),
        .pathTooLong("/x"), .badSize(export: "vol0", bytes: 7), .inUse(device, ["mounted at /m"]),
        .neverReady(device), .stillDetaching(device), .kernel(request: "do it", reason: "no"),
        .system(call: "socket", errno: EMFILE), .helperRuns(directory: "/r"),
        .helperFails(log: "/r/log"),
    ]

    @Test(arguments: errors)
    func `each says what to do in one sentence`(error: KernelDeviceError) {
        let sentence = error.description
        #expect(sentence.contains(":") || sentence.contains(", and "))
        #expect(!sentence.hasSuffix(".") && !sentence.contains("\n"))
    }

    @Test func `whoever is in the way is named`() {
        #expect(
            KernelDeviceError.inUse(Self.device, ["mounted at /m", "swap space /dev/nbd3"])
                .description.contains("(mounted at /m; swap space /dev/nbd3)"))
    }
}
