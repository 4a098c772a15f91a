// Both ends of the opening against each other, and against who lies, repeats, or makes no sense.

import TCPTransport
import TestSupport
import Testing

extension ClientOpening {
    mutating func hear(_ bytes: [UInt8]) -> OpeningOutcome { receive(bytes.span) }
}

extension ServerOpening {
    mutating func hear(_ bytes: [UInt8]) -> OpeningOutcome { receive(bytes.span) }
}

@Suite struct OpeningTests {
    /// Two ends, and all that they said to each other.
    struct Exchange {
        var client: ClientOpening
        var server: ServerOpening
        var clientOutcome = OpeningOutcome.goesOn
        var serverOutcome = OpeningOutcome.goesOn
        var fromClient: [UInt8] = []
        var fromServer: [UInt8] = []

        init(_ client: ClientOpening, _ server: ServerOpening) {
            self.client = client
            self.server = server
        }

        /// Passes what is there, in pieces of so many bytes, until both are silent.
        mutating func run(piece: Int = 1000) {
            while !client.output.isEmpty || !server.output.isEmpty {
                let request = client.output
                client.output = []
                fromClient += request
                for part in Self.cut(request, piece) { serverOutcome = server.hear(part) }
                let answer = server.output
                server.output = []
                fromServer += answer
                for part in Self.cut(answer, piece) { clientOutcome = client.hear(part) }
            }
        }

        static func cut(_ bytes: [UInt8], _ piece: Int) -> [[UInt8]] {
            stride(from: 0, to: bytes.count, by: piece).map {
                Array(bytes[$0..<min($0 + piece, bytes.count)])
            }
        }
    }

    static let key = ClusterKey.random()

    static func exchange(
        client: ClusterKey?, server: ClusterKey?, _ purpose: Purpose = .access, piece: Int = 1000
    ) -> Exchange {
        var exchange = Exchange(
            ClientOpening(purpose: purpose, key: client), ServerOpening(key: server))
        exchange.run(piece: piece)
        return exchange
    }

    @Test(arguments: [Purpose.control, .access], [true, false])
    func `both ends open, however the bytes come`(purpose: Purpose, isKeyed: Bool) {
        let key = isKeyed ? Self.key : nil
        for piece in [1, 7, 48, 1000] {
            let exchange = Self.exchange(client: key, server: key, purpose, piece: piece)
            #expect(exchange.clientOutcome == .opened(purpose))
            #expect(exchange.serverOutcome == .opened(purpose))
            #expect(exchange.client.version == 1 && exchange.server.version == 1)
            #expect(exchange.client.unread.isEmpty && exchange.server.unread.isEmpty)
            #expect(exchange.fromClient.count == (isKeyed ? 80 : 48))
            #expect(exchange.fromServer.count == 84)
        }
    }

    @Test func `the words stand as the grammar says`() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("key")
        let key = try ClusterKey.create(file: file)
        let exchange = Self.exchange(client: key, server: key, .access)
        let (client, server) = (exchange.fromClient, exchange.fromServer)
        #expect(Array(client[..<16]) == Array("HOLDFAST".utf8) + [1, 0, 1, 0, 1, 1, 0, 0])
        #expect(Array(server[..<16]) == Array("HOLDFAST".utf8) + [1, 0, 1, 0, 0, 0, 0, 0])
        #expect(Array(server[48..<52]) == [0, 0, 0, 0])
        // The proofs, as somebody else computes them.
        let digits = try ToolRun.output("cat", file).prefix(64)
        for (end, proof) in [("client", client[48...]), ("server", server[52...])] {
            let hellos = (client[..<48] + server[..<48]).map { byte in
                let digits = String(byte, radix: 16)
                return "\\x" + (digits.count == 1 ? "0" : "") + digits
            }
            let expected = try ToolRun.output(
                "bash", "-c",
                "printf '\(end)\(hellos.joined())' | openssl dgst -sha256 -mac HMAC "
                    + "-macopt hexkey:\(digits) -binary | od -An -v -tu1")
            let bytes = expected.split { $0 == " " || $0 == "\n" }.compactMap { UInt8($0) }
            #expect(bytes == Array(proof))
        }
    }

    @Test func `what comes behind the opening is kept`() {
        var exchange = Exchange(
            ClientOpening(purpose: .control, key: nil), ServerOpening(key: nil))
        exchange.client.output += [1, 2, 3]
        exchange.run()
        #expect(exchange.server.unread == [1, 2, 3])
        var late = Exchange(
            ClientOpening(purpose: .control, key: Self.key), ServerOpening(key: Self.key))
        let hello = late.client.output
        _ = late.server.hear(hello)
        _ = late.client.hear(late.server.output)
        let proof = Array(late.client.output[48...]) + [9, 8]
        late.server.output = []
        #expect(late.server.hear(proof) == .opened(.control))
        #expect(late.server.unread == [9, 8])
        let verdict = late.server.output + [7]
        #expect(late.client.hear(verdict) == .opened(.control))
        #expect(late.client.unread == [7])
    }

    // MARK: Keys

    @Test func `another key is refused, and both ends know why`() {
        let exchange = Self.exchange(client: .random(), server: Self.key, piece: 1)
        #expect(exchange.serverOutcome == .refused(.wrongKey))
        #expect(exchange.clientOutcome == .refused(.wrongKey))
        #expect(exchange.fromServer[52...].allSatisfy { $0 == 0 }, "nothing is proven to strangers")
    }

    @Test func `a client without the key is refused, and both ends know why`() {
        let exchange = Self.exchange(client: nil, server: Self.key)
        #expect(exchange.serverOutcome == .refused(.keyMissing))
        #expect(exchange.clientOutcome == .refused(.keyRequired))
    }

    @Test func `a client with a key refuses a server that wants none`() {
        let exchange = Self.exchange(client: Self.key, server: nil)
        #expect(exchange.clientOutcome == .refused(.downgrade))
        #expect(exchange.fromClient.count == 48, "and proves nothing to it")
    }

    @Test func `a proof is worth nothing on another connection`() {
        let recorded = Self.exchange(client: Self.key, server: Self.key)
        var server = ServerOpening(key: Self.key)
        let hello = Array(recorded.fromClient[..<48])
        let proof = Array(recorded.fromClient[48...])
        #expect(server.hear(hello) == .goesOn)
        #expect(server.hear(proof) == .refused(.wrongKey))
        // And to a client: the recorded server's words.
        var client = ClientOpening(purpose: .access, key: Self.key)
        let serverHello = Array(recorded.fromServer[..<48])
        let verdict = Array(recorded.fromServer[48...])
        #expect(client.hear(serverHello) == .goesOn)
        #expect(client.hear(verdict) == .refused(.wrongKey))
    }

    @Test func `a server without the key cannot pose as one that has it`() {
        for echoes in [false, true] {
            var client = ClientOpening(purpose: .access, key: Self.key)
            let hello = OpeningWire.magic + [1, 0, 1, 0, 0, 0, 0, 0] + [UInt8](0..<32)
            #expect(client.hear(hello) == .goesOn)
            let proof = Array(client.output[48...])
            let verdict = [0, 0, 0, 0] + (echoes ? proof : [UInt8](repeating: 0, count: 32))
            #expect(client.hear(verdict) == .refused(.wrongKey))
        }
    }

    @Test func `a proof holds for its TLS connection alone`() {
        for (one, other, isSame) in [(1, 1, true), (1, 2, false), (1, 0, false)]
            as [(UInt8, UInt8, Bool)]
        {
            func binding(_ byte: UInt8) -> [UInt8] {
                byte == 0 ? [] : [UInt8](repeating: byte, count: 32)
            }
            var exchange = Exchange(
                ClientOpening(purpose: .access, key: Self.key, binding: binding(one)),
                ServerOpening(key: Self.key, binding: binding(other)))
            exchange.run()
            #expect(exchange.serverOutcome == (isSame ? .opened(.access) : .refused(.wrongKey)))
            #expect(exchange.clientOutcome == exchange.serverOutcome)
        }
    }

    @Test func `not one bit of what a client says can be changed`() {
        for bit in 0..<(80 * 8) {
            var client = ClientOpening(purpose: .access, key: Self.key)
            var server = ServerOpening(key: Self.key)
            var hello = client.output
            if bit < 48 * 8 { hello[bit / 8] ^= 1 << UInt8(bit % 8) }
            var outcome = server.hear(hello)
            if outcome == .goesOn {
                _ = client.hear(Array(server.output[..<48]))
                var proof = Array(client.output[48...])
                if bit >= 48 * 8 { proof[bit / 8 - 48] ^= 1 << UInt8(bit % 8) }
                outcome = server.hear(proof)
            }
            guard case .refused = outcome else {
                Issue.record("bit \(bit) makes no difference: \(outcome)")
                continue
            }
        }
    }

    // MARK: Versions and sense

    @Test(arguments: [
        (UInt16(1)...1, UInt16(2)...3, UInt16(0)), (4...5, 2...3, 0), (1...2, 2...3, 2),
        (1...9, 2...3, 3), (3...3, 1...9, 3),
    ])
    func `the highest version in common is spoken`(
        client: ClosedRange<UInt16>, server: ClosedRange<UInt16>, agreed: UInt16
    ) {
        var exchange = Exchange(
            ClientOpening(purpose: .access, key: Self.key, versions: client),
            ServerOpening(key: Self.key, versions: server))
        exchange.run()
        let outcome = agreed == 0 ? OpeningOutcome.refused(.version) : .opened(.access)
        #expect(exchange.clientOutcome == outcome && exchange.serverOutcome == outcome)
        #expect(exchange.client.version == agreed && exchange.server.version == agreed)
    }

    @Test func `garbage is refused at its first wrong byte`() {
        for wrong in OpeningWire.magic.indices {
            var hello = OpeningWire.magic
            hello[wrong] ^= 0x20
            var server = ServerOpening(key: Self.key)
            var client = ClientOpening(purpose: .access, key: Self.key)
            for (position, byte) in hello.enumerated() {
                let expected: OpeningOutcome =
                    position < wrong ? .goesOn : .refused(.notHoldfast)
                #expect(server.hear([byte]) == expected)
                #expect(client.hear([byte]) == expected)
            }
            #expect(server.output.isEmpty, "strangers are told nothing")
        }
    }

    @Test func `a busy server says so`() {
        var exchange = Exchange(
            ClientOpening(purpose: .access, key: Self.key),
            ServerOpening(key: Self.key, isBusy: true))
        exchange.run()
        #expect(exchange.serverOutcome == .refused(.busy))
        #expect(exchange.clientOutcome == .refused(.busy))
    }

    @Test func `a purpose that is not known is refused`() {
        var client = ClientOpening(purpose: .access, key: nil)
        var server = ServerOpening(key: nil)
        client.output[12] = 77
        #expect(server.hear(client.output) == .refused(.unknownPurpose))
        #expect(client.hear(server.output) == .refused(.unknownPurpose))
    }

    @Test func `what no honest end says is refused`() {
        var server = ServerOpening(key: Self.key)
        let early = ClientOpening(purpose: .access, key: Self.key).output + [0]
        #expect(server.hear(early) == .refused(.malformed))
        var other = ClientOpening(purpose: .access, key: nil)
        let answer =
            OpeningWire.magic + [1, 0] + [UInt8](repeating: 0, count: 38) + [99, 0, 0, 0]
            + [UInt8](repeating: 0, count: 32)
        #expect(other.hear(answer) == .refused(.malformed))
    }

    @Test func `a refusal is for good, and keeps nothing`() {
        var server = ServerOpening(key: Self.key)
        #expect(server.hear([0]) == .refused(.notHoldfast))
        let more = [UInt8](repeating: 1, count: 100_000)
        #expect(server.hear(more) == .refused(.notHoldfast))
        #expect(server.unread.isEmpty && server.output.isEmpty)
    }
}
