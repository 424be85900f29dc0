//! Statement that reads which routines run with rights that outlive a role. The definer of a
//! routine is judged as a role is: whatever is not known to be harmless counts ([`crate::powers`]).
//!
//! One difference is on purpose. What a definer creates in an ordinary database does not count: it
//! gives no role to anybody. ALTER ROUTINE there, which the creator of a routine has, counts if it
//! reaches a routine of an administrator.

use super::rights::{USER_COLUMNS, USER_RIGHTS_IN_MARIADB};
use super::{Flavour, Read};
use crate::powers::{HARMLESS_ON_SERVER, OPEN, PROTECTED, WITHOUT_SECRETS};

/// Columns of rights that are harmless on the whole server, on a database and on a table.
const HARMLESS_COLUMNS: [&str; 6] =
    ["Process_priv", "References_priv", "Show_db_priv", "Create_tmp_table_priv", "Repl_client_priv", "Show_view_priv"];

/// Rights on a database, but for those that are harmless or only read.
const WRITES: &str = "d.Insert_priv, d.Update_priv, d.Delete_priv, d.Create_priv, d.Drop_priv, d.Index_priv, d.Alter_priv, d.Lock_tables_priv, \
d.Create_view_priv, d.Create_routine_priv, d.Alter_routine_priv, d.Event_priv, d.Trigger_priv";

/// Account of the row `a` as a routine names its definer. A role of MariaDB has no host.
const AS_DEFINER: &str = "IF(a.h = '', a.u, CONCAT(a.u, '@', a.h))";

/// Rights of definers that the statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    /// Rights that brokers of earlier versions may read in MariaDB.
    Few,
}

/// Returns the statement that reads every routine that runs with the rights of an administrator, or
/// of an account that holds an administrator's role. `home` is the database of the broker's events.
/// In MariaDB a role is a definer, too, written without `@`.
pub(crate) fn of_administrators(flavour: Flavour, home: &str, reads: Reads) -> String {
    let (mut first, edges, list) = match flavour {
        Flavour::MySql => {
            let harmless = list_of(HARMLESS_ON_SERVER);
            let more = format!("mysql.global_grants WHERE PRIV NOT IN ({harmless}) OR WITH_GRANT_OPTION = 'Y'");
            (
                vec![
                    accounts("User", "Host", &on_server(USER_COLUMNS)),
                    accounts("USER", "HOST", &more),
                    accounts("TO_USER", "TO_HOST", "mysql.role_edges WHERE WITH_ADMIN_OPTION = 'Y'"),
                ],
                ["e.TO_USER", "e.TO_HOST", "mysql.role_edges", "e.FROM_USER", "e.FROM_HOST"],
                "r.ROUTINE_SCHEMA AS db, r.ROUTINE_NAME AS name, r.DEFINER AS definer FROM information_schema.ROUTINES r \
                 WHERE r.SECURITY_TYPE = 'DEFINER' AND CAST(r.DEFINER AS BINARY)",
            )
        }
        Flavour::MariaDb => {
            let on_server = match reads {
                Reads::All => on_server(USER_RIGHTS_IN_MARIADB),
                Reads::Few => on_server("Super_priv, Create_user_priv"),
            };
            (
                vec![
                    accounts("User", "Host", &on_server),
                    accounts("User", "Host", "mysql.roles_mapping WHERE Admin_option = 'Y'"),
                ],
                ["e.User", "e.Host", "mysql.roles_mapping", "e.Role", "''"],
                "r.db, r.name, r.definer FROM mysql.proc r WHERE r.security_type = 'DEFINER' AND CAST(r.definer AS BINARY)",
            )
        }
    };
    first.push(accounts("User", "Host", "mysql.proxies_priv"));
    if reads == Reads::All {
        first.push(on_objects(flavour, home));
    }
    let [to_user, to_host, mapping, from_user, from_host] = edges;
    let first = first.join(" UNION ");
    let more = format!(
        "SELECT {}, {} FROM a JOIN {mapping} e ON {} = a.u AND {} = a.h",
        text(to_user),
        text(to_host),
        text(from_user),
        text(from_host)
    );
    // who may call or alter a routine of an administrator
    let (calls, by_calls) = match reads {
        Reads::All => (
            format!("c AS ({}), ", calls(flavour)),
            format!(" UNION SELECT c.u, c.h FROM a JOIN c ON c.definer = {AS_DEFINER}"),
        ),
        Reads::Few => (String::new(), String::new()),
    };
    let list = format!(
        "WITH RECURSIVE {calls}a AS ({first} UNION {more}{by_calls}) \
         SELECT {list} IN (SELECT CAST({AS_DEFINER} AS BINARY) FROM a)"
    );
    Read::ended(3, &list)
}

fn accounts(user: &str, host: &str, rest: &str) -> String {
    format!("SELECT {} AS u, {} AS h FROM {rest}", text(user), text(host))
}

/// Returns the accounts with one of these rights on the whole server, but for the harmless ones.
fn on_server(columns: &str) -> String {
    let columns = columns.split(", ").filter(|column| column.ends_with("_priv") && !HARMLESS_COLUMNS.contains(column));
    format!("mysql.user WHERE 'Y' IN ({})", columns.collect::<Vec<_>>().join(", "))
}

/// Returns the accounts that may pass on a right on a database, a table or a routine, or that have
/// more than harmless rights on a protected database.
///
/// The servers look for such rights by user name and host, not by account. So an account also has
/// those of other accounts with its name whose host matches. Everybody has the rights on databases
/// of accounts without a name.
fn on_objects(flavour: Flavour, home: &str) -> String {
    let open = list_of(OPEN);
    let closed: Vec<&str> = PROTECTED.into_iter().filter(|database| !OPEN.contains(database)).chain([home]).collect();
    let reaches = |databases: &[&str]| {
        let each = databases.iter().map(|database| format!("'{database}' LIKE LOWER({})", text("d.Db")));
        each.collect::<Vec<_>>().join(" OR ")
    };
    let history = if flavour == Flavour::MariaDb { ", d.Delete_history_priv" } else { "" };
    // all of these are among the given ones, of which there may be none
    let only = |given: &str, names: &str| format!("{} REGEXP '^(({names})(,|$))*$'", text(given));
    let of_table = "CONCAT_WS(',', NULLIF(t.Table_priv, ''), NULLIF(t.Column_priv, ''))";
    let (table, routine) = (format!("LOWER({})", text("t.Db")), format!("LOWER({})", text("p.Db")));
    let name = format!("LOWER({})", text("t.Table_name"));
    let is_open = format!(
        "({table} IN ({open}) OR {table} = 'mysql' AND ({name} IN ({}) OR {name} LIKE 'time|_zone%' ESCAPE '|'))",
        list_of(WITHOUT_SECRETS)
    );
    let closed_list = list_of(closed.iter().copied());
    let objects = [
        format!(
            "SELECT d.User, d.Host, d.User = '' AS of_everybody FROM mysql.db d WHERE d.Grant_priv = 'Y' \
             OR ({}) AND 'Y' IN ({WRITES}{history}, d.Select_priv, d.Execute_priv) OR ({}) AND 'Y' IN ({WRITES}{history})",
            reaches(&closed),
            reaches(&OPEN)
        ),
        format!(
            "SELECT t.User, t.Host, 0 FROM mysql.tables_priv t WHERE FIND_IN_SET('Grant', t.Table_priv) \
             OR {table} IN ({open}, {closed_list}) AND NOT {} AND NOT ({is_open} AND {})",
            only(of_table, "References|Show view"),
            only(of_table, "Select|References|Show view")
        ),
        format!(
            "SELECT p.User, p.Host, 0 FROM mysql.procs_priv p WHERE FIND_IN_SET('Grant', p.Proc_priv) \
             OR {routine} IN ({closed_list}) AND NOT {} OR {routine} IN ({open}) AND NOT {}",
            only("p.Proc_priv", "Show Create Routine"),
            only("p.Proc_priv", "Execute|Show Create Routine")
        ),
    ];
    let (who, holds) = holder();
    format!("SELECT {who} FROM mysql.user u JOIN ({}) o ON {holds}", objects.join(" UNION ALL "))
}

/// Returns who may run or alter which definer's routines. To alter a routine is enough to make it
/// run with its definer's rights.
fn calls(flavour: Flavour) -> String {
    let (db, name, kind, definer, of_definer, routines) = match flavour {
        Flavour::MySql => (
            "r.ROUTINE_SCHEMA",
            "r.ROUTINE_NAME",
            "r.ROUTINE_TYPE",
            "r.DEFINER",
            "r.SECURITY_TYPE = 'DEFINER'",
            "information_schema.ROUTINES",
        ),
        Flavour::MariaDb => ("r.db", "r.name", "r.type", "r.definer", "r.security_type = 'DEFINER'", "mysql.proc"),
    };
    let (who, holds) = holder();
    let definer = text(definer);
    format!(
        "SELECT DISTINCT o.definer, {who} FROM mysql.user u JOIN (SELECT DISTINCT r.definer, d.User, d.Host, d.User = '' AS of_everybody \
         FROM (SELECT DISTINCT LOWER({}) AS db, {definer} AS definer, {of_definer} AS of_definer FROM {routines} r) r \
         JOIN mysql.db d ON r.db LIKE LOWER({}) AND ('Y' = d.Alter_routine_priv OR r.of_definer AND 'Y' = d.Execute_priv) \
         UNION SELECT {definer}, p.User, p.Host, 0 FROM {routines} r JOIN mysql.procs_priv p \
         ON p.Db = {db} AND p.Routine_name = {name} AND p.Routine_type = {kind} \
         AND (FIND_IN_SET('Alter Routine', p.Proc_priv) OR {of_definer} AND FIND_IN_SET('Execute', p.Proc_priv))) o ON {holds}",
        text(db),
        text("d.Db"),
    )
}

/// Returns the columns `u` and `h` of an account, and the condition that it has a right of the row
/// `o`.
fn holder() -> (String, String) {
    let (user, host) = (text("u.User"), text("u.Host"));
    (
        format!("{user} AS u, {host} AS h"),
        format!(
            "(o.of_everybody OR {} = {user}) AND ({other} LIKE '%/%' OR LOWER({host}) LIKE LOWER({other}))",
            text("o.User"),
            other = text("o.Host"),
        ),
    )
}

fn text(column: &str) -> String {
    format!("CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin")
}

/// Returns names as a list of texts. None of them holds a quote.
fn list_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_04_a_definer_is_judged_as_a_role_is() {
        for column in HARMLESS_COLUMNS {
            let name = match column {
                "Show_db_priv" => "SHOW DATABASES".to_owned(),
                "Create_tmp_table_priv" => "CREATE TEMPORARY TABLES".to_owned(),
                "Repl_client_priv" => "REPLICATION CLIENT".to_owned(),
                other => other.trim_end_matches("_priv").to_uppercase().replace('_', " "),
            };
            assert!(HARMLESS_ON_SERVER.contains(&name.as_str()), "{column}");
        }
        for columns in [USER_COLUMNS, USER_RIGHTS_IN_MARIADB] {
            let counted = on_server(columns);
            for column in ["Select_priv", "Insert_priv", "Reload_priv", "File_priv", "Grant_priv", "Super_priv"] {
                assert!(counted.contains(column), "{column}");
            }
            for column in HARMLESS_COLUMNS {
                assert!(columns.contains(column) && !counted.contains(column), "{column}");
            }
        }
    }

    #[test]
    fn a_broker_of_an_earlier_version_reads_what_it_may() {
        let text = of_administrators(Flavour::MariaDb, "jit0", Reads::Few);
        assert!(!text.contains("mysql.db") && !text.contains("Grant_priv") && text.contains("Super_priv"), "{text}");
    }
}
