// The HTTP status of each failure: for tools that know nothing of Holdfast.

internal import Control
internal import HTTPTypes

extension ControlError.Code {
    /// How this failure is told to HTTP clients that do not read the body.
    var httpStatus: HTTPResponse.Status {
        switch self {
        case .notFound: .notFound
        case .conflict: .conflict
        case .invalid: .badRequest
        case .unavailable: .serviceUnavailable
        case .insufficientMemory: .init(code: 507, reasonPhrase: "Insufficient Memory")
        case .failed: .internalServerError
        }
    }
}
