// A network interface whose far end is this program (Linux' Documentation/networking/tuntap.rst).
//
// What a host sends through it is read here, one IP packet at a time; what is written here the host
// receives. Interface and descriptor end together, so a killed run leaves no interface behind.

import Glibc

/// The near end of one host's interface.
final class Tunnel: Sendable {
    /// TUNSETIFF of linux/if_tun.h, which is a macro: _IOW('T', 202, int).
    private static let setInterface: UInt = 0x4004_54CA
    /// IFF_TUN, IP packets without Ethernet; IFF_NO_PI, with nothing in front of them.
    private static let flags: Int16 = 0x0001 | 0x1000
    /// sizeof(struct ifreq), and IFNAMSIZ.
    private static let requestBytes = 40, nameBytes = 16

    let descriptor: Int32
    /// What the kernel called it, unlike any other interface here.
    let name: String

    init() throws(HarnessError) {
        let opened = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)
        guard opened >= 0 else {
            throw HarnessError("/dev/net/tun: \(String(cString: strerror(errno)))")
        }
        var request = [UInt8](repeating: 0, count: Self.requestBytes)
        request.replaceSubrange(0..<10, with: "holdfast%d".utf8)
        withUnsafeBytes(of: Self.flags) { bytes in
            request.replaceSubrange(Self.nameBytes..<Self.nameBytes + 2, with: bytes)
        }
        guard ioctl(opened, Self.setInterface, &request) == 0 else {
            let reason = String(cString: strerror(errno))
            close(opened)
            throw HarnessError("no network interface can be made: \(reason)")
        }
        descriptor = opened
        name = String(decoding: request.prefix { $0 != 0 }, as: UTF8.self)
    }

    deinit {
        close(descriptor)
    }

    /// The next packet the host sent, read into `buffer`; nil when there is none now.
    func receive(into buffer: inout [UInt8]) -> ArraySlice<UInt8>? {
        let count = read(descriptor, &buffer, buffer.count)
        return count > 0 ? buffer[..<count] : nil
    }

    /// Lets the host receive `packet`; it is lost when the host takes no more or its link is down.
    func send(_ packet: ArraySlice<UInt8>) {
        _ = packet.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
}
