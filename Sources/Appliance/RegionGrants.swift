// Who may access one region, and since which epoch: fencing is decided here.
//
//     open or fence at an epoch  ⇒  no lower epoch is let in ever after
//     open                       ⇒  the key of before is dead, and with it what came by it
//     another owner opens        ⇒  no process of the owner before has the memory mapped
//
// A key dies by being forgotten: whoever comes with it is refused, and who came is cut off before anything
// else of it is carried out. Memory that a process has mapped cannot be taken from it: there the kernel must
// say that the process is gone.

import CLinux
import FoundationEssentials
import Glibc
import RemoteMemory

/// The owner of a region, and the keys that open it.
struct RegionGrants {
    /// The most keys for reading at once; the oldest makes way.
    static let mostViewKeys = 64

    private(set) var owner: OwnerID?
    /// No lower epoch is let in.
    private(set) var epoch = Epoch(0)
    /// A process of the owner that has the memory itself.
    private(set) var holder: Holder?
    private(set) var key: Identifier?
    private(set) var viewKeys: [Identifier] = []

    init() {}

    /// As an earlier process of this appliance left it.
    init(owner: OwnerID?, epoch: Epoch, holder: Holder?) {
        self.owner = owner
        self.epoch = epoch
        self.holder = holder
    }

    /// Lets `owner` in by a key, or, with a `process`, by the memory itself; returns the keys that die.
    mutating func open(_ owner: OwnerID, _ epoch: Epoch, by process: Holder?)
        throws(ApplianceRefusal) -> [Identifier]
    {
        guard epoch >= self.epoch else { throw .staleEpoch(given: epoch, known: self.epoch) }
        try dropHolder(unlessOf: owner)
        self.owner = owner
        self.epoch = epoch
        if let process { holder = process }
        let dead = key.map { [$0] } ?? []
        key = process == nil ? .random() : nil
        return dead
    }

    /// Throws `staleEpoch` unless `owner` has the region, and speaks of no epoch that is over.
    func check(_ owner: OwnerID, _ epoch: Epoch) throws(ApplianceRefusal) {
        guard self.owner == owner, epoch >= self.epoch else {
            throw .staleEpoch(given: epoch, known: self.epoch)
        }
    }

    /// Shuts out all below an epoch; returns the keys that die.
    mutating func fence(_ epoch: Epoch) throws(ApplianceRefusal) -> [Identifier] {
        guard epoch >= self.epoch else { throw .staleEpoch(given: epoch, known: self.epoch) }
        guard epoch > self.epoch else { return [] }
        try dropHolder(unlessOf: nil)
        self.epoch = epoch
        owner = nil
        defer { key = nil }
        return key.map { [$0] } ?? []
    }

    /// A new key for reading, and the one that had to make way.
    mutating func view() -> (key: Identifier, dead: [Identifier]) {
        let key = Identifier.random()
        viewKeys.append(key)
        guard viewKeys.count > Self.mostViewKeys else { return (key, []) }
        return (key, [viewKeys.removeFirst()])
    }

    /// Whether a key opens the region for writing too; nil when it opens nothing.
    func isWritable(by key: Identifier) -> Bool? {
        if self.key == key { return true }
        return viewKeys.contains(key) ? false : nil
    }

    /// Every key there is.
    var keys: [Identifier] { viewKeys + (key.map { [$0] } ?? []) }

    /// Forgets a process that is gone.
    ///
    /// - Throws: `ApplianceRefusal.holderAlive` when it lives and is not one of `owner`.
    private mutating func dropHolder(unlessOf owner: OwnerID?) throws(ApplianceRefusal) {
        guard let holder else { return }
        if holder.isGone {
            self.holder = nil
        } else if owner == nil || owner != self.owner {
            throw .holderAlive(processID: holder.process)
        }
    }
}

/// A process that has a region's memory, as the kernel knows it.
///
/// A number alone names a process only while that lives. The descriptor names it for good; and the time at
/// which it started tells it from a later one to an appliance that was itself started anew.
final class Holder {
    let process: Int32
    /// In clock ticks since the boot; 0 when the kernel does not tell.
    let started: UInt64
    /// Readable once the process is gone.
    private let descriptor: Int32

    /// Nil when there is no such process (any more).
    init?(process: Int32) {
        let descriptor = clinux_pidfd_open(process)
        guard descriptor >= 0 else { return nil }
        self.process = process
        self.descriptor = descriptor
        started = Self.startTime(of: process)
        // (Of another, if it ended meanwhile and its number was used again.)
        guard !isGone else { return nil }
    }

    /// The process that an earlier appliance process knew; nil when that one is gone.
    convenience init?(process: Int32, started: UInt64) {
        self.init(process: process)
        guard self.started == started || self.started == 0 || started == 0 else { return nil }
    }

    deinit { close(descriptor) }

    var isGone: Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLIN) != 0
    }

    /// The 22nd word of `/proc/PID/stat`; the name in the second one may hold spaces, and ends with `)`.
    private static func startTime(of process: Int32) -> UInt64 {
        guard let data = try? Data(contentsOf: URL(filePath: "/proc/\(process)/stat")) else {
            return 0
        }
        let text = String(decoding: data, as: UTF8.self)
        guard let end = text.lastIndex(of: ")") else { return 0 }
        let words = text[text.index(after: end)...].split(separator: " ")
        return words.count > 19 ? UInt64(words[19]) ?? 0 : 0
    }
}
