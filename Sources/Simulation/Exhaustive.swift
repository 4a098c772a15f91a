enum Exhaustive {
    static func run(progress: (_ explored: Int, _ known: Int) -> Bool) -> RunReport { RunReport() }
}
