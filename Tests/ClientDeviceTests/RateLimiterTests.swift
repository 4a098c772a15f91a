// A limit admits what it says over any time that is long, a little more at once, and nothing is lost by waiting.

import ClientDevice
import RemoteMemory
import ResiliencySet
import Testing

@Suite struct RateLimiterTests {
    private static let second: UInt64 = 1_000_000_000
    private static let start: UInt64 = 5_000_000_000

    /// How many requests begin in so many seconds, of a client that always has another one.
    private func begun(
        _ limits: VolumeLimits, of count: ByteCount, _ kind: RequestKind = .write,
        within seconds: UInt64
    ) throws -> Int {
        var limiter = try #require(RateLimiter(limits))
        var begun = 0
        // (Looked at every millisecond, as a loop does that has nothing else to do.)
        for millisecond in 0..<seconds * 1000 {
            limiter.setTime(Self.start + millisecond * 1_000_000)
            while limiter.admits {
                limiter.charge(kind, count)
                begun += 1
            }
        }
        return begun
    }

    @Test(arguments: [1, 10, 1000, 100_000] as [UInt64])
    func `requests a second`(iops: UInt64) throws {
        let count = try begun(VolumeLimits(iops: iops), of: ByteCount(4096), within: 10)
        let allowance = Double(iops) * Double(RateLimiter.allowance) / Double(Self.second)
        #expect(Double(count) >= Double(iops) * 9.9)
        #expect(Double(count) <= Double(iops) * 10 + allowance + 1)
    }

    @Test(arguments: [512, 4096, 1 << 20] as [UInt64])
    func `bytes a second`(size: UInt64) throws {
        let bandwidth = ByteCount.mebibytes(10)
        let count = try begun(
            VolumeLimits(bandwidth: bandwidth), of: ByteCount(size), within: 10)
        let bytes = Double(count) * Double(size)
        #expect(bytes >= Double(bandwidth.bytes) * 9.9)
        #expect(bytes <= Double(bandwidth.bytes) * 10.05 + Double(size))
    }

    @Test func `both at once: the narrower one counts`() throws {
        let limits = VolumeLimits(iops: 100, bandwidth: .mebibytes(100))
        #expect(try begun(limits, of: ByteCount(4096), within: 10) <= 1006)
        #expect(try begun(limits, of: .mebibytes(10), within: 10) <= 102)
    }

    @Test func `a discard moves no bytes, and is a request`() throws {
        let bytes = VolumeLimits(bandwidth: ByteCount(64 << 10))
        var limiter = try #require(RateLimiter(bytes))
        limiter.setTime(Self.start)
        for _ in 0..<1000 { limiter.charge(.discard, .gibibytes(1)) }
        #expect(limiter.admits)
        let requests = try begun(VolumeLimits(iops: 10), of: .gibibytes(1), .discard, within: 10)
        #expect(requests <= 102)
    }

    @Test func `after a rest no more than the allowance goes at once`() throws {
        var limiter = try #require(RateLimiter(VolumeLimits(iops: 1000)))
        limiter.setTime(Self.start)
        limiter.charge(.read, ByteCount(1))
        limiter.setTime(Self.start + 3600 * Self.second)
        var atOnce = 0
        while limiter.admits {
            limiter.charge(.read, ByteCount(1))
            atOnce += 1
        }
        #expect(atOnce == 51)
        #expect(limiter.pause == 1_000_000)
    }

    @Test func `one that is larger than the allowance goes whole, and those after it wait`() throws
    {
        var limiter = try #require(RateLimiter(VolumeLimits(bandwidth: .mebibytes(1))))
        limiter.setTime(Self.start)
        #expect(limiter.admits)
        limiter.charge(.write, .mebibytes(32))
        #expect(!limiter.admits)
        #expect(limiter.pause == 32 * Self.second - RateLimiter.allowance)
        limiter.setTime(Self.start + 32 * Self.second)
        #expect(limiter.admits && limiter.pause == 0)
    }

    /// With extended headers a client can have as many bytes zeroed at once as the volume has.
    @Test func `what takes longer than the clock can tell waits as long as there is`() throws {
        var limiter = try #require(RateLimiter(VolumeLimits(iops: 1, bandwidth: ByteCount(1))))
        limiter.setTime(Self.start)
        for count in [ByteCount.gibibytes(20), ByteCount(UInt64(Int64.max))] {
            limiter.charge(.zero, count)
            #expect(!limiter.admits)
        }
        #expect(limiter.pause > 250 * 365 * 24 * 3600 * Self.second)
    }

    @Test func `no limits are none`() {
        #expect(RateLimiter(.none) == nil)
    }
}
