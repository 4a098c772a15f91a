// The helper's logic as tables: what happens, and what it does about it. Time is a number.

import KernelDevice
import Testing

@Suite struct HelperLogicTests {
    typealias Event = HelperLogic.Event
    typealias Action = HelperLogic.Action

    static let zero = DeviceIndex(0)

    static func device(_ index: DeviceIndex = zero, _ export: String = "vol0") -> AttachedDevice {
        AttachedDevice(
            device: index,
            backend: Backend(export: export, connections: 4, timeout: 5, directory: "/d"),
            size: 1 << 20, isReadOnly: false)
    }

    static func seconds(_ seconds: Double) -> Duration { .seconds(seconds) }

    /// A helper that found one device and gave it sockets twice; what it is doing next is measuring.
    static func calm() -> HelperLogic {
        var logic = HelperLogic()
        _ = logic.handle(.tick, now: .zero)
        #expect(
            logic.handle(.found([device()]), now: .zero) == [
                .tell(.keeps(device())), .renew(device(), attempt: 1),
            ])
        #expect(logic.handle(.renewed(zero, attempt: 1, .given), now: .zero).isEmpty)
        #expect(logic.handle(.tick, now: seconds(1)) == [.renew(device(), attempt: 2)])
        #expect(logic.handle(.renewed(zero, attempt: 2, .given), now: seconds(1)).isEmpty)
        return logic
    }

    @Test func `the first thing it does is to look`() {
        var logic = HelperLogic()
        #expect(logic.handle(.tick, now: .zero) == [.look])
        #expect(logic.isIdle)
        #expect(logic.handle(.tick, now: .zero).isEmpty)
        #expect(logic.deadline == HelperLogic.measuringPause)
    }

    @Test func `a device that is new is offered sockets twice, then left alone`() {
        var logic = Self.calm()
        #expect(!logic.isIdle)
        #expect(logic.handle(.tick, now: Self.seconds(9)).isEmpty)
        #expect(logic.handle(.found([Self.device()]), now: Self.seconds(10)).isEmpty)
    }

    @Test func `a death brings sockets at once, and once more a moment later`() {
        var logic = Self.calm()
        #expect(
            logic.handle(.linkDied(Self.zero), now: Self.seconds(2)) == [
                .renew(Self.device(), attempt: 3)
            ])
        // All four connections die, and four events tell of it.
        for _ in 0..<3 {
            #expect(logic.handle(.linkDied(Self.zero), now: Self.seconds(2)).isEmpty)
        }
        #expect(
            logic.handle(.renewed(Self.zero, attempt: 3, .given), now: Self.seconds(3)) == [
                .tell(.isBack(Self.zero, after: Self.seconds(1)))
            ])
        #expect(logic.deadline == Self.seconds(4))
        #expect(
            logic.handle(.tick, now: Self.seconds(4)) == [.renew(Self.device(), attempt: 4)])
        #expect(
            logic.handle(.renewed(Self.zero, attempt: 4, .given), now: Self.seconds(4)).isEmpty)
        #expect(logic.handle(.tick, now: Self.seconds(5)).isEmpty)
    }

    @Test func `a death while sockets are on their way is not forgotten`() {
        var logic = Self.calm()
        _ = logic.handle(.linkDied(Self.zero), now: Self.seconds(2))
        _ = logic.handle(.renewed(Self.zero, attempt: 3, .given), now: Self.seconds(2))
        #expect(logic.handle(.tick, now: Self.seconds(3)) == [.renew(Self.device(), attempt: 4)])
        // It may have come before the death, and have been let go of.
        #expect(logic.handle(.linkDied(Self.zero), now: Self.seconds(3)).isEmpty)
        _ = logic.handle(.renewed(Self.zero, attempt: 4, .given), now: Self.seconds(3))
        #expect(logic.handle(.tick, now: Self.seconds(4)) == [.renew(Self.device(), attempt: 5)])
    }

    @Test func `without a server it tries again, eagerly at first, and says so once`() {
        var logic = Self.calm()
        _ = logic.handle(.linkDied(Self.zero), now: Self.seconds(2))
        var now = Self.seconds(2)
        var attempt = 3
        var notes: [Action] = []
        while now < Self.seconds(82) {
            notes += logic.handle(
                .renewed(Self.zero, attempt: attempt, .noServer("down")), now: now)
            let pause = logic.deadline - now
            let expected =
                now - Self.seconds(2) > HelperLogic.eagerTime
                ? HelperLogic.patientPause : HelperLogic.eagerPause
            // (It looks around in between.)
            guard pause >= expected else {
                _ = logic.handle(.tick, now: logic.deadline)
                now += expected
                attempt += logic.handle(.tick, now: now).count
                continue
            }
            #expect(pause == expected)
            now += pause
            attempt += 1
            let actions = logic.handle(.tick, now: now).filter { $0 != .look }
            #expect(actions == [.renew(Self.device(), attempt: attempt)])
        }
        #expect(notes == [.tell(.waits(Self.zero, reason: "down"))])
        #expect(
            logic.devices(now: now).map(\.waiting) == [now - Self.seconds(2)])
        let back = logic.handle(.renewed(Self.zero, attempt: attempt, .given), now: now)
        #expect(back == [.tell(.isBack(Self.zero, after: now - Self.seconds(2)))])
        #expect(logic.devices(now: now).map(\.waiting) == [nil])
    }

    @Test func `results of what is no longer under way are ignored`() {
        var logic = Self.calm()
        _ = logic.handle(.tick, now: Self.seconds(11))
        _ = logic.handle(.linkDied(Self.zero), now: Self.seconds(12))
        for event in [
            Event.renewed(Self.zero, attempt: 1, .noServer("old")),
            .renewed(DeviceIndex(9), attempt: 1, .given),
            .measured(Self.zero, attempt: 3, size: 9),
            .measured(DeviceIndex(9), attempt: 3, size: 9),
        ] {
            #expect(logic.handle(event, now: Self.seconds(12)).isEmpty)
        }
    }

    @Test func `the size is asked for from time to time, and set when it is another`() {
        var logic = Self.calm()
        let actions = logic.handle(.tick, now: Self.seconds(11))
        #expect(actions == [.look, .measure(Self.device(), attempt: 3)])
        #expect(
            logic.handle(.measured(Self.zero, attempt: 3, size: 2 << 20), now: Self.seconds(11))
                == [
                    .resize(Self.device(), size: 2 << 20), .look,
                    .tell(.resized(Self.zero, bytes: 2 << 20)),
                ])
    }

    @Test(arguments: [nil, 0, 1 << 20] as [UInt64?])
    func `the same size, or none, changes nothing`(size: UInt64?) {
        var logic = Self.calm()
        _ = logic.handle(.tick, now: Self.seconds(11))
        #expect(
            logic.handle(.measured(Self.zero, attempt: 3, size: size), now: Self.seconds(11))
                .isEmpty)
        #expect(logic.deadline == Self.seconds(21))
    }

    @Test func `a death while the size is asked for comes first`() {
        var logic = Self.calm()
        _ = logic.handle(.tick, now: Self.seconds(11))
        #expect(
            logic.handle(.linkDied(Self.zero), now: Self.seconds(12)) == [
                .renew(Self.device(), attempt: 4)
            ])
    }

    @Test func `a death of what is not known makes it look`() {
        var logic = Self.calm()
        #expect(logic.handle(.linkDied(DeviceIndex(7)), now: Self.seconds(2)) == [.look])
    }

    @Test func `after lost events every device is offered sockets`() {
        var logic = Self.calm()
        _ = logic.handle(
            .found([Self.device(), Self.device(DeviceIndex(1), "vol1")]), now: Self.seconds(2))
        _ = logic.handle(.renewed(DeviceIndex(1), attempt: 3, .given), now: Self.seconds(2))
        #expect(
            logic.handle(.eventsLost, now: Self.seconds(2)) == [
                .look, .renew(Self.device(), attempt: 4),
                .renew(Self.device(DeviceIndex(1), "vol1"), attempt: 5),
            ])
    }

    @Test func `what is detached is forgotten, and what takes its place is new`() {
        var logic = Self.calm()
        let other = Self.device(Self.zero, "vol1")
        #expect(
            logic.handle(.found([other]), now: Self.seconds(2)) == [
                .tell(.keeps(other)), .renew(other, attempt: 3),
            ])
        #expect(logic.handle(.found([]), now: Self.seconds(3)) == [.tell(.isGone(Self.zero))])
        #expect(logic.isIdle)
        #expect(
            logic.handle(.renewed(Self.zero, attempt: 3, .given), now: Self.seconds(3)).isEmpty)
    }

    @Test func `a device that takes no sockets makes it look, not try on`() {
        var logic = Self.calm()
        _ = logic.handle(.linkDied(Self.zero), now: Self.seconds(2))
        #expect(
            logic.handle(.renewed(Self.zero, attempt: 3, .detached), now: Self.seconds(2))
                == [.look])
        #expect(logic.handle(.tick, now: Self.seconds(3)).isEmpty)
    }
}
