//! Errors of connections, and the conversion of database errors into store errors.

use std::time::Duration;

use agent_core::journal::StoreError;
use tokio_postgres::error::SqlState;

use crate::AddressError;

/// Error of [`Postgres::connect`](crate::Postgres::connect).
///
/// # Examples
///
/// ```
/// use agent_postgres::ConnectError;
///
/// let error = ConnectError::Unreachable { place: "agents on localhost:5432".into(), reason: "connection refused".into() };
/// assert_eq!(error.to_string(), "agents on localhost:5432 cannot be used: connection refused");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The file with the trusted root certificates cannot be used.
    #[error("the root certificates in `{path}` cannot be used: {reason}")]
    Root {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The database cannot be reached, or refuses the connection.
    #[error("{place} cannot be used: {reason}")]
    Unreachable {
        /// Database, host and port.
        place: String,
        /// Why, without secrets.
        reason: String,
    },
    /// The tables cannot be created or updated.
    #[error("the tables in {place} cannot be prepared")]
    Migrate {
        /// Database, host and port.
        place: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The name of the schema is invalid.
    #[error("a schema is named with 1 to 63 of `a-z 0-9 _`, not beginning with a digit")]
    Schema,
}

/// Describes a database error without parameters or addresses.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    // The driver's own texts are general; the cause has the details.
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Converts a database error. Everything that another attempt may settle is [`StoreError::Unavailable`].
pub(crate) fn store_error(error: &tokio_postgres::Error) -> StoreError {
    let Some(said) = error.as_db_error() else {
        return StoreError::Unavailable { reason: reason(error) };
    };
    let code = said.code();
    // Class 22: data; class 54: program limits. The same call fails again.
    let permanent = code.code().starts_with("22") || code.code().starts_with("54");
    if permanent {
        return StoreError::Illegal { reason: reason(error) };
    }
    if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED {
        return StoreError::Damaged { reason: reason(error) };
    }
    StoreError::Unavailable { reason: reason(error) }
}

pub(crate) fn pool_error(error: &deadpool_postgres::PoolError) -> StoreError {
    use deadpool_postgres::PoolError;
    let reason = match error {
        PoolError::Backend(error) => reason(error),
        PoolError::Timeout(_) => "no connection became free in time".to_owned(),
        other => other.to_string(),
    };
    StoreError::Unavailable { reason }
}

pub(crate) fn timed_out(after: Duration) -> StoreError {
    StoreError::Unavailable { reason: format!("the database did not respond within {} s", after.as_secs()) }
}
