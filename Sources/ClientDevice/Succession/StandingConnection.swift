// Clients that do not notice an orderly restart: their sockets outlive the process, in the hands of the service
// manager, and the next client device goes on with them.
//
//     stop    no more is received ─ what is in flight is answered ─ all replies are sent ─▶ standing
//     start   volumes are taken over ─▶ the export's thread goes on where the other stood
//
// Between the two requests wait in the sockets. A connection under TLS takes its keys along. One that does not take
// its replies does not stand, nor does any whose process was killed.

package import BlockServer
import Logging
package import Reactor

/// A connection in its transmission phase that nobody serves now.
package struct StandingConnection: Sendable {
    /// Non-blocking; whoever has this value closes it.
    package var descriptor: Int32
    /// How it goes on under TLS; nil for a plain one.
    package var tls: SuspendedTLS?
    package var export: String
    package var terms: TransmissionTerms
    /// What was received and not handled: less than all of the requests it holds.
    package var received: [UInt8]

    package init(
        descriptor: Int32, tls: SuspendedTLS?, export: String, terms: TransmissionTerms,
        received: [UInt8]
    ) {
        self.descriptor = descriptor
        self.tls = tls
        self.export = export
        self.terms = terms
        self.received = received
    }
}

extension ClientDevice {
    /// Goes on with the clients of the client device before; to be called after `start`.
    ///
    /// Those whose export is not served are disconnected.
    package func goOn(with connections: [StandingConnection]) async {
        guard !connections.isEmpty else { return }
        let count = await frontDoor.readmit(connections)
        log.info("connections from before: \(connections.count), gone on with: \(count)")
    }
}
