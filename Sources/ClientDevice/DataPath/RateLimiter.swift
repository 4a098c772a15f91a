// How fast the clients of a volume and its snapshots may go, if that is limited.
//
//     earlier          now        now + allowance
//     ───────┼──────────┼──────────────┼────────────▶
//            └ booked ──────▶│ a request may begin as long as `booked` is left of the allowance's end,
//                              and books the time that the limit gives it from there on, or from now
//
// A token bucket, written as the time until which it is empty: nothing has to be refilled. A request is never
// cut in two: one that is larger than the allowance books far ahead, and those after it wait that long.

package import RemoteMemory
package import ResiliencySet

/// The limits of one volume.
package struct RateLimiter {
    /// How much of a limit may be used at once after a rest, in nanoseconds of it.
    package static let allowance: UInt64 = 50_000_000
    private static let second: UInt64 = 1_000_000_000

    private let iops: UInt64?
    private let bandwidth: UInt64?
    /// Until when each limit is used up, by the monotonic clock in nanoseconds.
    private var requestsBooked: UInt64 = 0
    private var bytesBooked: UInt64 = 0
    /// The time, as it was last told.
    private var now: UInt64 = 0

    /// Nil when nothing is limited.
    package init?(_ limits: VolumeLimits) {
        guard limits != .none else { return nil }
        // (Zero would never admit anything; the control side takes it for no limit.)
        iops = limits.iops.map { max(1, $0) }
        bandwidth = limits.bandwidth.map { max(1, $0.bytes) }
    }

    package mutating func setTime(_ now: UInt64) { self.now = max(self.now, now) }

    private var booked: UInt64 { max(requestsBooked, bytesBooked) }

    /// Whether another request may begin.
    package var admits: Bool { booked <= now + Self.allowance }

    /// For how long none may begin, in nanoseconds.
    package var pause: UInt64 { admits ? 0 : booked - now - Self.allowance }

    /// Books what a request takes that begins now.
    package mutating func charge(_ kind: RequestKind, _ count: ByteCount) {
        if let iops { requestsBooked = Self.end(of: 1, from: max(requestsBooked, now), at: iops) }
        guard let bandwidth, kind != .discard else { return }
        bytesBooked = Self.end(of: count.bytes, from: max(bytesBooked, now), at: bandwidth)
    }

    /// When so many are through that begin at `start`, at so many a second: never, where the clock cannot tell it.
    private static func end(of count: UInt64, from start: UInt64, at rate: UInt64) -> UInt64 {
        let product = count.multipliedFullWidth(by: second)
        guard product.high < rate else { return .max }
        let (end, overflows) =
            start.addingReportingOverflow(rate.dividingFullWidth(product).quotient)
        return overflows ? .max : end
    }
}
