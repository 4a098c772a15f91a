// Threads with names, detached.

import CLinux
import Glibc

/// Starts threads that live as long as their body.
public enum Thread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Starts a thread; its name, of at most 15 bytes, is shown by `ps -L`.
    public static func detach(name: String, _ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let argument = unsafe Unmanaged.passRetained(Body(String(name.prefix(15)), body)).toOpaque()
        let result = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let body = unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
                unsafe pthread_setname_np(pthread_self(), body.name)
                body.run()
                return nil
            }, argument)
        precondition(result == 0, "the system has no thread left: raise its limits")
        pthread_detach(thread)
    }
}
