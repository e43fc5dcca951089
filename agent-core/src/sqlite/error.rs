//! Mapping of SQLite errors to [`StoreError`].

use rusqlite::ErrorCode;

use crate::journal::store::StoreError;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed: the transaction is rolled back.
    Sql(rusqlite::Error),
    /// Refused by the contract before anything was written, so other calls in the transaction are kept.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => explain(&error),
            Fault::Refused(error) => error,
        }
    }
}

/// Maps an SQLite error.
pub(super) fn explain(error: &rusqlite::Error) -> StoreError {
    let damaged = |reason: &str| StoreError::Damaged { reason: reason.to_owned() };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable("the database is locked by another process for longer than the busy timeout")
        }
        Some(ErrorCode::DiskFull) => unavailable("the disk is full"),
        Some(ErrorCode::ReadOnly) => unavailable("the database or its folder is read-only"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            unavailable("access to the database is denied")
        }
        Some(ErrorCode::CannotOpen) => {
            unavailable("the database cannot be opened: its folder is missing, read-only or not a folder")
        }
        Some(ErrorCode::NotADatabase) => damaged("the file is not an SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => damaged("the SQLite file is corrupt"),
        Some(ErrorCode::TooBig) => {
            StoreError::Illegal { reason: "a value is larger than SQLite can hold".into() }
        }
        _ => match error {
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => {
                damaged("a row holds a value of the wrong kind")
            }
            other => unavailable(&other.to_string()),
        },
    }
}

pub(super) fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned() }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
