//! Statements, with the schema in their texts.

use crate::summary::HEAD;

/// The texts of all statements.
pub(crate) struct Statements {
    pub(crate) schema: String,
    /// The name of the channel of NOTIFY.
    pub(crate) channel: String,
    pub(crate) notify: String,
    pub(crate) orphans: String,
    pub(crate) append: String,
    pub(crate) append_one: String,
    pub(crate) read: String,
    pub(crate) head: String,
    pub(crate) acquire: String,
    pub(crate) renew: String,
    pub(crate) release: String,
    pub(crate) put_snapshot: String,
    pub(crate) snapshot: String,
    pub(crate) replay_start: String,
    pub(crate) trim: String,
    pub(crate) copy: String,
    pub(crate) list: String,
    pub(crate) list_by_status: String,
    pub(crate) due: String,
    pub(crate) delete: String,
    pub(crate) remember: String,
    pub(crate) recall: String,
    pub(crate) forget: String,
    pub(crate) rate: String,
    pub(crate) hold: String,
    pub(crate) keep: String,
    pub(crate) reserve: String,
}

impl Statements {
    pub(crate) fn new(schema: &str) -> Self {
        let text = |sql: &str| sql.replace('@', schema).replace('#', HEAD);
        Self {
            schema: schema.to_owned(),
            channel: format!("agent_{schema}"),
            notify: text("SELECT FROM @.notify_v1($1, $2)"),
            orphans: text(
                "SELECT # FROM @.session s WHERE status = 'running' AND name > $1 AND NOT EXISTS (
                     SELECT FROM @.owner o WHERE o.id = s.owner AND o.id <> $2 AND o.expires > @.now_v1($3)
                 ) ORDER BY name LIMIT $4",
            ),
            append: text("SELECT codes, numbers FROM @.append_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"),
            append_one: text("SELECT @.append_one_v2($1, $2, $3, $4, $5)"),
            read: text(
                "SELECT e.seq, e.body FROM @.session s JOIN @.entry e ON e.session = s.id
                 WHERE s.name = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4",
            ),
            head: text("SELECT # FROM @.session WHERE name = $1"),
            acquire: text(
                "SELECT a.epoch, a.holder FROM unnest($1) WITH ORDINALITY AS wanted (name, at)
                 CROSS JOIN LATERAL @.acquire_v1(wanted.name, $2, $3, $4) a ORDER BY wanted.at",
            ),
            renew: text("SELECT FROM @.renew_v1($1, $2, $3)"),
            release: text("UPDATE @.session SET owner = NULL WHERE name = $1 AND owner = $2 AND epoch = $3"),
            put_snapshot: text("SELECT code, number FROM @.put_snapshot_v1($1, $2, $3)"),
            snapshot: text(
                "SELECT p.seq, p.body FROM @.session s JOIN @.snapshot p ON p.session = s.id
                 WHERE s.name = $1 AND p.seq <= $2 ORDER BY p.seq DESC LIMIT 1",
            ),
            replay_start: text(
                "WITH s AS (SELECT id FROM @.session WHERE name = $1), p AS (
                     SELECT p.seq, p.body FROM s JOIN @.snapshot p ON p.session = s.id
                     WHERE p.seq <= $2 ORDER BY p.seq DESC LIMIT 1
                 )
                 SELECT true, seq, body FROM p UNION ALL (
                     SELECT false, e.seq, e.body FROM s JOIN @.entry e ON e.session = s.id
                     WHERE e.seq > coalesce((SELECT seq FROM p), 0) AND e.seq <= $2 ORDER BY e.seq LIMIT $3
                 )",
            ),
            trim: text("SELECT FROM @.trim_v1($1, $2)"),
            copy: text("SELECT code, number FROM @.copy_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"),
            list: text("SELECT # FROM @.session WHERE name > $1 ORDER BY name LIMIT $2"),
            // One range of the index for each status: the few that run are found among millions that ended.
            list_by_status: text(
                "SELECT s.* FROM unnest($3::text[]) wanted CROSS JOIN LATERAL (
                     SELECT # FROM @.session WHERE status = wanted COLLATE \"C\" AND name > $1 ORDER BY name LIMIT $2
                 ) s ORDER BY name LIMIT $2",
            ),
            due: text(
                "SELECT #, due FROM @.session
                 WHERE due IS NOT NULL AND (due, name) > ($1, $2) AND due <= $3 ORDER BY due, name LIMIT $4",
            ),
            delete: text("SELECT code, number FROM @.delete_v1($1, $2)"),
            rate: text("SELECT wait FROM @.rate_v1($1, $2, $3)"),
            hold: text("SELECT held FROM @.hold_v1($1, $2, $3, $4, $5, $6)"),
            keep: text("SELECT FROM @.keep_v1($1, $2, $3, $4, $5)"),
            reserve: text("SELECT reserved FROM @.reserve_v1($1, $2, $3, $4, $5, $6)"),
            remember: text("SELECT FROM @.remember_v1($1, $2, $3, $4, $5, $6)"),
            recall: text(
                "SELECT key, value, created, updated, expires, namespace FROM @.memory
                 WHERE namespace = $1 AND key = $2 AND (expires IS NULL OR expires > @.now_v1($3))",
            ),
            forget: text(
                "DELETE FROM @.memory WHERE namespace = $1 AND key = $2
                 RETURNING expires IS NULL OR expires > @.now_v1($3)",
            ),
        }
    }
}
