// A listener takes over from the dead, never from the living, and leaves nothing behind.

import CLinux
import Glibc
import Reactor
import Testing

// (One after the other: the mask of new files' modes belongs to the whole process.)
@Suite(.serialized) struct ListenerTests {
    /// A fresh directory; the caller removes it.
    static func directory() throws -> String {
        var template = Array("/tmp/holdfast-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw ReactorError.system(call: "mkdtemp", errno: errno)
        }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// A socket's path in a directory that goes when `body` is done.
    static func withPath(_ body: (String) throws -> Void) throws {
        let directory = try directory()
        defer {
            unlink(directory + "/s")
            rmdir(directory)
        }
        try body(directory + "/s")
    }

    static func connect(_ path: String) -> Int32 {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard clinux_unix_connect(descriptor, path) != 0 else { return descriptor }
        close(descriptor)
        return -1
    }

    /// What is accepted within a second.
    static func accepted(_ listener: Listener) -> Int32? {
        var entry = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
        poll(&entry, 1, 1000)
        guard case .connection(let connection) = listener.accept() else { return nil }
        return connection
    }

    @Test func acceptsWithoutWaiting() throws {
        try Self.withPath { path in
            let listener = try Listener(.unix(path: path))
            #expect(listener.address == .unix(path: path))
            guard case .none = listener.accept() else {
                Issue.record("nobody has connected")
                return
            }
            let client = Self.connect(path)
            let connection = try #require(Self.accepted(listener))
            var byte: UInt8 = 1
            #expect(read(connection, &byte, 1) == -1)
            #expect(errno == EAGAIN, "connections do not block")
            #expect(write(client, &byte, 1) == 1)
            close(client)
            #expect(read(connection, &byte, 1) == 1)
            close(connection)
        }
    }

    @Test func onlyItsUserCanConnect() throws {
        try Self.withPath { path in
            let before = umask(0o022)
            defer { umask(before) }
            let listener = try Listener(.unix(path: path))
            var status = stat()
            #expect(lstat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o700)
            #expect(umask(0o022) == 0o022, "the mask is as it was")
            withExtendedLifetime(listener) {}
        }
    }

    @Test func replacesTheFileOfTheDead() throws {
        try Self.withPath { path in
            let stale = clinux_socket_stream(AF_UNIX)
            #expect(clinux_unix_bind(stale, path) == 0)
            #expect(listen(stale, 1) == 0)
            close(stale)
            #expect(access(path, F_OK) == 0)
            let listener = try Listener(.unix(path: path))
            let client = Self.connect(path)
            #expect(client >= 0)
            close(client)
            withExtendedLifetime(listener) {}
        }
    }

    @Test func refusesToReplaceTheLiving() throws {
        try Self.withPath { path in
            let first = try Listener(.unix(path: path))
            let expected = ReactorError.addressInUse("unix:\(path)")
            #expect(throws: expected) { _ = try Listener(.unix(path: path)) }
            #expect(
                expected.description
                    == "something listens at unix:\(path) already; stop it or choose another address"
            )
            let client = Self.connect(path)
            #expect(client >= 0, "the first goes on")
            close(client)
            withExtendedLifetime(first) {}
        }
    }

    @Test func succeedsTheHungAndTheirEndTakesNothingAway() throws {
        try Self.withPath { path in
            var hung: Listener? = try Listener(.unix(path: path))
            #expect(throws: ReactorError.addressInUse("unix:\(path)")) {
                _ = try Listener(.unix(path: path), succeeding: getpid() + 1)
            }
            let successor = try Listener(.unix(path: path), succeeding: getpid())
            withExtendedLifetime(hung) {}
            hung = nil
            let client = Self.connect(path)
            #expect(client >= 0, "the file of the successor went with its predecessor")
            let connection = try #require(Self.accepted(successor))
            close(connection)
            close(client)
        }
    }

    @Test func somebodyWhoAcceptsNobodyIsNotWaitedFor() throws {
        try Self.withPath { path in
            let hung = clinux_socket_stream(AF_UNIX)
            defer { close(hung) }
            #expect(clinux_unix_bind(hung, path) == 0)
            #expect(listen(hung, 0) == 0)
            // Whoever fits into the backlog of none: there is always room for one.
            let waiting = Self.connect(path)
            defer { close(waiting) }
            #expect(waiting >= 0)
            #expect(throws: ReactorError.addressInUse("unix:\(path)")) {
                _ = try Listener(.unix(path: path))
            }
            let successor = try Listener(.unix(path: path), succeeding: getpid())
            let client = Self.connect(path)
            #expect(client >= 0)
            close(client)
            withExtendedLifetime(successor) {}
        }
    }

    @Test func keepsFilesThatAreNoSockets() throws {
        try Self.withPath { path in
            let file = clinux_open(path, O_CREAT | O_WRONLY, 0o600)
            var byte: UInt8 = 1
            #expect(write(file, &byte, 1) == 1)
            close(file)
            #expect(throws: ReactorError.self) { _ = try Listener(.unix(path: path)) }
            var status = stat()
            #expect(lstat(path, &status) == 0 && status.st_size == 1)
        }
    }

    @Test func leavesNoFileBehind() throws {
        try Self.withPath { path in
            do {
                let listener = try Listener(.unix(path: path))
                #expect(access(path, F_OK) == 0)
                withExtendedLifetime(listener) {}
            }
            #expect(access(path, F_OK) != 0)
        }
    }

    @Test func pathsHaveALimit() throws {
        let directory = try Self.directory()
        defer { rmdir(directory) }
        let longest = directory + "/" + String(repeating: "x", count: 106 - directory.utf8.count)
        #expect(longest.utf8.count == 107)
        let listener = try Listener(.unix(path: longest))
        let client = Self.connect(longest)
        #expect(client >= 0)
        close(client)
        withExtendedLifetime(listener) {}
        let expected = ReactorError.pathTooLong(longest + "x")
        #expect(throws: expected) { _ = try Listener(.unix(path: longest + "x")) }
        #expect(expected.description.contains("107 bytes"))
    }

    @Test func directoriesMustExist() {
        let path = "/tmp/holdfast-test-none/s"
        let expected = ReactorError.system(call: "listening at \(path)", errno: ENOENT)
        #expect(throws: expected) { _ = try Listener(.unix(path: path)) }
        #expect(expected.description.hasSuffix("failed: No such file or directory"))
    }

    // MARK: TCP

    @Test func portZeroBecomesAPort() throws {
        let listener = try Listener(.tcp(host: "127.0.0.1", port: 0))
        guard case .tcp(let host, let port) = listener.address else {
            Issue.record("\(listener.address)")
            return
        }
        #expect(host == "127.0.0.1")
        #expect(port != 0)
        let client = clinux_socket_stream(AF_INET)
        defer { close(client) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(
                    client, __CONST_SOCKADDR_ARG(__sockaddr__: $0),
                    socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0)
        let connection = try #require(Self.accepted(listener))
        defer { close(connection) }
        for (level, name) in [(Int32(IPPROTO_TCP), TCP_NODELAY), (SOL_SOCKET, SO_KEEPALIVE)] {
            var (value, size) = (Int32(0), socklen_t(4))
            #expect(getsockopt(connection, level, name, &value, &size) == 0)
            #expect(value != 0, "small answers are not held back, dead peers are noticed")
        }
        let taken = ReactorError.addressInUse("tcp:127.0.0.1:\(port)")
        #expect(throws: taken) { _ = try Listener(.tcp(host: "127.0.0.1", port: port)) }
    }

    @Test func hostsMustExist() {
        #expect(throws: ReactorError.badAddress("tcp:no.such.host.invalid:1")) {
            _ = try Listener(.tcp(host: "no.such.host.invalid", port: 1))
        }
        #expect(throws: ReactorError.self) { _ = try Listener(.tcp(host: "192.0.2.1", port: 0)) }
    }

    @Test func tellsThatNoDescriptorIsLeft() async {
        await #expect(processExitsWith: .success) {
            let directory = try Self.directory()
            let listener = try Listener(.unix(path: directory + "/s"))
            let client = Self.connect(directory + "/s")
            var limit = rlimit(rlim_cur: rlim_t(client + 1), rlim_max: rlim_t(client + 1))
            guard client >= 0, setrlimit(__rlimit_resource_t(7), &limit) == 0 else { exit(2) }
            guard case .exhausted(errno: EMFILE) = listener.accept() else { exit(3) }
            unlink(directory + "/s")
            rmdir(directory)
        }
    }
}
