//! Every statement that this adapter sends, so that a DBA can review them in one folder.
//!
//! There are two kinds of catalog. PostgreSQL 15 keeps one membership per role and member.
//! PostgreSQL 16 and later keep one per grantor, each with its own `inherit_option` and
//! `set_option`. A statement that differs is written for 16, and [`Catalog::text`] cuts it down for
//! 15.
//!
//! Names never come from here into a statement that changes something: the server itself looks
//! them up and quotes them. A prepared statement, planned once per connection, writes the GRANT or
//! REVOKE into a setting, and a DO block of fixed text runs it.

mod change;
mod check;
pub(crate) mod dead_mans_switch;
mod observe;
mod owned_objects;
mod powers;
mod sessions;
pub(crate) mod set_up;

use postgres_protocol::escape::escape_literal;

use change::TODO;
pub(crate) use change::{GRANT, REVOKE, RUN};
pub(crate) use check::{BROKER_MEMBERS, CHECK_MEMBERS, CHECK_ROLES, CHECK_SERVER, NO_ROLES};
use observe::HOLDERS_OF;
pub(crate) use observe::{FOR_ITS_WORK, GRANTED, HOLDERS, USABLE, observe};
pub(crate) use owned_objects::OWNED_OBJECTS;
use powers::{BY_KIND, ONLY_LOOK, POWERS, REACHES_FAR, SCHEMAS_OF_THE_BROKER, WITHOUT_CODE};
use sessions::with_end_session;
pub(crate) use sessions::{
    BLOCKERS, END_SESSION, IN_THE_WAY, LABELLED, LOGS_IN, NOW, STILL_THERE, TERMINATE, TERMINATE_OWN, become_owner,
    make_end_session, refuse_sessions_taken, rollback_prepared,
};

/// Form in which the server's catalog keeps memberships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Catalog {
    /// PostgreSQL 15: one row per role and member, whoever granted it.
    Merged,
    /// PostgreSQL 16 and later: one row per role, member and grantor.
    PerGrantor,
}

impl Catalog {
    /// Returns the kind of catalog for a `server_version_num`; `None` if the server is older than
    /// 15.
    pub(crate) fn of(version: i32) -> Option<Self> {
        match version {
            ..150_000 => None,
            150_000..160_000 => Some(Self::Merged),
            160_000.. => Some(Self::PerGrantor),
        }
    }

    /// Returns the statement in the form for this catalog.
    pub(crate) fn text(self, statement: &str) -> String {
        let text = with_end_session(&statement.replace("{holders m}", HOLDERS_OF));
        let text = text.replace("{todo}", TODO);
        let mut text = text.replace("{powers}", &POWERS.replace("{reaches far}", REACHES_FAR));
        text = text.replace("{by kind}", BY_KIND).replace("{only look}", ONLY_LOOK);
        text = text.replace("{without code}", WITHOUT_CODE).replace("{schemas of the broker}", SCHEMAS_OF_THE_BROKER);
        match self {
            Self::PerGrantor => text,
            Self::Merged => {
                for (sixteen, fifteen) in IN_FIFTEEN {
                    text = text.replace(sixteen, fifteen);
                }
                text
            }
        }
    }
}

/// Pairs of a text for 16 and its replacement for 15. The longer forms come first.
const IN_FIFTEEN: [(&str, &str); 6] = [
    ("AND (m.inherit_option OR m.set_option)", ""),
    ("AND m.grantor = $1::oid", "AND $1::oid IS NOT NULL"),
    ("e.inherit_option OR e.set_option", "true"),
    ("m.inherit_option", "true"),
    ("m.set_option", "true"),
    ("m.grantor::oid", "NULL::oid"),
];

/// Patience for the settings. Sent before [`SETTINGS`]: an owner of the database can set limits
/// that are too short for them.
pub(crate) const PATIENCE: &str = "\
SET statement_timeout = '30s'; \
SET idle_session_timeout = 0; \
SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL";

/// Settings of every new connection, whatever ALTER ROLE, ALTER DATABASE or postgresql.conf say.
/// [`limits`] sets again, in each transaction, what decides which objects a statement means and
/// what a commit is worth. [`HELLO`] checks that it sees these settings.
///
/// - `search_path`: nothing of the database's own schemas is ever called; temporary objects come
///   last.
/// - `synchronous_commit`: with `off` a crash would bring back what was revoked.
/// - `default_transaction_read_only`: read-only by default is no prohibition, and the broker says
///   that it writes.
/// - `row_security` is on, since `pg_cron` shows each user their own jobs by it.
/// - Timeouts are narrowed by each call.
/// - The planner's settings: everything is found by an index of the catalogs, whose statistics are
///   often missing. A plan made once is as good as the next, and never worth compiling.
/// - `transaction_timeout` is there from 17 on.
pub(crate) const SETTINGS: &str = "\
SET SESSION AUTHORIZATION DEFAULT; \
SET ROLE NONE; \
SET search_path = pg_catalog, pg_temp; \
SET exit_on_error = off; \
SET synchronous_commit = on; \
SET default_transaction_read_only = off; \
SET default_transaction_deferrable = off; \
SET default_transaction_isolation = 'read committed'; \
SET row_security = on; \
SET lock_timeout = '5s'; \
SET idle_in_transaction_session_timeout = '10s'; \
SET idle_session_timeout = 0; \
SET client_connection_check_interval = 0; \
SET client_min_messages = warning; \
SET client_encoding = 'UTF8'; \
SET standard_conforming_strings = on; \
SET backslash_quote = safe_encoding; \
SET quote_all_identifiers = off; \
SET transform_null_equals = off; \
SET array_nulls = on; \
SET DateStyle = 'ISO, YMD'; \
SET IntervalStyle = 'postgres'; \
SET TimeZone = 'UTC'; \
SET bytea_output = 'hex'; \
SET extra_float_digits = 1; \
SET plpgsql.extra_errors = 'none'; \
SET plpgsql.extra_warnings = 'none'; \
SET plan_cache_mode = force_generic_plan; \
SET enable_seqscan = off; \
SET max_parallel_workers_per_gather = 0; \
SET jit = off; \
SET application_name = 'jit'; \
SELECT pg_catalog.set_config('jit.pinned', pg_catalog.pg_backend_pid()::pg_catalog.text, false); \
SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL";

/// Identifies the server and the login, and checks that [`SETTINGS`] hold here.
pub(crate) const HELLO: &str = "\
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text, \
       r.oid AS broker, r.rolsuper AS superuser, clock_timestamp() AS now, pg_backend_pid() AS pid, \
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_identify, \
       coalesce(current_setting('jit.pinned', true) = pg_backend_pid()::text, false) AS pinned, \
       current_setting('max_prepared_transactions') <> '0' AS prepares \
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Returns the process that serves this connection just now. Works with any search path: a pooler
/// may have lent another connection.
pub(crate) const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Timeline and the position up to which the log is on disk. On one timeline the position never
/// goes back, and a copy that was made earlier is behind.
///
/// The timeline comes from the insert position, which knows it at the moment of a promotion. The
/// control file learns it at the next checkpoint. Managed servers refuse this with 55000 or 0A000.
pub(crate) const POSITION: &str = "\
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ' ' || pg_current_wal_flush_lsn() END \
  AS position";

/// Identity of the server: the cluster, a space, and the run of it. The cluster is the same from
/// each of its databases.
///
/// Every copy has the same system identifier. But no two servers that run at the same time on one
/// machine have one port, and hardly two start in the same microsecond. The identity leaves out
/// what one database may hide from the broker and another may not.
const IDENTITY: &str = "\
'postgres:' || (pg_control_system()).system_identifier || ' started ' \
  || to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || ', port ' || current_setting('port')";

/// Reads the server's time, its identity, and the process that serves the connection. The time is
/// read before anything else in this statement. Also takes the label off the connection: nothing of
/// its call is under way any more.
pub(crate) fn moment(wal: Wal) -> String {
    let position = match wal {
        Wal::Readable => POSITION,
        Wal::Refused => "SELECT NULL::text AS position",
    };
    format!(
        "SELECT clock_timestamp() AS now, {IDENTITY} AS identity, ({position}) AS position, pg_backend_pid() AS pid, \
         set_config('application_name', 'jit', false) AS unlabelled"
    )
}

/// Text with which the server refuses [`limits`], before the identity of the other server.
pub(crate) const ANOTHER_SERVER: &str = "jit: another server: ";

/// Access to the server's write-ahead log: it answers questions about the log, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wal {
    Readable,
    /// Questions are refused, as on some managed servers. The position of the log is unknown then.
    Refused,
}

/// Begins the transaction of a call. It writes, whatever the database's default is.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Sets the label of a call, its time limits, and the only server on which it may go on: the
/// transaction ends if another one answers. Follows [`BEGIN`], and is prepared with the connection.
/// `$1` the label, `$2` the limit for a lock, `$3` the limit for a statement, `$4` the server.
pub(crate) fn limits() -> String {
    format!(
        "SELECT set_config('application_name', $1, false), set_config('search_path', 'pg_catalog, pg_temp', true), \
         set_config('synchronous_commit', 'on', true), set_config('lock_timeout', $2, true), set_config('statement_timeout', $3, true), \
         CASE WHEN $4::text IS NULL OR s.id = $4 THEN 0 ELSE ('{ANOTHER_SERVER}' || s.id)::int END FROM (SELECT {IDENTITY} AS id OFFSET 0) s"
    )
}

/// Puts the orders of a block into a setting.
pub(crate) fn ask(ask: &str) -> String {
    format!("SELECT length(set_config('jit.ask', {}, true))", escape_literal(ask))
}
