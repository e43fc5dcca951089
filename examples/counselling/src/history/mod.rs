//! Conversations: exchanges of a client and the counsellor, and the sessions that they belong to.

mod embedded;
mod postgres;

use std::{sync::Arc, time::Duration};

use agent_core::memory::{MemoryError, MemoryStore};
use agent_postgres::{Postgres, QueryError};
use serde::{Deserialize, Serialize};

use self::{embedded::Embedded, postgres::Table};

/// Exchanges that the model sees.
pub const RECENT: usize = 10;
/// Timeout for one operation of the store.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One exchange: what the client said and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What the client said.
    pub user_message: String,
    /// What was answered; if the answer was cut, what was said of it.
    pub ai_response: String,
    /// The emotion as the client sent it.
    pub emotion: Option<String>,
    /// Time of the request, in milliseconds since 1970.
    pub timestamp: i64,
}

/// Whether an exchange may be in the store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveMode {
    /// It was never saved.
    First,
    /// An earlier attempt may have saved it; an equal exchange is not saved twice.
    Again,
}

/// Error of the store of conversations. Contains nothing that was said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The database refused the statement, or did not respond.
    #[error("the database failed: {0}")]
    Database(#[from] QueryError),
    /// The session does not exist.
    #[error("the session does not exist")]
    NoSession,
    /// The embedded store failed.
    #[error("the store failed: {0}")]
    Store(#[from] MemoryError),
    /// The stored value is not an exchange.
    #[error("a stored value is damaged: {reason}")]
    Damaged {
        /// Why.
        reason: String,
    },
    /// The store did not respond.
    #[error("the store did not respond within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// The conversations, in PostgreSQL or in the embedded store. Cheap to clone.
#[derive(Clone)]
pub struct Conversations(Arc<Backend>);

enum Backend {
    Embedded(Embedded),
    Postgres(Table),
}

impl Conversations {
    /// Uses the embedded store.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use agent_core::memory::InMemoryStore;
    /// use counselling::{Conversations, Exchange, history::SaveMode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let conversations = Conversations::embedded(Arc::new(InMemoryStore::new()));
    /// conversations.create_session("s1").await?;
    /// let exchange = Exchange {
    ///     user_message: "안녕하세요".into(),
    ///     ai_response: "반가워요.".into(),
    ///     emotion: None,
    ///     timestamp: 1_704_902_400_000,
    /// };
    /// conversations.save("s1", &exchange, SaveMode::First).await?;
    /// assert_eq!(conversations.recent("s1").await?, [exchange]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn embedded(store: Arc<dyn MemoryStore>) -> Self {
        Self(Arc::new(Backend::Embedded(Embedded::new(store))))
    }

    /// Uses tables in PostgreSQL, and creates those that are missing.
    ///
    /// # Errors
    ///
    /// The tables cannot be created.
    pub async fn postgres(database: Postgres) -> Result<Self, HistoryError> {
        Ok(Self(Arc::new(Backend::Postgres(Table::open(database).await?))))
    }

    /// Returns whether a session exists.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn has_session(&self, session: &str) -> Result<bool, HistoryError> {
        within(async {
            match &*self.0 {
                Backend::Embedded(store) => store.has_session(session).await,
                Backend::Postgres(table) => table.has_session(session).await,
            }
        })
        .await
    }

    /// Creates a session. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn create_session(&self, session: &str) -> Result<bool, HistoryError> {
        within(async {
            match &*self.0 {
                Backend::Embedded(store) => store.create_session(session).await,
                Backend::Postgres(table) => table.create_session(session).await,
            }
        })
        .await
    }

    /// Returns the latest [`RECENT`] exchanges of a session in chronological order; equal times in the order in which they
    /// were saved.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn recent(&self, session: &str) -> Result<Vec<Exchange>, HistoryError> {
        within(async {
            match &*self.0 {
                Backend::Embedded(store) => store.recent(session).await,
                Backend::Postgres(table) => table.recent(session).await,
            }
        })
        .await
    }

    /// Saves an exchange, in one insert.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn save(&self, session: &str, exchange: &Exchange, mode: SaveMode) -> Result<(), HistoryError> {
        within(async {
            match &*self.0 {
                Backend::Embedded(store) => store.save(session, exchange, mode).await,
                Backend::Postgres(table) => table.save(session, exchange, mode).await,
            }
        })
        .await
    }
}

async fn within<T>(work: impl Future<Output = Result<T, HistoryError>>) -> Result<T, HistoryError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or(Err(HistoryError::TimedOut))
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &*self.0 {
            Backend::Embedded(_) => "embedded",
            Backend::Postgres(_) => "postgres",
        };
        f.debug_tuple("Conversations").field(&kind).finish()
    }
}
