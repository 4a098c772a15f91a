// Requests to a volume with two members: every one is answered by the rules, once, and the server goes on.
//
//     input     form │ request, request, …        made from a few bytes each, most of them with a sense
//               raw  │ bytes as they are

import BlockServer
import CLinux
import ClientDevice
import Dispatch
import Glibc
import Logging
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// A thread that serves one volume, for as long as the program runs.
private final class Server: Sendable {
    static let size = ByteCount.mebibytes(1)
    static let shared = Server()

    private let thread: DataThread

    private init() {
        guard let thread = try? DataThread(name: "data", log: Logger(label: "fuzz")) else {
            fatalError("no thread")
        }
        self.thread = thread
        thread.start()
        let setup = VolumeSetup(
            id: VolumeID(.random()), name: "vol0", size: Self.size, ordering: .parallel,
            epoch: Epoch(1), patience: 5_000_000_000,
            active: [
                MemberIndex(0): .mapped(Self.region()), MemberIndex(1): .mapped(Self.region()),
            ], decisions: { _, _ in })
        Self.wait { _ = await thread.add(setup) }
    }

    private static func region() -> MappedRegion {
        let descriptor = clinux_memfd_create("fuzz", 1 | 2)
        let length = RegionLayout.regionSize(forDataOf: size)
        guard descriptor >= 0, ftruncate(descriptor, off_t(length.bytes)) == 0,
            clinux_seal(descriptor, F_SEAL_SHRINK) == 0,
            let region = try? MappedRegion(
                descriptor: descriptor, dataSize: size, isHuge: false, isWritable: true)
        else { fatalError("no memory for a region: errno \(errno)") }
        return region
    }

    func adopt(_ descriptor: Int32, _ terms: TransmissionTerms) {
        let thread = thread
        Self.wait { await thread.adopt(descriptor, export: "vol0", terms: terms, received: []) }
    }

    private static func wait(for body: @escaping @Sendable () async -> Void) {
        let done = DispatchSemaphore(value: 0)
        Task.detached {
            await body()
            done.signal()
        }
        done.wait()
    }
}

/// What was asked, by cookie.
private struct Question {
    var type: UInt16
    var length: UInt64
    var isAnswered = false
}

/// Requests made from an input.
private struct Requests {
    /// As many as make sense to look at together.
    private static let most = 64

    var bytes: [UInt8] = []
    var questions: [Question] = []
    /// Nothing is read behind it.
    var endsEarly = false

    init(_ reader: inout InputReader, _ form: MessageForm) {
        while !reader.isEmpty, questions.count < Self.most, !endsEarly { add(&reader, form) }
    }

    private mutating func add(_ reader: inout InputReader, _ form: MessageForm) {
        let choice = reader.byte()
        let type = choice < 0xf0 ? UInt16(choice & 7) : reader.number(UInt16.self)
        let flags = choice & 8 == 0 ? 0 : UInt16(reader.byte())
        let offset = reader.place(near: Server.size.bytes)
        var length = reader.place(near: choice & 16 == 0 ? 8192 : Server.size.bytes)
        if form != .extended { length &= 0xffff_ffff }
        let carries =
            type == CommandType.write
            || (form == .extended && flags & CommandFlags.payloadLength.rawValue != 0)
        // (What would be too large to be sent here is too large for the server, or is cut off.)
        if carries, length > 1 << 20, length <= UInt64(RequestRules.largestPayload) {
            length &= 0xfffff
        }
        bytes.append(network: form == .extended ? Wire.extendedRequestMagic : Wire.requestMagic)
        bytes.append(network: flags)
        bytes.append(network: type)
        bytes.append(network: UInt64(questions.count))
        bytes.append(network: offset)
        if form == .extended {
            bytes.append(network: length)
        } else {
            bytes.append(network: UInt32(length))
        }
        if type == CommandType.disconnect { return endsEarly = true }
        if carries {
            guard length <= UInt64(RequestRules.largestPayload) else { return endsEarly = true }
            bytes += [UInt8](repeating: choice, count: Int(length))
        }
        questions.append(Question(type: type, length: length))
    }
}

/// Reads the server's side, and traps at what must not be there.
private struct ReplyJudge {
    private var bytes: ArraySlice<UInt8>
    private var questions: [Question]
    private let form: MessageForm

    init(_ bytes: [UInt8], to questions: [Question], _ form: MessageForm) {
        self.bytes = bytes[...]
        self.questions = questions
        self.form = form
    }

    private mutating func take<Value: FixedWidthInteger>(_ type: Value.Type) -> Value {
        let size = MemoryLayout<Value>.size
        guard bytes.count >= size else { fatalError("a reply is cut off") }
        defer { bytes = bytes.dropFirst(size) }
        return bytes.prefix(size).reduce(0) { $0 << 8 | Value($1) }
    }

    private mutating func skip(_ count: UInt64) {
        guard count <= UInt64(bytes.count) else { fatalError("\(count) bytes of data are cut off") }
        bytes = bytes.dropFirst(Int(count))
    }

    private mutating func close(_ cookie: UInt64) -> Question {
        guard cookie < questions.count, !questions[Int(cookie)].isAnswered else {
            fatalError("an answer to \(cookie), which was not asked or is answered")
        }
        questions[Int(cookie)].isAnswered = true
        return questions[Int(cookie)]
    }

    mutating func judge() {
        while !bytes.isEmpty {
            if form == .simple { judgeSimple() } else { judgeChunk() }
        }
        for (cookie, question) in questions.enumerated() where !question.isAnswered {
            fatalError("request \(cookie) of type \(question.type) was not answered")
        }
    }

    private mutating func judgeSimple() {
        guard take(UInt32.self) == Wire.simpleReplyMagic else { fatalError("no reply") }
        let error = take(UInt32.self)
        let question = close(take(UInt64.self))
        if question.type == CommandType.read, error == 0 { skip(question.length) }
    }

    private mutating func judgeChunk() {
        let magic = take(UInt32.self)
        if magic == Wire.simpleReplyMagic, form == .structured {
            _ = take(UInt32.self)
            let question = close(take(UInt64.self))
            guard question.type != CommandType.read else { fatalError("a read has no chunks") }
            return
        }
        let expected =
            form == .extended ? Wire.extendedReplyMagic : Wire.structuredReplyMagic
        guard magic == expected else { fatalError("no chunk") }
        let isLast = take(UInt16.self) & 1 != 0
        _ = take(UInt16.self)
        let cookie = take(UInt64.self)
        if form == .extended { _ = take(UInt64.self) }
        skip(form == .extended ? take(UInt64.self) : UInt64(take(UInt32.self)))
        if isLast {
            _ = close(cookie)
        } else if cookie >= questions.count || questions[Int(cookie)].isAnswered {
            fatalError("a chunk for \(cookie), which was not asked or is answered")
        }
    }
}

func fuzzTransmission(_ input: [UInt8]) {
    var reader = InputReader(input)
    let choice = reader.byte()
    let form: MessageForm = [.simple, .structured, .extended, .structured][Int(choice & 3)]
    let contexts = choice & 4 == 0 ? [] : [MetaContext.allocation]
    let (client, server) = SocketEnd.pair()
    Server.shared.adopt(
        server, TransmissionTerms(form: form, contexts: form == .simple ? [] : contexts))
    guard choice & 0x18 != 0 else {
        _ = client.exchange(reader.takeRest(), thenEnd: true)
        return
    }
    let requests = Requests(&reader, form)
    let answer = client.exchange(requests.bytes, thenEnd: true)
    var judge = ReplyJudge(answer.received, to: requests.questions, form)
    judge.judge()
}
