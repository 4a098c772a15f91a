// The other side of a succession: a client device that hung, went on, and finds its place taken.
//
// Nothing it does reaches anybody any more: the registry refuses its changes, the appliances its accesses,
// and the kernel would not have let it live had it memory mapped. What is left to do is to get out of the
// way: its clients are disconnected without an answer, so that they connect again and find the successor,
// and the process ends.

import Glibc
import Logging
import RemoteMemory
import Registry

extension ClientDevice {
    /// Ends serving, once, when another client device has taken over.
    ///
    /// Whatever cannot be asked now is asked again at the next occasion.
    func endIfSuperseded() async {
        guard !hasEnded else { return }
        let successor: OwnerID?
        if let holder = try? registry.holder(), holder != owner {
            successor = holder
        } else if configuration.claim?.stands == false {
            successor = nil
        } else {
            return
        }
        hasEnded = true
        let process = DeviceClaim.record(in: configuration.directory).map { $0.process }
        log.critical(
            """
            another client device (\(successor.map { "owner \($0)" } ?? "owner unknown"), process \
            \(process.map(String.init) ?? "unknown")) has taken over \(configuration.directory): \
            this one ends
            """)
        for id in volumes.keys { await volumes[id]?.thread.fence(id) }
        await frontDoor.close()
        configuration.superseded()
    }
}

extension DataThread {
    /// Answers when the thread gets to it: that is the proof that it runs.
    package func ping() {}
}

extension FrontDoor {
    /// Answers when the thread gets to it.
    package func ping() {}
}

extension ClientDevice {
    package func ping() async {
        await frontDoor.ping()
        for thread in threads { await thread.ping() }
    }
}
