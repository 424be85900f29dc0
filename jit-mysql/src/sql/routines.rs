//! Procedures that the broker calls, and the check that they are what jit knows. A procedure that
//! somebody replaced would run with the broker's rights. So each call is in one packet with its
//! check.

use super::{Flavour, hex, stop_if};

/// Procedure of jit that an administrator creates: it runs with the rights of its creator.
#[derive(Debug)]
pub(crate) struct Routine {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static str,
    /// Names of its parameters.
    pub(crate) names: &'static str,
    pub(crate) body: &'static str,
}

/// Settings with which a procedure is created, and without which it is not the same.
const MADE_WITH: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin;\nSET SESSION sql_mode = 'STRICT_ALL_TABLES'";

/// Procedure that sets another account's default roles in MySQL: account, role, and true to add the
/// role.
pub(crate) const DEFAULT_ROLE_IN_MYSQL: Routine = Routine {
    name: "default_role",
    parameters: "IN account_user VARCHAR(32) CHARACTER SET utf8mb4, IN account_host VARCHAR(255) CHARACTER SET utf8mb4, \
                 IN role_user VARCHAR(32) CHARACTER SET utf8mb4, IN role_host VARCHAR(255) CHARACTER SET utf8mb4, IN wanted BOOLEAN",
    names: "account_user,account_host,role_user,role_host,wanted",
    body: r"BEGIN
  DECLARE list TEXT CHARACTER SET utf8mb4;
  SET SESSION group_concat_max_len = 65536, SESSION sql_select_limit = 18446744073709551615;
  SELECT GROUP_CONCAT('`', REPLACE(d.u, '`', '``'), '`@`', REPLACE(d.h, '`', '``'), '`') INTO list FROM (
    SELECT DEFAULT_ROLE_USER AS u, DEFAULT_ROLE_HOST AS h FROM mysql.default_roles
    WHERE USER = account_user AND HOST = account_host AND NOT (DEFAULT_ROLE_USER = role_user AND DEFAULT_ROLE_HOST = role_host)
    UNION SELECT role_user, role_host FROM DUAL WHERE wanted) d;
  SET @jit_alter = CONCAT('ALTER USER `', REPLACE(account_user, '`', '``'), '`@`', REPLACE(account_host, '`', '``'), '` DEFAULT ROLE ', COALESCE(list, 'NONE'));
  PREPARE jit_alter FROM @jit_alter;
  EXECUTE jit_alter;
  DEALLOCATE PREPARE jit_alter;
END",
};

/// Procedure that sets the default role in MariaDB, where an account has one at most: account, role
/// or NULL.
pub(crate) const DEFAULT_ROLE_IN_MARIADB: Routine = Routine {
    name: "default_role",
    parameters: "IN account_user VARCHAR(128) CHARACTER SET utf8mb4, IN account_host VARCHAR(255) CHARACTER SET utf8mb4, \
                 IN role VARCHAR(128) CHARACTER SET utf8mb4",
    names: "account_user,account_host,role",
    body: r"BEGIN
  EXECUTE IMMEDIATE CONCAT('SET DEFAULT ROLE ', COALESCE(CONCAT('`', REPLACE(role, '`', '``'), '`'), 'NONE'),
    ' FOR `', REPLACE(account_user, '`', '``'), '`@`', REPLACE(account_host, '`', '``'), '`');
END",
};

/// Procedure that shows a broker what accounts and roles (JSON, `user@host`) defined in MySQL, each
/// with a checksum of what it does. An account that may not run or change such definitions does not
/// see them.
pub(crate) const DEFINITIONS_IN_MYSQL: Routine = Routine {
    name: "definitions",
    parameters: "IN definers LONGTEXT CHARACTER SET utf8mb4",
    names: "definers",
    body: r"BEGIN
  SET SESSION sql_select_limit = 18446744073709551615;
  SELECT d.definer, d.kind, d.place, d.name, d.version FROM (
    SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin AS definer, 'event' AS kind,
      CONVERT(EVENT_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin AS place, CONVERT(EVENT_NAME USING utf8mb4) COLLATE utf8mb4_bin AS name,
      SHA2(EVENT_DEFINITION, 256) AS version
    FROM information_schema.EVENTS
    UNION ALL SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin, LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, ROUTINE_NAME, SHA2(ROUTINE_DEFINITION, 256)
    FROM information_schema.ROUTINES WHERE SECURITY_TYPE = 'DEFINER'
    UNION ALL SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin, 'view', TABLE_SCHEMA, TABLE_NAME, SHA2(VIEW_DEFINITION, 256)
    FROM information_schema.VIEWS WHERE SECURITY_TYPE = 'DEFINER'
    UNION ALL SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin, 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME, SHA2(ACTION_STATEMENT, 256)
    FROM information_schema.TRIGGERS) d
  WHERE d.definer IN (SELECT j.definer FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j);
END",
};

/// Procedure that shows definitions in MariaDB, in several lists. A role is a definer too: it is
/// written `role@`, and in `mysql.proc` without the `@`.
///
/// No table lists views and triggers: the server reads a file of each view and of each table (0.3 s
/// for 4,000 tables and 2,000 views). It opens none of them, since the query asks for nothing that
/// needs it.
///
/// A query that holds a lock leaves out what somebody locks meanwhile, with a warning; a query that
/// holds none waits. So each list is a query of its own, and such a warning is an error: nobody
/// hides a view behind a lock.
pub(crate) const DEFINITIONS_IN_MARIADB: Routine = Routine {
    name: "definitions",
    parameters: "IN definers LONGTEXT CHARACTER SET utf8mb4",
    names: "definers",
    body: r"BEGIN
  DECLARE EXIT HANDLER FOR 1205, 1684
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'somebody locks a view or a table, so that not everything can be seen';
  SET SESSION sql_select_limit = 18446744073709551615;
  SELECT j.definer, 'view' AS kind, v.TABLE_SCHEMA AS place, v.TABLE_NAME AS name, SHA2(v.VIEW_DEFINITION, 256) AS version
  FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j
  JOIN information_schema.VIEWS v ON CONVERT(v.DEFINER USING utf8mb4) COLLATE utf8mb4_bin = j.definer WHERE v.SECURITY_TYPE = 'DEFINER';
  SELECT j.definer, 'trigger' AS kind, t.TRIGGER_SCHEMA AS place, t.TRIGGER_NAME AS name, SHA2(t.ACTION_STATEMENT, 256) AS version
  FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j
  JOIN information_schema.TRIGGERS t ON CONVERT(t.DEFINER USING utf8mb4) COLLATE utf8mb4_bin = j.definer;
  SELECT j.definer, 'event' AS kind, e.db AS place, e.name, SHA2(e.body, 256) AS version
  FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j
  JOIN mysql.event e ON CONVERT(e.definer USING utf8mb4) COLLATE utf8mb4_bin = j.definer;
  SELECT j.definer, LOWER(r.type) AS kind, r.db AS place, r.name, SHA2(CONCAT(r.param_list, r.body), 256) AS version
  FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j
  JOIN mysql.proc r ON j.definer IN (CONVERT(r.definer USING utf8mb4) COLLATE utf8mb4_bin, CONCAT(CONVERT(r.definer USING utf8mb4) COLLATE utf8mb4_bin, '@'))
  WHERE r.security_type = 'DEFINER';
END",
};

impl Routine {
    fn text(&self) -> String {
        format!("jit.{}({})\nSQL SECURITY DEFINER\n{}", self.name, self.parameters, self.body)
    }

    /// Returns the statements with which an administrator creates it, each separately.
    pub(crate) fn statements(&self) -> Vec<String> {
        let mut all: Vec<String> = MADE_WITH.split(";\n").map(str::to_owned).collect();
        all.push(format!("CREATE PROCEDURE {}", self.text()));
        all
    }

    /// Returns the script with which an administrator creates it in the servers' own client. With
    /// `instead`, it replaces the procedure that is there.
    pub(crate) fn script(&self, flavour: Flavour, instead: bool, broker: &str) -> String {
        let drop = if instead { format!("DROP PROCEDURE IF EXISTS jit.{};\n", self.name) } else { String::new() };
        let see = match flavour {
            Flavour::MySql => format!("GRANT SHOW_ROUTINE ON *.* TO {broker}"),
            Flavour::MariaDb => format!("GRANT SELECT ON mysql.proc TO {broker}"),
        };
        // an existing procedure is checked before each use
        let create = if instead { "CREATE PROCEDURE" } else { "CREATE PROCEDURE IF NOT EXISTS" };
        format!(
            "CREATE DATABASE IF NOT EXISTS jit CHARACTER SET utf8mb4;\n{MADE_WITH};\n{drop}DELIMITER //\n{create} {}//\nDELIMITER ;\n\
             GRANT EXECUTE ON PROCEDURE jit.{} TO {broker};\n{see}",
            self.text(),
            self.name
        )
    }
}

/// Returns the statements that create the procedures for brokers. An administrator of a MySQL
/// server runs them in a database `jit`, on one connection.
#[must_use]
pub fn procedures_in_mysql() -> Vec<String> {
    [&DEFAULT_ROLE_IN_MYSQL, &DEFINITIONS_IN_MYSQL].iter().flat_map(|routine| routine.statements()).collect()
}

/// Returns the statements that create the procedures in MariaDB.
#[must_use]
pub fn procedures_in_mariadb() -> Vec<String> {
    [&DEFAULT_ROLE_IN_MARIADB, &DEFINITIONS_IN_MARIADB].iter().flat_map(|routine| routine.statements()).collect()
}

/// Returns the condition that an existing account which administers the server is the definer.
/// `definer` is an expression, `d` the row of the account.
pub(super) fn administers(definer: &str) -> String {
    format!(
        "CAST(CONCAT(d.User, '@', d.Host) AS BINARY) = CAST({definer} AS BINARY) AND d.Host <> '' AND (d.Super_priv = 'Y' OR d.Create_user_priv = 'Y')"
    )
}

/// Returns the place where the server keeps a procedure, and the condition that it is ours to the
/// letter.
fn same(flavour: Flavour, routine: &Routine) -> (String, String) {
    let Routine { name, parameters, names, body } = routine;
    let body = hex(body);
    match flavour {
        Flavour::MySql => (
            format!(
                "information_schema.ROUTINES r WHERE r.ROUTINE_SCHEMA = 'jit' AND r.ROUTINE_NAME = '{name}' AND r.ROUTINE_TYPE = 'PROCEDURE'"
            ),
            format!(
                "r.SECURITY_TYPE = 'DEFINER' AND r.SQL_MODE = 'STRICT_ALL_TABLES' AND r.CHARACTER_SET_CLIENT = 'utf8mb4' \
                 AND r.COLLATION_CONNECTION = 'utf8mb4_bin' AND CAST(r.ROUTINE_DEFINITION AS BINARY) = {body} AND (SELECT \
                 GROUP_CONCAT(p.PARAMETER_NAME ORDER BY p.ORDINAL_POSITION) FROM information_schema.PARAMETERS p \
                 WHERE p.SPECIFIC_SCHEMA = 'jit' AND p.SPECIFIC_NAME = '{name}' AND p.ROUTINE_TYPE = 'PROCEDURE') = '{names}'"
            ),
        ),
        Flavour::MariaDb => (
            format!("mysql.proc r WHERE r.db = 'jit' AND r.name = '{name}' AND r.type = 'PROCEDURE'"),
            format!(
                "r.security_type = 'DEFINER' AND r.sql_mode = 'STRICT_ALL_TABLES' AND r.character_set_client = 'utf8mb4' \
                 AND r.collation_connection = 'utf8mb4_bin' AND CAST(r.body AS BINARY) = {body} AND CAST(r.param_list AS BINARY) = {}",
                hex(parameters)
            ),
        ),
    }
}

/// Returns the condition that the procedure exists, is ours to the letter, and belongs to an
/// existing administrator.
pub(crate) fn trusted(flavour: Flavour, routine: &Routine) -> String {
    let (place, same) = same(flavour, routine);
    format!(
        "EXISTS (SELECT 1 FROM {place} AND {same} AND EXISTS (SELECT 1 FROM mysql.user d WHERE {}))",
        administers("r.definer")
    )
}

/// Returns the condition that there is a procedure of this name that is not [`trusted`].
pub(super) fn unfit(flavour: Flavour, routine: &Routine) -> String {
    let (place, _) = same(flavour, routine);
    format!("EXISTS (SELECT 1 FROM {place}) AND NOT {}", trusted(flavour, routine))
}

/// Returns the statement that reads the state of a procedure. Columns: `definer`, `same` (it is
/// ours), `is_there` (the definer exists), `administers` (the definer is an administrator),
/// `may_call` (the broker may). No row: there is none that the broker sees.
pub(crate) fn facts(flavour: Flavour, routine: &Routine) -> String {
    let (place, same) = same(flavour, routine);
    format!(
        "SELECT r.definer AS definer, {same} AS same, EXISTS (SELECT 1 FROM mysql.user d WHERE \
         CAST(CONCAT(d.User, '@', d.Host) AS BINARY) = CAST(r.definer AS BINARY)) AS is_there, \
         EXISTS (SELECT 1 FROM mysql.user d WHERE {}) AS administers, \
         EXISTS (SELECT 1 FROM mysql.procs_priv g WHERE g.Db = 'jit' AND g.Routine_name = '{}' AND g.Routine_type = 'PROCEDURE' \
         AND CAST(CONCAT(g.User, '@', g.Host) AS BINARY) = CAST(CURRENT_USER() AS BINARY) AND FIND_IN_SET('Execute', g.Proc_priv)) AS may_call FROM {place}",
        administers("r.definer"),
        routine.name
    )
}

/// Calls a procedure with what `@jit_1` to `@jit_9` hold. Stops if the `trusted` expression is not
/// true right then.
pub(crate) fn call(trusted: &str, call: &str) -> String {
    format!("{}; {call}", stop_if(&format!("NOT {trusted}")))
}

/// Procedure that ends a session with a right that no other account has: a vendor's, or one that a
/// DBA created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killer {
    /// Procedure of Amazon.
    Rds,
    /// Procedure of Microsoft.
    Azure,
    /// Procedure of a DBA.
    Own,
}

impl Killer {
    pub(crate) const ALL: [Self; 3] = [Self::Rds, Self::Azure, Self::Own];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rds => "mysql.rds_kill",
            Self::Azure => "mysql.az_kill",
            Self::Own => "jit.end_session",
        }
    }

    /// Returns the condition that it belongs to an administrator and does not run with the broker's
    /// rights. Then whatever it does is not done by the broker.
    pub(crate) fn trusted(self) -> String {
        let (schema, name) = self.name().split_once('.').unwrap_or_default();
        format!(
            "EXISTS (SELECT 1 FROM information_schema.ROUTINES r WHERE r.ROUTINE_SCHEMA = '{schema}' AND r.ROUTINE_NAME = '{name}' \
             AND r.ROUTINE_TYPE = 'PROCEDURE' AND r.SECURITY_TYPE = 'DEFINER' AND EXISTS (SELECT 1 FROM mysql.user d WHERE {}) \
             AND EXISTS (SELECT 1 FROM mysql.procs_priv g WHERE g.Db = '{schema}' AND g.Routine_name = '{name}' AND g.Routine_type = 'PROCEDURE' \
             AND CAST(CONCAT(g.User, '@', g.Host) AS BINARY) = CAST(CURRENT_USER() AS BINARY) AND FIND_IN_SET('Execute', g.Proc_priv)))",
            administers("r.DEFINER")
        )
    }
}

/// Returns the statement that reads which of them the broker may call, one column each.
pub(crate) fn killers() -> String {
    let each = Killer::ALL.map(|killer| format!("{} AS `{}`", killer.trusted(), killer.name()));
    format!("SELECT {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_15_what_mariadb_would_leave_out_is_waited_for() {
        let places = ["information_schema.VIEWS", "information_schema.TRIGGERS", "mysql.event", "mysql.proc"];
        let lists: Vec<&str> = DEFINITIONS_IN_MARIADB.body.split("SELECT j.definer").skip(1).collect();
        assert_eq!(lists.len(), places.len());
        for list in lists {
            assert_eq!(places.iter().filter(|place| list.contains(**place)).count(), 1, "{list}");
        }
    }

    #[test]
    fn no_procedure_needs_more_than_its_own_quotes() {
        for routine in
            [&DEFAULT_ROLE_IN_MYSQL, &DEFAULT_ROLE_IN_MARIADB, &DEFINITIONS_IN_MYSQL, &DEFINITIONS_IN_MARIADB]
        {
            // the server keeps a text as it was sent only if no setting changes its meaning
            assert!(routine.body.is_ascii() && !routine.body.contains(['"', '\\']), "{}", routine.name);
            assert!(!routine.body.contains("--"), "{}", routine.name);
            let names: Vec<&str> = routine.parameters.split(", ").filter_map(|one| one.split(' ').nth(1)).collect();
            assert_eq!(names.join(","), routine.names);
        }
    }
}
