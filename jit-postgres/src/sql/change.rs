//! The blocks that grant and revoke.

/// Sorts the orders to grant one role. Prepared, so that it is planned once per connection.
///
/// `$1` is JSON `{role, role_id, set_role, administrators, orders: [{i, account, account_id,
/// not_after, members, powers}]}`. The answer is JSON `[{i, state, why}]` for orders that need no
/// statement. There i is a list, and state is `ok` or a word of [`crate::grant`]. The setting
/// `jit.todo` gets the remaining work, for [`RUN`].
///
/// The clock is compared before the statement, and again after it got its locks. An account that
/// already has our membership is never narrowed. Administrators are not members of an account, but
/// a member of an administrator is one.
pub(crate) const GRANT: &str = r"
WITH ask AS MATERIALIZED (
  SELECT $1::text::jsonb AS ask, (SELECT oid FROM pg_roles WHERE rolname = current_user) AS me
), given AS MATERIALIZED (
  SELECT r.oid, (SELECT array_to_string(p.powers, ', ') FROM ({powers}) p) AS can
  FROM ask LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce((ask->>'role_id')::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = (ask->>'role')::name)) LIMIT 1
  ) r ON true
), administrator AS MATERIALIZED (
  SELECT coalesce(array_agg(r.oid), '{}') AS oids
  FROM ask, jsonb_array_elements_text(ask->'administrators') n, LATERAL (SELECT r.oid FROM pg_roles r WHERE r.rolname = n::name) r
), sorted AS MATERIALIZED (
  SELECT e.i, e.not_after, a.oid AS account, own.mine IS NOT NULL AS again, below.names AS below, given.can,
    CASE WHEN clock_timestamp() >= e.not_after THEN 'late'
         WHEN given.oid IS NULL THEN 'no role'
         WHEN a.oid IS NULL THEN 'no account'
         WHEN a.oid = ask.me THEN 'broker'
         WHEN a.rolsuper THEN 'superuser'
         WHEN given.can IS NOT NULL AND NOT e.powers THEN 'powers'
         WHEN below.names IS NOT NULL AND NOT e.members THEN 'members'
         WHEN own.enough THEN 'ok'
    END AS state
  FROM ask, given, administrator, jsonb_to_recordset(ask->'orders')
         AS e(i int, account name, account_id oid, not_after timestamptz, members bool, powers bool)
  LEFT JOIN LATERAL (
    SELECT x.oid, x.rolsuper FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
  LEFT JOIN LATERAL (
    SELECT true AS mine, bool_or(x.enough) AS enough FROM (
      SELECT m.inherit_option AND (m.set_option OR NOT (ask->>'set_role')::bool) AS enough
      FROM pg_auth_members m WHERE m.roleid = given.oid AND m.member = a.oid AND m.grantor = ask.me
    ) x HAVING count(*) > 0
  ) own ON true
  LEFT JOIN LATERAL (
    WITH RECURSIVE member(oid) AS (
      SELECT m.member FROM pg_auth_members m WHERE m.roleid = a.oid AND (m.inherit_option OR m.set_option)
      UNION
      SELECT y.member FROM member x, LATERAL (
        SELECT m.member FROM pg_auth_members m WHERE m.roleid = x.oid AND (m.inherit_option OR m.set_option) OFFSET 0
      ) y WHERE x.oid = ANY (administrator.oids)
    )
    SELECT string_agg(quote_ident(x.rolname), ', ') AS names FROM (
      SELECT r.rolname FROM member x, LATERAL (SELECT r.rolname, r.rolsuper FROM pg_roles r WHERE r.oid = x.oid LIMIT 1) r
      WHERE x.oid <> ask.me AND NOT r.rolsuper AND x.oid <> ALL (administrator.oids) LIMIT 3
    ) x
  ) below ON true
), todo AS (
  SELECT jsonb_build_object('what', 'GRANT', 'role', given.oid, 'whose', 'TO', 'how',
           CASE WHEN current_setting('server_version_num')::int < 160000 THEN ''
                WHEN (ask->>'set_role')::bool THEN 'WITH INHERIT TRUE, SET TRUE GRANTED BY CURRENT_USER'
                WHEN s.again THEN 'WITH INHERIT TRUE GRANTED BY CURRENT_USER'
                ELSE 'WITH INHERIT TRUE, SET FALSE GRANTED BY CURRENT_USER' END,
           'i', s.i, 'each', s.each, 'accounts', s.accounts, 'until', s.until) AS todo
  FROM ask, given, (
    SELECT again, array_agg(i) AS i, array_agg(account) AS each, array_agg(DISTINCT account) AS accounts, min(not_after) AS until
    FROM sorted WHERE state IS NULL GROUP BY again
  ) s
)
SELECT coalesce((SELECT jsonb_agg(jsonb_build_object('i', ARRAY[i], 'state', state,
         'why', CASE state WHEN 'powers' THEN can WHEN 'members' THEN below END)) FROM sorted WHERE state IS NOT NULL), '[]')::text AS answers,
       length(set_config('jit.todo', coalesce((SELECT jsonb_agg(todo) FROM todo), '[]')::text, true)) AS todo";

/// Sorts the orders to take one role, or the right to SET ROLE to it. Works as [`GRANT`]; asks
/// `{role, role_id, until, narrow, store, orders: [{i, account, account_id}]}`.
///
/// A membership that is not there needs no statement. Nor does one that is not ours, if the catalog
/// says whose it is. Our own look decides, since a REVOKE of a missing membership succeeds with a
/// warning. A membership that another store than `store` accounts for needs no statement either.
/// The marks that [`dead_mans_switch::marks`] read right before say so; `store` is null if nothing
/// was read.
pub(crate) const REVOKE: &str = r"
WITH ask AS MATERIALIZED (
  SELECT $1::text::jsonb AS ask, (SELECT oid FROM pg_roles WHERE rolname = current_user) AS me
), taken AS MATERIALIZED (
  SELECT r.oid, (ask->>'until')::timestamptz AS until, (ask->>'narrow')::bool AS narrow
  FROM ask LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce((ask->>'role_id')::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = (ask->>'role')::name)) LIMIT 1
  ) r ON true
), sorted AS MATERIALIZED (
  SELECT e.i, a.oid AS account,
    CASE WHEN clock_timestamp() >= taken.until THEN 'late'
         WHEN ask->>'store' IS NOT NULL AND EXISTS (
           SELECT FROM jsonb_to_recordset(nullif(current_setting('jit.marks', true), '')::jsonb) AS k(role oid, account oid, store text)
           WHERE k.role = taken.oid AND k.account = a.oid AND k.store <> ask->>'store') THEN 'theirs'
         WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = taken.oid AND m.member = a.oid AND m.grantor = ask.me
                          AND (m.set_option OR NOT taken.narrow)) THEN 'gone'
    END AS state
  FROM ask, taken, jsonb_to_recordset(ask->'orders') AS e(i int, account name, account_id oid)
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
), todo AS (
  SELECT jsonb_build_object('what', CASE WHEN narrow THEN 'REVOKE SET OPTION FOR' ELSE 'REVOKE' END, 'role', taken.oid, 'whose', 'FROM',
           'how', CASE WHEN current_setting('server_version_num')::int < 160000 THEN '' ELSE 'GRANTED BY CURRENT_USER' END,
           'i', s.i, 'each', s.each, 'accounts', s.accounts, 'until', until) AS todo
  FROM taken, (
    SELECT array_agg(i) AS i, array_agg(account) AS each, array_agg(DISTINCT account) AS accounts FROM sorted WHERE state IS NULL
    HAVING count(*) > 0
  ) s
)
SELECT coalesce((SELECT jsonb_agg(jsonb_build_object('i', ARRAY[i], 'state', state)) FROM sorted WHERE state IS NOT NULL), '[]')::text AS answers,
       length(set_config('jit.todo', coalesce((SELECT jsonb_agg(todo) FROM todo), '[]')::text, true)) AS todo";

/// Does the work in `jit.todo`, which only [`GRANT`] and [`REVOKE`] put there, earlier in the same
/// transaction. Answers `[{i, state, why}]`, where state is `ok` or an SQLSTATE.
///
/// The server itself looks names up by oid at this moment, and quotes them. The block is kept short
/// because it is parsed and planned at each call.
///
/// If one statement for all fails by a fault of one account, each account is tried alone. If the
/// fault is the role's, or a lock's, trying each alone would only multiply it.
pub(crate) const RUN: &str = r"DO $jit$
DECLARE
  s       record;
  list    text;
  answers jsonb := '[]';
BEGIN
  FOR s IN SELECT * FROM jsonb_to_recordset(current_setting('jit.todo')::jsonb)
    AS e(what text, role oid, whose text, how text, i int[], each oid[], accounts oid[], until timestamptz)
  LOOP
    BEGIN
      list := array_to_string(s.accounts::regrole[], ', ');
      IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
      EXECUTE concat_ws(' ', s.what, s.role::regrole, s.whose, list, s.how);
      IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
      answers := answers || jsonb_build_object('i', s.i, 'state', 'ok');
    EXCEPTION WHEN OTHERS THEN
      IF cardinality(s.i) = 1 OR SQLSTATE IN ('55P03', '42501', '25006', '40P01') THEN
        answers := answers || jsonb_build_object('i', s.i, 'state', SQLSTATE, 'why', SQLERRM);
      ELSE
        FOR n IN 1 .. cardinality(s.i) LOOP
          BEGIN
            IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
            EXECUTE concat_ws(' ', s.what, s.role::regrole, s.whose, s.each[n]::regrole, s.how);
            IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
            answers := answers || jsonb_build_object('i', s.i[n:n], 'state', 'ok');
          EXCEPTION WHEN OTHERS THEN
            answers := answers || jsonb_build_object('i', s.i[n:n], 'state', SQLSTATE, 'why', SQLERRM);
          END;
        END LOOP;
      END IF;
    END;
  END LOOP;
  PERFORM set_config('jit.answer', answers::text, true);
END $jit$";
