-- Counters of limits. After a crash of the database they begin again.
CREATE UNLOGGED TABLE @.rate (
    key text COLLATE "C" PRIMARY KEY,
    -- When the key has its whole allowance again, in microseconds since 1970.
    full_at bigint NOT NULL
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE @.permit (
    key text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    count int NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (key, holder)
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE @.reservation (
    owner_label text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (owner_label, session)
);

-- `wait`: microseconds until a request is admitted; NULL: this one was counted.
CREATE FUNCTION @.rate_v1(p_key text, p_per_minute int, p_now bigint, OUT wait bigint) LANGUAGE plpgsql AS $$
DECLARE
    minute CONSTANT bigint := 60000000;
    now bigint := @.now_v1(p_now) * 1000;
    cost bigint := minute / p_per_minute;
    counted bigint;
BEGIN
    -- A time that is more than a minute ahead is that of a clock that was set back.
    INSERT INTO @.rate AS r (key, full_at) VALUES (p_key, now + cost)
        ON CONFLICT (key) DO UPDATE
            SET full_at = CASE WHEN r.full_at > now + minute THEN now ELSE greatest(r.full_at, now) END + cost
            WHERE r.full_at > now + minute OR greatest(r.full_at, now) + cost <= now + minute
        RETURNING full_at INTO counted;
    IF counted IS NULL THEN
        SELECT greatest(r.full_at + cost - now - minute, 1) INTO wait FROM @.rate r WHERE r.key = p_key;
        wait := coalesce(wait, 1);
    END IF;
    IF random() < 0.01 THEN
        DELETE FROM @.rate r WHERE r.key IN (
            SELECT old.key FROM @.rate old WHERE old.full_at < now LIMIT 200 FOR UPDATE SKIP LOCKED
        );
    END IF;
END $$;

CREATE FUNCTION @.hold_v1(
    p_holder text, p_key text, p_count int, p_maximum int, p_ttl bigint, p_now bigint, OUT held boolean
) LANGUAGE plpgsql AS $$
DECLARE
    now bigint;
    others bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('@.permit'), hashtext(p_key));
    now := @.now_v1(p_now);
    SELECT coalesce(sum(p.count), 0) INTO others FROM @.permit p
        WHERE p.key = p_key AND p.holder <> p_holder AND p.expires > now;
    held := others + p_count <= p_maximum;
    IF held THEN
        INSERT INTO @.permit (key, holder, count, expires) VALUES (p_key, p_holder, p_count, now + p_ttl)
            ON CONFLICT (key, holder) DO UPDATE SET count = excluded.count, expires = excluded.expires;
    END IF;
END $$;

CREATE FUNCTION @.keep_v1(p_holder text, p_keys text[], p_counts int[], p_ttl bigint, p_now bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now bigint := @.now_v1(p_now);
BEGIN
    INSERT INTO @.permit (key, holder, count, expires)
        SELECT k.key, p_holder, k.count, now + p_ttl FROM unnest(p_keys, p_counts) k (key, count)
        WHERE k.count > 0 ORDER BY k.key
        ON CONFLICT (key, holder) DO UPDATE SET count = excluded.count, expires = excluded.expires;
    DELETE FROM @.permit p USING unnest(p_keys, p_counts) k (key, count)
        WHERE p.key = k.key AND p.holder = p_holder AND k.count <= 0;
    DELETE FROM @.permit p WHERE (p.key, p.holder) IN (
        SELECT old.key, old.holder FROM @.permit old WHERE old.expires <= now LIMIT 100 FOR UPDATE SKIP LOCKED
    );
END $$;

CREATE FUNCTION @.reserve_v1(
    p_owner text, p_session text, p_without text, p_maximum int, p_ttl bigint, p_now bigint, OUT reserved boolean
) LANGUAGE plpgsql AS $$
DECLARE
    now bigint;
    stored bigint;
    others bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('@.reservation'), hashtext(p_owner));
    now := @.now_v1(p_now);
    DELETE FROM @.reservation r WHERE r.owner_label = p_owner AND (
        r.expires <= now OR EXISTS (SELECT FROM @.session s WHERE s.name = r.session AND s.owner_label = p_owner)
    );
    SELECT count(*) INTO stored FROM (
        SELECT FROM @.session s WHERE s.owner_label = p_owner AND s.summary IS NOT NULL AND s.graph <> p_without
            LIMIT p_maximum
    ) own;
    SELECT count(*) INTO others FROM @.reservation r WHERE r.owner_label = p_owner AND r.session <> p_session;
    reserved := stored + others < p_maximum;
    IF reserved THEN
        INSERT INTO @.reservation (owner_label, session, expires) VALUES (p_owner, p_session, now + p_ttl)
            ON CONFLICT (owner_label, session) DO UPDATE SET expires = excluded.expires;
    END IF;
END $$;
