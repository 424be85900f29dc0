//! Script that sets a target up from nothing, or repairs it. It is for psql, in the target's
//! database. The script is written without knowing the server. It asks the server that runs it what
//! depends on the version, or on what is there already.

use jit_core::id::RoleName;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::{dead_mans_switch, make_end_session, refuse_sessions_taken};

/// Returns the script. It is one transaction: if something is in its way, nothing is changed.
pub(crate) fn script(broker: &str, database: &str, roles: &[RoleName]) -> String {
    let name = escape_identifier(broker);
    let grants = |options: &str| -> String {
        let grant = |role: &RoleName| format!("GRANT {} TO {name} WITH {options};\n", escape_identifier(role.as_str()));
        roles.iter().map(grant).collect()
    };
    let literals: Vec<String> = roles.iter().map(|role| escape_literal(role.as_str())).collect();
    format!(
        r"-- Sets up what jit needs here, or repairs it, as often as it is run. It takes over nothing that a stranger made: then it fails, and changes nothing.
-- For psql, in the target's database, by a superuser or the administrator of a vendor's server. A new account needs its password, which is put
-- before the script; an account that is there keeps its own, unless one is given:
--   (echo '\set password `cat FILE`'; jit doctor --sql TARGET) | psql -X -d DATABASE
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS plpgsql;
DO $jit$
DECLARE
  who  text;
  why  text;
BEGIN
  IF current_database() <> {literal_database} THEN
    RAISE EXCEPTION 'jit is not set up: this is database %, and the target is database %', current_database(), {literal_database};
  END IF;
  IF current_user = {literal} OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = {literal} AND r.rolsuper) THEN
    RAISE EXCEPTION 'jit is not set up: % is a superuser, or runs this: jit needs an account of its own', {literal};
  END IF;
  SELECT string_agg(DISTINCT m.rolname, ', ') INTO who FROM pg_auth_members e JOIN pg_roles b ON b.oid = e.roleid AND b.rolname = {literal}
    JOIN pg_roles m ON m.oid = e.member AND NOT m.rolsuper AND m.rolname <> current_user;
  IF who IS NOT NULL THEN
    RAISE EXCEPTION 'jit is not set up: % could act as %', who, {literal} USING HINT = 'Take that away from them, or let them run this.';
  END IF;
  {refuse_sessions_taken}
END $jit$;

-- the account
SELECT b.oid IS NULL AS jit_new, current_setting('server_version_num')::int >= 160000 AS jit_sixteen,
    me.rolsuper AS jit_super,
    NOT me.rolsuper AND pg_has_role('pg_signal_backend', 'USAGE') AND NOT pg_has_role('pg_signal_backend', 'MEMBER WITH ADMIN OPTION') AS jit_lends,
    pg_has_role('pg_read_all_stats', 'MEMBER WITH ADMIN OPTION') AS jit_stats
  FROM pg_roles me LEFT JOIN pg_roles b ON b.rolname = {literal} WHERE me.rolname = current_user \gset
\if :jit_super
-- nor does the password stand in the server's log
SET LOCAL log_statement = 'none';
SET LOCAL log_min_duration_statement = -1;
\endif
\if :{{?password}}
SELECT :'password' = '' AS jit_empty \gset
\if :jit_empty
DO 'BEGIN RAISE EXCEPTION ''jit is not set up: the password is empty''; END';
\endif
\if :jit_new
CREATE ROLE {name} LOGIN NOINHERIT PASSWORD :'password';
\else
ALTER ROLE {name} PASSWORD :'password';
\endif
\elif :jit_new
DO 'BEGIN RAISE EXCEPTION ''jit is not set up: there is no account yet, and no password for it: see how this script begins''; END';
\endif
SELECT format('ALTER ROLE %I LOGIN NOINHERIT NOCREATEROLE', b.rolname) FROM pg_roles b
  WHERE b.rolname = {literal} AND NOT (b.rolcanlogin AND NOT b.rolinherit AND NOT b.rolcreaterole) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), b.rolname) FROM pg_roles b
  WHERE b.rolname = {literal} AND NOT has_database_privilege(b.oid, current_database(), 'CONNECT') \gexec
SELECT format('GRANT USAGE ON LANGUAGE plpgsql TO %I', b.rolname) FROM pg_roles b
  WHERE b.rolname = {literal} AND NOT has_language_privilege(b.oid, 'plpgsql', 'USAGE') \gexec

-- roles that are missing are made, and can do nothing yet
SELECT format('CREATE ROLE %I NOLOGIN', r.name) FROM unnest(ARRAY[{roles}]::text[]) r(name)
  WHERE NOT EXISTS (SELECT FROM pg_roles x WHERE x.rolname = r.name) \gexec

-- it ends sessions, sees when they began, and grants each requestable role
\if :jit_lends
-- who may end sessions and not pass that on lets the broker do it by a function
{end_session};
\elif :jit_sixteen
GRANT pg_signal_backend TO {name} WITH INHERIT TRUE;
\else
GRANT pg_signal_backend TO {name};
\endif
\if :jit_sixteen
\if :jit_stats
GRANT pg_read_all_stats TO {name} WITH INHERIT TRUE, SET FALSE;
\endif
{grants}\else
-- 15 makes the broker a member of the role: NOINHERIT keeps it from using its privileges
{grants_15}\endif

-- the dead man's switch: a table of leases that belongs to the broker. Without it roles stay while every process of jit is dead.
-- Where pg_cron is installed in this database and is to be used: GRANT USAGE ON SCHEMA cron TO the broker, too.
\if :jit_super
\elif :jit_sixteen
GRANT {name} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;
\else
GRANT {name} TO CURRENT_USER;
\endif
{dead_mans_switch}\if :jit_super
\else
REVOKE {name} FROM CURRENT_USER;
\endif
COMMIT;
\echo 'jit is set up here: `jit doctor`, or Jit::check_target in a service, says what else there is'
",
        literal = escape_literal(broker),
        literal_database = escape_literal(database),
        roles = literals.join(", "),
        refuse_sessions_taken = refuse_sessions_taken(),
        end_session = make_end_session(&name),
        grants = grants("ADMIN OPTION, INHERIT FALSE, SET FALSE"),
        grants_15 = grants("ADMIN OPTION"),
        dead_mans_switch = dead_mans_switch::make_anywhere(broker),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_names_are_quoted_wherever_they_stand() {
        let roles = [RoleName::new("o'neil\"; DROP").unwrap()];
        let text = script("jit's \"broker\"", "or'ders", &roles);
        for quoted in [
            "\"jit's \"\"broker\"\"\"",
            "'jit''s \"broker\"'",
            "'or''ders'",
            "\"o'neil\"\"; DROP\"",
            "'o''neil\"; DROP'",
        ] {
            assert!(text.contains(quoted), "{quoted}");
        }
        // A broker's name stands once more in the statement that makes its schema: quoted twice.
        assert!(text.contains("AUTHORIZATION \"jit''s \"\"broker\"\"\"'"), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("--") && line.contains("broker\"")),
            "a name stands in a comment"
        );
    }
}
