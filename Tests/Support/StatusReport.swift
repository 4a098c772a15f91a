// What `holdfast status --json` says, as far as the tests look at it.

/// The state of a directory's client device, appliances and volumes.
package struct StatusReport: Decodable, Sendable {
    package struct Appliance: Decodable, Sendable {
        package let name: String
        package let state: String
        /// Nil when the appliance is down.
        package let pid: Int32?
        package let incarnation: String?
        package let capacityBytes: UInt64
        package let allocatedBytes: UInt64
        package let residentBytes: UInt64
    }

    /// How far a rebuild is.
    package struct Progress: Decodable, Sendable {
        package let doneBytes: UInt64
        package let totalBytes: UInt64

        /// What is still to be copied.
        package var missingBytes: UInt64 { totalBytes - doneBytes }
    }

    package struct Member: Decodable, Sendable {
        package let index: Int
        package let appliance: String
        /// The region's identifier.
        package let region: String
        package let state: String
        /// Nil unless it is being rebuilt.
        package let rebuild: Progress?
    }

    package struct Snapshot: Decodable, Sendable {
        package let name: String
        package let sizeBytes: UInt64
        package let state: String
    }

    /// What clients asked for, and got.
    package struct Counters: Decodable, Sendable {
        package let reads: UInt64
        package let writes: UInt64
        package let discards: UInt64
        package let errors: UInt64
    }

    package struct Volume: Decodable, Sendable {
        package let name: String
        package let sizeBytes: UInt64
        package let layout: String
        package let epoch: UInt64
        package let health: String
        package let uri: String?
        package let connections: Int
        package let counters: Counters
        package let members: [Member]
        package let snapshots: [Snapshot]
        /// In bytes a second; nil for none.
        package let rebuildLimit: UInt64?
        /// What its clients get at most in a second; nil for as much as there is.
        package let iopsLimit: UInt64?
        package let bandwidthLimit: UInt64?
        /// What keeps a member that is wanted from being added; nil for nothing.
        package let obstacle: String?
    }

    /// The client device's.
    package let pid: Int32
    package let nbd: [String]
    package let appliances: [Appliance]
    package let volumes: [Volume]

    /// The volume called `name`.
    package func volume(_ name: String) throws(HarnessError) -> Volume {
        guard let volume = volumes.first(where: { $0.name == name }) else {
            throw HarnessError("status knows no volume \(name)")
        }
        return volume
    }

    /// The appliance called `name`.
    package func appliance(_ name: String) throws(HarnessError) -> Appliance {
        guard let appliance = appliances.first(where: { $0.name == name }) else {
            throw HarnessError("status knows no appliance \(name)")
        }
        return appliance
    }
}
