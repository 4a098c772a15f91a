// Netlink messages against bytes assembled here: what the kernel is told, and what is understood of what it
// says. (Netlink speaks in the processor's byte order.)

import CNetlink
import KernelDevice
import Testing

/// Bytes of netlink, by hand.
enum Bytes {
    static func of(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value) { Array($0) }
    }

    /// An attribute with its length in front, padded to four bytes.
    static func attribute(_ number: UInt16, _ value: [UInt8]) -> [UInt8] {
        of(UInt16(4 + value.count)) + of(number) + value
            + [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
    }

    static func message(
        type: UInt16, flags: UInt16 = 0, sequence: UInt32 = 0, _ body: [UInt8]
    ) -> [UInt8] {
        of(UInt32(16 + body.count)) + of(type) + of(flags) + of(sequence) + of(UInt32(0)) + body
    }

    /// A message of the family whose number is 0x1d.
    static func family(_ command: UInt8, _ attributes: [UInt8], flags: UInt16 = 0) -> [UInt8] {
        message(type: 0x1d, flags: flags, [command, 1, 0, 0] + attributes)
    }
}

@Suite struct MessageTests {
    static let backend = Backend(
        export: "vol0@monday", connections: 2, timeout: 5, directory: "/var/lib/holdfast")
    static let backendText = Array("holdfast:1:vol0@monday:2:5:/var/lib/holdfast".utf8) + [0]

    /// "Request, with an acknowledgement".
    static let flags: UInt16 = 5

    static func sockets(_ descriptors: [UInt32]) -> [UInt8] {
        Bytes.attribute(
            7, descriptors.flatMap { Bytes.attribute(1, Bytes.attribute(1, Bytes.of($0))) })
    }

    /// Without the mark of nested attributes, which libnl sets or not, as its version is.
    static func unmarked(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for index in stride(from: 20, to: bytes.count, by: 4) where bytes[index + 3] == 0x80 {
            bytes[index + 3] = 0
        }
        return bytes
    }

    @Test func `a device is attached with all its attributes`() throws {
        let request = ConnectRequest(
            device: DeviceIndex(3), size: 1 << 30, blockSize: 4096, flags: 0x16d,
            deadTimeout: 99, backend: Self.backend)
        let message = try request.message(family: 0x1d, sockets: [11, 12])
        let expected =
            Bytes.attribute(1, Bytes.of(UInt32(3))) + Bytes.attribute(2, Bytes.of(UInt64(1 << 30)))
            + Bytes.attribute(3, Bytes.of(UInt64(4096))) + Bytes.attribute(4, Bytes.of(UInt64(5)))
            + Bytes.attribute(5, Bytes.of(UInt64(0x16d))) + Bytes.attribute(8, Bytes.of(UInt64(99)))
            + Bytes.attribute(10, Self.backendText) + Self.sockets([11, 12])
        #expect(
            Self.unmarked(message.bytes) == Bytes.family(1, expected, flags: Self.flags))
    }

    @Test func `any free device is asked for by leaving the number out`() throws {
        let request = ConnectRequest(
            device: nil, size: 512, blockSize: 512, flags: 1, deadTimeout: 1, backend: Self.backend)
        let bytes = try request.message(family: 0x1d, sockets: [3]).bytes
        #expect(bytes[20..<24] == Bytes.attribute(2, Bytes.of(UInt64(512)))[0..<4])
    }

    @Test func `new sockets come with the name of the backend, and with nothing that stays`() throws
    {
        let request = ReconfigureRequest(device: DeviceIndex(0), backend: Self.backend)
        let message = try request.message(family: 0x1d, sockets: [5])
        let expected =
            Bytes.attribute(1, Bytes.of(UInt32(0))) + Bytes.attribute(10, Self.backendText)
            + Self.sockets([5])
        #expect(Self.unmarked(message.bytes) == Bytes.family(3, expected, flags: Self.flags))
    }

    @Test func `a new size comes without sockets`() throws {
        let request = ReconfigureRequest(
            device: DeviceIndex(0), backend: Self.backend, size: 8192)
        let bytes = try request.message(family: 0x1d, sockets: []).bytes
        let expected =
            Bytes.attribute(1, Bytes.of(UInt32(0))) + Bytes.attribute(10, Self.backendText)
            + Bytes.attribute(2, Bytes.of(UInt64(8192)))
        #expect(bytes == Bytes.family(3, expected, flags: Self.flags))
    }

    @Test func `a device is detached by its number`() throws {
        let bytes = try DisconnectRequest(device: DeviceIndex(7)).message(family: 0x1d).bytes
        #expect(
            bytes
                == Bytes.family(2, Bytes.attribute(1, Bytes.of(UInt32(7))), flags: Self.flags))
    }

    @Test func `dead connections, answers and results are understood`() {
        let dead = Bytes.family(4, Bytes.attribute(1, Bytes.of(UInt32(9))))
        let connected = Bytes.family(1, Bytes.attribute(1, Bytes.of(UInt32(2))))
        let failed = Bytes.message(
            type: 2, Bytes.of(Int32(-16)) + Bytes.message(type: 0x1d, sequence: 77, []))
        #expect(
            KernelMessage.read(dead + connected + failed) == [
                .linkDead(DeviceIndex(9)), .connected(DeviceIndex(2)),
                .result(sequence: 77, error: -16),
            ])
    }

    @Test func `what is cut short, or of no interest, is nothing`() {
        let dead = Bytes.family(4, Bytes.attribute(1, Bytes.of(UInt32(9))))
        for count in 0..<dead.count {
            #expect(KernelMessage.read(Array(dead.prefix(count))).isEmpty)
        }
        #expect(KernelMessage.read(Bytes.family(4, [])) == [.other])
        #expect(KernelMessage.read(Bytes.family(4, Bytes.attribute(1, [9]))) == [.other])
        #expect(KernelMessage.read(Bytes.message(type: 2, [1, 0])) == [.other])
        // (3 is the end of a list of netlink's own.)
        #expect(KernelMessage.read(Bytes.message(type: 3, Bytes.of(UInt32(0)))) == [.other])
        #expect(
            KernelMessage.read(Bytes.family(9, Bytes.attribute(1, Bytes.of(UInt32(9)))))
                == [.other])
    }
}
