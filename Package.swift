// swift-tools-version: 6.2

import PackageDescription

/// Settings of everything: the strictest language there is.
let tooling: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

/// Settings of tests that meet both our C declarations and the C library's: these agree only with all of
/// the latter's extensions on.
let linux: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-D_GNU_SOURCE"])]

/// Where libFuzzer is, when this is a build to be fuzzed: `Tools/fuzz` sets the variable.
let fuzzer = Context.environment["HOLDFAST_FUZZER"]

/// What ships also marks every expression whose memory safety the compiler cannot prove.
let shipped: [SwiftSetting] =
    tooling + [.strictMemorySafety()]
    + (fuzzer == nil ? [] : [.unsafeFlags(["-sanitize=fuzzer"])])

/// Settings of the data path, on top of those of everything that ships.
///
/// It is one thread running each request to completion, and its state is held in classes. The checks at
/// run time that no two accesses to a property overlap took 13 % of a 4 KiB write; debug builds keep
/// them, and the compiler's own proofs stay in both.
let dataPath: [SwiftSetting] = [
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
]

/// The packaged program has Swift's runtime inside, as Debian has none: `Tools/package` sets the variable.
///
/// Only the link differs. (`--static-swift-stdlib` would compile everything anew, and again when it is left
/// out. It also names by itself the libraries that Foundation is made of.)
let runtime: [LinkerSetting] =
    Context.environment["HOLDFAST_STATIC_RUNTIME"] == nil
    ? []
    : [
        .unsafeFlags([
            "-static-stdlib", "-lCoreFoundation", "-l_FoundationICU", "-l_FoundationCShims",
            "-l_FoundationCollections", "-Xlinker", "--no-export-dynamic",
            "-Xlinker", "-z", "-Xlinker", "now",
        ])
    ]

let package = Package(
    name: "holdfast",
    products: [
        .executable(name: "holdfast", targets: ["holdfast"]),
        // A product, as it runs for hours on machines of its own (and its name is lower case).
        .executable(name: "simulate", targets: ["Simulate"]),
        .executable(name: "chaos", targets: ["ChaosRunner"]),
    ],
    dependencies: [
        // The command line: parsing, help, completions.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        // Structured logs off the I/O path.
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        // The registry: SQLite with transactions and migrations.
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        // The control interface: HTTP/JSON on a Unix socket. Its optional configuration support is
        // left out: a third of its build time, and nothing here uses it.
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        // The control interface's client side; hummingbird brings both of these along. (The full
        // async-http-client would add a TLS library to the build for one Unix socket.)
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    ],
    targets: [
        .target(name: "CLinux"),
        // TLS 1.3 and the HMAC of the cluster key, from the system: it is patched without us.
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        // Erasure codes with vector instructions, from the system: patched and tuned without us.
        .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
        // Generic netlink: the only way to give the kernel's NBD devices new sockets.
        .systemLibrary(
            name: "CNetlink", pkgConfig: "libnl-genl-3.0",
            providers: [.apt(["libnl-genl-3-dev"])]),
        .target(name: "RemoteMemory", swiftSettings: shipped),
        .target(
            name: "ErasureCoding", dependencies: ["CISAL", "RemoteMemory"],
            swiftSettings: shipped),
        .target(name: "ResiliencySet", dependencies: ["RemoteMemory"], swiftSettings: shipped),
        .target(
            name: "SharedMemoryTransport", dependencies: ["RemoteMemory", "CLinux"],
            swiftSettings: shipped),
        .target(
            name: "TCPTransport", dependencies: ["COpenSSL", "CLinux", "Reactor", "RemoteMemory"],
            swiftSettings: shipped + dataPath),
        .target(name: "NBDProtocol", swiftSettings: shipped),
        .target(
            name: "BlockServer", dependencies: ["NBDProtocol", "RemoteMemory"],
            swiftSettings: shipped),
        .target(
            name: "KernelDevice",
            dependencies: [
                "CLinux", "CNetlink", "NBDProtocol", "Reactor",
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: shipped),
        .target(
            name: "Appliance",
            dependencies: [
                "COpenSSL", "CLinux", "Reactor", "RemoteMemory", "SharedMemoryTransport",
                "TCPTransport",
            ],
            swiftSettings: shipped + dataPath),
        .target(name: "Reactor", dependencies: ["CLinux", "COpenSSL"], swiftSettings: shipped),
        .target(
            name: "ClientDevice",
            dependencies: [
                "Appliance", "BlockServer", "CLinux", "Control", "ErasureCoding", "NBDProtocol",
                "Reactor", "Registry", "RemoteMemory", "ResiliencySet", "SharedMemoryTransport",
                "TCPTransport",
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: shipped + dataPath),
        .target(
            name: "Registry",
            dependencies: ["RemoteMemory", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: shipped),
        .target(name: "Control", dependencies: ["RemoteMemory"], swiftSettings: shipped),
        .target(
            name: "ControlHTTP",
            dependencies: [
                "Control",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
            ], swiftSettings: shipped),
        .executableTarget(
            name: "holdfast",
            dependencies: [
                "Appliance", "BlockServer", "CLinux", "ClientDevice", "Control", "ControlHTTP",
                "KernelDevice", "Reactor", "Registry", "RemoteMemory", "TCPTransport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: shipped, linkerSettings: runtime),
        .executableTarget(
            name: "NBDBench",
            dependencies: [
                "CISAL", "ErasureCoding", "RemoteMemory",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Tools/Bench",
            // (Its tests look inside; tests are run on the release build, which would not let them.)
            swiftSettings: tooling + [.unsafeFlags(["-enable-testing"])]),
        // The engine in a made-up world. A library, so that tests and the tool run the same.
        .target(
            name: "Simulation",
            dependencies: [
                "BlockServer", "ErasureCoding", "NBDProtocol", "Registry", "RemoteMemory",
                "ResiliencySet",
            ], swiftSettings: tooling),
        .executableTarget(
            name: "Simulate",
            dependencies: [
                "Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Tools/Simulate",
            // (As for the benchmark: its tests look inside.)
            swiftSettings: tooling + [.unsafeFlags(["-enable-testing"])]),

        // The NBD client library, for tests: what users of the protocol link with.
        .systemLibrary(
            name: "Clibnbd", path: "Tests/Clibnbd", pkgConfig: "libnbd",
            providers: [.apt(["libnbd-dev"])]),
        .target(
            name: "TestSupport", dependencies: ["Clibnbd"], path: "Tests/Support",
            swiftSettings: tooling),
        // Storms over real processes. It shares the tests' harness, and their tests look inside it.
        .executableTarget(
            name: "ChaosRunner",
            dependencies: [
                "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Tools/Chaos",
            swiftSettings: tooling + [.unsafeFlags(["-enable-testing"])]),
        .testTarget(name: "SupportTests", dependencies: ["TestSupport"], swiftSettings: tooling),
        .testTarget(
            name: "InteropTests", dependencies: ["TestSupport", "holdfast"], path: "Tests/Interop",
            swiftSettings: tooling),
        .testTarget(
            name: "GuestTests", dependencies: ["TestSupport", "holdfast"], path: "Tests/Guest",
            swiftSettings: tooling),
        .testTarget(
            name: "ChaosTests",
            dependencies: [
                "ChaosRunner", "ErasureCoding", "RemoteMemory", "TestSupport", "holdfast",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/Chaos",
            swiftSettings: tooling),
        // The Debian package, as a file and in a guest under systemd.
        .testTarget(
            name: "PackagingTests", dependencies: ["TestSupport"], path: "Tests/Packaging",
            exclude: ["guest"], swiftSettings: tooling),
        .testTarget(
            name: "RemoteMemoryTests", dependencies: ["RemoteMemory"], swiftSettings: tooling),
        .testTarget(
            name: "ErasureCodingTests", dependencies: ["ErasureCoding"], swiftSettings: tooling),
        .testTarget(
            name: "NBDProtocolTests", dependencies: ["NBDProtocol"], swiftSettings: tooling),
        .testTarget(
            name: "BlockServerTests",
            dependencies: ["BlockServer", "NBDProtocol", "RemoteMemory"], swiftSettings: tooling),
        .testTarget(
            name: "KernelDeviceTests",
            dependencies: [
                "CLinux", "CNetlink", "KernelDevice", "NBDProtocol", "TestSupport", "holdfast",
            ], swiftSettings: tooling + linux),
        .testTarget(
            name: "SharedMemoryTransportTests",
            dependencies: ["CLinux", "RemoteMemory", "SharedMemoryTransport"],
            swiftSettings: tooling + linux),
        .testTarget(
            name: "ApplianceTests",
            dependencies: [
                "Appliance", "CLinux", "Reactor", "RemoteMemory", "SharedMemoryTransport",
                "TCPTransport", "TestSupport", "holdfast",
            ],
            swiftSettings: tooling + linux),
        .testTarget(
            name: "ReactorTests", dependencies: ["CLinux", "Reactor", "TestSupport"],
            swiftSettings: tooling + linux),
        .testTarget(
            name: "TCPTransportTests",
            dependencies: ["CLinux", "Reactor", "RemoteMemory", "TCPTransport", "TestSupport"],
            swiftSettings: tooling + linux),
        .testTarget(
            name: "ClientDeviceTests",
            dependencies: [
                "Appliance", "BlockServer", "CLinux", "ClientDevice", "Control", "NBDProtocol",
                "Reactor", "RemoteMemory", "ResiliencySet", "SharedMemoryTransport", "TCPTransport",
                "TestSupport", .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: tooling + linux),
        .testTarget(
            name: "ResiliencySetTests",
            dependencies: ["ErasureCoding", "RemoteMemory", "ResiliencySet"],
            swiftSettings: tooling),
        // Counts allocations; only for tests, as it stands in front of malloc.
        .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
        .testTarget(
            name: "AllocationTests",
            dependencies: [
                "Appliance", "CAllocationCounter", "ClientDevice", "ErasureCoding", "NBDProtocol",
                "Reactor", "RemoteMemory", "SharedMemoryTransport", "TCPTransport",
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: tooling + linux),
        .testTarget(
            name: "NBDBenchTests", dependencies: ["NBDBench", "RemoteMemory"],
            swiftSettings: tooling),
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "Simulate", "Simulation", "TestSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: tooling),
        .testTarget(
            name: "ControlTests",
            dependencies: [
                "Control", "ControlHTTP", "RemoteMemory", "holdfast",
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: tooling),
        .testTarget(
            name: "RegistryTests",
            dependencies: [
                "Registry", "RemoteMemory", .product(name: "GRDB", package: "GRDB.swift"),
            ], swiftSettings: tooling),
    ],
    swiftLanguageModes: [.v6]
)

// Input nobody would send. Not among the others, as it takes all modules built for it.
if let fuzzer {
    package.targets =
        package.targets.filter { !$0.isTest } + [
            .target(name: "CFuzzer", path: "Tools/Fuzz/CFuzzer"),
            .executableTarget(
                name: "Fuzz",
                dependencies: [
                    "Appliance", "BlockServer", "CFuzzer", "CLinux", "ClientDevice", "NBDProtocol",
                    "Reactor", "RemoteMemory", "ResiliencySet", "SharedMemoryTransport",
                    "TCPTransport", .product(name: "Logging", package: "swift-log"),
                ], path: "Tools/Fuzz", exclude: ["CFuzzer", "Corpus"],
                swiftSettings: tooling + linux,
                linkerSettings: [.unsafeFlags([fuzzer, "-lstdc++"])]),
        ]
    package.products.append(.executable(name: "fuzz", targets: ["Fuzz"]))
}

// Threads, watched by ThreadSanitizer: `Tools/test --thread` sets the variable.
if Context.environment["HOLDFAST_THREAD_SANITIZER"] != nil {
    // (What counts allocations stands in front of malloc, where ThreadSanitizer has to stand.)
    package.targets.removeAll { ["AllocationTests", "CAllocationCounter"].contains($0.name) }
    for target in package.targets where [.executable, .test].contains(target.type) {
        target.dependencies.append("CThreadSanitizer")
    }
    package.targets.append(
        .target(name: "CThreadSanitizer", path: "Tools/ThreadSanitizer/CThreadSanitizer"))
}
