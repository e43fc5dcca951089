-- Column of pgvector beside the vectors in `memory`; `@` is the schema, `^` that of the extension. Not a numbered migration: it is
-- applied when the extension is there, and `DROP EXTENSION vector CASCADE` removes all of it but the last function.
ALTER TABLE @.memory ADD COLUMN embedding ^.vector;

-- Reads little-endian floats. pgvector has at most 16,000 numbers.
CREATE OR REPLACE FUNCTION @.embedding_v1(bytes bytea) RETURNS ^.vector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(bytes) BETWEEN 4 AND 64000 THEN (
        SELECT array_agg((
            (1 - ((bits >> 30) & 2)) * CASE
                WHEN bits & 2139095040 = 0 THEN (bits & 8388607) * 2::float8 ^ (-149)
                ELSE ((bits & 8388607) | 8388608) * 2::float8 ^ (((bits >> 23) & 255) - 150)
            END
        )::float4 ORDER BY at)
        FROM (
            SELECT at, (get_byte(bytes, at + 3) << 24) | (get_byte(bytes, at + 2) << 16) | (get_byte(bytes, at + 1) << 8)
                | get_byte(bytes, at) AS bits
            FROM generate_series(0, octet_length(bytes) - 4, 4) at
        ) numbers
    )::^.vector END
$$;

CREATE OR REPLACE FUNCTION @.memory_embedding_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.embedding := @.embedding_v1(NEW.vector);
    RETURN NEW;
END $$;

-- For the writes of older programs too. It names the column, so that it ends with it.
CREATE TRIGGER memory_embedding BEFORE INSERT OR UPDATE OF vector, embedding ON @.memory
    FOR EACH ROW EXECUTE FUNCTION @.memory_embedding_v1();

-- `complete`: every row has its embedding.
DELETE FROM @.setting WHERE name = 'memory_embedding';
INSERT INTO @.setting (name, value) SELECT 'memory_embedding', 'complete'
    WHERE NOT EXISTS (SELECT FROM @.memory m WHERE m.vector IS NOT NULL);
