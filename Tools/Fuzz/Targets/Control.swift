// What is asked of an appliance by its socket: framed JSON, or anything else. It answers or hangs up, and goes on.

import CLinux
import Glibc

func fuzzControl(_ input: [UInt8]) {
    var reader = InputReader(input)
    let isFramed = reader.byte() & 3 != 0
    let descriptor = clinux_socket_stream(AF_UNIX)
    guard descriptor >= 0,
        clinux_unix_connect(descriptor, FuzzedAppliance.shared.path) == 0
    else { fatalError("the appliance lets nobody in any more: errno \(errno)") }
    let client = SocketEnd(descriptor)
    var bytes: [UInt8] = []
    let rest = reader.takeRest()
    if isFramed {
        // (A newline ends a message here, so that there may be several.)
        for message in rest.split(separator: 10) {
            bytes.append(network: UInt32(message.count))
            bytes += message
        }
    } else {
        bytes = rest
    }
    _ = client.exchange(bytes, thenEnd: true)
}
