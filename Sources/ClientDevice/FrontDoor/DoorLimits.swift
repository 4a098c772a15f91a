// How many clients there may be, and how long one may take to come in: what differs from site to site.

/// Limits of the front door that an operator may choose.
package struct DoorLimits: Hashable, Sendable {
    /// The numbers of connections that may be chosen: none at all would be no server, and for more there are no
    /// descriptors in the unit that we bring (`LimitNOFILE=`).
    package static let connectionRange = 1...65_536
    /// The times that may be chosen: in less no client far away comes in, and for longer nobody waits.
    package static let handshakeRange = Duration.seconds(1)...Duration.seconds(600)

    /// The most connections of all exports; more wait in the backlog.
    package var connections = 4096
    /// The most connections of one export; more are refused.
    package var exportConnections = 1024
    /// How long a handshake may take, with that of TLS.
    package var handshakeTime = Duration.seconds(30)

    package init() {}

    /// The most descriptors that clients take at so many addresses, with those in their handshakes.
    package func descriptors(atAddresses count: Int) -> Int {
        connections + count * FrontDoor.mostHandshakes
    }
}
