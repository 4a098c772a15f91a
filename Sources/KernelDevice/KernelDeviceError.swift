// What goes wrong between us and the kernel's NBD devices, as one closed set. Each is a sentence that says
// what to do about it.

import Glibc

/// Why a device cannot be attached, detached or looked after.
public enum KernelDeviceError: Error, Hashable, Sendable, CustomStringConvertible {
    case notRoot
    /// The kernel has no NBD client; `alternative` is a command that does without one.
    case noKernelSupport(alternative: String)
    /// The kernel does not keep a backend's name: it is older than Linux 5.14.
    case kernelTooOld
    case badDeviceName(String)
    case badBackend(String)
    case deviceInUse(DeviceIndex)
    /// Another device holds this export already.
    case alreadyAttached(export: String, DeviceIndex)
    case notAttached(String)
    case notOurs(DeviceIndex)
    case noServer(directory: String, errno: Int32)
    case serverSilent(directory: String)
    case pathTooLong(String)
    case handshake(export: String, directory: String, HandshakeFailureText)
    case badSize(export: String, bytes: UInt64)
    case inUse(DeviceIndex, [String])
    case neverReady(DeviceIndex)
    case stillDetaching(DeviceIndex)
    case kernel(request: String, reason: String)
    case system(call: String, errno: Int32)
    case helperRuns(directory: String)
    case helperFails(log: String)

    public var description: String {
        switch self {
        case .notRoot: "attaching and detaching devices is for root: run this with sudo"
        case .noKernelSupport(let alternative):
            "this kernel has no NBD devices (modprobe nbd does not help): install the kernel's extra "
                + "modules, or attach in user space with: \(alternative)"
        case .kernelTooOld:
            "this kernel does not remember what a device belongs to: use Linux 5.14 or later"
        case .badDeviceName(let name): "'\(name)' is no NBD device: write /dev/nbd0 or the like"
        case .badBackend(let text):
            "'\(text)' cannot be told to the kernel: use a directory whose path has no line break"
        case .deviceInUse(let device):
            "\(device.path) is in use: leave it out, and a free device is found"
        case .alreadyAttached(let export, let device):
            "\(export) is attached as \(device.path) already: use that, or detach it first"
        case .notAttached(let name):
            "\(name) is not attached: 'holdfast attach --list' shows what is"
        case .notOurs(let device):
            "\(device.path) was not attached by holdfast: detach it with 'nbd-client -d "
                + "\(device.path)'"
        case .noServer(let directory, let code):
            "no client device serves \(directory) (\(Self.text(code))): start 'holdfast serve --dir "
                + "\(directory)', or name another with --dir"
        case .serverSilent(let directory):
            "the client device of \(directory) does not answer: see 'holdfast status --dir "
                + "\(directory)'"
        case .pathTooLong(let path):
            "\(path) is longer than a socket address may be (107 bytes): use a shorter path"
        case .handshake(let export, let directory, let failure):
            "\(export) cannot be attached (\(failure.text)): see 'holdfast volume list --dir "
                + "\(directory)'"
        case .badSize(let export, let bytes):
            "\(export) has \(bytes) bytes, which is no multiple of 512: no device can have that size"
        case .inUse(let device, let uses):
            "\(device.path) is in use (\(uses.joined(separator: "; "))): end that first, or lose what "
                + "is not yet written with --force"
        case .neverReady(let device):
            "\(device.path) was attached and shows no size: detach it, and see the kernel's log"
        case .stillDetaching(let device):
            "\(device.path) is detached, and whoever has it open keeps it from being used again: end "
                + "that process"
        case .kernel(let request, let reason):
            "the kernel refuses to \(request) (\(reason)): see its log with 'dmesg'"
        case .system(let call, let code): "\(call) failed (\(Self.text(code))): try again"
        case .helperRuns(let directory):
            "a helper runs already (its lock is in \(directory)): one is enough for all devices"
        case .helperFails(let log):
            "the helper that keeps devices attached did not start: see \(log)"
        }
    }

    static func text(_ code: Int32) -> String {
        unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
    }
}

/// A failed handshake in words.
public struct HandshakeFailureText: Hashable, Sendable {
    public let text: String
    init(_ failure: some CustomStringConvertible) { text = failure.description }
}
