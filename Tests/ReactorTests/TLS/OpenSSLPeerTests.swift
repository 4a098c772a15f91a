// Records of ours and OpenSSL's, each opened by the other: its own client, with changes of keys in between.

import CLinux
import Foundation
import Glibc
import Reactor
import TestSupport
import Testing

@Suite struct OpenSSLPeerTests {
    /// A pipe's ends.
    private static func pipe() throws -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [0, 0]
        try #require(pipe2(&ends, O_CLOEXEC) == 0)
        return (ends[0], ends[1])
    }

    private static func wait(_ stream: SocketStream, for events: Int32) throws {
        var entry = pollfd(fd: stream.descriptor, events: Int16(events), revents: 0)
        try #require(poll(&entry, 1, 20_000) == 1)
    }

    /// What arrives next, at least a byte.
    private static func next(_ stream: SocketStream) throws -> [UInt8] {
        while true {
            if let bytes = stream.received() { return bytes }
            try #require(errno == EAGAIN, "\(String(describing: stream.failure))")
            try wait(stream, for: POLLIN)
        }
    }

    /// How often it has changed its key.
    private static func updates(_ peer: RunningProcess) -> Int {
        peer.standardError.text.split(separator: "\n").count { $0.contains("KEYUPDATE") }
    }

    @Test(arguments: [
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    ])
    func `keys change in both directions`(suite: String) throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf", for: "DNS:x")
        let context = try TLSContext(
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: authority.certificate))
        let path = authority.directory.file("socket")
        let listener = try Listener(.unix(path: path))
        let (reading, writing) = try Self.pipe()
        let peer = try RunningProcess(
            [
                "sh", "-c", "exec <&3; exec \"$0\" \"$@\"", "openssl", "s_client", "-unix", path,
                "-tls1_3",
                "-ciphersuites", suite, "-cert", leaf.certificate, "-key", leaf.privateKey,
                "-CAfile",
                authority.certificate,
            ], descriptors: [reading])
        close(reading)
        defer { close(writing) }
        var waiting = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
        try #require(poll(&waiting, 1, 20_000) == 1)
        let descriptor = clinux_accept(listener.descriptor)
        try #require(descriptor >= 0)
        let stream = SocketStream(descriptor, tls: context)
        while let readiness = try stream.handshake() {
            try Self.wait(stream, for: readiness == .readable ? POLLIN : POLLOUT)
        }
        // (It takes a line that begins with K for a command: k changes its own key, K asks for ours as well.)
        for (round, command) in ["k\n", "K\n", "K\n", "k\n"].enumerated() {
            let line = "line \(round)\n"
            try #require(write(writing, line, line.utf8.count) == line.utf8.count)
            #expect(try Self.next(stream) == Array(line.utf8))
            let answer = "answer \(round)\n"
            #expect(stream.send(Array(answer.utf8)) == answer.utf8.count)
            #expect(
                peer.standardOutput.waitForLine(atMost: .seconds(20)) {
                    $0.contains("answer \(round)")
                }
                    != nil, "\(peer.standardOutput.text)\(peer.standardError.text)")
            try #require(write(writing, command, 2) == 2)
            // (What is read together with a command is part of it.)
            for _ in 0..<200 where Self.updates(peer) <= round { usleep(100_000) }
            #expect(Self.updates(peer) == round + 1, "\(peer.standardError.text)")
        }
        try #require(write(writing, "last\n", 5) == 5)
        #expect(try Self.next(stream) == Array("last\n".utf8))
    }
}
