// Interop is proof: the clients people have, against `holdfast up` with three copies.
//
// Everything here shares one machine of few processors, so the suites run one after the other.

import Testing

/// The parent of all interop suites.
@Suite(.serialized) enum Interop {}
