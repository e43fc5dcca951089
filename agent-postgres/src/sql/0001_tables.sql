CREATE TABLE @.owner (
    id text COLLATE "C" PRIMARY KEY,
    expires bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE @.session (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    epoch bigint NOT NULL DEFAULT 0,
    last bigint NOT NULL DEFAULT 0,
    trimmed bigint NOT NULL DEFAULT 0,
    journal_bytes bigint NOT NULL DEFAULT 0,
    snapshot_bytes bigint NOT NULL DEFAULT 0,
    owner text COLLATE "C",
    status text COLLATE "C" NOT NULL DEFAULT '',
    graph text COLLATE "C",
    at bigint,
    due bigint,
    labels text[] COLLATE "C",
    owner_label text COLLATE "C",
    summary text COLLATE "C"
) WITH (fillfactor = 70);
CREATE INDEX session_status ON @.session (status, name);
CREATE INDEX session_recent ON @.session (at, name) WHERE summary IS NOT NULL;
CREATE INDEX session_owned ON @.session (owner_label, at, name) WHERE owner_label IS NOT NULL;
CREATE INDEX session_due ON @.session (due, name) WHERE due IS NOT NULL;

CREATE TABLE @.entry (
    session bigint NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (session, seq)
);
CREATE TABLE @.snapshot (
    session bigint NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (session, seq)
);
CREATE TABLE @.counter (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO @.counter VALUES ('epoch_floor', 0);

CREATE TABLE @.setting (name text PRIMARY KEY, value text NOT NULL);

CREATE TABLE @.memory (
    namespace bytea NOT NULL,
    key text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    expires bigint,
    value text NOT NULL,
    vector bytea,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX memory_expires ON @.memory (expires) WHERE expires IS NOT NULL;

CREATE FUNCTION @.now_v1(given bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(given, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
$$;

-- Appends of several sessions in one transaction. `codes`: 0 stored, 1 other epoch, 2 other end, 3 no such session;
-- `numbers`: the epoch or the end in force. A refused append leaves its neighbours alone.
CREATE FUNCTION @.append_v1(
    p_names text[], p_epochs bigint[], p_expected bigint[], p_counts int[], p_bytes bigint[], p_bodies bytea[],
    p_statuses text[], p_graphs text[], p_ats bigint[], p_dues bigint[], p_owners text[], p_labels text[],
    p_summaries text[], OUT codes int[], OUT numbers bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    it record;
    number bigint;
    start int := 0;
    code int;
BEGIN
    FOR i IN 1 .. cardinality(p_names) LOOP
        code := 0;
        number := 0;
        SELECT s.id, s.last, s.epoch INTO it FROM @.session s WHERE s.name = p_names[i] FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            IF p_epochs[i] <> 0 THEN
                code := 3;
            ELSIF p_expected[i] <> 0 THEN
                code := 2;
            ELSE
                INSERT INTO @.session (name) VALUES (p_names[i]) ON CONFLICT (name) DO NOTHING;
                SELECT s.id, s.last, s.epoch INTO it FROM @.session s WHERE s.name = p_names[i]
                    FOR NO KEY UPDATE;
            END IF;
        END IF;
        IF code = 0 THEN
            IF it.epoch <> p_epochs[i] THEN
                code := 1;
                number := it.epoch;
            ELSIF it.last <> p_expected[i] THEN
                code := 2;
                number := it.last;
            END IF;
        END IF;
        IF code = 0 THEN
            IF p_counts[i] = 1 THEN
                INSERT INTO @.entry (session, seq, body) VALUES (it.id, it.last + 1, p_bodies[start + 1]);
            ELSIF p_counts[i] > 1 THEN
                INSERT INTO @.entry (session, seq, body)
                    SELECT it.id, it.last + n, p_bodies[start + n] FROM generate_series(1, p_counts[i]) n;
            END IF;
            IF p_summaries[i] IS NOT NULL THEN
                UPDATE @.session s SET last = it.last + p_counts[i], journal_bytes = s.journal_bytes + p_bytes[i],
                    status = p_statuses[i], graph = p_graphs[i], at = p_ats[i], due = p_dues[i],
                    owner_label = p_owners[i], labels = string_to_array(p_labels[i], E'\n'),
                    summary = p_summaries[i]
                WHERE s.id = it.id;
            ELSIF p_counts[i] > 0 THEN
                UPDATE @.session s SET last = it.last + p_counts[i], journal_bytes = s.journal_bytes + p_bytes[i]
                WHERE s.id = it.id;
            END IF;
        END IF;
        start := start + p_counts[i];
        codes := codes || code;
        numbers := numbers || number;
    END LOOP;
END $$;

-- `holder`: who keeps the lease from us; NULL where we have it.
CREATE FUNCTION @.acquire_v1(
    p_name text, p_owner text, p_ttl bigint, p_now bigint, OUT epoch bigint, OUT holder text
) LANGUAGE plpgsql AS $$
DECLARE
    it record;
    now bigint := @.now_v1(p_now);
BEGIN
    PERFORM 1 FROM @.owner o WHERE o.id = p_owner AND o.expires >= now + p_ttl / 2;
    IF NOT FOUND THEN
        INSERT INTO @.owner (id, expires) VALUES (p_owner, now + p_ttl)
            ON CONFLICT (id) DO UPDATE SET expires = greatest(owner.expires, excluded.expires);
    END IF;
    SELECT s.id, s.epoch, s.owner INTO it FROM @.session s WHERE s.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO @.session (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
        SELECT s.id, s.epoch, s.owner INTO it FROM @.session s WHERE s.name = p_name FOR NO KEY UPDATE;
    END IF;
    SELECT o.id INTO holder FROM @.owner o
        WHERE o.id = it.owner AND o.id <> p_owner AND o.expires > @.now_v1(p_now);
    IF holder IS NULL THEN
        SELECT greatest(it.epoch, c.value) + 1 INTO epoch FROM @.counter c WHERE c.name = 'epoch_floor';
        UPDATE @.session s SET epoch = acquire_v1.epoch, owner = p_owner WHERE s.id = it.id;
    END IF;
END $$;

CREATE FUNCTION @.renew_v1(p_owner text, p_ttl bigint, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE @.owner o SET expires = @.now_v1(p_now) + p_ttl WHERE o.id = p_owner;
    -- Those that ended long ago; a session of a missing owner is free.
    DELETE FROM @.owner o WHERE o.id IN (
        SELECT old.id FROM @.owner old WHERE old.expires < @.now_v1(p_now) - 86400000 LIMIT 10 FOR UPDATE SKIP LOCKED
    );
END $$;

CREATE FUNCTION @.put_snapshot_v1(p_name text, p_seq bigint, p_body bytea, OUT code int, OUT number bigint)
LANGUAGE plpgsql AS $$
DECLARE
    it record;
    earlier bigint;
BEGIN
    code := 0;
    SELECT s.id, s.last INTO it FROM @.session s WHERE s.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 3;
    ELSIF p_seq > it.last THEN
        code := 2;
        number := it.last;
    ELSE
        SELECT octet_length(p.body) INTO earlier FROM @.snapshot p WHERE p.session = it.id AND p.seq = p_seq;
        INSERT INTO @.snapshot (session, seq, body) VALUES (it.id, p_seq, p_body)
            ON CONFLICT (session, seq) DO UPDATE SET body = excluded.body;
        UPDATE @.session s SET snapshot_bytes = s.snapshot_bytes + octet_length(p_body) - coalesce(earlier, 0)
            WHERE s.id = it.id;
    END IF;
END $$;

CREATE FUNCTION @.trim_v1(p_name text, p_before bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    it record;
    kept bigint;
    entries bigint;
    snapshots bigint;
BEGIN
    SELECT s.id INTO it FROM @.session s WHERE s.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT max(p.seq) INTO kept FROM @.snapshot p WHERE p.session = it.id AND p.seq <= p_before;
    IF kept IS NULL THEN RETURN; END IF;
    WITH gone AS (DELETE FROM @.entry e WHERE e.session = it.id AND e.seq <= kept RETURNING octet_length(body) size)
        SELECT coalesce(sum(size), 0) INTO entries FROM gone;
    WITH gone AS (DELETE FROM @.snapshot p WHERE p.session = it.id AND p.seq < kept RETURNING octet_length(body) size)
        SELECT coalesce(sum(size), 0) INTO snapshots FROM gone;
    UPDATE @.session s SET trimmed = kept, journal_bytes = s.journal_bytes - entries,
        snapshot_bytes = s.snapshot_bytes - snapshots
    WHERE s.id = it.id;
END $$;

-- `code`: 0 copied, 3 no such source, 4 the target exists, 5 trimmed (`number`: the first entry that is left).
CREATE FUNCTION @.copy_v1(
    p_source text, p_target text, p_upto bigint, p_status text, p_graph text, p_at bigint, p_due bigint,
    p_owner text, p_labels text, p_summary text, OUT code int, OUT number bigint
) LANGUAGE plpgsql AS $$
DECLARE
    it record;
    upto bigint;
    made bigint;
BEGIN
    code := 0;
    PERFORM 1 FROM @.session s WHERE s.name = p_target;
    IF FOUND THEN code := 4; RETURN; END IF;
    SELECT s.id, s.last, s.trimmed INTO it FROM @.session s WHERE s.name = p_source FOR SHARE;
    IF NOT FOUND THEN code := 3; RETURN; END IF;
    upto := least(p_upto, it.last);
    -- The snapshot at `trimmed` is always there; anything between it and the start is not.
    IF upto >= 1 AND upto < it.trimmed THEN
        code := 5;
        number := it.trimmed + 1;
        RETURN;
    END IF;
    INSERT INTO @.session (name, last, trimmed, status, graph, at, due, owner_label, labels, summary)
        VALUES (p_target, upto, least(it.trimmed, upto), p_status, p_graph, p_at, p_due, p_owner,
            string_to_array(p_labels, E'\n'), p_summary)
        ON CONFLICT (name) DO NOTHING RETURNING id INTO made;
    IF made IS NULL THEN code := 4; RETURN; END IF;
    INSERT INTO @.entry SELECT made, e.seq, e.body FROM @.entry e WHERE e.session = it.id AND e.seq <= upto;
    INSERT INTO @.snapshot SELECT made, p.seq, p.body FROM @.snapshot p WHERE p.session = it.id AND p.seq <= upto;
    UPDATE @.session s SET
        journal_bytes = (SELECT coalesce(sum(octet_length(e.body)), 0) FROM @.entry e WHERE e.session = made),
        snapshot_bytes = (SELECT coalesce(sum(octet_length(p.body)), 0) FROM @.snapshot p WHERE p.session = made)
    WHERE s.id = made;
END $$;

-- `p_epoch`: only if this is the epoch in force. `code`: 0 deleted, 1 other epoch, 3 no such session.
CREATE FUNCTION @.delete_v1(p_name text, p_epoch bigint, OUT code int, OUT number bigint) LANGUAGE plpgsql AS $$
DECLARE
    it record;
BEGIN
    code := 0;
    SELECT s.id, s.epoch INTO it FROM @.session s WHERE s.name = p_name FOR UPDATE;
    IF NOT FOUND THEN code := 3; RETURN; END IF;
    IF p_epoch IS NOT NULL AND p_epoch <> it.epoch THEN
        code := 1;
        number := it.epoch;
        RETURN;
    END IF;
    DELETE FROM @.entry e WHERE e.session = it.id;
    DELETE FROM @.snapshot p WHERE p.session = it.id;
    DELETE FROM @.session s WHERE s.id = it.id;
    -- A session made again must start above this epoch.
    UPDATE @.counter c SET value = it.epoch WHERE c.name = 'epoch_floor' AND c.value < it.epoch;
END $$;

CREATE FUNCTION @.remember_v1(
    p_namespaces bytea[], p_keys text[], p_values text[], p_vectors bytea[], p_ttls bigint[], p_now bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now bigint := @.now_v1(p_now);
BEGIN
    DELETE FROM @.memory m WHERE (m.namespace, m.key) IN (
        SELECT old.namespace, old.key FROM @.memory old WHERE old.expires <= now LIMIT 100 FOR UPDATE SKIP LOCKED
    );
    FOR i IN 1 .. cardinality(p_keys) LOOP
        INSERT INTO @.memory AS m (namespace, key, value, vector, created, updated, expires)
        VALUES (p_namespaces[i], p_keys[i], p_values[i], p_vectors[i], now, now, now + p_ttls[i])
        ON CONFLICT (namespace, key) DO UPDATE SET
            -- One whose time ran out is another item, even if it was not swept yet.
            created = CASE WHEN m.expires <= now THEN now ELSE m.created END,
            value = excluded.value, vector = excluded.vector, updated = now, expires = excluded.expires;
    END LOOP;
END $$;

CREATE FUNCTION @.notify_v1(p_channel text, p_payloads text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR i IN 1 .. cardinality(p_payloads) LOOP
        PERFORM pg_notify(p_channel, p_payloads[i]);
    END LOOP;
END $$;
