// G1, G2, G3 while a set changes: more copies, fewer, members that move, appliances that are emptied, and
// the client device killed in the middle of it.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct SetChanges {
        /// Two copies on two appliances, with room for more than the volume.
        private static let pair = ["--size", "128M", "--layout", "mirror:2", "--memory", "1G"]

        /// An appliance that the test runs, known to the client device; it ends with this object.
        private static func extra(
            _ name: String, for up: HoldfastUp, memory: String = "1G", domain: String? = nil
        ) throws -> RunningProcess {
            let socket = up.directory.file("\(name).sock")
            let process = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", name, "--memory", memory,
                "--listen", "unix:\(socket)",
            ])
            let label = domain.map { ["--failure-domain", $0] } ?? []
            let isKnown = try eventually(atMost: .seconds(30)) { () throws -> Bool? in
                let run = try ToolRun(
                    [HoldfastBinary.path, "appliance", "add", name, "unix:\(socket)"] + label
                        + ["--dir", up.path])
                return run.succeeded ? true : nil
            }
            guard isKnown == true else { throw HarnessError("\(name) cannot be added\(up.log)") }
            return process
        }

        private static func places(_ up: HoldfastUp) throws -> Set<String> {
            Set(try up.status().volume(up.volume).members.map(\.appliance))
        }

        /// Expects that no appliance but those of `up`'s volume holds a region any more.
        private static func expectNothingLeftBehind(_ up: HoldfastUp) throws {
            let status = try up.waitUntilHealthy()
            let holders = Set(try status.volume(up.volume).members.map(\.appliance))
            for appliance in status.appliances where !holders.contains(appliance.name) {
                #expect(appliance.allocatedBytes == 0, "\(appliance.name) holds a region still")
            }
        }

        @Test func aThirdCopyIsAddedAndTakenAwayUnderLoad() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            let writer = try up.startWriter()
            for _ in 0..<count("HOLDFAST_CHAOS_LAYOUTS", default: 2) {
                try up.require("volume", "set", up.volume, "--layout", "mirror:3")
                let grown = try up.waitUntilHealthy().volume(up.volume)
                #expect(grown.layout == "mirror:3")
                #expect(grown.members.map(\.state) == ["active", "active", "active"])
                try writer.waitForWrites(500)
                try up.require("volume", "set", up.volume, "--layout", "mirror:2")
                let shrunk = try up.waitUntilHealthy().volume(up.volume)
                #expect(shrunk.layout == "mirror:2")
                #expect(shrunk.members.map(\.state) == ["active", "active"])
                try Self.expectNothingLeftBehind(up)
                try writer.waitForWrites(500)
            }
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        /// Clients are told by how many members the layout has now, not by how many it had.
        @Test(.needs(.tool("nbdinfo"))) func whatLacksACopyOfTheNewLayoutIsDegraded() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            func map() throws -> String {
                try ToolRun.output("nbdinfo", "--map=holdfast:resiliency", "--totals", up.uri)
            }
            try up.require("volume", "set", up.volume, "--layout", "mirror:3")
            try up.waitUntilHealthy()
            #expect(try map().contains(/100\.0%\s+0\b/))
            third.terminate()
            // (What `status` says is not asked: it may know of the death a moment before.)
            let isDegraded = try eventually(atMost: .seconds(30)) { () throws -> Bool? in
                try map().contains(/100\.0%\s+1\b/) ? true : nil
            }
            #expect(isDegraded == true)
            try up.require("volume", "set", up.volume, "--layout", "mirror:2")
            #expect(try map().contains(/100\.0%\s+0\b/))
        }

        @Test func moreCopiesThanAppliancesAreRefusedAndNothingChanges() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let epoch = try up.status().volume(up.volume).epoch
            let run = try up.cli("volume", "set", up.volume, "--layout", "mirror:3")
            #expect(run.status == 1)
            #expect(run.standardError.contains("stays mirror:2: it needs 1 appliance"), "\(run)")
            let after = try up.status().volume(up.volume)
            #expect(after.layout == "mirror:2" && after.epoch == epoch)
        }

        @Test func aMemberMovesUnderLoadAndBack() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            let writer = try up.startWriter()
            try up.require(
                "volume", "move", up.volume, "--from", "appliance-1", "--to", "third")
            #expect(try Self.places(up) == ["appliance-2", "third"])
            try Self.expectNothingLeftBehind(up)
            try writer.waitForWrites(500)
            // Without a target there is but one place.
            try up.require("volume", "move", up.volume, "--from", "third")
            #expect(try Self.places(up) == ["appliance-1", "appliance-2"])
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func aMoveThatMakesNoSenseIsRefused() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up, memory: "64M")
            defer { third.terminate() }
            for (arguments, sentence) in [
                (["--from", "third"], "no member on third"),
                (["--from", "appliance-1", "--to", "nowhere"], "no appliance 'nowhere'"),
                (["--from", "appliance-1", "--to", "appliance-2"], "holds a member"),
                (["--from", "appliance-1", "--to", "third"], "too little on third"),
            ] {
                let run = try ToolRun(
                    [HoldfastBinary.path, "volume", "move", up.volume, "--dir", up.path]
                        + arguments)
                #expect(run.status == 1 && run.standardError.contains(sentence), "\(run)")
            }
            let members = try up.status().volume(up.volume).members
            #expect(members.map(\.appliance).sorted() == ["appliance-1", "appliance-2"])
        }

        /// The failure domains are kept apart by a move too.
        @Test func aMoveGoesToTheDomainThatIsFree() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:1", "--memory", "1G"])
            defer { up.stop() }
            let extras = try [("a1", "a"), ("a2", "a"), ("b1", "b")].map {
                try Self.extra($0.0, for: up, domain: $0.1)
            }
            defer { for extra in extras { extra.terminate() } }
            try up.require("volume", "move", up.volume, "--from", "appliance-1", "--to", "a1")
            try up.require("volume", "set", up.volume, "--layout", "mirror:3")
            #expect(
                try Self.places(up).isSuperset(of: ["a1", "b1", "appliance-1"]), "\(up.log)")
            try up.require("volume", "move", up.volume, "--from", "a1")
            #expect(try Self.places(up) == ["a2", "b1", "appliance-1"])
        }

        @Test func anApplianceIsDrainedUnderLoadAndRemoved() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            for name in ["second", "other"] {
                try up.require(
                    "volume", "create", name, "--size", "32M", "--layout", "mirror:2")
            }
            let writer = try up.startWriter()
            try up.require("snapshot", "create", up.volume, "monday")
            try up.waitUntilHealthy()
            try up.require("appliance", "drain", "appliance-1")
            let status = try up.status()
            for volume in status.volumes {
                #expect(!volume.members.contains { $0.appliance == "appliance-1" })
                #expect(volume.health == "healthy")
            }
            try writer.waitForWrites(500)
            // A new volume does not go there either.
            try up.require("volume", "create", "late", "--size", "16M", "--layout", "mirror:2")
            #expect(
                try Set(up.status().volume("late").members.map(\.appliance))
                    == ["appliance-2", "third"])
            // Whether the snapshot is there is placement's affair; while it is, it is in the way.
            if try up.cli("appliance", "remove", "appliance-1").succeeded == false {
                try up.require("snapshot", "delete", up.volume, "monday")
                try up.require("appliance", "remove", "appliance-1")
            }
            #expect(try up.status().appliances.map(\.name) == ["appliance-2", "third"])
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func aDrainWithoutRoomElsewhereIsRefusedAndOneCalledOffUndoesItself() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let refused = try up.cli("appliance", "drain", "appliance-1")
            #expect(refused.status == 1)
            #expect(
                refused.standardError.contains(
                    "appliance appliance-1 cannot be drained: volume vol0 needs 1 appliance"),
                "\(refused)")
            #expect(try !up.require("appliance", "list").contains("draining"))

            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            let writer = try up.startWriter()
            // So slow that it cannot end before it is called off.
            try up.require("rebuild", up.volume, "--limit", "64K")
            let drain = try RunningProcess([
                HoldfastBinary.path, "appliance", "drain", "appliance-1", "--dir", up.path,
            ])
            _ = try up.waitForStatus("moving") {
                try $0.volume(up.volume).members.contains { $0.state == "rebuilding" }
            }
            #expect(try up.require("appliance", "list").contains("draining"))
            try up.require("appliance", "drain", "appliance-1", "--cancel")
            #expect(drain.waitForExit(atMost: .seconds(60)) == .exited(1))
            _ = try up.waitForStatus("as before") {
                try $0.volume(up.volume).members.map(\.state) == ["active", "active"]
            }
            #expect(try Self.places(up) == ["appliance-1", "appliance-2"])
            try Self.expectNothingLeftBehind(up)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        /// Each kill finds the move at another point: being added, rebuilt, or its former member dropped.
        @Test func theClientDeviceDiesInTheMiddleOfAMove() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            let writer = try up.startWriter()
            for round in 0..<count("HOLDFAST_CHAOS_MOVES", default: 6) {
                let before = try up.waitUntilHealthy()
                let names = try before.volume(up.volume).members.map(\.appliance)
                let from = names[round % names.count]
                let command = try RunningProcess([
                    HoldfastBinary.path, "volume", "move", up.volume, "--from", from, "--dir",
                    up.path,
                ])
                // The first while it certainly goes on, the others whenever that is.
                if round == 0 {
                    _ = try up.waitForStatus("moving") {
                        try $0.volume(up.volume).members.count == 3
                    }
                } else {
                    sleepFor(.milliseconds(round * 40))
                }
                try up.kill(before.pid)
                try up.waitForClient(otherThan: before.pid)
                _ = command.waitForExit(atMost: .seconds(60))
                try writer.waitForWrites(300)
                // Begun or not, but not half: it ends where it was to end, or where it was.
                let after = try up.waitForStatus("settled") { status in
                    let volume = try status.volume(up.volume)
                    return volume.health == "healthy" && volume.members.count == 2
                }
                if round == 0 {
                    let places = try after.volume(up.volume).members.map(\.appliance)
                    #expect(!places.contains(from), "the move did not go on: \(up.log)")
                }
                try Self.expectNothingLeftBehind(up)
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func aDrainGoesOnAfterTheClientDeviceDied() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            defer { third.terminate() }
            let writer = try up.startWriter()
            try up.require("rebuild", up.volume, "--limit", "1M")
            let command = try RunningProcess([
                HoldfastBinary.path, "appliance", "drain", "appliance-2", "--dir", up.path,
            ])
            let moving = try up.waitForStatus("moving") {
                try $0.volume(up.volume).members.count == 3
            }
            try up.kill(moving.pid)
            try up.waitForClient(otherThan: moving.pid)
            _ = command.waitForExit(atMost: .seconds(60))
            _ = try up.waitForStatus("drained") { status in
                let volume = try status.volume(up.volume)
                return volume.health == "healthy"
                    && Set(volume.members.map(\.appliance)) == ["appliance-1", "third"]
            }
            #expect(try up.require("appliance", "list").contains("draining"))
            try up.require("appliance", "remove", "appliance-2")
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func theTargetOfAMoveDies() throws {
            let up = try HoldfastUp(Self.pair)
            defer { up.stop() }
            let third = try Self.extra("third", for: up)
            let fourth = try Self.extra("fourth", for: up)
            defer { fourth.terminate() }
            let writer = try up.startWriter()
            try up.require("rebuild", up.volume, "--limit", "1M")
            let command = try RunningProcess([
                HoldfastBinary.path, "volume", "move", up.volume, "--from", "appliance-1", "--to",
                "third", "--dir", up.path,
            ])
            _ = try up.waitForStatus("moving") { try $0.volume(up.volume).members.count == 3 }
            third.terminate()
            try up.require("rebuild", up.volume, "--limit", "0")
            #expect(command.waitForExit(atMost: .seconds(60)) == .exited(0))
            #expect(try Self.places(up) == ["appliance-2", "fourth"])
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }
    }
}
