//! Script that sets a server up from nothing, or repairs it, for the servers' own client, which
//! ends at the first error of a file.

use super::rights::USER_RIGHTS_IN_MARIADB;
use super::routines::{
    DEFAULT_ROLE_IN_MARIADB, DEFAULT_ROLE_IN_MYSQL, DEFINITIONS_IN_MARIADB, DEFINITIONS_IN_MYSQL, administers, unfit,
};
use super::{ADMINISTERS_MARIADB, ADMINISTERS_MYSQL, Flavour, TABLES_OF_MARIADB, TABLES_OF_MYSQL, dead_mans_switch};
use crate::account::Name;

/// Subject of the script: the server and the broker's account.
pub(crate) struct SetUp<'a> {
    pub(crate) flavour: Flavour,
    pub(crate) broker: &'a Name,
    /// Account may log in over TLS only.
    pub(crate) needs_tls: bool,
    pub(crate) roles: &'a [Name],
}

/// Statements that run the text of `@jit_do`. A text that is no statement is an error, of which the
/// server shows 80 characters.
const RUN: &str = "PREPARE jit FROM @jit_do; EXECUTE jit; DEALLOCATE PREPARE jit;\n";

impl SetUp<'_> {
    /// Returns the whole script. It changes nothing before it has checked everything that could be
    /// in its way.
    pub(crate) fn script(&self) -> String {
        let client = match self.flavour {
            Flavour::MySql => "mysql",
            Flavour::MariaDb => "mariadb",
        };
        let begin = format!(
            "-- Sets up what jit needs here, or repairs it, as often as it is run. It takes over nothing that a stranger made: then it fails before it changes\n\
             -- anything, and the error says what is in the way. For {client}, by an administrator who stays. A new account needs its password, which is put\n\
             -- before the script; an account that is there keeps its own, unless one is given:\n\
             --   (echo \"SET @jit_password = '...';\"; jit doctor --sql TARGET) | {client}\n\
             SET NAMES utf8mb4 COLLATE utf8mb4_bin;\n\
             SET SESSION sql_mode = 'STRICT_ALL_TABLES';\n"
        );
        [begin, self.guards(), self.account(), self.rights(), self.dead_mans_switch(), self.procedures()].concat()
    }

    fn guards(&self) -> String {
        let broker = format!("{}@{}", self.broker.user, self.broker.host);
        let home = dead_mans_switch::home(&broker);
        let (is_mariadb, other, administers_all) = match self.flavour {
            Flavour::MySql => {
                ("VERSION() LIKE '%MariaDB%'", "MariaDB: begin the URL with mariadb://", ADMINISTERS_MYSQL.as_slice())
            }
            Flavour::MariaDb => {
                ("VERSION() NOT LIKE '%MariaDB%'", "MySQL: begin the URL with mysql://", ADMINISTERS_MARIADB.as_slice())
            }
        };
        let powers: Vec<String> = administers_all.iter().map(|power| text(power)).collect();
        let mut all = vec![
            (is_mariadb.to_owned(), format!("the server is {other}")),
            (
                format!("NOT EXISTS (SELECT 1 FROM mysql.user d WHERE {})", administers("CURRENT_USER()")),
                "let an administrator run this, one with CREATE USER".to_owned(),
            ),
            (
                format!(
                    "EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES p\n  WHERE p.GRANTEE = CONCAT(QUOTE({}), '@', QUOTE({})) AND p.PRIVILEGE_TYPE IN ({}))",
                    text(&self.broker.user),
                    text(&self.broker.host),
                    powers.join(", ")
                ),
                "the account is an administrator, jit needs one of its own".to_owned(),
            ),
            (
                format!(
                    "EXISTS (SELECT 1 FROM information_schema.EVENTS e WHERE e.EVENT_SCHEMA = '{home}' AND CAST(e.DEFINER AS BINARY) <> CAST({} AS BINARY))",
                    text(&broker)
                ),
                format!("database {home} holds events of others"),
            ),
            (
                "EXISTS (SELECT 1 FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = 'jit' AND t.TABLE_NAME = 'leases' AND t.TABLE_TYPE <> 'VIEW')"
                    .to_owned(),
                "jit.leases is a table: drop what jit did not make".to_owned(),
            ),
        ];
        all.extend(self.routines().iter().map(|routine| {
            let why = format!("jit.{} is not what jit makes: drop the procedure", routine.name);
            (unfit(self.flavour, routine), why)
        }));
        let all = all.iter().map(|(wrong, why)| {
            format!("SET @jit_do = IF({wrong},\n  {}, 'DO 0');\n{RUN}", text(&format!("jit refuses: {why}")))
        });
        all.collect()
    }

    /// Returns the procedures that the script creates.
    fn routines(&self) -> &'static [&'static super::routines::Routine] {
        match self.flavour {
            Flavour::MySql => &[&DEFAULT_ROLE_IN_MYSQL, &DEFINITIONS_IN_MYSQL],
            Flavour::MariaDb => &[&DEFAULT_ROLE_IN_MARIADB, &DEFINITIONS_IN_MARIADB],
        }
    }

    fn account(&self) -> String {
        let needs = if self.needs_tls { " REQUIRE SSL" } else { "" };
        format!(
            "\n-- the account\n\
             SET @jit_there = (SELECT COUNT(*) FROM mysql.user u WHERE u.User = {user} AND u.Host = {host});\n\
             SET @jit_do = IF(COALESCE(@jit_password, '') = '',\n  \
             IF(@jit_there, 'DO 0', 'jit refuses: no password is given for the new account, see above'),\n  \
             CONCAT(IF(@jit_there, 'ALTER', 'CREATE'), {named}, QUOTE(@jit_password), '{needs}'));\n{RUN}",
            user = text(&self.broker.user),
            host = text(&self.broker.host),
            named = text(&format!(" USER {} IDENTIFIED BY ", self.broker.quoted())),
        )
    }

    fn rights(&self) -> String {
        let to = self.broker.quoted();
        let rights = format!("SELECT ({USER_RIGHTS_IN_MARIADB}) ON mysql.user");
        let (kill, tables, more): (_, &[(&str, &str)], &[&str]) = match self.flavour {
            Flavour::MySql => ("CONNECTION_ADMIN", &TABLES_OF_MYSQL, &LOCKS_OF_MYSQL),
            Flavour::MariaDb => {
                ("CONNECTION ADMIN", &TABLES_OF_MARIADB, &[dead_mans_switch::SEE_OTHERS_IN_MARIADB, &rights])
            }
        };
        let mut all = format!(
            "\n-- it sees and ends sessions, reads who holds what, and grants each requestable role\nGRANT PROCESS, {kill} ON *.* TO {to};\n"
        );
        for (table, columns) in tables {
            let of = if *columns == "*" { String::new() } else { format!(" ({columns})") };
            all.push_str(&format!("GRANT SELECT{of} ON {table} TO {to};\n"));
        }
        for right in more {
            all.push_str(&format!("GRANT {right} TO {to};\n"));
        }
        all.push_str("-- roles that are missing are made, and can do nothing yet\n");
        for role in self.roles {
            let role = self.flavour.quoted_role(role);
            all.push_str(&format!("CREATE ROLE IF NOT EXISTS {role};\nGRANT {role} TO {to} WITH ADMIN OPTION;\n"));
        }
        all
    }

    fn dead_mans_switch(&self) -> String {
        let Name { user, host } = self.broker;
        let statements =
            dead_mans_switch::dead_mans_switch_for(&format!("{user}@{host}"), &self.broker.quoted()).join(";\n");
        let (on, note) = match self.flavour {
            Flavour::MySql => ("SET PERSIST event_scheduler = ON", ""),
            Flavour::MariaDb => {
                ("SET GLOBAL event_scheduler = ON", ": put event_scheduler = ON into the server's option file, too")
            }
        };
        format!(
            "\n-- the dead man's switch: the broker's events stand in a database of its own. Without it roles stay while every process of jit is dead.\n\
             {statements};\n\
             -- events need the scheduler{note}\n\
             SET @jit_do = IF(@@global.event_scheduler = 'OFF', '{on}', 'DO 0');\n{RUN}"
        )
    }

    fn procedures(&self) -> String {
        let scripts = self.routines().iter().map(|routine| routine.script(self.flavour, false, &self.broker.quoted()));
        let scripts: Vec<String> = scripts.map(|script| format!("{script};\n")).collect();
        format!(
            "\n-- procedures have the rights that the broker must not have: a role is usable at once only by the first\n{}SELECT 'jit is set up here: jit doctor, or Jit::check_target in a service, says what else there is' AS jit;\n",
            scripts.concat()
        )
    }
}

/// Rights by which the broker sees whose lock it waits for.
const LOCKS_OF_MYSQL: [&str; 3] = [
    "SELECT ON performance_schema.metadata_locks",
    "SELECT ON performance_schema.data_locks",
    "SELECT ON performance_schema.threads",
];

/// Returns a text as written in a statement of the script. The script's sql_mode reads a backslash
/// as the servers' default does.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_names_are_quoted_wherever_they_stand() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let (broker, roles) = (Name::of("o'b`\\x", "10.%"), [flavour.role(&Name::of("r`'", "%"))]);
            let text = SetUp { flavour, broker: &broker, needs_tls: true, roles: &roles }.script();
            for quoted in ["`o'b``\\x`@`10.%`", "'o''b`\\\\x'", "`r``'`"] {
                assert!(text.contains(quoted), "{quoted}");
            }
        }
    }

    #[test]
    fn a_broker_may_call_each_procedure() {
        let broker = Name::of("jit_broker", "%");
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let text = SetUp { flavour, broker: &broker, needs_tls: true, roles: &[] }.script();
            for name in ["default_role", "definitions"] {
                assert!(text.contains(&format!("CREATE PROCEDURE IF NOT EXISTS jit.{name}(")), "{name}");
                assert!(text.contains(&format!("GRANT EXECUTE ON PROCEDURE jit.{name} TO `jit_broker`@`%`")), "{name}");
            }
        }
    }

    #[test]
    fn what_is_refused_is_shown_in_full() {
        let broker = Name::of("jit_broker", "%");
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let text = SetUp { flavour, broker: &broker, needs_tls: false, roles: &[] }.script();
            let refusals = text.split("'jit refuses").skip(1).map(|rest| rest.split('\'').next().unwrap_or_default());
            let all: Vec<&str> = refusals.collect();
            assert!(all.len() > 5 && all.iter().all(|why| why.len() + "jit refuses".len() <= 80), "{all:?}");
            assert!(!text.contains("REQUIRE SSL"));
        }
    }
}
