// Snapshots and moves of erasure sets of real processes: G1, G2, G5 and G6 while a whole generation, or one
// member's twin, is filled beside running writers.

import Foundation
import Glibc
import RemoteMemory
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct Generations {
        private static let setups = [StripedSetup.usual[0], StripedSetup.usual[1], .far]

        /// No zeros: they would not tell which write they come from.
        private func startWriter(_ up: HoldfastUp) throws -> VerifyingWriter {
            var load = VerifyingWriter.Load()
            load.blockCount = Int(StripedSetup.size.bytes >> 12)
            load.zerosPerHundred = 0
            load.readsPerHundred = 10
            return try up.startWriter(load)
        }

        /// An appliance that the test runs, known to the client device; it ends with this object.
        private func extra(_ name: String, for up: HoldfastUp) throws -> RunningProcess {
            let socket = up.directory.file("\(name).sock")
            let process = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", name, "--memory", "512M",
                "--listen", "unix:\(socket)",
            ])
            let isKnown = try eventually(atMost: .seconds(30)) { () throws -> Bool? in
                try up.cli("appliance", "add", name, "unix:\(socket)").succeeded ? true : nil
            }
            guard isKnown == true else { throw HarnessError("\(name) cannot be added\(up.log)") }
            return process
        }

        private func allocated(_ up: HoldfastUp) throws -> UInt64 {
            try up.status().appliances.reduce(0) { $0 + $1.allocatedBytes }
        }

        @Test(arguments: setups)
        func `a snapshot under load is one moment, and stays so without as many as there is parity`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let before = try allocated(up)
            let writer = try startWriter(up)
            try writer.waitForWrites(2000)
            writer.ledger.beginSnapshot()
            let run = try up.cli("snapshot", "create", up.volume, "monday")
            let window = writer.ledger.endSnapshot()
            try #require(run.succeeded, "\(run)\(up.log)")
            #expect(window.writeCount > 0, "nothing was written while it was made")
            #expect(try up.status().volume(up.volume).health == "healthy")
            let uri = up.uri(of: "\(up.volume)@monday")
            let contents = try writer.contents(of: uri)
            #expect(Array(window.findings(in: contents).prefix(5)) == [])
            try writer.waitForWrites(1000)
            #expect(try writer.contents(of: uri) == contents)
            // It cannot be written.
            #expect(throws: NBDError(code: EPERM)) {
                try NBDConnection(uri).write([UInt8](repeating: 1, count: 4096), at: 0)
            }
            let status = try up.status()
            let victims = status.appliances.prefix(setup.parityShards)
            for victim in victims { try up.kill(try #require(victim.pid)) }
            #expect(try writer.contents(of: uri) == contents)
            for victim in victims {
                try up.waitForIncarnation(of: victim.name, otherThan: victim.incarnation)
            }
            try up.waitUntilHealthy()
            // The next client device serves it from what is left.
            let pid = try up.kill(.client)
            try up.waitForClient(otherThan: pid)
            #expect(try writer.contents(of: uri) == contents)
            #expect(try up.status().volume(up.volume).snapshots.map(\.state) == ["ready"])
            try expectNothingLost(writer)
            try up.expectStripesWhole(setup.geometry)
            try up.require("snapshot", "delete", up.volume, "monday")
            #expect(try allocated(up) == before, "all of its regions are given back")
        }

        @Test(arguments: setups)
        func `members move under load, and an appliance is emptied`(setup: StripedSetup) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let before = try allocated(up)
            let spare = try extra("spare", for: up)
            defer { spare.terminate() }
            let writer = try startWriter(up)
            try up.require(
                "volume", "move", up.volume, "--from", "appliance-1", "--to", "spare")
            var places = Set(try up.status().volume(up.volume).members.map(\.appliance))
            #expect(places.contains("spare") && !places.contains("appliance-1"))
            try writer.waitForWrites(500)
            // There is but one place for it now.
            try up.require("appliance", "drain", "appliance-2")
            places = Set(try up.status().volume(up.volume).members.map(\.appliance))
            #expect(places.contains("appliance-1") && !places.contains("appliance-2"))
            #expect(try up.status().appliance("appliance-2").allocatedBytes == 0)
            try writer.waitForWrites(500)
            #expect(try allocated(up) == before)
            #expect(writer.progress.lostConnections == 0)
            #expect(try up.status().volume(up.volume).health == "healthy")
            let refused = try up.cli("appliance", "drain", "appliance-1")
            #expect(refused.status == 1 && refused.standardError.contains("cannot be drained"))
            try expectNothingLost(writer)
        }

        @Test(arguments: setups)
        func `the client device dies while regions are filled, and nothing is left of them`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let spare = try extra("spare", for: up)
            defer { spare.terminate() }
            let writer = try startWriter(up)
            let before = try allocated(up)
            for round in 0..<count("HOLDFAST_CHAOS_GENERATION_KILLS", default: 6) {
                let status = try up.waitUntilHealthy()
                let name = "attempt\(round)"
                let isMove = round % 2 == 1
                let place = try #require(status.volume(up.volume).members.first).appliance
                let arguments =
                    isMove
                    ? ["volume", "move", up.volume, "--from", place]
                    : ["snapshot", "create", up.volume, name]
                let command = try RunningProcess(
                    [HoldfastBinary.path] + arguments + ["--dir", up.path])
                sleepFor(.milliseconds(20 + round * 40))
                try up.kill(status.pid)
                try up.waitForClient(otherThan: status.pid)
                _ = command.waitForExit(atMost: .seconds(60))
                try writer.waitForWrites(300)
                // Made or not, but not half.
                if try up.status().volume(up.volume).snapshots.contains(where: { $0.name == name })
                {
                    let contents = try writer.contents(of: up.uri(of: "\(up.volume)@\(name)"))
                    #expect(contents.allSatisfy { if case .foreign = $0 { false } else { true } })
                    try up.require("snapshot", "delete", up.volume, name)
                }
            }
            // (A move that was recorded goes on.)
            let isBack = try eventually(atMost: .seconds(60)) { () throws -> Bool? in
                try allocated(up) == before ? true : nil
            }
            let after = try allocated(up)
            #expect(isBack == true, "regions are left behind: \(after), not \(before)")
            try expectNothingLost(writer)
        }

        @Test(arguments: [false, true])
        func `appliances die while a generation is filled`(isFar: Bool) throws {
            let setup = isFar ? StripedSetup.far : StripedSetup.usual[1]
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let before = try allocated(up)
            let writer = try startWriter(up)
            for round in 0..<count("HOLDFAST_CHAOS_GENERATION_LOSSES", default: 4) {
                let status = try up.waitUntilHealthy()
                let command = try RunningProcess([
                    HoldfastBinary.path, "snapshot", "create", up.volume, "s\(round)", "--dir",
                    up.path,
                ])
                sleepFor(.milliseconds(30 + round * 40))
                let victim = try #require(status.appliances.randomElement())
                try up.kill(try #require(victim.pid))
                _ = command.waitForExit(atMost: .seconds(60))
                try up.waitForIncarnation(of: victim.name, otherThan: victim.incarnation)
                try up.waitUntilHealthy()
                try writer.waitForWrites(200)
                if try up.status().volume(up.volume).snapshots.contains(where: {
                    $0.name == "s\(round)"
                }
                ) {
                    let contents = try writer.contents(of: up.uri(of: "\(up.volume)@s\(round)"))
                    #expect(contents.allSatisfy { if case .foreign = $0 { false } else { true } })
                    try up.require("snapshot", "delete", up.volume, "s\(round)")
                } else {
                    // (Or it was not even begun: an appliance was missed already.)
                    let text = command.standardError.text
                    #expect(text.hasPrefix("holdfast: "), "\(text)\(up.log)")
                }
            }
            try expectNothingLost(writer)
            try up.expectStripesWhole(setup.geometry)
            #expect(try allocated(up) == before)
        }

        @Test func `what cannot be done is refused in a sentence`() throws {
            let setup = StripedSetup.usual[0]
            let up = try HoldfastUp(setup.options + ["--memory", "28M"])
            defer { up.stop() }
            for (arguments, sentence) in [
                (["snapshot", "create", up.volume, "now", "--immediate"], "leave --immediate out"),
                (["snapshot", "create", up.volume, "now"], "too little on"),
                (["volume", "move", up.volume, "--from", "appliance-1"], "stays on appliance-1"),
                (["appliance", "drain", "appliance-1"], "cannot be drained"),
            ] {
                let run = try ToolRun(
                    [HoldfastBinary.path] + arguments + ["--dir", up.path])
                #expect(run.status == 1 && run.standardError.contains(sentence), "\(run)")
            }
            let volume = try up.status().volume(up.volume)
            #expect(volume.health == "healthy" && volume.snapshots.isEmpty)
        }
    }
}
