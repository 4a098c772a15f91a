// The report as aligned text: first the figures, then the ratios beside the targets, then what a
// reader should know before believing them.

import RemoteMemory

/// Rows of cells; the first `leadingColumns` columns are aligned left, the others right.
struct Table {
    let leadingColumns: Int
    var rows: [[String]]

    var text: String {
        let columnCount = rows.map(\.count).max() ?? 0
        let widths = (0..<columnCount).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += column < leadingColumns ? cell + padding + "  " : padding + cell + "  "
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}

/// `value` with `places` digits after the point.
func decimal(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "—" }
    var scale = 1
    for _ in 0..<places { scale *= 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard places > 0 else { return String(scaled) }
    let fraction = String(abs(scaled) % scale)
    let zeroes = String(repeating: "0", count: places - fraction.count)
    return (scaled < 0 ? "-" : "") + "\(abs(scaled) / scale).\(zeroes)\(fraction)"
}

extension Report {
    var text: String {
        let volume = ByteCount(volumeBytes)
        let head = [
            machine,
            "\(subject)  beside  \(peers.joined(separator: "  and  "))",
            "volume \(volume), \(rounds) round\(rounds == 1 ? "" : "s") by turns; "
                + "medians, with (least–most) of the rounds; placement \(placement)",
        ]
        var sections = [head.joined(separator: "\n"), figures.text, shares.text, ratios.text]
        if let systemCalls { sections.append(Self.table(of: systemCalls).text) }
        if !remarks.isEmpty { sections.append(remarks.joined(separator: "\n")) }
        return sections.joined(separator: "\n\n")
    }

    private var figures: Table {
        var table = Table(
            leadingColumns: 2,
            rows: [
                [
                    "cell", "server", "kIOPS", "(range)", "MB/s", "p50 µs", "p99 µs", "p99.9 µs",
                    "server CPU µs", "client CPU µs", "client cores",
                ]
            ])
        for (cell, side) in sides { table.rows.append(Self.row(of: side, in: cell)) }
        return table
    }

    /// Every server's rounds of every workload, once: the subject's come with each peer.
    private var sides: [(cell: Cell, side: Side)] {
        cells.enumerated().flatMap { index, cell in
            let isFirst = !cells[..<index].contains { $0.name == cell.name }
            return (isFirst ? [(cell, cell.subject)] : []) + [(cell, cell.peer)]
        }
    }

    private var shares: Table {
        var table = Table(
            leadingColumns: 3, rows: [["cell", "server", "process", "CPU µs per request"]])
        for (cell, side) in sides {
            for share in side.processes {
                table.rows.append(
                    [cell.name, side.label, share.process, decimal(share.microseconds, 2)])
            }
        }
        return table
    }

    private static func table(of counted: [SystemCallCell]) -> Table {
        var table = Table(
            leadingColumns: 5,
            rows: [["cell", "server", "process", "system calls per request", "of them"]])
        for cell in counted {
            for count in cell.processes {
                let named = count.calls.filter { $0.perRequest >= SystemCalls.shownShare }
                    .map { "\($0.name) \(decimal($0.perRequest, 2))" }
                table.rows.append([
                    cell.cell, cell.server, count.process, decimal(count.perRequest, 2),
                    named.joined(separator: ", "),
                ])
            }
        }
        return table
    }

    private static func row(of side: Side, in cell: Cell) -> [String] {
        let rate = side.spread(\.iops)
        return [
            cell.name, side.label, decimal(rate.median / 1000, 1),
            "(\(decimal(rate.least / 1000, 1))–\(decimal(rate.most / 1000, 1)))",
            decimal(side.median(\.megabytesPerSecond), 0),
            decimal(side.median(\.p50Microseconds), 1),
            decimal(side.median(\.p99Microseconds), 1),
            decimal(side.median(\.p999Microseconds), 1),
            decimal(side.median(\.serverMicroseconds), 2),
            decimal(side.median(\.generatorMicroseconds), 2),
            decimal(side.median(\.generatorCores), 2),
        ]
    }

    private var ratios: Table {
        var table = Table(
            leadingColumns: 2,
            rows: [
                ["ratio", "beside", "throughput", "", "p50", "", "server CPU", "", "target", ""]
            ])
        for cell in cells {
            var row = [cell.name, cell.peer.label]
            for spread in [
                cell.ratio(\.iops), cell.ratio(\.p50Microseconds),
                cell.ratio(\.serverMicroseconds),
            ] {
                row.append(decimal(spread.median, 2))
                row.append("(\(decimal(spread.least, 2))–\(decimal(spread.most, 2)))")
            }
            if let target = cell.target {
                row += [target.description, Self.words(for: cell, target)]
            }
            table.rows.append(row)
        }
        return table
    }

    private static func words(for cell: Cell, _ target: Target) -> String {
        let isUnanimous = cell.areRoundsUnanimous(about: target)
        return switch cell.verdict {
        case .met: "met" + (isUnanimous ? "" : ", not in every round")
        case .missed: "MISSED" + (isUnanimous ? "" : ", not in every round")
        case .undecided: "undecided, see below"
        case nil: ""
        }
    }

    private var remarks: [String] {
        if isTiny { return ["Too few requests for the figures to mean anything; but it works."] }
        var lines: [String] = []
        for cell in cells where cell.isGeneratorBound && !cell.usesFio {
            lines.append(
                "\(cell.name): the load generator filled a core; \(cell.subject.label) can do more."
            )
        }
        for cell in cells {
            for (idle, busy) in [(cell.peer, cell.subject), (cell.subject, cell.peer)]
            where busy.median(\.bystanderCores) > Cell.bystanderLimitCores {
                lines.append(
                    "\(cell.name): what else ran, such as \(idle.label), used "
                        + "\(decimal(busy.median(\.bystanderCores), 2)) cores although nobody "
                        + "used it; this disturbed \(busy.label).")
            }
        }
        for cell in cells {
            guard let side = cell.unsteadySide else { continue }
            let range = side.spread(\.p50Microseconds)
            lines.append(
                "\(cell.name): the p50 of \(side.label) ranged from \(decimal(range.least, 1)) to "
                    + "\(decimal(range.most, 1)) µs: other load, or the scheduler ran client and "
                    + "server on one core or on two; compare --placement together.")
        }
        let judged = cells.filter { $0.target != nil }
        if !judged.isEmpty {
            lines.append(
                "\(self.cells(that: .met).count) of \(judged.count) targets met, "
                    + "\(self.cells(that: .missed).count) missed, "
                    + "\(self.cells(that: .undecided).count) undecided.")
        }
        return lines
    }
}
