// A fixed number of elements on the heap: allocated once, checked on every access, never copied.
//
// The data path's tables live in these. An inline array would be copied as a whole whenever the optimiser
// cannot prove that it need not be, and an ordinary array may allocate when it is written to.

/// Storage for a fixed number of trivial elements.
@safe
public struct FixedArray<Element: BitwiseCopyable>: ~Copyable {
    @usableFromInline let elements: UnsafeMutablePointer<Element>
    public let count: Int

    /// An array of `count` times `element`.
    public init(repeating element: Element, count: Int) {
        precondition(count > 0, "an array has room for something")
        self.count = count
        unsafe elements = .allocate(capacity: count)
        unsafe elements.initialize(repeating: element, count: count)
    }

    /// An array whose elements have no value: each has to be set before it is read.
    ///
    /// Memory that is never used is never taken from the system.
    @unsafe public init(unset count: Int) {
        precondition(count > 0, "an array has room for something")
        self.count = count
        unsafe elements = .allocate(capacity: count)
    }

    deinit { unsafe elements.deallocate() }

    @inlinable
    public subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress {
            precondition(index >= 0 && index < count, "an index within the array")
            return unsafe UnsafePointer(elements + index)
        }
        @inline(__always) nonmutating unsafeMutableAddress {
            precondition(index >= 0 && index < count, "an index within the array")
            return unsafe elements + index
        }
    }
}
