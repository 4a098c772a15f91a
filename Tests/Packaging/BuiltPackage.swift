// The package that is looked at, unpacked once.

import Foundation
import TestSupport

/// What `Tools/package` built; `Tools/test` says where it is.
struct BuiltPackage: Sendable {
    /// The package's file; nil where nobody built it for these tests.
    static let file = ProcessInfo.processInfo.environment["HOLDFAST_PACKAGE"]

    static let obstacle = "the package is built by 'Tools/test PackagingTests'"

    private static let unpacked = Result { try BuiltPackage(file: file ?? "") }

    /// The package, unpacked.
    static var current: BuiltPackage { get throws { try unpacked.get() } }

    private let directory: TemporaryDirectory

    private init(file: String) throws {
        directory = try TemporaryDirectory()
        try ToolRun.output("dpkg-deb", "--raw-extract", file, directory.file("tree"))
    }

    /// Where a path of the package is here.
    func path(_ path: String) -> String { directory.file("tree") + path }

    /// The names in a directory of the package.
    func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path(folder)).sorted()
    }

    /// A text in the package.
    func text(_ path: String) throws -> String {
        try String(contentsOfFile: self.path(path), encoding: .utf8)
    }

    /// The values of a field of the control file that is a list.
    func list(_ field: String) throws -> [String] {
        let line = try text("/DEBIAN/control").split(separator: "\n")
            .first { $0.hasPrefix("\(field): ") }
        return line?.dropFirst(field.count + 2).split(separator: ",")
            .map { $0.trimmingCharacters(in: .whitespaces) } ?? []
    }
}
