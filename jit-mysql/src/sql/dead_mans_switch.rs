//! Dead man's switch: one event for each lease, which revokes the membership when its time has
//! come. The event is the broker's own and holds all that it does. No table, view or routine of
//! others decides what runs as the broker.
//!
//! Names in an event are hexadecimal digits, so that nothing in them can be taken for a part of the
//! statement; in its REVOKE they are quoted.

use jit_core::internal::adapter::name_for;

use super::hosts::{certain, may_match, place, specific};
use super::{Flavour, Read, hex, routines, stop_if};
use crate::account::{Name, backticked};

/// Returns the name of the database for a broker's events, by its account (`user@host`). Each
/// broker has its own, in which no other account has rights.
#[must_use]
pub fn home(broker: &str) -> String {
    format!("jit{}", name_for(&[broker]).get(..16).unwrap_or_default())
}

/// Returns the name of the event of a lease.
pub(crate) fn event(parts: &[&str]) -> String {
    format!("lease_{}", name_for(parts).get(..40).unwrap_or_default())
}

/// Instruction for turning the scheduler on.
pub(crate) const SCHEDULER_ON: &str = "the event scheduler is off: run SET GLOBAL event_scheduler = ON, and put event_scheduler = ON into the server's option file";

/// View for DBAs, with every lease of every broker. Nothing in jit reads it.
pub const LEASES: &str = "\
CREATE OR REPLACE SQL SECURITY INVOKER VIEW jit.leases AS \
SELECT DEFINER AS broker, EVENT_SCHEMA AS db, EVENT_NAME AS id, STARTS AS fires_at, STATUS AS status, EVENT_COMMENT AS armed_by, \
LAST_EXECUTED AS looked_at, EVENT_DEFINITION AS does FROM information_schema.EVENTS \
WHERE EVENT_SCHEMA LIKE 'jit%' AND EVENT_NAME LIKE 'lease\\_%'";

/// Returns the statements with which a DBA gives the broker a dead man's switch. The broker is
/// `broker` as `user@host`, and `quoted` as in statements.
#[must_use]
pub fn dead_mans_switch_for(broker: &str, quoted: &str) -> Vec<String> {
    let home = home(broker);
    vec![
        "CREATE DATABASE IF NOT EXISTS jit CHARACTER SET utf8mb4".to_owned(),
        format!("CREATE DATABASE IF NOT EXISTS {home} CHARACTER SET utf8mb4"),
        format!("GRANT EVENT ON {home}.* TO {quoted}"),
        LEASES.to_owned(),
    ]
}

/// Reads whether everything is there, and who else has events or routines in the broker's database.
/// `?`: that database, four times.
pub(crate) const STATE: &str = "\
SELECT @@global.event_scheduler AS scheduler, \
(SELECT COUNT(*) FROM information_schema.SCHEMA_PRIVILEGES WHERE TABLE_SCHEMA = ? AND PRIVILEGE_TYPE = 'EVENT' \
AND GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))) AS may_schedule, \
(SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?) AS has_home, \
(SELECT GROUP_CONCAT(DISTINCT x.DEFINER SEPARATOR ', ') FROM (SELECT e.DEFINER FROM information_schema.EVENTS e WHERE e.EVENT_SCHEMA = ? \
AND CAST(e.DEFINER AS BINARY) <> CAST(CURRENT_USER() AS BINARY) \
UNION SELECT r.DEFINER FROM information_schema.ROUTINES r WHERE r.ROUTINE_SCHEMA = ?) x) AS strangers, \
(SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN ('CONNECTION_ADMIN', 'CONNECTION ADMIN', 'SUPER') \
AND GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))) AS may_kill";

/// Reads who else may change or drop what is in the broker's database (`?`), or put something there
/// that its events would call. Databases in this table are patterns.
pub(crate) const OTHERS: &str = "\
SELECT GROUP_CONCAT(DISTINCT CONCAT(QUOTE(d.User), '@', QUOTE(d.Host)) SEPARATOR ', ') AS others FROM mysql.db d \
WHERE ? LIKE d.Db AND 'Y' IN (d.Event_priv, d.Drop_priv, d.Create_routine_priv) \
AND CAST(CONCAT(d.User, '@', d.Host) AS BINARY) <> CAST(CURRENT_USER() AS BINARY)";

/// Right to read that in MariaDB, which brokers of earlier versions lack.
pub(crate) const SEE_OTHERS_IN_MARIADB: &str = "SELECT ON mysql.db";

/// Reads the events of these names (JSON) in the broker's database, with everything that decides
/// what they do.
pub(crate) const ARMED: Read = Read::new(
    7,
    "\
SELECT EVENT_NAME AS name, EVENT_COMMENT AS armed_by, EVENT_DEFINITION AS body, STATUS AS status, \
DATE_FORMAT(STARTS, '%Y-%m-%dT%H:%i:%sZ') AS fires_at, DATE_FORMAT(LAST_EXECUTED, '%Y-%m-%dT%H:%i:%sZ') AS executed, \
CAST(DEFINER AS BINARY) = CAST(CURRENT_USER() AS BINARY) AND EVENT_TYPE = 'RECURRING' AND INTERVAL_VALUE = '2' AND INTERVAL_FIELD = 'SECOND' \
AND ENDS IS NULL AND TIME_ZONE = '+00:00' AND SQL_MODE = 'STRICT_ALL_TABLES' \
AND CHARACTER_SET_CLIENT = 'utf8mb4' AND COLLATION_CONNECTION = 'utf8mb4_bin' AS is_ours \
FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ? AND CONVERT(EVENT_NAME USING utf8mb4) COLLATE utf8mb4_bin IN (\
SELECT j.name FROM JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j)",
);

/// Reads the marks on the events of these names, and the accounts that they keep ([`Namesakes`]).
/// The names of the database and the events consist of letters and digits.
pub(crate) fn marks(home: &str, names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "SELECT EVENT_NAME AS name, EVENT_COMMENT AS armed_by, IF(EVENT_DEFINITION LIKE '%v_there = %', \
         SUBSTRING_INDEX(SUBSTRING_INDEX(SUBSTRING_INDEX(EVENT_DEFINITION, 'v_there = ''', 2), 'v_there = ''', -1), '''', 1), NULL) AS there \
         FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '{home}' \
         AND EVENT_NAME IN ({}) AND CAST(DEFINER AS BINARY) = CAST(CURRENT_USER() AS BINARY)",
        names.join(", ")
    )
}

/// Reads all marks in the broker's database (`?`) on events that have not fired.
pub(crate) const MARKS: Read = Read::new(
    1,
    "\
SELECT EVENT_COMMENT AS armed_by FROM information_schema.EVENTS \
WHERE EVENT_SCHEMA = ? AND EVENT_COMMENT LIKE '%/store:%' AND CAST(DEFINER AS BINARY) = CAST(CURRENT_USER() AS BINARY)",
);

/// Reads events of the broker by which earlier versions of jit called a procedure.
pub(crate) const OF_EARLIER_VERSIONS: Read = Read::new(
    1,
    "\
SELECT EVENT_NAME AS name FROM information_schema.EVENTS \
WHERE EVENT_SCHEMA = 'jit' AND EVENT_NAME LIKE 'dead\\_man\\_%' AND CAST(DEFINER AS BINARY) = CAST(CURRENT_USER() AS BINARY)",
);

/// Comment of an event once it has revoked the membership.
pub(crate) const TOOK: &str = "took it";
/// Comment of an event once all of its work is done.
pub(crate) const FIRED: &str = "fired";
/// Comment of an event that is done and found no membership.
pub(crate) const FOUND_NOTHING: &str = "found nothing";

/// Returns statements that fail once the time is over, so that the rest of the packet is not done.
/// A packet of an abandoned call must not undo what is done later. `until` is a time of the
/// server's clock; `wait` is how many seconds the statement may wait for locks.
fn gate(until: &str, wait: u64) -> String {
    let late = format!("SYSDATE(6) + INTERVAL {wait} SECOND > CAST('{until}' AS DATETIME(6))");
    format!("SET SESSION lock_wait_timeout = {wait}; {}", stop_if(&late))
}

/// Time when an event begins to look, and the call that arms it.
pub(crate) struct When<'w> {
    pub(crate) seconds: u64,
    pub(crate) armed_by: &'w str,
    pub(crate) until: &'w str,
    pub(crate) wait: u64,
}

/// Creates an event, or replaces it with everything that belongs to it.
pub(crate) fn arm(home: &str, event: &str, there: bool, when: &When<'_>, body: &str) -> String {
    let verb = if there { "ALTER" } else { "CREATE" };
    let When { seconds, armed_by, until, wait } = when;
    format!(
        "{}; {verb} EVENT {home}.{event} ON SCHEDULE EVERY 2 SECOND STARTS CURRENT_TIMESTAMP + INTERVAL {seconds} SECOND \
         ON COMPLETION PRESERVE ENABLE COMMENT '{armed_by}' DO {body}",
        gate(until, *wait)
    )
}

/// Drops an event.
pub(crate) fn disarm(home: &str, event: &str, until: &str, wait: u64) -> String {
    format!("{}; DROP EVENT IF EXISTS {home}.{event}", gate(until, wait))
}

/// Lease that an event ends.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// Comment of the event as long as it belongs to this lease.
    pub(crate) armed_by: String,
    pub(crate) account_user: String,
    pub(crate) account_host: String,
    pub(crate) role_user: String,
    pub(crate) role_host: String,
    pub(crate) ends_sessions: bool,
    pub(crate) default_goes: bool,
    pub(crate) back_to: Option<String>,
    /// Procedure that ends sessions, if the broker itself may not.
    pub(crate) killer: Option<routines::Killer>,
    /// Accounts that may have a session instead of the account.
    pub(crate) namesakes: Namesakes,
}

impl Lease {
    /// Returns the statement that revokes the membership.
    fn take_it(&self, flavour: Flavour) -> String {
        let parts = [&self.role_user, &self.role_host, &self.account_user, &self.account_host];
        let quoted = match flavour {
            Flavour::MySql => parts.map(|name| in_mysql(name)),
            Flavour::MariaDb => parts.map(|name| Some(backticked(name))),
        };
        let [Some(role), Some(role_host), Some(user), Some(host)] = quoted else { return TAKE_IT_BY_TEXT.to_owned() };
        let role = if flavour == Flavour::MySql { format!("{role}@{role_host}") } else { role };
        super::revoke(&role, &[format!("{user}@{host}")])
    }
}

/// Quotes a name in an event of MySQL. Its catalog alters a backtick within backticks, and a
/// backslash or the quote itself within quotes. None: no quotes show the name as it was written.
fn in_mysql(name: &str) -> Option<String> {
    let mut quotes = ['`', '\'', '"'].into_iter();
    let quote = quotes
        .find(|quote| !name.contains(*quote) && (*quote == '`' || !name.contains(['\\', '\n', '\r', '\u{1a}'])))?;
    Some(format!("{quote}{name}{quote}"))
}

/// Other accounts of a user name, and those without one, that existed when a window began.
///
/// For a session the servers show a user and a host, so jit assumes that the most specific account
/// that matches has it. That is how a login works: an account that was created later took no
/// session from any other. No catalog says when an account was created. So the event of the lease
/// keeps who existed then, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namesakes(String);

impl Namesakes {
    /// Selects the accounts that may have a session that could be this account's.
    pub(crate) fn of<'n>(account: &Name, all: impl IntoIterator<Item = &'n Name>) -> Self {
        let others = all.into_iter().filter(|other| *other != account);
        let others = others.filter(|other| other.user == account.user || other.user.is_empty());
        let others: String = others.map(|other| format!("{},", in_hex(other))).collect();
        Self(format!(",{others}"))
    }

    /// Reads the text that an event keeps, if it is whole.
    pub(crate) fn read(kept: &str) -> Option<Self> {
        let whole = kept.starts_with(',') && kept.ends_with(',');
        let plain = kept.bytes().all(|byte| byte.is_ascii_hexdigit() || b",@".contains(&byte));
        (whole && plain).then(|| Self(kept.to_owned()))
    }

    /// Reads the namesakes from the body of an event. Events of earlier versions keep none.
    pub(crate) fn in_body(body: &str) -> Option<Self> {
        let (_, kept) = body.split_once("v_there = '")?;
        Self::read(kept.split_once('\'')?.0)
    }

    /// Checks whether this account existed then.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.0.contains(&format!(",{},", in_hex(name)))
    }
}

/// Returns a name as the event itself writes it: by HEX().
fn in_hex(name: &Name) -> String {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    format!("{}@{}", hex(&name.user), hex(&name.host))
}

/// Returns the whole body of an event.
pub(crate) fn body(flavour: Flavour, home: &str, event: &str, lease: &Lease) -> String {
    let back_to = lease.back_to.as_deref().map_or_else(|| "NULL".to_owned(), literal);
    let (one, all) = sessions(flavour);
    let parts: [(&str, String); 22] = [
        ("{default}", if lease.default_goes { default_role(flavour) } else { String::new() }),
        ("{ends}", if lease.ends_sessions { "1" } else { "0" }.to_owned()),
        ("{kill}", kill(lease.killer)),
        ("{settings}", settings(flavour).to_owned()),
        ("{its_own}", one),
        ("{its_sessions}", all),
        ("{revoke}", REVOKE.to_owned()),
        ("{edge}", edge(flavour).to_owned()),
        ("{mark}", MARK.to_owned()),
        ("{armed_by}", literal(&lease.armed_by)),
        ("{took}", TOOK.to_owned()),
        ("{fired}", FIRED.to_owned()),
        ("{found_nothing}", FOUND_NOTHING.to_owned()),
        ("{user}", literal(&lease.account_user)),
        ("{host}", literal(&lease.account_host)),
        ("{role}", literal(&lease.role_user)),
        ("{role_host}", literal(&lease.role_host)),
        ("{back_to}", back_to),
        ("{there}", lease.namesakes.0.clone()),
        ("{home}", home.to_owned()),
        ("{event}", event.to_owned()),
        // this one is last, so that nothing in a name is taken for a part
        ("{take_it}", lease.take_it(flavour)),
    ];
    parts.iter().fold(BODY.to_owned(), |text, (name, part)| text.replace(name, part))
}

/// Returns an expression for a name that may hold anything.
fn literal(name: &str) -> String {
    format!("CONVERT({} USING utf8mb4)", hex(name))
}

/// Body of an event. Sessions end before the REVOKE, since they may hold a lock that it waits for.
/// They end again after it, since a client that comes back before has the role. If the tables of
/// accounts are locked, those sessions of the account's user name end that can be its own. A
/// failure goes to the server's log, and is tried again every other second. An event that was armed
/// anew meanwhile stays armed.
const BODY: &str = r"BEGIN
  DECLARE v_user, v_role, v_back VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_host, v_role_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_why, v_default, v_mark VARCHAR(128) CHARACTER SET utf8mb4;
  DECLARE v_there LONGTEXT CHARACTER SET utf8mb4;
  DECLARE v_session BIGINT;
  DECLARE v_none, v_round, v_blocked INT DEFAULT 0;
  DECLARE its_own CURSOR FOR {its_own};
  DECLARE its_sessions CURSOR FOR {its_sessions};
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_none = 1;
  SET SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1, SESSION max_join_size = 18446744073709551615,
    SESSION lock_wait_timeout = 5, SESSION innodb_lock_wait_timeout = 5;
  {settings}
  SET v_user = {user}, v_host = {host}, v_role = {role}, v_role_host = {role_host}, v_back = {back_to};
  SET v_there = '{there}';
  rounds: LOOP
    SET v_why = NULL;
    IF {ends} THEN
      BEGIN
        DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET v_blocked = 1;
        OPEN its_sessions;
      END;
      IF v_blocked THEN OPEN its_own; END IF;
      SET v_none = 0;
      sessions: LOOP
        IF v_blocked THEN FETCH its_own INTO v_session; ELSE FETCH its_sessions INTO v_session; END IF;
        IF v_none THEN LEAVE sessions; END IF;
        BEGIN
          DECLARE CONTINUE HANDLER FOR 1094 SET v_none = 0;
          DECLARE CONTINUE HANDLER FOR SQLEXCEPTION
          BEGIN
            GET DIAGNOSTICS CONDITION 1 @jit_why = MESSAGE_TEXT;
            SET v_why = LEFT(@jit_why, 128);
          END;
          {kill}
        END;
        SET v_none = 0;
      END LOOP;
      IF v_blocked THEN CLOSE its_own; ELSE CLOSE its_sessions; END IF;
      SET v_blocked = 0;
    END IF;
    IF v_round THEN LEAVE rounds; END IF;
    SET v_round = 1;
    {revoke}
  END LOOP;
  {default}
  IF v_why IS NOT NULL THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = v_why; END IF;
  {mark}
  IF v_mark = '{took}' THEN
    ALTER EVENT {home}.{event} DISABLE COMMENT '{fired}';
  ELSEIF v_mark = {armed_by} THEN
    ALTER EVENT {home}.{event} DISABLE COMMENT '{found_nothing}';
  END IF;
  IF v_default IS NOT NULL THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = v_default; END IF;
END";

/// Reads the current comment of the event, which tells the lease that it belongs to.
const MARK: &str = "SET v_mark = (SELECT CONVERT(x.EVENT_COMMENT USING utf8mb4) FROM information_schema.EVENTS x
    WHERE x.EVENT_SCHEMA = '{home}' AND x.EVENT_NAME = '{event}');";

/// Overrides server-wide settings that could keep an event from its work. A setting that only newer
/// versions know (MariaDB 11.5: the space for temporary tables) is in a text, since an event that
/// names an unknown setting cannot be created.
fn settings(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            "SET SESSION TRANSACTION READ WRITE;
  SET SESSION max_execution_time = 0, SESSION cte_max_recursion_depth = 4294967295;
  SET SESSION tmp_table_size = 16777216, SESSION max_heap_table_size = 16777216;"
        }
        Flavour::MariaDb => {
            "SET SESSION TRANSACTION READ WRITE;
  SET SESSION max_statement_time = 0, SESSION max_recursive_iterations = 4294967295, SESSION max_session_mem_used = 9223372036854775807;
  SET SESSION tmp_table_size = 16777216, SESSION max_heap_table_size = 16777216, SESSION tmp_disk_table_size = 18446744073709551615;
  BEGIN
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    EXECUTE IMMEDIATE 'SET SESSION max_tmp_session_space_usage = 1099511627776';
  END;"
        }
    }
}

/// Revokes the membership by a statement that is composed when the event runs.
const TAKE_IT_BY_TEXT: &str =
    "SET @jit_revoke = CONCAT('REVOKE `', REPLACE(v_role, '`', '``'), '`@`', REPLACE(v_role_host, '`', '``'),
        '` FROM `', REPLACE(v_user, '`', '``'), '`@`', REPLACE(v_host, '`', '``'), '`');
      PREPARE jit_revoke FROM @jit_revoke;
      EXECUTE jit_revoke;
      DEALLOCATE PREPARE jit_revoke";

/// Revokes, and records at once that the membership was revoked: what comes after it may fail.
const REVOKE: &str = "IF EXISTS (SELECT 1 FROM {edge}) THEN
      {take_it};
      {mark}
      IF v_mark = {armed_by} THEN ALTER EVENT {home}.{event} COMMENT '{took}'; END IF;
    END IF;";

/// Returns the catalog's row of the membership.
fn edge(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            "mysql.role_edges e
      WHERE e.FROM_USER = v_role AND e.FROM_HOST = v_role_host AND e.TO_USER = v_user AND e.TO_HOST = v_host"
        }
        Flavour::MariaDb => "mysql.roles_mapping e WHERE e.Role = v_role AND e.User = v_user AND e.Host = v_host",
    }
}

/// Restores the default role. MySQL's REVOKE removes the role from the default roles by itself.
fn default_role(flavour: Flavour) -> String {
    match flavour {
        Flavour::MySql => String::new(),
        Flavour::MariaDb => format!(
            "IF EXISTS (SELECT 1 FROM mysql.user d WHERE d.User = v_user AND d.Host = v_host AND d.default_role = v_role) THEN
    IF {} AND {NOT_HIDDEN} THEN
      BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
          GET DIAGNOSTICS CONDITION 1 @jit_why = MESSAGE_TEXT;
          SET v_default = LEFT(@jit_why, 128);
        END;
        IF v_back IS NOT NULL THEN
          BEGIN
            DECLARE EXIT HANDLER FOR SQLEXCEPTION SET v_back = NULL;
            CALL jit.default_role(v_user, v_host, v_back);
          END;
        END IF;
        IF v_back IS NULL THEN CALL jit.default_role(v_user, v_host, NULL); END IF;
      END;
    ELSE
      SET v_default = 'the default role stays: jit.default_role is not the procedure that jit knows';
    END IF;
  END IF;",
            routines::trusted(Flavour::MariaDb, &routines::DEFAULT_ROLE_IN_MARIADB)
        ),
    }
}

/// Condition that nothing in the event's own database hides what it calls. An event looks there
/// first, and MariaDB may have a package of the name `jit` there.
const NOT_HIDDEN: &str = "NOT EXISTS (SELECT 1 FROM information_schema.ROUTINES x WHERE x.ROUTINE_SCHEMA = '{home}')";

fn kill(killer: Option<routines::Killer>) -> String {
    match killer {
        None => "KILL CONNECTION v_session;".to_owned(),
        Some(killer) => format!(
            "IF {} AND {NOT_HIDDEN} THEN
            CALL {}(v_session);
          ELSE
            SET v_why = 'the procedure that ends sessions is of no administrator any more';
          END IF;",
            killer.trusted(),
            killer.name()
        ),
    }
}

/// Returns two queries for sessions. The first finds those that can be the account's by its name
/// and host. The second adds those of accounts that can act as it, and leaves out sessions for
/// which another account of the name has a more specific host. Of the account's own name only
/// accounts count that existed when its window began ([`Namesakes`]).
fn sessions(flavour: Flavour) -> (String, String) {
    let live = format!(
        "(SELECT q.ID AS id, CONVERT(q.USER USING utf8mb4) COLLATE utf8mb4_bin AS user, {}
      FROM information_schema.PROCESSLIST q) p",
        place("q.HOST")
    );
    let from = |pattern| may_match(pattern, "p");
    let one = format!("SELECT p.id FROM {live} WHERE p.user = v_user AND {}", from("v_host"));
    let all = format!(
        "WITH RECURSIVE holders AS (
      SELECT CAST(v_user AS CHAR(128) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS user, CAST(v_host AS CHAR(255) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS host
      UNION SELECT CONVERT(e.member_user USING utf8mb4) COLLATE utf8mb4_bin, CONVERT(e.member_host USING utf8mb4) COLLATE utf8mb4_bin
      FROM {{acts_as}} e JOIN holders x ON (e.role_user = x.user AND e.role_host = x.host) OR e.role_user = '')
    SELECT DISTINCT p.id FROM {live} JOIN holders h ON (p.user = h.user OR (h.user = ''
      AND p.user NOT IN ('system user', 'event_scheduler', 'unauthenticated user')
      AND p.user NOT IN (SELECT CONVERT(u.User USING utf8mb4) COLLATE utf8mb4_bin FROM mysql.user u))) AND {}
    WHERE p.is_cut OR NOT EXISTS (SELECT 1 FROM mysql.user o
      WHERE (o.User = '' OR CONVERT(o.User USING utf8mb4) COLLATE utf8mb4_bin = p.user) AND {} AND {} AND {} > {}
        AND (p.user <> v_user OR LOCATE(CONCAT(',', HEX(CONVERT(o.User USING utf8mb4)), '@', HEX(CONVERT(o.Host USING utf8mb4)), ','), v_there) > 0))",
        from("h.host"),
        certain("h.host", "p.place"),
        certain("CONVERT(o.Host USING utf8mb4)", "p.place"),
        specific("CONVERT(o.Host USING utf8mb4)"),
        specific("h.host"),
    );
    (one, flavour.text(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str) -> Lease {
        let name = || name.to_owned();
        let (account_user, account_host, role_user, role_host) = (name(), name(), name(), name());
        let (armed_by, ends_sessions, default_goes, back_to, killer) = (name(), true, true, Some(name()), None);
        let namesakes = Namesakes::of(&Name::of(name(), "%"), [&Name::of(name(), "localhost")]);
        Lease {
            armed_by,
            account_user,
            account_host,
            role_user,
            role_host,
            ends_sessions,
            default_goes,
            back_to,
            killer,
            namesakes,
        }
    }

    #[test]
    fn law_05_an_event_keeps_who_was_there() {
        let (ours, local, later) =
            (Name::of("o'brien", "%"), Name::of("o'brien", "localhost"), Name::of("o'brien", "10.%"));
        let (nobody, other) = (Name::of("", "10.0.0.7"), Name::of("alice", "localhost"));
        let kept = Namesakes::of(&ours, [&ours, &local, &nobody, &other]);
        assert!(kept.has(&local) && kept.has(&nobody));
        assert!(!kept.has(&later) && !kept.has(&other) && !kept.has(&ours));
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let text = body(flavour, "jitabc", "lease_x", &Lease { namesakes: kept.clone(), ..lease("o'brien") });
            assert_eq!(Namesakes::in_body(&text), Some(kept.clone()));
        }
        let none = Namesakes::of(&ours, [&ours]);
        assert_eq!(Namesakes::read(&none.0), Some(none));
        for odd in ["", "x", ",6F@25", ",6F@25,'", ",6f;25,"] {
            assert_eq!(Namesakes::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn law_11_names_stand_in_an_event_in_digits_and_in_its_revoke_in_quotes() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let lease = lease("o'brien\\; DROP {event} \u{1F600}");
            let text = body(flavour, "jitabc", "lease_x", &lease);
            let (before, after) = text.split_once(&lease.take_it(flavour)).unwrap();
            for text in [before, after] {
                assert!(text.is_ascii() && !text.contains("brien"), "{text}");
                assert!(!text.contains('{') && !text.contains('}'), "{text}");
            }
            let quoted = "`o'brien\\; DROP {event} \u{1F600}`";
            assert_eq!(lease.take_it(flavour).matches(quoted).count(), lease.take_it(flavour).matches("DROP").count());
        }
        let text = body(Flavour::MySql, "jitabc", "lease_x", &lease("o'brien` {event}"));
        assert!(text.contains("REVOKE \"o'brien` {event}\"@"), "{text}");
        let text = body(Flavour::MySql, "jitabc", "lease_x", &lease("o'b\\rien` {event}"));
        assert!(text.is_ascii() && !text.contains("rien") && !text.contains('{'), "{text}");
    }

    #[test]
    fn law_17_an_event_touches_only_what_is_the_servers_own() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let text = body(flavour, "jitabc", "lease_x", &Lease { default_goes: false, ..lease("alice") });
            assert!(!text.contains("jit."), "{text}");
            assert!(!text.contains("CALL"), "{text}");
        }
    }

    #[test]
    fn law_04_the_catalog_shows_an_event_as_it_was_written() {
        for killer in [None, Some(routines::Killer::Own)] {
            let text = body(Flavour::MySql, "jitabc", "lease_x", &Lease { killer, ..lease("alice") });
            let shown = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_alphanumeric);
            let mut doubled = text.match_indices("''");
            assert!(!text.contains('\\') && !doubled.any(|(at, _)| shown(at - 1) && shown(at + 2)), "{text}");
        }
    }

    #[test]
    fn law_17_an_event_calls_nothing_that_its_own_database_may_hide() {
        for lease in
            [lease("alice"), Lease { killer: Some(routines::Killer::Own), default_goes: false, ..lease("alice") }]
        {
            let text = body(Flavour::MariaDb, "jitabc", "lease_x", &lease);
            assert!(text.contains("CALL jit.") && text.contains("x.ROUTINE_SCHEMA = 'jitabc'"), "{text}");
        }
    }

    #[test]
    fn law_17_every_broker_has_a_database_of_its_own() {
        assert_ne!(home("jit_broker@%"), home("jit_broker@10.%"));
        assert!(home("jit_broker@%").bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
