// The one place where the errors of SQLite, GRDB and the kernel become `RegistryError`.

import GRDB
import Glibc

/// What the code of this folder finds wrong by itself.
enum StorageProblem: Error {
    /// A system call on the file failed with this errno.
    case system(CInt)
    /// The integrity check's first finding.
    case damaged(String)
    /// A row holds what no version of Holdfast writes.
    case unreadable(table: String, column: String)
    case newerSchema
    case noWriteAheadLog
}

extension RegistryError {
    /// `error`, thrown while using the registry at `path`, as callers see it.
    ///
    /// A `RegistryError` thrown inside a transaction to undo it passes through.
    init(storage error: any Error, path: String) {
        let fault: StorageFault
        let cause: String
        switch error {
        case let error as RegistryError:
            self = error
            return
        case let error as DatabaseError:
            fault = StorageFault(error.resultCode)
            cause =
                "\(error.message ?? "no message"), SQLite code \(error.extendedResultCode.rawValue)"
        case let problem as StorageProblem:
            switch problem {
            case .system(let number):
                fault = StorageFault(errno: number)
                cause = "errno \(number)"
            case .damaged(let finding):
                fault = .corrupt
                cause = finding
            case .unreadable(let table, let column):
                fault = .corrupt
                cause = "a row of table \(table) has an impossible \(column)"
            case .newerSchema:
                fault = .newerVersion
                cause = "its schema has later migrations"
            case .noWriteAheadLog:
                fault = .cannotOpen
                cause = "its file system cannot hold a write-ahead log"
            }
        default:
            fault = .unexpected
            cause = "\(error)"
        }
        self = .storage(fault, message: "\(path): \(cause)")
    }
}

extension StorageFault {
    fileprivate init(_ code: ResultCode) {
        switch code {
        case .SQLITE_FULL: self = .diskFull
        case .SQLITE_READONLY: self = .readOnly
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: self = .corrupt
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL: self = .busy
        case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH, .SQLITE_NOLFS: self = .cannotOpen
        case .SQLITE_IOERR: self = .inputOutput
        default: self = .unexpected
        }
    }

    fileprivate init(errno number: CInt) {
        switch number {
        case ENOSPC, EDQUOT: self = .diskFull
        case EROFS: self = .readOnly
        case EIO: self = .inputOutput
        default: self = .cannotOpen
        }
    }
}
