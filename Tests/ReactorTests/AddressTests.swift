// What is an address, what is none, and how each is written back.

import Glibc
import Reactor
import Testing

@Suite struct AddressTests {
    @Test(
        arguments: [
            ("unix:/run/a.sock", .unix(path: "/run/a.sock")), ("unix:a", .unix(path: "a")),
            ("unix:a:b:1", .unix(path: "a:b:1")), ("unix: ", .unix(path: " ")),
            ("tcp:localhost:10809", .tcp(host: "localhost", port: 10809)),
            ("tcp:0.0.0.0:0", .tcp(host: "0.0.0.0", port: 0)),
            ("tcp:h:65535", .tcp(host: "h", port: 65535)),
            ("tcp:[::1]:80", .tcp(host: "::1", port: 80)),
            ("tcp:::1:80", .tcp(host: "::1", port: 80)),
            ("tcp:[fe80::1%eth0]:1", .tcp(host: "fe80::1%eth0", port: 1)),
        ] as [(String, Address)])
    func readsAddresses(_ text: String, expected: Address) throws {
        let address = try Address(text)
        #expect(address == expected)
        #expect(try Address(address.description) == expected, "what is written can be read")
    }

    @Test(arguments: [
        "", "unix", "unix:", "tcp", "tcp:", "tcp::", "tcp::80", "tcp:[]:80", "tcp:host",
        "tcp:host:",
        "tcp:host:65536", "tcp:host:-1", "tcp:host: 1", "tcp:host:80x", "tcp:[::1]", "/run/a.sock",
        "localhost:80", "UNIX:/a", "rdma:host:1", " tcp:host:1", "http://host:1",
    ])
    func refusesWhatIsNone(_ text: String) {
        #expect(throws: ReactorError.badAddress(text)) { _ = try Address(text) }
    }

    @Test func portsHaveNoSign() {
        #expect(throws: ReactorError.badAddress("tcp:host:+80")) {
            _ = try Address("tcp:host:+80")
        }
    }

    /// What somebody writes who leaves the host out.
    @Test func aPortAloneIsRefused() async {
        await #expect(processExitsWith: .success) { _ = try? Address("tcp:80") }
    }

    @Test func theSentenceSaysWhatToWrite() {
        let sentence = ReactorError.badAddress("x").description
        #expect(sentence == "'x' is no address: write unix:PATH or tcp:HOST:PORT")
    }
}
