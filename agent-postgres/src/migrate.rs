//! Migrations: forward only, under an advisory lock, safe to run by many processes and while older ones run.
//!
//! A migration only adds. Functions carry a version in their names; a changed function is a new one, so that older processes
//! keep calling theirs.

use agent_core::journal::StoreError;
use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use crate::error::store_error;

/// Migrations in order; `@` is the schema. Never change one that was released.
const MIGRATIONS: [&str; 4] = [
    include_str!("sql/0001_tables.sql"),
    include_str!("sql/0002_limits.sql"),
    include_str!("sql/0003_speed.sql"),
    include_str!("sql/0004_append.sql"),
];

/// Key of the advisory lock (`agent pg`).
pub(crate) const LOCK: i64 = 0x6167_656e_7420_7067;

/// Creates or updates the tables.
pub(crate) async fn run(client: &mut Object, schema: &str) -> Result<(), StoreError> {
    if is_current(client, schema).await? {
        return Ok(());
    }
    let failed = |error: tokio_postgres::Error| store_error(&error);
    let transaction = client.transaction().await.map_err(failed)?;
    // Ends with the transaction, so it also holds behind PgBouncer in transaction mode.
    transaction
        .query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
        .await
        .map_err(failed)?;
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.migration (
                 version int PRIMARY KEY,
                 -- The number of migrations that a program must know to use the tables after this one.
                 needs int NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )"
        ))
        .await
        .map_err(failed)?;
    let rows = transaction
        .query_typed(
            &format!("SELECT coalesce(max(version), 0), coalesce(max(needs), 0) FROM {schema}.migration"),
            &[],
        )
        .await
        .map_err(failed)?;
    let (done, needs): (i32, i32) = rows.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
    check(needs)?;
    for (version, migration) in (1..).zip(MIGRATIONS) {
        if version > done {
            transaction.batch_execute(&migration.replace('@', schema)).await.map_err(failed)?;
            transaction
                .query_typed(
                    &format!("INSERT INTO {schema}.migration (version, needs) VALUES ($1, 1)"),
                    &[(&version, Type::INT4)],
                )
                .await
                .map_err(failed)?;
        }
    }
    transaction.commit().await.map_err(failed)
}

/// Returns whether all migrations were applied: then a user without the right to create tables can run the program.
async fn is_current(client: &Object, schema: &str) -> Result<bool, StoreError> {
    let name = format!("{schema}.migration");
    let failed = |error: tokio_postgres::Error| store_error(&error);
    let known = client
        .query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&name, Type::TEXT)])
        .await
        .map_err(failed)?;
    if !known.first().is_some_and(|row| row.get(0)) {
        return Ok(false);
    }
    let rows = client
        .query_typed(&format!("SELECT coalesce(max(version), 0), coalesce(max(needs), 0) FROM {name}"), &[])
        .await
        .map_err(failed)?;
    let (done, needs): (i32, i32) = rows.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
    check(needs)?;
    Ok(usize::try_from(done).is_ok_and(|done| done >= MIGRATIONS.len()))
}

fn check(needs: i32) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found = u32::try_from(needs).unwrap_or(0);
    if found > known { Err(StoreError::FormatTooNew { found, known }) } else { Ok(()) }
}
