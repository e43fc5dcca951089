-- Tables of the conversations. Can run twice; an existing `sessions` table stays as it is.
--   psql "$DATABASE_URL" < migrations/create_conversations_table.sql
-- The server runs this file at its start.

CREATE TABLE IF NOT EXISTS sessions (
    session_id VARCHAR(255) PRIMARY KEY,
    created_at TIMESTAMPTZ DEFAULT NOW()
);

CREATE TABLE IF NOT EXISTS conversations (
    id SERIAL PRIMARY KEY,
    session_id VARCHAR(255) NOT NULL,
    user_message TEXT NOT NULL,
    ai_response TEXT NOT NULL,
    emotion VARCHAR(50),
    "timestamp" BIGINT NOT NULL,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    FOREIGN KEY (session_id) REFERENCES sessions(session_id) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS idx_conversations_session ON conversations (session_id);
CREATE INDEX IF NOT EXISTS idx_conversations_timestamp ON conversations ("timestamp" DESC);
CREATE INDEX IF NOT EXISTS idx_conversations_created_at ON conversations (created_at DESC);

-- The latest 10 exchanges of a session in chronological order; equal timestamps in the order of `id`.
CREATE OR REPLACE FUNCTION get_recent_conversations(p_session_id VARCHAR)
RETURNS TABLE (
    user_message TEXT,
    ai_response TEXT,
    emotion VARCHAR(50),
    "timestamp" BIGINT
) AS $$
BEGIN
    RETURN QUERY
    SELECT latest.user_message, latest.ai_response, latest.emotion, latest."timestamp"
    FROM (
        SELECT c.id, c.user_message, c.ai_response, c.emotion, c."timestamp"
        FROM conversations c
        WHERE c.session_id = p_session_id
        ORDER BY c."timestamp" DESC, c.id DESC
        LIMIT 10
    ) latest
    ORDER BY latest."timestamp" ASC, latest.id ASC;
END;
$$ LANGUAGE plpgsql STABLE;
