// A decision that the registry will never hold ends the volume with a sentence, and no other one.

import Appliance
import ClientDevice
import Control
import Logging
import Reactor
import RemoteMemory
import ResiliencySet
import Synchronization
import TCPTransport
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct RecordingTests {
    /// What was logged as critical.
    private final class Critical: Sendable {
        private let kept = Mutex<[String]>([])

        var messages: [String] { kept.withLock { $0 } }

        func add(_ message: String) { kept.withLock { $0.append(message) } }
    }

    private struct Handler: LogHandler {
        let critical: Critical
        var logLevel = Logger.Level.critical
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { critical.add(event.message.description) }
    }

    private struct Box: @unchecked Sendable {
        let server: ApplianceServer
    }

    @Test func `a change that breaks a rule is not tried for ever`() async throws {
        let directory = try TemporaryDirectory()
        let address = "unix:\(directory.file("far.sock"))"
        let box = Box(
            server: try ApplianceServer(
                name: "near", capacity: .mebibytes(256), addresses: [try Address(address)],
                security: .local, memoryDirectory: nil))
        Reactor.Thread.detach(name: "appliance") { box.server.run() }
        defer { box.server.stop() }
        let critical = Critical()
        let device = try ClientDevice(
            DeviceConfiguration(
                directory: directory.path, listeners: [], populate: false, version: "test"),
            log: Logger(label: "test") { _ in Handler(critical: critical) })
        device.startThread()
        try await device.start()
        _ = try await device.addAppliance(ApplianceAddition(name: "near", address: address))
        var volumes: [VolumeStatus] = []
        for name in ["vol0", "vol1"] {
            volumes.append(
                try await device.createVolume(
                    VolumeCreation(name: name, size: .mebibytes(16), layout: .mirror(copies: 1))))
        }

        let start = ContinuousClock.now
        // There is no such member, and never will be.
        await device.record(.promote(MemberIndex(7)), of: volumes[0].id)
        #expect(ContinuousClock.now - start < .seconds(10))
        let halted = try await device.volume(named: "vol0")
        #expect(halted.health == .waiting)
        let sentence = try #require(halted.obstacle)
        #expect(sentence.contains("The volume has no member 7"))
        #expect(sentence.contains("restart the client device"))
        #expect(critical.messages == ["volume vol0: \(sentence)"])
        // It stays so until then, and nobody else is concerned.
        try await Task.sleep(for: .milliseconds(600))
        #expect(try await device.volume(named: "vol0").health == .waiting)
        #expect(try await device.volume(named: "vol1").health == .healthy)
        _ = await device.stop()
    }
}
