import Testing

@testable import NBDBench

@Suite("System calls")
struct SystemCallTests {
    private let text = """
        # started on Sun Nov 22 23:24:19 2026

        3000,,raw_syscalls:sys_enter,1000,100.00,,
        1000,,syscalls:sys_enter_recvmsg,1000,100.00,,
        1500,,syscalls:sys_enter_sendmsg,1000,100.00,,
        <not counted>,,syscalls:sys_enter_poll,0,100.00,,
        """

    @Test("are told for each request, the most frequent first")
    func counts() {
        let count = SystemCalls.parse(text, process: "client device", requests: 2000)
        #expect(count?.perRequest == 1.5)
        #expect(count?.calls.map(\.name) == ["sendmsg", "recvmsg"])
        #expect(count?.calls.map(\.perRequest) == [0.75, 0.5])
    }

    @Test("of a process that slept are none")
    func asleep() {
        let count = SystemCalls.parse(
            "<not counted>,,raw_syscalls:sys_enter,0,100.00,,", process: "idle", requests: 10)
        #expect(count?.perRequest == 0)
    }

    @Test("that cannot be counted are not taken for none")
    func unsupported() {
        #expect(
            SystemCalls.parse(
                "<not supported>,,raw_syscalls:sys_enter,0,100.00,,", process: "p", requests: 1)
                == nil)
        #expect(SystemCalls.parse("", process: "p", requests: 1) == nil)
    }

    @Test(
        "belong to processes by what they are",
        arguments: [
            (["/x/holdfast", "serve", "--dir", "/d"], "client device"),
            (["/x/holdfast", "up"], "supervisor"),
            (["holdfast", "appliance", "run", "--name", "a1"], "a1"),
            (["/usr/bin/nbdkit", "-f"], "nbdkit"),
        ])
    func titles(arguments: [String], title: String) {
        #expect(ProcessIdentity.title(ofArguments: arguments) == title)
    }
}
