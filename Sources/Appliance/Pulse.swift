// Whether an appliance's loop still comes round: what it does for this it would do for a client device.

import Reactor

/// Lives on the appliance's loop.
actor Pulse {
    private nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe loop.asUnownedSerialExecutor()
    }

    init(_ loop: EventLoop) { self.loop = loop }

    func beat() {}

    /// Does something between two turns of the loop.
    func perform<Failure: Error>(_ body: @Sendable () throws(Failure) -> Void) throws(Failure) {
        try body()
    }
}
