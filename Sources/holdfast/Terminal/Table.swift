// Aligned text: a heading, then one line per row, columns two spaces apart.

/// A table for people.
struct Table {
    /// One column's heading and on which side its values line up.
    struct Column {
        let heading: String
        let alignsRight: Bool

        static func left(_ heading: String) -> Column {
            Column(heading: heading, alignsRight: false)
        }

        /// For quantities, whose units then stand below each other.
        static func right(_ heading: String) -> Column {
            Column(heading: heading, alignsRight: true)
        }
    }

    let columns: [Column]
    private(set) var rows: [[String]] = []

    init(_ columns: Column...) {
        self.columns = columns
    }

    /// Adds a row with one value for each column; an empty value is shown as `-`.
    mutating func add(_ values: String...) {
        precondition(values.count == columns.count, "a row has a value for every column")
        rows.append(values.map { $0.isEmpty ? "-" : $0 })
    }

    /// The lines, each without a line break and without spaces at its end.
    var lines: [String] {
        let all = [columns.map(\.heading)] + rows
        let widths = columns.indices.map { index in all.map { $0[index].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (index, value) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[index] - value.count)
                line += index == 0 ? "" : "  "
                line += columns[index].alignsRight ? padding + value : value + padding
            }
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }
}
