// Arithmetic in GF(2^8), the field with 256 elements: every byte is one.
//
// An element is a polynomial over GF(2), a bit for each coefficient. Adding is XOR, so every element is
// its own negative. Multiplying is multiplying polynomials and taking the rest after division by
//
//     x^8 + x^4 + x^3 + x^2 + 1        (0x11d, the polynomial of ISA-L and of most storage codes)
//
// which is primitive: the powers of x run through all 255 elements that are not zero.
//
// Source: J. S. Plank, "A Tutorial on Reed-Solomon Coding for Fault-Tolerance in RAID-like Systems",
// Software: Practice and Experience 27(9), 1997, sections 4 and 6.

/// The field of bytes.
enum GaloisField {
    /// What is left of x^8 after division by the polynomial.
    static let reduction: UInt8 = 0x1d

    /// The product of two elements, a bit at a time: what the tables are made from.
    static func slowProduct(_ left: UInt8, _ right: UInt8) -> UInt8 {
        var product: UInt8 = 0
        var power = left
        for bit in 0..<8 {
            if right >> bit & 1 == 1 { product ^= power }
            // Times x: a carry out of the byte comes back reduced.
            power = power << 1 ^ (power & 0x80 == 0 ? 0 : reduction)
        }
        return product
    }

    /// All products, that of `left` and `right` at `left * 256 + right`.
    static let products: [UInt8] = (0...UInt8.max).flatMap { left in
        (0...UInt8.max).map { slowProduct(left, $0) }
    }

    /// For each element that is not zero, what it has to be multiplied by to give one.
    static let inverses: [UInt8] = (0...UInt8.max).map { element in
        (1...UInt8.max).first { slowProduct(element, $0) == 1 } ?? 0
    }

    static func product(_ left: UInt8, _ right: UInt8) -> UInt8 {
        products[Int(left) << 8 | Int(right)]
    }

    /// The element that gives one together with `element`.
    static func inverse(_ element: UInt8) -> UInt8 {
        precondition(element != 0, "zero has no inverse")
        return inverses[Int(element)]
    }

    static func quotient(_ dividend: UInt8, _ divisor: UInt8) -> UInt8 {
        product(dividend, inverse(divisor))
    }
}
