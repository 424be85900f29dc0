//! The statements that grant and revoke. One prepared statement sorts the orders and writes the
//! GRANT or REVOKE, and a block runs that.

/// Sorts the orders to grant one role. Prepared, so that it is planned once per connection.
///
/// `$1` the broker, `$2` the role, `$3` its oid, `$4` whether SET ROLE is granted, `$5` accounts,
/// `$6` their oids, `$7` the times until which they may be granted, `$8` whether members of the
/// account are accepted, `$9` whether powers of the role are, `$10` the administrators' names.
///
/// The answer has one state for each order, in their order, and with some a text that says why.
/// NULL says that the order needs a statement, which is left for [`RUN`]. `ok` says that nothing is
/// to be done. [`crate::grant`] knows the other words.
///
/// The clock is compared before the statement, and again after it got its locks. An account that
/// already has our membership is never narrowed. Administrators are not members of an account, but
/// a member of an administrator is one.
pub(crate) const GRANT: &str = r"
WITH given AS MATERIALIZED (
  SELECT r.oid, (SELECT array_to_string(p.powers, ', ') FROM ({powers}) p) AS can,
    ARRAY(SELECT a.oid FROM unnest($10::text[]) n, LATERAL (SELECT a.oid FROM pg_roles a WHERE a.rolname = n::name) a) AS administrators
  FROM (SELECT) one
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x WHERE x.oid = coalesce($3::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = $2::name)) LIMIT 1
  ) r ON true
), sorted AS MATERIALIZED (
  SELECT e.n, e.not_after AS until, a.oid AS account, own.mine IS NOT NULL AS again, below.names AS below, given.can,
    CASE WHEN clock_timestamp() >= e.not_after THEN 'late'
         WHEN given.oid IS NULL THEN 'no role'
         WHEN a.oid IS NULL THEN 'no account'
         WHEN a.oid = $1::oid THEN 'broker'
         WHEN a.rolsuper THEN 'superuser'
         WHEN given.can IS NOT NULL AND NOT e.powers THEN 'powers'
         WHEN below.names IS NOT NULL AND NOT e.members THEN 'members'
         WHEN own.enough THEN 'ok'
    END AS state
  FROM given, unnest($5::name[], $6::oid[], $7::timestamptz[], $8::bool[], $9::bool[])
    WITH ORDINALITY AS e(account, account_id, not_after, members, powers, n)
  LEFT JOIN LATERAL (
    SELECT x.oid, x.rolsuper FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
  LEFT JOIN LATERAL (
    SELECT true AS mine, bool_or(m.inherit_option AND (m.set_option OR NOT $4::bool)) AS enough
    FROM pg_auth_members m WHERE m.roleid = given.oid AND m.member = a.oid AND m.grantor = $1::oid HAVING count(*) > 0
  ) own ON true
  LEFT JOIN LATERAL (
    WITH RECURSIVE member(oid) AS (
      SELECT m.member FROM pg_auth_members m WHERE m.roleid = a.oid AND (m.inherit_option OR m.set_option)
      UNION
      SELECT y.member FROM member x, LATERAL (
        SELECT m.member FROM pg_auth_members m WHERE m.roleid = x.oid AND (m.inherit_option OR m.set_option) OFFSET 0
      ) y WHERE x.oid = ANY (given.administrators)
    )
    SELECT string_agg(quote_ident(x.rolname), ', ') AS names FROM (
      SELECT r.rolname FROM member x, LATERAL (SELECT r.rolname, r.rolsuper FROM pg_roles r WHERE r.oid = x.oid LIMIT 1) r
      WHERE x.oid <> $1::oid AND NOT r.rolsuper AND x.oid <> ALL (given.administrators) LIMIT 3
    ) x
  ) below ON true
), todo AS (
  SELECT concat_ws(' ', 'GRANT', (SELECT oid FROM given)::regrole, 'TO', string_agg(DISTINCT account::regrole::text, ', '),
      CASE WHEN current_setting('server_version_num')::int < 160000 THEN ''
           WHEN $4::bool THEN 'WITH INHERIT TRUE, SET TRUE GRANTED BY CURRENT_USER'
           WHEN again THEN 'WITH INHERIT TRUE GRANTED BY CURRENT_USER'
           ELSE 'WITH INHERIT TRUE, SET FALSE GRANTED BY CURRENT_USER' END) AS run, min(until) AS until
  FROM sorted WHERE state IS NULL GROUP BY again
)
SELECT array_agg(state ORDER BY n) AS states,
  array_agg(CASE state WHEN 'powers' THEN can WHEN 'members' THEN below END ORDER BY n) AS whys, {todo}
FROM sorted";

/// Sorts the orders to take one role, or the right to SET ROLE to it. Works as [`GRANT`].
///
/// `$1` the broker, `$2` the role, `$3` its oid, `$4` whether only the right to SET ROLE goes, `$5`
/// accounts, `$6` their oids, `$7` the time until which they may be revoked, `$8` the store that
/// works.
///
/// A membership that is not there needs no statement. Nor does one that is not ours, if the catalog
/// says whose it is. Our own look decides, since a REVOKE of a missing membership succeeds with a
/// warning. A membership that another store than `$8` accounts for needs no statement either.
/// The marks that [`dead_mans_switch::marks`] read right before say so; `$8` is NULL if nothing was
/// read.
pub(crate) const REVOKE: &str = r"
WITH taken AS MATERIALIZED (
  SELECT r.oid FROM (SELECT) one
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x WHERE x.oid = coalesce($3::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = $2::name)) LIMIT 1
  ) r ON true
), sorted AS MATERIALIZED (
  SELECT e.n, $7::timestamptz AS until, a.oid AS account,
    CASE WHEN clock_timestamp() >= $7::timestamptz THEN 'late'
         WHEN $8::text IS NOT NULL AND EXISTS (
           SELECT FROM jsonb_to_recordset(nullif(current_setting('jit.marks', true), '')::jsonb) AS k(role oid, account oid, store text)
           WHERE k.role = taken.oid AND k.account = a.oid AND k.store <> $8::text) THEN 'theirs'
         WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = taken.oid AND m.member = a.oid AND m.grantor = $1::oid
                          AND (m.set_option OR NOT $4::bool)) THEN 'gone'
    END AS state
  FROM taken, unnest($5::name[], $6::oid[]) WITH ORDINALITY AS e(account, account_id, n)
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
), todo AS (
  SELECT concat_ws(' ', CASE WHEN $4::bool THEN 'REVOKE SET OPTION FOR' ELSE 'REVOKE' END, (SELECT oid FROM taken)::regrole, 'FROM',
      string_agg(DISTINCT account::regrole::text, ', '),
      CASE WHEN current_setting('server_version_num')::int < 160000 THEN '' ELSE 'GRANTED BY CURRENT_USER' END) AS run, min(until) AS until
  FROM sorted WHERE state IS NULL HAVING count(*) > 0
)
SELECT array_agg(state ORDER BY n) AS states, array_agg(NULL::text) AS whys, {todo} FROM sorted";

/// Column of [`GRANT`] and [`REVOKE`] that leaves the work for [`RUN`]: the statements, and the
/// time until which they may run. Stands there as `{todo}`.
pub(super) const TODO: &str = "\
(SELECT length(set_config('jit.run', coalesce(string_agg(run, '; '), 'SELECT'), true)) \
  + length(set_config('jit.until', coalesce(min(until), 'infinity')::text, true)) FROM todo) AS todo";

/// Runs what [`GRANT`] or [`REVOKE`] left, right before, in the same transaction. The server itself
/// looked names up by oid there, and quoted them.
///
/// The block is parsed at each call, so it is short. A fault ends the transaction, and the caller
/// tries smaller groups.
pub(crate) const RUN: &str = r"DO $jit$ BEGIN
  EXECUTE current_setting('jit.run');
  IF clock_timestamp() >= current_setting('jit.until')::timestamptz THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
END $jit$";
