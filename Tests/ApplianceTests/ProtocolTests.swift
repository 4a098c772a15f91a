// The example of the protocol's page, byte for byte.

import Appliance
import Foundation
import RemoteMemory
import TCPTransport
import Testing

@Suite struct ProtocolTests {
    private func bytes(_ text: String) -> [UInt8] {
        text.split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
    }

    @Test func `the documented conversation is what is spoken`() throws {
        let appliance = try RunningAppliance()
        let (_, id, key) = try appliance.keyed(.mebibytes(1))
        let client = try AccessClient(appliance)
        func halves(_ identifier: Identifier) -> [UInt8] {
            AccessClient.words((identifier.high.littleEndian, identifier.low.littleEndian))
        }
        let conversation: [(sent: [UInt8], reply: [UInt8])] = [
            (
                bytes("20 00 00 00  01 00 00 00  01 00 00 00 00 00 00 00") + halves(id.value)
                    + halves(key),
                bytes("08 00 00 00  00 01 00 00  01 00 00 00 00 00 00 00  00 00 10 00 00 00 00 00")
            ),
            (
                bytes(
                    """
                    14 00 00 00  02 00 01 00  02 00 00 00 00 00 00 00
                    00 00 20 00 00 00 00 00  04 00 00 00  00 00 00 00
                    aa bb cc dd
                    """), bytes("00 00 00 00  00 00 00 00  02 00 00 00 00 00 00 00")
            ),
            (
                bytes(
                    """
                    10 00 00 00  03 00 01 00  03 00 00 00 00 00 00 00
                    00 00 20 00 00 00 00 00  04 00 00 00  00 00 00 00
                    """),
                bytes("04 00 00 00  00 01 00 00  03 00 00 00 00 00 00 00  aa bb cc dd")
            ),
        ]
        for (sent, reply) in conversation {
            client.send(sent)
            #expect(client.receive(reply.count) == reply)
        }
    }

    @Test func `an identifier's halves stand as the example has them`() {
        let id = Identifier(high: 0x0001_0203_0405_0607, low: 0x0809_0a0b_0c0d_0e0f)
        #expect(id.description == "000102030405060708090a0b0c0d0e0f")
        #expect(
            AccessClient.words((id.high.littleEndian, id.low.littleEndian))
                == bytes("07 06 05 04 03 02 01 00  0f 0e 0d 0c 0b 0a 09 08"))
    }
}
