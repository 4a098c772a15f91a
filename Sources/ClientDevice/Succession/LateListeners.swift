// Addresses that are still taken when a client device starts: a TCP port belongs to the process that
// listens there, hung or not, and cannot be taken from it. Clients on the Unix socket are served at once;
// the port is tried again until its holder is gone.

import Logging
package import Reactor

extension ClientDevice {
    /// How often a taken address is tried again.
    private static let retryInterval = Duration.seconds(2)

    /// Serves NBD at `address` as soon as it is free.
    package func listen(whenFree address: Address) async {
        log.warning(
            "\(address) is still held by the client device that hangs: trying again until it is free"
        )
        while !hasEnded {
            do throws(ReactorError) {
                try await frontDoor.add(try Listener(address))
                log.info("serving NBD at \(address) now")
                return
            } catch {
                guard case .addressInUse = error else {
                    return log.error("\(address) is not served: \(error)")
                }
            }
            try? await Task.sleep(for: Self.retryInterval)
        }
    }
}
