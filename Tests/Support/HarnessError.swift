// What goes wrong in the harness itself, or in what it waits for.

/// A sentence for the test report.
package struct HarnessError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}
