// Every refusal is a ControlError at the far end, with the status that tools without it understand.

import Control
import ControlHTTP
import Foundation
import Glibc
import Testing

@Suite("Errors") struct ErrorTests {
    static let statuses: [ControlError.Code: Int] = [
        .notFound: 404, .conflict: 409, .invalid: 400, .unavailable: 503,
        .insufficientMemory: 507, .failed: 500,
    ]

    @Test(
        "an error of the device is the same error at the client",
        arguments: ControlError.Code.allCases)
    func roundTrip(code: ControlError.Code) async throws {
        let failure = ControlError(code, "Nothing to be done about \"it\": läuft.")
        try await withServer(FakeDevice(failure: failure)) { client in
            await #expect(throws: failure) { try await client.status() }
            await #expect(throws: failure) { try await client.deleteVolume(named: "v") }
            await #expect(throws: failure) { try await client.scrub(volume: "v") }
            let answer = await exchange(client.socket.directory, "GET", "/v1/status")
            #expect(answer.status == Self.statuses[code])
            #expect(answer.error == failure)
        }
    }

    @Test(
        "a body that is not what the route expects is refused, and says where",
        arguments: [
            ("{", "not valid JSON"),
            ("", "not valid JSON"),
            ("[]", "wrong type"),
            (#"{"name":"v","layout":"mirror:2","ordering":"parallel"}"#, "'size' is missing"),
            (#"{"name":"v","size":-1,"layout":"mirror:2","ordering":"parallel"}"#, "out of range"),
            (#"{"name":"v","size":1,"layout":"raid:2","ordering":"parallel"}"#, "mirror:N"),
            (#"{"name":null,"size":1,"layout":"mirror:2","ordering":"parallel"}"#, "'name'"),
            (
                #"{"name":"v","size":{"bytes":1},"layout":"mirror:2","ordering":"parallel"}"#,
                "'size'"
            ),
        ])
    func malformed(body: String, explanation: String) async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let answer = await exchange(
                client.socket.directory, "POST", "/v1/volumes", body: body)
            #expect(answer.status == 400)
            #expect(answer.error?.code == .invalid)
            let message = try #require(answer.error?.message)
            #expect(
                message.contains(explanation) && message.contains("VolumeCreation"), "\(message)")
        }
        #expect(await device.calls.isEmpty)
    }

    @Test("the largest body is accepted and one byte more is not")
    func oversize() async throws {
        let prefix = #"{"name":"v","immediate":false}"#
        func body(_ count: Int) -> String {
            prefix + String(repeating: " ", count: count - prefix.utf8.count)
        }
        let device = FakeDevice()
        try await withServer(device) { client in
            let path = "/v1/volumes/vol0/snapshots"
            let directory = client.socket.directory
            let limit = ControlServer.maximumBodyBytes
            #expect(await exchange(directory, "POST", path, body: body(limit)).status == 201)
            let refused = await exchange(directory, "POST", path, body: body(limit + 1))
            #expect(refused.status == 400)
            #expect(refused.error?.message.contains("\(limit) bytes") == true)
            // The device is not disturbed by a client that keeps sending.
            _ = try await client.status()
        }
        #expect(await device.calls == ["cut vol0 v false", "status"])
    }

    @Test(
        "a route that does not exist is named in the refusal",
        arguments: [
            ("GET", "/"), ("GET", "/v2/status"), ("POST", "/v1/status"), ("PUT", "/v1/volumes/v"),
            ("GET", "/v1/volumes/v/nothing"), ("DELETE", "/v1/volumes"),
        ])
    func unknownRoute(method: String, path: String) async throws {
        try await withServer(FakeDevice()) { client in
            let answer = await exchange(client.socket.directory, method, path)
            #expect(answer.status == 404)
            #expect(answer.error?.code == .notFound)
            let message = try #require(answer.error?.message)
            #expect(message.contains("no \(method) \(path):"), "\(message)")
        }
    }

    @Test(
        "a path that is not percent-encoded UTF-8 is refused",
        arguments: ["%", "%4", "%zz", "%+1", "%FF"])
    func badEscapes(segment: String) async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let answer = await exchange(
                client.socket.directory, "DELETE", "/v1/volumes/\(segment)")
            #expect(answer.status == 400)
            #expect(answer.error?.code == .invalid)
        }
        #expect(await device.calls.isEmpty)
    }

    @Test("an answer that is not Holdfast's is an error, not a crash")
    func foreignServer() async throws {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "",
        ] {
            try await withDirectory { directory in
                let listener = try #require(
                    unixSocket(directory + "/control.sock", binding: true))
                listen(listener, 1)
                async let served: Void = blocking {
                    let connection = accept(listener, nil, nil)
                    var buffer = [UInt8](repeating: 0, count: 4096)
                    _ = read(connection, &buffer, buffer.count)
                    _ = send(connection, answer, answer.utf8.count, CInt(MSG_NOSIGNAL))
                    close(connection)
                    close(listener)
                }
                let client = ControlClient(directory: directory)
                await #expect(throws: ControlError.self) { try await client.status() }
                await served
            }
        }
    }
}
