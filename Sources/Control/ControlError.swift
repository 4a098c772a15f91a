// What goes wrong with a request, as one closed set.
//
// The same value is thrown by the device, carried as JSON, and thrown again by the client: whoever
// calls cannot tell whether the device is in the same process.

/// Why the client device did not do what it was asked to.
public struct ControlError: Error, Hashable, Sendable, Codable, CustomStringConvertible {
    /// What kind of failure it is, for programs.
    public enum Code: String, Hashable, Sendable, Codable, CaseIterable {
        /// What was named does not exist.
        case notFound
        /// It cannot be done in the present state, such as creating what exists already.
        case conflict
        /// The request makes no sense, whatever the state.
        case invalid
        /// Nobody is there to answer, or not at present: asking again later may help.
        case unavailable
        /// The appliances that are up do not have the memory.
        case insufficientMemory
        /// It was tried and did not succeed.
        case failed
    }

    public let code: Code
    /// One sentence that says what happened and what to do about it, final period included.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
