// The specification's numbers, written here once more: a slip of the pen in one place shows.

import NBDProtocol
import Testing

@Suite struct ConstantsTests {
    @Test func `magic numbers spell what they should`() {
        var bytes: [UInt8] = []
        bytes.append(wire: Wire.serverMagic)
        bytes.append(wire: Wire.optionMagic)
        #expect(bytes == Array("NBDMAGICIHAVEOPT".utf8))
        #expect(Wire.longestString == 4096)
        #expect(Wire.clientFlagsSize == 4)
        #expect(Wire.requestHeaderSize == 28)
    }

    @Test func `flags have the specification's bits`() {
        #expect(HandshakeFlags([.fixedNewstyle, .noZeroes]).rawValue == 0b11)
        #expect(ClientFlags.fixedNewstyle.rawValue == 1)
        #expect(ClientFlags.noZeroes.rawValue == 2)
        #expect(ClientFlags.known.rawValue == 3)
        let transmission: [TransmissionFlags] = [
            .hasFlags, .readOnly, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .canMultiConn,
            .sendCache,
        ]
        #expect(transmission.map(\.rawValue) == [1, 2, 4, 8, 0x20, 0x40, 0x100, 0x400])
        #expect(CommandFlags.fua.rawValue == 1)
        #expect(CommandFlags.noHole.rawValue == 2)
    }

    @Test func `options, information and commands have the specification's numbers`() {
        let options = [
            OptionType.exportName, OptionType.abort, OptionType.list, OptionType.info,
            OptionType.go,
        ]
        #expect(options == [1, 2, 3, 6, 7])
        let information: [InformationType] = [.export, .name, .description, .blockSize]
        #expect(information.map(\.rawValue) == [0, 1, 2, 3])
        let commands = [
            CommandType.read, CommandType.write, CommandType.disconnect, CommandType.flush,
            CommandType.trim, CommandType.cache, CommandType.writeZeroes,
        ]
        #expect(commands == Array(0...6))
    }
}
