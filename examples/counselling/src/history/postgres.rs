//! Conversations in PostgreSQL: the tables of `migrations/create_conversations_table.sql`.

use agent_postgres::{Postgres, Row, Type};

use super::{Exchange, HistoryError, SaveMode};

/// The migration; it can run twice.
const MIGRATION: &str = include_str!("../../migrations/create_conversations_table.sql");
/// SQLSTATE of a row that refers to a missing one.
const NO_SUCH_ROW: &str = "23503";

pub(super) struct Table(Postgres);

impl Table {
    pub(super) async fn open(database: Postgres) -> Result<Self, HistoryError> {
        database.migrate(MIGRATION).await?;
        Ok(Self(database))
    }

    pub(super) async fn has_session(&self, session: &str) -> Result<bool, HistoryError> {
        let sql = "SELECT 1 FROM sessions WHERE session_id::text = $1";
        Ok(!self.0.query(sql, &[(&session, Type::TEXT)]).await?.is_empty())
    }

    pub(super) async fn create_session(&self, session: &str) -> Result<bool, HistoryError> {
        let sql = "INSERT INTO sessions (session_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1";
        Ok(!self.0.query(sql, &[(&session, Type::VARCHAR)]).await?.is_empty())
    }

    pub(super) async fn recent(&self, session: &str) -> Result<Vec<Exchange>, HistoryError> {
        // Not by the function: in a database of another service it may be an older one.
        let sql = r#"SELECT user_message, ai_response, emotion, "timestamp" FROM (
                 SELECT id, user_message, ai_response, emotion, "timestamp" FROM conversations
                 WHERE session_id = $1 ORDER BY "timestamp" DESC, id DESC LIMIT 10
             ) latest ORDER BY "timestamp", id"#;
        let rows = self.0.query(sql, &[(&session, Type::VARCHAR)]).await?;
        rows.iter().map(exchange).collect()
    }

    pub(super) async fn save(
        &self,
        session: &str,
        exchange: &Exchange,
        mode: SaveMode,
    ) -> Result<(), HistoryError> {
        let insert =
            r#"INSERT INTO conversations (session_id, user_message, ai_response, emotion, "timestamp")"#;
        let sql = match mode {
            SaveMode::First => format!("{insert} VALUES ($1, $2, $3, $4, $5)"),
            SaveMode::Again => format!(
                r#"{insert} SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (
                     SELECT 1 FROM conversations WHERE session_id = $1 AND user_message = $2 AND ai_response = $3
                         AND emotion IS NOT DISTINCT FROM $4 AND "timestamp" = $5)"#
            ),
        };
        let [message, response] = [&exchange.user_message, &exchange.ai_response].map(|text| storable(text));
        let emotion = exchange.emotion.as_deref().map(storable);
        let saved = self
            .0
            .query(
                &sql,
                &[
                    (&session, Type::VARCHAR),
                    (&message, Type::TEXT),
                    (&response, Type::TEXT),
                    (&emotion, Type::VARCHAR),
                    (&exchange.timestamp, Type::INT8),
                ],
            )
            .await;
        match saved {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(NO_SUCH_ROW) => Err(HistoryError::NoSession),
            Err(error) => Err(error.into()),
        }
    }
}

/// PostgreSQL's text cannot contain the character zero.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn exchange(row: &Row) -> Result<Exchange, HistoryError> {
    let read = || {
        Ok::<_, Box<dyn std::error::Error>>(Exchange {
            user_message: row.try_get(0)?,
            ai_response: row.try_get(1)?,
            emotion: row.try_get(2)?,
            timestamp: row.try_get(3)?,
        })
    };
    read().map_err(|error| HistoryError::Damaged { reason: error.to_string() })
}
