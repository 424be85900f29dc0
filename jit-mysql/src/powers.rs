//! Rights of a role that outlive a membership, or that let a grantee keep it: all rights but those
//! known to be harmless.
//!
//! A harmless right ends with the membership. Other rights let a grantee do without the role after
//! it is revoked. Such rights read the accounts' passwords, write to the servers' own tables,
//! change what others run, lock what a REVOKE needs, or pass rights on.

use std::collections::BTreeSet;

use crate::sql::Flavour;

/// Right, and the object on which it is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// Name in the server's words, in upper case: `SELECT`, `ALTER ROUTINE`.
    pub(crate) name: String,
    pub(crate) on: On,
}

/// Object on which a right is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    /// Whole server, `mysql` and `jit` included.
    Server,
    /// Databases that match this LIKE pattern.
    Databases(String),
    /// Table, or some of its columns.
    Table(String, String),
    /// Procedure, function or package.
    Routine(String, String),
    /// Account or role.
    Account(String),
    /// Text of the server that this adapter does not know.
    Unknown(String),
}

/// Rights on the whole server that end with the membership. What they allow on `mysql` and `jit` is
/// no way to more, either.
pub(crate) const HARMLESS_ON_SERVER: [&str; 17] = [
    "USAGE",
    "SHOW DATABASES",
    "SHOW VIEW",
    "CREATE TEMPORARY TABLES",
    "REFERENCES",
    // these show what is going on, and no password
    "PROCESS",
    "REPLICATION CLIENT",
    "BINLOG MONITOR",
    "SLAVE MONITOR",
    "REPLICA MONITOR",
    "SHOW_ROUTINE",
    "SHOW CREATE ROUTINE",
    "XA_RECOVER_ADMIN",
    "FLUSH_STATUS",
    "OPTIMIZE_LOCAL_TABLE",
    "RESOURCE_GROUP_USER",
    "SENSITIVE_VARIABLES_OBSERVER",
];

/// Rights on an ordinary database that end with the membership. ALTER ROUTINE is not one of them:
/// it makes somebody else's routine run with its definer's rights.
const HARMLESS_ON_DATABASE: [&str; 18] = [
    "USAGE",
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "CREATE VIEW",
    "SHOW VIEW",
    "EXECUTE",
    "SHOW CREATE ROUTINE",
    "DELETE HISTORY",
    "DELETE VERSIONING ROWS",
];

/// Rights that are harmless in MySQL: whatever they create runs with its creator's own rights
/// afterwards. In MariaDB it can run with the role's rights (`DEFINER = CURRENT_ROLE`), and the
/// creator of a routine may call it for good.
const HARMLESS_IN_MYSQL: [&str; 3] = ["CREATE ROUTINE", "EVENT", "TRIGGER"];

/// Rights on the servers' own databases that end with the membership.
const HARMLESS_ANYWHERE: [&str; 5] =
    ["USAGE", "SHOW VIEW", "REFERENCES", "CREATE TEMPORARY TABLES", "SHOW CREATE ROUTINE"];

/// Databases of the servers themselves, and ours. The broker's own, which holds its events, is not
/// in this list.
pub(crate) const PROTECTED: [&str; 5] = ["mysql", "jit", "sys", "performance_schema", "information_schema"];

/// Protected databases that everybody may read: nothing in them is secret.
pub(crate) const OPEN: [&str; 3] = ["sys", "performance_schema", "information_schema"];

/// Tables of `mysql` that hold neither passwords nor texts of statements.
pub(crate) const WITHOUT_SECRETS: [&str; 22] = [
    "columns_priv",
    "column_stats",
    "db",
    "default_roles",
    "engine_cost",
    "func",
    "global_grants",
    "gtid_executed",
    "help_category",
    "help_keyword",
    "help_relation",
    "help_topic",
    "index_stats",
    "innodb_index_stats",
    "innodb_table_stats",
    "procs_priv",
    "proxies_priv",
    "role_edges",
    "roles_mapping",
    "server_cost",
    "table_stats",
    "tables_priv",
];

/// Routine that runs with the rights of an administrator, whoever calls it. An administrator is an
/// account with a right that would be a power of a role.
#[derive(Debug, Clone)]
pub(crate) struct OfAdministrator {
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) definer: String,
}

impl Right {
    pub(crate) fn new(name: impl Into<String>, on: On) -> Self {
        Self { name: name.into(), on }
    }

    fn is_harmless(&self, flavour: Flavour, home: &str) -> bool {
        let name = self.name.as_str();
        let ordinary =
            || HARMLESS_ON_DATABASE.contains(&name) || (flavour == Flavour::MySql && HARMLESS_IN_MYSQL.contains(&name));
        let looks = matches!(name, "SELECT" | "EXECUTE");
        match &self.on {
            On::Server => HARMLESS_ON_SERVER.contains(&name),
            On::Databases(pattern) => {
                let protected = PROTECTED.into_iter().chain([home]);
                let reached: Vec<&str> = protected.filter(|database| reaches(pattern, database)).collect();
                if reached.is_empty() {
                    return ordinary();
                }
                HARMLESS_ANYWHERE.contains(&name) || (looks && reached.iter().all(|database| OPEN.contains(database)))
            }
            On::Table(database, object) | On::Routine(database, object) => {
                let database = database.to_ascii_lowercase();
                if !PROTECTED.contains(&database.as_str()) && database != home {
                    return ordinary();
                }
                let open = OPEN.contains(&database.as_str())
                    || (database == "mysql" && is_without_secrets(&object.to_ascii_lowercase()));
                HARMLESS_ANYWHERE.contains(&name) || (looks && open)
            }
            On::Account(_) | On::Unknown(_) => false,
        }
    }

    pub(crate) fn is_to_call(&self) -> bool {
        self.name == "EXECUTE"
    }

    /// Checks whether it is the right to call this routine.
    fn calls(&self, routine: &OfAdministrator) -> bool {
        self.is_to_call()
            && match &self.on {
                On::Databases(pattern) => reaches(pattern, &routine.database),
                On::Routine(database, name) => may_be(database, &routine.database) && may_be(name, &routine.name),
                _ => false,
            }
    }

    fn said(&self) -> String {
        let name = &self.name;
        match &self.on {
            On::Server => format!("{name} on *.*"),
            On::Databases(pattern) => format!("{name} on {pattern}.*"),
            On::Table(database, object) => format!("{name} on {database}.{object}"),
            On::Routine(database, object) => format!("{name} on routine {database}.{object}"),
            On::Account(account) => format!("{name} on {account}"),
            On::Unknown(said) => format!("a right that jit does not know: {said}"),
        }
    }
}

/// Returns the rights that are not harmless, as people read them. `home` is the database of the
/// broker's events.
pub(crate) fn powers(
    flavour: Flavour,
    home: &str,
    rights: &[Right],
    of_administrators: &[OfAdministrator],
) -> BTreeSet<String> {
    let (harmless, more): (Vec<&Right>, Vec<&Right>) =
        rights.iter().partition(|right| right.is_harmless(flavour, home));
    let called = of_administrators.iter().filter(|routine| harmless.iter().any(|right| right.calls(routine)));
    let called = called.map(|OfAdministrator { database, name, definer }| {
        format!("EXECUTE on routine {database}.{name}, which runs with rights of `{definer}` that outlive it")
    });
    more.into_iter().map(Right::said).chain(called).collect()
}

/// Checks whether two names may be the same to the server. It ignores case and accents, and keeps
/// letters beyond ASCII in more than one form.
fn may_be(one: &str, other: &str) -> bool {
    !one.is_ascii() || !other.is_ascii() || one.eq_ignore_ascii_case(other)
}

fn is_without_secrets(table: &str) -> bool {
    WITHOUT_SECRETS.contains(&table) || table.starts_with("time_zone")
}

/// Checks whether a pattern of database names matches this one. A `\` takes the meaning from `%`
/// and `_`. Case does not count: whether it does on the server depends on its file system.
fn reaches(pattern: &str, database: &str) -> bool {
    fn like(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'%', rest)) => {
                (0..=text.len()).any(|skipped| text.get(skipped..).is_some_and(|text| like(rest, text)))
            }
            Some((b'_', rest)) => text.split_first().is_some_and(|(_, text)| like(rest, text)),
            Some((b'\\', rest)) if !rest.is_empty() => literal(rest, text),
            Some(_) => literal(pattern, text),
        }
    }
    fn literal(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (Some((one, pattern)), Some((other, text))) => one.eq_ignore_ascii_case(other) && like(pattern, text),
            _ => false,
        }
    }
    like(pattern.as_bytes(), database.as_bytes())
}

/// Parses the rights in a line of MariaDB's `SHOW GRANTS`.
pub(crate) fn of_line(line: &str) -> Vec<Right> {
    parse(line).unwrap_or_else(|| vec![Right::new("", On::Unknown(line.to_owned()))])
}

/// Parses `GRANT <rights> ON [<kind>] <object> TO <role> [WITH GRANT OPTION]`, or `GRANT <role> TO
/// <role> [WITH ADMIN OPTION]`.
fn parse(line: &str) -> Option<Vec<Right>> {
    let rest = line.strip_prefix("GRANT ")?;
    let mut words = Words(rest);
    let mut names = Vec::new();
    let mut name = String::new();
    loop {
        match words.next()? {
            Word::Quoted(role) if name.is_empty() && names.is_empty() => return of_role(&role, words),
            Word::Columns => {}
            Word::Plain(",") => names.push(std::mem::take(&mut name)),
            Word::Plain("ON") => {
                names.push(name);
                break;
            }
            Word::Plain(word) => {
                if !name.is_empty() {
                    name.push(' ');
                }
                name.push_str(&word.to_ascii_uppercase());
            }
            Word::Quoted(_) => return None,
        }
    }
    let on = object(&mut words)?;
    let mut rights: Vec<Right> = names.into_iter().map(|name| Right::new(name, on.clone())).collect();
    if !matches!(words.next()?, Word::Plain("TO")) {
        return None;
    }
    // skips the role; a role has no authentication after it
    words.next()?;
    if words.0.contains("GRANT OPTION") {
        rights.push(Right::new("GRANT OPTION", on));
    }
    Some(rights)
}

/// Returns the rights of a grant of another role. Holding another role is no right of its own: its
/// rights are shown too.
fn of_role(role: &str, words: Words<'_>) -> Option<Vec<Right>> {
    let admin = words.0.contains("ADMIN OPTION");
    Some(if admin { vec![Right::new("ADMIN OPTION", On::Account(role.to_owned()))] } else { Vec::new() })
}

fn object(words: &mut Words<'_>) -> Option<On> {
    let mut routine = false;
    loop {
        match words.next()? {
            Word::Plain("PROCEDURE" | "FUNCTION" | "PACKAGE" | "BODY") => routine = true,
            Word::Plain("*.*") => return Some(On::Server),
            Word::Quoted(first) => {
                return match words.next()? {
                    Word::Plain(".*") => Some(On::Databases(first)),
                    Word::Plain(".") => match words.next()? {
                        Word::Quoted(second) if routine => Some(On::Routine(first, second)),
                        Word::Quoted(second) => Some(On::Table(first, second)),
                        _ => None,
                    },
                    // the object of PROXY is an account
                    Word::Plain("@") => match words.next()? {
                        Word::Quoted(_) => Some(On::Account(first)),
                        _ => None,
                    },
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word<'t> {
    Plain(&'t str),
    Quoted(String),
    /// List of columns in brackets.
    Columns,
}

/// Rest of the words of a statement.
struct Words<'t>(&'t str);

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<Word<'t>> {
        self.0 = self.0.trim_start();
        let first = self.0.chars().next()?;
        match first {
            '`' | '\'' => self.quoted(first).map(Word::Quoted),
            '(' => {
                self.0 = self.0.get(1..)?;
                while !self.0.starts_with(')') {
                    self.0 = self.0.trim_start_matches([',', ' ']);
                    self.quoted('`')?;
                }
                self.0 = self.0.get(1..)?;
                Some(Word::Columns)
            }
            ',' | '@' => self.take(1),
            '.' => self.take(if self.0.starts_with(".*") { 2 } else { 1 }),
            '*' => self.take(self.0.starts_with("*.*").then_some(3)?),
            _ => {
                let end = self.0.find([' ', ',', '(', '`', '\'', '.']).unwrap_or(self.0.len());
                self.take(end)
            }
        }
    }

    fn take(&mut self, length: usize) -> Option<Word<'t>> {
        let (word, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (!word.is_empty()).then_some(Word::Plain(word))
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut rest = self.0.strip_prefix(quote)?;
        let mut name = String::new();
        loop {
            let (before, after) = rest.split_once(quote)?;
            name.push_str(before);
            match after.strip_prefix(quote) {
                Some(after) => {
                    name.push(quote);
                    rest = after;
                }
                None => {
                    self.0 = after;
                    return Some(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(flavour: Flavour, lines: &[&str]) -> Vec<String> {
        let rights: Vec<Right> = lines.iter().flat_map(|line| of_line(line)).collect();
        powers(flavour, "jit0123456789abcdef", &rights, &[]).into_iter().collect()
    }

    #[test]
    fn what_ordinary_roles_have_is_no_power() {
        let lines = [
            "GRANT USAGE ON *.* TO `r`",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, CREATE VIEW, SHOW VIEW ON `orders`.* TO `r`",
            "GRANT SELECT (`id`, `a``b`), INSERT, UPDATE (`id`) ON `orders`.`stuck` TO `r`",
            "GRANT EXECUTE ON PROCEDURE `orders`.`p` TO `r`",
            "GRANT SELECT ON `sys`.* TO `r`",
            "GRANT SELECT ON `mysql`.`time_zone_name` TO `r`",
            "GRANT PROCESS, SHOW DATABASES ON *.* TO `r`",
            "GRANT `inner` TO `r`",
            "GRANT ALL PRIVILEGES ON `x`.`y` TO `r`",
        ];
        assert_eq!(of(Flavour::MariaDb, &lines[..8]), Vec::<String>::new());
        assert_eq!(of(Flavour::MariaDb, &lines[8..]), ["ALL PRIVILEGES on x.y"]);
    }

    #[test]
    fn law_04_what_outlives_a_membership_is_a_power() {
        for line in [
            "GRANT SET USER ON *.* TO `r`",
            "GRANT RELOAD ON *.* TO `r`",
            "GRANT FILE ON *.* TO `r`",
            "GRANT SOMETHING NEW ON *.* TO `r`",
            "GRANT SELECT ON *.* TO `r`",
            "GRANT INSERT ON *.* TO `r`",
            "GRANT LOCK TABLES ON *.* TO `r`",
            "GRANT ALTER ROUTINE ON *.* TO `r`",
            "GRANT UPDATE ON `mysql`.* TO `r`",
            "GRANT UPDATE ON `my%`.* TO `r`",
            "GRANT UPDATE ON `MYSQ_`.* TO `r`",
            "GRANT SELECT ON `%`.* TO `r`",
            "GRANT DELETE ON `jit`.`leases` TO `r`",
            "GRANT EXECUTE ON PROCEDURE `jit`.`default_role` TO `r`",
            "GRANT DROP ON `jit0123456789abcdef`.* TO `r`",
            "GRANT DROP ON `jit%f`.* TO `r`",
            "GRANT INSERT ON `jit0123456789abcdef`.`t` TO `r`",
            "GRANT SELECT ON `mysql`.`global_priv` TO `r`",
            "GRANT UPDATE (`Priv`) ON `mysql`.`global_priv` TO `r`",
            "GRANT ALTER ROUTINE ON FUNCTION `sys`.`format_path` TO `r`",
            "GRANT TRIGGER ON `sys`.* TO `r`",
            "GRANT CREATE ROUTINE ON `orders`.* TO `r`",
            "GRANT EVENT ON `orders`.* TO `r`",
            "GRANT ALTER ROUTINE ON `orders`.* TO `r`",
            "GRANT ALTER ROUTINE ON PROCEDURE `orders`.`p` TO `r`",
            "GRANT SELECT ON `orders`.* TO `r` WITH GRANT OPTION",
            "GRANT EXECUTE ON PROCEDURE `orders`.`p` TO `r` WITH GRANT OPTION",
            "GRANT `inner` TO `r` WITH ADMIN OPTION",
            "GRANT PROXY ON 'alice'@'%' TO 'r'@''",
            "whatever else it says",
        ] {
            assert_eq!(of(Flavour::MariaDb, &[line]).len(), 1, "{line}");
        }
        let event = [Right::new("EVENT", On::Databases("orders".to_owned()))];
        assert!(powers(Flavour::MySql, "jit0", &event, &[]).is_empty(), "it runs with its maker's own rights");
    }

    #[test]
    fn law_04_to_call_what_runs_as_an_administrator_is_a_power() {
        let routine = |database: &str| OfAdministrator {
            database: database.to_owned(),
            name: "p".to_owned(),
            definer: "root@localhost".to_owned(),
        };
        let routines = [routine("orders"), routine("others")];
        let powers = |line| powers(Flavour::MariaDb, "jit0", &of_line(line), &routines);
        let one = "EXECUTE on routine orders.p, which runs with rights of `root@localhost` that outlive it";
        for line in ["GRANT EXECUTE ON `orders`.* TO `r`", "GRANT SELECT, EXECUTE ON PROCEDURE `Orders`.`P` TO `r`"] {
            assert_eq!(powers(line), BTreeSet::from([one.to_owned()]), "{line}");
        }
        assert_eq!(powers("GRANT EXECUTE ON `o%`.* TO `r`").len(), 2);
        assert_eq!(powers("GRANT EXECUTE ON PROCEDURE `orders`.`pé` TO `r`").len(), 1, "an accent does not count");
        for line in ["GRANT EXECUTE ON FUNCTION `orders`.`q` TO `r`", "GRANT SELECT ON `orders`.* TO `r`"] {
            assert!(powers(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn patterns_of_databases_are_read_as_the_servers_do() {
        for (pattern, database, expected) in [
            ("mysql", "mysql", true),
            ("my%", "mysql", true),
            ("%", "jit", true),
            ("j_t", "jit", true),
            (r"j\_t", "jit", false),
            (r"my\%", "mysql", false),
            ("orders", "mysql", false),
            ("mysql_", "mysql", false),
            (r"m\ysql", "mysql", true),
        ] {
            assert_eq!(reaches(pattern, database), expected, "{pattern} {database}");
        }
    }
}
