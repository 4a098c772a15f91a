// The words that the kernel keeps with a device: they come back as they went, and nobody else's are ours.

import KernelDevice
import Testing

@Suite struct BackendTests {
    static let backend = Backend(
        export: "vol0", connections: 4, timeout: 5, directory: "/var/lib/holdfast")

    @Test func `the text has its fields in order`() {
        #expect(Self.backend.text == "holdfast:1:vol0:4:5:/var/lib/holdfast")
        #expect(Self.backend.socketPath == "/var/lib/holdfast/nbd.sock")
    }

    @Test(arguments: ["/", "/a:b", "/with space", "/ü", "/a:4:5:/b"])
    func `a directory comes back, colons included`(directory: String) {
        let backend = Backend(
            export: "v@s", connections: 16, timeout: 3600, directory: directory)
        #expect(Backend(backend.text) == backend)
        #expect(throws: Never.self) { try backend.check() }
    }

    @Test(arguments: [
        "", "image.qcow2", "holdfast", "holdfast:2:vol0:4:5:/d", "holdfast:1:vol0:4:5",
        "holdfast:1:vol0:4:5:relative", "holdfast:1::4:5:/d", "holdfast:1:vol0:0:5:/d",
        "holdfast:1:vol0:17:5:/d", "holdfast:1:vol0:4:-1:/d", "holdfast:1:vol0:4:3601:/d",
        "holdfast:1:vol0:x:5:/d",
    ])
    func `what somebody else wrote is not ours`(text: String) {
        #expect(Backend(text) == nil)
    }

    @Test func `what the kernel would not give back is refused`() {
        for directory in ["/a\nb", "/" + String(repeating: "x", count: 4000)] {
            let backend = Backend(
                export: "vol0", connections: 1, timeout: 0, directory: directory)
            #expect(throws: KernelDeviceError.badBackend(backend.text)) { try backend.check() }
        }
    }

    @Test func `the same export is the same however it is attached`() {
        let other = Backend(
            export: "vol0", connections: 1, timeout: 30, directory: "/var/lib/holdfast")
        #expect(Self.backend.isSameExport(as: other))
        let elsewhere = Backend(export: "vol0", connections: 4, timeout: 5, directory: "/tmp/h")
        #expect(!Self.backend.isSameExport(as: elsewhere))
    }
}

@Suite struct DeviceIndexTests {
    @Test func `a device is named by path or name`() throws {
        #expect(try DeviceIndex(path: "/dev/nbd12") == DeviceIndex(12))
        #expect(try DeviceIndex(path: "nbd0") == DeviceIndex(0))
        #expect(DeviceIndex(3).path == "/dev/nbd3")
        #expect(DeviceIndex(2) < DeviceIndex(10))
    }

    @Test(arguments: [
        "", "/dev/nbd", "/dev/sda", "/dev/nbd0p1", "nbd-1", "nbd01", "nbd 1", "/dev/nbd/0",
        "nbd99999999999", "NBD0", "nbd٣",
    ])
    func `what is no device is refused in a sentence`(path: String) {
        #expect(throws: KernelDeviceError.badDeviceName(path)) { try DeviceIndex(path: path) }
    }
}
