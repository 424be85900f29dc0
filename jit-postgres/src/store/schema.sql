-- The store of jit: everything it keeps, and everything that changes it. Nodes may look at the
-- tables and call the functions. Only the functions write. Every change is one call, so no
-- transaction ever waits for a node. A call waits only for rows that these functions lock: no lock
-- that a reader or a stranger can take delays anything. Every name is qualified.

CREATE SCHEMA jit;
REVOKE ALL ON SCHEMA jit FROM PUBLIC;

CREATE TABLE jit.meta (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema     integer NOT NULL,                              -- what this file makes is 1
    -- how far the store's time goes ahead of the server's clock, since that was set back
    ahead      interval NOT NULL DEFAULT '0',
    corrected  bigint NOT NULL DEFAULT 0,                     -- how often that was changed
    -- what made the clock doubtful: the latest time given, and what the server's clock said
    doubt_mark timestamptz,
    doubt_wall timestamptz
);
INSERT INTO jit.meta (schema) VALUES (1);

-- Every store that is open, a row each that nobody else writes: no store waits for another.
CREATE TABLE jit.stores (
    instance text PRIMARY KEY CHECK (instance ~ '^[0-9a-z]{1,64}$'),
    pulse    bigint NOT NULL DEFAULT 0,                       -- counts its commits
    -- the latest time that it gave or was given
    mark     timestamptz NOT NULL CHECK (isfinite(mark)),
    -- the latest that the server's own clock said to it: no node can write it
    clock    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20);

-- Versioned records. Version 0: there is none, and somebody relied on that.
CREATE TABLE jit.records (
    tenant  text COLLATE "C" NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    lane    text COLLATE "C",                                 -- lane, due and serial: all or none
    -- `due` is limited to what a node can read
    due     timestamptz CHECK (isfinite(due) AND due < '262143-01-01 00:00:00+00'),
    serial  text COLLATE "C",
    labels  jsonb,
    body    bytea NOT NULL,
    PRIMARY KEY (tenant, kind, key)
);
CREATE INDEX records_due ON jit.records (lane, due) WHERE lane IS NOT NULL;
CREATE INDEX records_serial ON jit.records (serial, lane, due) WHERE serial IS NOT NULL;

-- The labels once more, for pages.
CREATE TABLE jit.labels (
    tenant text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    name   text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    key    text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, key)
);

-- Who works on what, until when. One that expired stays until somebody takes it over.
CREATE TABLE jit.claims (
    serial  text COLLATE "C" PRIMARY KEY,
    fencing bigint NOT NULL,
    until   timestamptz NOT NULL CHECK (isfinite(until)),
    node    text NOT NULL CHECK (octet_length(node) <= 512)
);
CREATE INDEX claims_until ON jit.claims (until);

-- Whose turn it is to claim in a lane: who holds the row's lock.
CREATE TABLE jit.turns (
    lane text COLLATE "C" PRIMARY KEY
);

-- The audit log. Entries and their numbers are written once.
CREATE TABLE jit.entries (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      uuid NOT NULL UNIQUE,
    tenant  text COLLATE "C" NOT NULL,
    subject text COLLATE "C",
    body    bytea NOT NULL
);
CREATE INDEX entries_subject ON jit.entries (tenant, subject, seq) WHERE subject IS NOT NULL;

CREATE TABLE jit.numbers (
    entry  bigint PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    number bigint NOT NULL CHECK (number >= 0),
    UNIQUE (tenant, number)
);

CREATE TABLE jit.unnumbered (
    tenant text COLLATE "C" NOT NULL,
    entry  bigint NOT NULL,
    PRIMARY KEY (tenant, entry)
);

CREATE FUNCTION jit.append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON jit.entries FOR EACH STATEMENT EXECUTE FUNCTION jit.append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON jit.numbers FOR EACH STATEMENT EXECUTE FUNCTION jit.append_only();

-- Views for an auditor: the log in its order, and the signed checkpoints. They are barriers: no
-- function of an auditor runs on rows that the views leave out.
CREATE VIEW jit.audit_log WITH (security_barrier) AS
  SELECT n.tenant, n.number, e.id, e.subject, convert_from(e.body, 'UTF8') AS entry
  FROM jit.numbers n JOIN jit.entries e ON e.seq = n.entry;
CREATE VIEW jit.audit_checkpoints WITH (security_barrier) AS
  SELECT tenant, key, convert_from(body, 'UTF8') AS checkpoint FROM jit.records WHERE kind = 'checkpoint' AND version > 0;

-- The store's time: the server's clock, but never earlier than a time that a store gave (`told`:
-- to the store that asks). A node was told its time by this server, or by the server that this one
-- replaces. A time more than a minute ahead of all that their clocks ever said is no such time,
-- and counts for nothing.
CREATE FUNCTION jit.time(told timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT isfinite(told) THEN
    RAISE EXCEPTION 'a time that is not finite was never told to a node' USING ERRCODE = 'datetime_field_overflow';
  END IF;
  RETURN (SELECT greatest(c.wall, s.mark, CASE WHEN told <= greatest(c.wall, s.clock + c.ahead) + interval '1 min' THEN told END)
          FROM (SELECT clock_timestamp() + m.ahead AS wall, m.ahead FROM jit.meta m) c
          CROSS JOIN (SELECT max(o.mark) AS mark, max(o.clock) AS clock FROM jit.stores o) s);
END $$;

-- Sets how far the store's time goes ahead of the server's clock from here on. What the clock said
-- before is forgotten, so that nobody counts it twice. Only functions of this schema call it.
CREATE FUNCTION jit.set_ahead(by interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE jit.meta SET ahead = by, corrected = corrected + 1;
  UPDATE jit.stores SET clock = clock_timestamp();
END $$;

-- Registers one more open store. Finds out whether the clock can be trusted: time never goes below
-- a mark. A mark that is more than a day away from the clock is doubtful until somebody accepts
-- the clock. Sweeps rows of stores, and turns of lanes, that are long gone.
CREATE FUNCTION jit.enter(me text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  behind timestamptz;
  latest timestamptz;
  wall   timestamptz;
  before interval;
BEGIN
  PERFORM FROM jit.meta FOR UPDATE;
  SELECT max(s.mark), max(s.clock) INTO latest, behind FROM jit.stores s;
  SELECT clock_timestamp() + m.ahead, m.ahead, behind + m.ahead INTO wall, before, behind FROM jit.meta m;
  IF wall < behind - interval '2 s' THEN
    PERFORM jit.set_ahead(before + (behind - wall));
  END IF;
  IF wall NOT BETWEEN latest - interval '24 h' AND latest + interval '24 h' THEN
    UPDATE jit.meta SET doubt_mark = latest, doubt_wall = wall WHERE doubt_mark IS NULL;
  END IF;
  INSERT INTO jit.stores (instance, mark) VALUES (me, jit.time(NULL));
  DELETE FROM jit.stores s WHERE s.mark < latest - interval '1 day' AND s.instance <> me;
  DELETE FROM jit.turns t WHERE t.lane IN (
    SELECT o.lane FROM jit.turns o WHERE NOT EXISTS (SELECT FROM jit.records r WHERE r.lane = o.lane) FOR UPDATE SKIP LOCKED);
  RETURN jit.time(NULL);
END $$;

-- Answers what a store asks every second, and saves the time that the store gave. Answers what
-- others committed, and what is to be said of the clock.
CREATE FUNCTION jit.poll(me text, told timestamptz, OUT at timestamptz, OUT clock timestamptz, OUT corrected bigint, OUT others jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  clock := clock_timestamp();
  at := jit.time(told);
  UPDATE jit.stores s SET mark = greatest(s.mark, at), clock = greatest(s.clock, poll.clock) WHERE s.instance = me;
  IF NOT FOUND THEN
    INSERT INTO jit.stores (instance, mark) VALUES (me, at);
  END IF;
  SELECT coalesce(jsonb_object_agg(s.instance, s.pulse), '{}') INTO others FROM jit.stores s WHERE s.instance <> me;
  SELECT m.corrected INTO poll.corrected FROM jit.meta m;
END $$;

-- Corrects the store's time: the server's clock was set back by so much while a store counted.
-- Time goes on from where it was. The first to find out is heard, if the clock is behind what it
-- said itself before. The node knows best by how much more the clock lost since then.
CREATE FUNCTION jit.set_back(seen bigint, lost interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  behind interval;
  before interval;
BEGIN
  SELECT m.ahead INTO before FROM jit.meta m WHERE m.corrected = seen FOR UPDATE;
  IF NOT FOUND OR lost IS NULL OR lost <= interval '0' THEN
    RETURN false;
  END IF;
  SELECT max(s.clock) - clock_timestamp() INTO behind FROM jit.stores s;
  IF behind IS NULL OR behind <= interval '0' THEN
    RETURN false;
  END IF;
  PERFORM jit.set_ahead(before + least(lost, behind + interval '1 min'));
  RETURN true;
END $$;

-- The clock is right, somebody says: time follows it from here on, and never goes back.
CREATE FUNCTION jit.accept_clock(told timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  behind interval;
  before interval;
BEGIN
  SELECT m.ahead INTO before FROM jit.meta m FOR UPDATE;
  SELECT max(s.clock) - clock_timestamp() INTO behind FROM jit.stores s;
  PERFORM jit.set_ahead(greatest(before + greatest(behind, interval '0'), interval '0'));
  UPDATE jit.meta SET doubt_mark = NULL, doubt_wall = NULL;
END $$;

-- Updates the labels of a record in their own table, where they stand once more.
CREATE FUNCTION jit.relabel(tenant text, kind text, key text, was jsonb, becomes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  w record;
BEGIN
  FOR w IN SELECT e.key AS name, e.value FROM jsonb_each_text(was) e WHERE becomes->>e.key IS DISTINCT FROM e.value LOOP
    DELETE FROM jit.labels l WHERE l.tenant = relabel.tenant AND l.kind = relabel.kind AND l.name = w.name AND l.value = w.value AND l.key = relabel.key;
  END LOOP;
  INSERT INTO jit.labels (tenant, kind, name, value, key)
  SELECT relabel.tenant, relabel.kind, b.key, b.value, relabel.key FROM jsonb_each_text(becomes) b WHERE was->>b.key IS DISTINCT FROM b.value;
END $$;

-- The functions below look records up one by one, by index, in its order. The planner may do
-- nothing else: after a restore it knows nothing of a million records.

-- Commits changes, each whole or not at all, all of them durable or none. `changes` is JSON:
-- [{claims: [{serial, fencing, release}],
--   writes: [{do, tenant, kind, key, version, from, size, lane, due, serial, labels}],
--   entries: [{id, tenant, subject, from, size}], numbering: {tenant, first, ids}}]
-- `from` and `size` say which bytes of `bodies`. Answers null for each change that was done,
-- {fenced} or {kind, key} for the others.
CREATE FUNCTION jit.commit(me text, told timestamptz, changes jsonb, bodies bytea, OUT at timestamptz, OUT answers jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
  change  jsonb;
  w       record;
  found_v bigint;
  found_l jsonb;
  answer  jsonb;
  n       bigint;
  any_ok  boolean := false;
BEGIN
  IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  at := jit.time(told);
  answers := '[]';
  FOR change IN SELECT value FROM jsonb_array_elements(changes) LOOP
    answer := NULL;
    BEGIN
      FOR w IN SELECT * FROM jsonb_to_recordset(change->'claims') AS c(serial text, fencing bigint, release boolean) LOOP
        PERFORM FROM jit.claims c WHERE c.serial = w.serial AND c.fencing = w.fencing FOR UPDATE;
        IF NOT FOUND THEN
          answer := jsonb_build_object('fenced', w.serial);
          RAISE SQLSTATE 'JT002';
        END IF;
        IF w.release THEN
          DELETE FROM jit.claims c WHERE c.serial = w.serial;
        END IF;
      END LOOP;
      FOR w IN SELECT * FROM jsonb_to_recordset(change->'writes') AS c(
        "do" text, tenant text, kind text, key text, version bigint, "from" int, size int, lane text, due timestamptz, serial text, labels jsonb
      ) LOOP
        IF w."do" = 'put' AND w.version IS NULL THEN
          INSERT INTO jit.records AS r (tenant, kind, key, version, lane, due, serial, labels, body)
          VALUES (w.tenant, w.kind, w.key, 1, w.lane, w.due, w.serial, w.labels, substring(bodies FROM w."from" FOR w.size))
          ON CONFLICT (tenant, kind, key) DO UPDATE SET version = 1, lane = w.lane, due = w.due, serial = w.serial, labels = w.labels,
            body = excluded.body WHERE r.version = 0;
          IF FOUND AND w.labels IS NOT NULL THEN
            PERFORM jit.relabel(w.tenant, w.kind, w.key, NULL, w.labels);
          ELSIF NOT FOUND THEN
            answer := jsonb_build_object('kind', w.kind, 'key', w.key);
          END IF;
        ELSIF w."do" = 'guard' AND w.version IS NULL THEN
          -- whoever makes the record has to wait until this change is whole
          INSERT INTO jit.records AS r (tenant, kind, key, version, body) VALUES (w.tenant, w.kind, w.key, 0, '')
          ON CONFLICT (tenant, kind, key) DO NOTHING;
          PERFORM FROM jit.records r WHERE r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key AND r.version = 0 FOR SHARE;
          IF NOT FOUND THEN
            answer := jsonb_build_object('kind', w.kind, 'key', w.key);
          END IF;
        ELSIF w."do" = 'guard' THEN
          PERFORM FROM jit.records r WHERE r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key AND r.version = w.version AND w.version > 0
          FOR SHARE;
          IF NOT FOUND THEN
            answer := jsonb_build_object('kind', w.kind, 'key', w.key);
          END IF;
        ELSE
          found_v := 0;
          SELECT r.version, r.labels INTO found_v, found_l FROM jit.records r WHERE r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key FOR UPDATE;
          found_v := coalesce(found_v, 0);
          IF found_v <> coalesce(w.version, 0) OR (w.version IS NOT NULL AND found_v = 0) THEN
            answer := jsonb_build_object('kind', w.kind, 'key', w.key);
          ELSIF w."do" = 'put' THEN
            UPDATE jit.records r SET version = r.version + 1, lane = w.lane, due = w.due, serial = w.serial, labels = w.labels,
              body = substring(bodies FROM w."from" FOR w.size)
            WHERE r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key;
            IF found_l IS DISTINCT FROM w.labels THEN
              PERFORM jit.relabel(w.tenant, w.kind, w.key, found_l, w.labels);
            END IF;
          ELSIF found_v > 0 THEN
            DELETE FROM jit.records r WHERE r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key;
            PERFORM jit.relabel(w.tenant, w.kind, w.key, found_l, NULL);
          END IF;
        END IF;
        IF answer IS NOT NULL THEN
          RAISE SQLSTATE 'JT002';
        END IF;
      END LOOP;
      FOR w IN SELECT * FROM jsonb_to_recordset(change->'entries') AS c(id uuid, tenant text, subject text, "from" int, size int) LOOP
        INSERT INTO jit.entries (id, tenant, subject, body)
        VALUES (w.id, w.tenant, w.subject, substring(bodies FROM w."from" FOR w.size)) ON CONFLICT (id) DO NOTHING RETURNING seq INTO n;
        IF NOT FOUND THEN
          answer := jsonb_build_object('kind', 'entry', 'key', w.id);
          RAISE SQLSTATE 'JT002';
        END IF;
        INSERT INTO jit.unnumbered (tenant, entry) VALUES (w.tenant, n);
      END LOOP;
      IF change ? 'numbering' THEN
        WITH asked AS (
          SELECT i.id::uuid AS id, (change->'numbering'->>'first')::bigint + i.n - 1 AS number, change->'numbering'->>'tenant' AS tenant
          FROM jsonb_array_elements_text(change->'numbering'->'ids') WITH ORDINALITY AS i(id, n)
        ), given AS (
          INSERT INTO jit.numbers (entry, tenant, number)
          SELECT e.seq, a.tenant, a.number FROM asked a JOIN jit.entries e ON e.id = a.id AND e.tenant = a.tenant
          ON CONFLICT DO NOTHING RETURNING entry, tenant
        ), done AS (
          DELETE FROM jit.unnumbered u USING given g WHERE u.tenant = g.tenant AND u.entry = g.entry RETURNING u.entry
        )
        SELECT count(*) INTO n FROM done;
        IF n <> jsonb_array_length(change->'numbering'->'ids') THEN
          answer := jsonb_build_object('kind', 'entry', 'key', format('numbers from %s', change->'numbering'->>'first'));
          RAISE SQLSTATE 'JT002';
        END IF;
      END IF;
      any_ok := true;
    EXCEPTION WHEN SQLSTATE 'JT002' THEN
      NULL;
    END;
    answers := answers || jsonb_build_array(answer);
  END LOOP;
  IF any_ok THEN
    UPDATE jit.stores s SET pulse = s.pulse + 1, mark = greatest(s.mark, at), clock = greatest(s.clock, clock_timestamp())
    WHERE s.instance = me RETURNING s.pulse INTO n;
    IF NOT FOUND THEN
      INSERT INTO jit.stores (instance, pulse, mark) VALUES (me, 1, at);
      n := 1;
    END IF;
    -- a hint to look at once: if a listener that does not read has filled the server's queue,
    -- others notice at their next look
    IF pg_notification_queue_usage() < 0.5 THEN
      PERFORM pg_notify('jit_store', me);
    END IF;
  END IF;
END $$;

-- Claims up to `most` records (10,000 at the most) of the lane that are due, earliest first, one
-- per serial key, for 10 minutes at the longest. Two claims in one lane come one after the other.
-- Fencing numbers are times, so that none comes again after a crash that lost claims. With `since`,
-- only what became due after that counts, latest first.
CREATE FUNCTION jit.claim(told timestamptz, wanted text, most bigint, how_long interval, node text, since timestamptz)
RETURNS TABLE (serial text, fencing bigint, until timestamptz, taken_over boolean, tenant text, kind text, key text, version bigint, lane text,
               due timestamptz, labels jsonb, body bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
  now_at  timestamptz;
  n       bigint := 0;
  due_now refcursor;
  c       record;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  IF how_long IS NULL OR how_long > interval '10 min' THEN
    RAISE EXCEPTION 'a claim is held for 10 minutes at the longest' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  now_at := jit.time(told);
  IF NOT EXISTS (SELECT FROM jit.records r WHERE r.lane = wanted AND r.due <= now_at) THEN
    RETURN;
  END IF;
  PERFORM FROM jit.turns t WHERE t.lane = wanted FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO jit.turns (lane) VALUES (wanted) ON CONFLICT DO NOTHING;
    PERFORM FROM jit.turns t WHERE t.lane = wanted FOR UPDATE;
  END IF;
  now_at := jit.time(told);
  until := now_at + greatest(how_long, interval '0');
  -- each order has a plan of its own: both in one would be sorted
  IF since IS NULL THEN
    OPEN due_now FOR
      SELECT r.serial, r.tenant, r.kind, r.key FROM jit.records r
      WHERE r.lane = wanted AND r.due <= now_at AND NOT EXISTS (SELECT FROM jit.claims x WHERE x.serial = r.serial AND x.until > now_at)
      ORDER BY r.lane, r.due;
  ELSE
    OPEN due_now FOR
      SELECT r.serial, r.tenant, r.kind, r.key FROM jit.records r
      WHERE r.lane = wanted AND r.due > since AND r.due <= now_at AND NOT EXISTS (SELECT FROM jit.claims x WHERE x.serial = r.serial AND x.until > now_at)
      ORDER BY r.lane DESC, r.due DESC;
  END IF;
  WHILE n < coalesce(least(most, 10000), 0) LOOP
    FETCH due_now INTO c;
    EXIT WHEN NOT FOUND;
    taken_over := false;
    fencing := (extract(epoch FROM now_at) * 1000000)::bigint + n;
    INSERT INTO jit.claims AS x (serial, fencing, until, node) VALUES (c.serial, claim.fencing, claim.until, claim.node) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      -- one whose holder commits at this moment is passed over
      SELECT greatest(x.fencing + 1, claim.fencing) INTO fencing FROM jit.claims x WHERE x.serial = c.serial AND x.until <= now_at FOR UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;
      UPDATE jit.claims x SET fencing = claim.fencing, until = claim.until, node = claim.node WHERE x.serial = c.serial;
      taken_over := true;
    END IF;
    -- as it is now: whoever held the claim may have committed meanwhile
    SELECT r.serial, r.tenant, r.kind, r.key, r.version, r.lane, r.due, r.labels, r.body
    INTO serial, tenant, kind, key, version, lane, due, labels, body
    FROM jit.records r WHERE r.tenant = c.tenant AND r.kind = c.kind AND r.key = c.key AND r.serial = c.serial AND r.lane = wanted AND r.due <= now_at;
    IF FOUND THEN
      n := n + 1;
      RETURN NEXT;
    ELSIF taken_over THEN
      UPDATE jit.claims x SET until = now_at WHERE x.serial = c.serial;
    ELSE
      DELETE FROM jit.claims x WHERE x.serial = c.serial;
    END IF;
  END LOOP;
  CLOSE due_now;
END $$;

-- Gives claims back; one that is no longer held is ignored.
CREATE FUNCTION jit.unclaim(serials text[], fencings bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  DELETE FROM jit.claims c USING unnest(serials, fencings) AS u(serial, fencing) WHERE c.serial = u.serial AND c.fencing = u.fencing;
END $$;

-- Tells for each lane when its earliest unclaimed record is due, or when the first claim on a due
-- record ends. Jumps from lane to lane.
CREATE FUNCTION jit.lanes(told timestamptz) RETURNS TABLE (lane text, next timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
  now_at timestamptz := jit.time(told);
BEGIN
  RETURN QUERY
  WITH RECURSIVE l(lane) AS (
    SELECT min(r.lane) FROM jit.records r
    UNION ALL
    SELECT (SELECT min(r.lane) FROM jit.records r WHERE r.lane > l.lane) FROM l WHERE l.lane IS NOT NULL
  )
  SELECT l.lane::text, least(
    (SELECT r.due FROM jit.records r
     WHERE r.lane = l.lane AND NOT EXISTS (SELECT FROM jit.claims c WHERE c.serial = r.serial AND c.until > now_at)
     ORDER BY r.lane, r.due LIMIT 1),
    (SELECT min(greatest(r.due, c.until)) FROM jit.claims c CROSS JOIN LATERAL
       (SELECT r.due FROM jit.records r WHERE r.serial = c.serial AND r.lane = l.lane ORDER BY r.due LIMIT 1) r
     WHERE c.until > now_at)
  ) FROM l WHERE l.lane IS NOT NULL ORDER BY 1;
END $$;

-- What is due before `until` in the lane, that nobody has claimed: the earliest of each serial key.
CREATE FUNCTION jit.upcoming(wanted text, now_at timestamptz, until timestamptz, most bigint) RETURNS SETOF jit.records
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off AS $$
  SELECT r.* FROM jit.records r
  WHERE r.lane = wanted AND r.due < until AND NOT EXISTS (SELECT FROM jit.claims c WHERE c.serial = r.serial AND c.until > now_at)
    AND NOT EXISTS (SELECT FROM jit.records o WHERE o.serial = r.serial AND o.lane = r.lane
                    AND (o.due, o.tenant, o.kind, o.key) < (r.due, r.tenant, r.kind, r.key))
  ORDER BY r.lane, r.due LIMIT most
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA jit FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jit FROM PUBLIC;
