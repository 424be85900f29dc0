//! Measured facts about the engines, and the laws that show how an adapter copes with them.

/// Behaviour that was seen on a real server.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// Short name; a law cites it.
    pub id: &'static str,
    /// The fact in one sentence.
    pub says: &'static str,
    /// Reason or place, if no law of this suite shows the fact.
    pub elsewhere: Option<&'static str>,
}

const fn fact(id: &'static str, says: &'static str) -> Fact {
    Fact { id, says, elsewhere: None }
}

/// Facts measured on PostgreSQL 15 to 18, MySQL 9.7, MariaDB 10.11 and 11.8, without timings.
/// [`super::DatabaseLaw::facts`] names the facts that a law shows.
pub const FACTS: &[Fact] = &[
    fact("pg-one-row", "15 keeps one row per (role, member): our REVOKE deletes a standing one"),
    fact(
        "pg-row-per-grantor",
        "16+ keeps one row per grantor: our REVOKE removes only ours, the member may still be in",
    ),
    fact("pg-second-revoke", "a REVOKE of another grantor's row, or a second REVOKE, succeeds with a warning"),
    fact("pg-superuser-merges", "16+ records every superuser's grant under the bootstrap superuser"),
    fact("pg-admin-through-group", "ADMIN held through a group records the group as the grantor"),
    fact("pg-needs-admin", "CREATEROLE alone gives 42501 on 16+; ADMIN OPTION on each role is needed and enough"),
    fact("pg-set-role-kept", "a session that ran SET ROLE keeps reading and writing after REVOKE"),
    fact("pg-cursor-kept", "an open cursor keeps fetching after REVOKE"),
    fact("pg-set-false", "16+: INHERIT TRUE, SET FALSE; for a NOINHERIT account a plain grant stores false"),
    fact("pg-broker-15", "15: ADMIN OPTION makes the broker a member; NOINHERIT keeps it from using the role"),
    fact(
        "pg-open-transaction-blocks",
        "an open transaction with a GRANT or REVOKE blocks others of that role (15: of that membership)",
    ),
    fact("pg-signal-backend", "ending a session needs pg_signal_backend; usename stays the login role after SET ROLE"),
    fact("pg-end-after-revoke", "ending sessions first and revoking second lets the client reconnect"),
    fact("pg-admin-never", "who was granted ADMIN passes the role on, and a revoke fails or leaves that"),
    fact("pg-definer", "a SECURITY DEFINER function that was made under SET ROLE still runs as the role afterwards"),
    fact("pg-dropped", "dropped member: 42704, done; renamed member: 42704 too, but still a member"),
    fact("pg-concurrent-15", "the same membership concurrently: 15 raises 23505 and XX000"),
    Fact {
        id: "pg-valid-until",
        says: "VALID UNTIL stops password logins only, not membership",
        elsewhere: Some("nothing relies on it"),
    },
    fact("pg-read-only", "GRANT on a read-only server: 25006"),
    fact("pg-63", "identifiers over 63 bytes are cut silently"),
    fact("pg-batch", "one REVOKE may name many members"),
    fact("pg-cluster", "roles belong to the cluster, whose system identifier a least-privileged broker may read"),
    fact("pg-late-grant", "a GRANT that waits for a lock commits seconds after its client was killed"),
    fact("pg-synchronous", "with synchronous_commit=off a verified REVOKE is undone by a crash"),
    fact(
        "pg-member-of-account",
        "a member of the account that ran SET ROLE keeps writing; holding through another role shows no direct row",
    ),
    fact("pg-prepared", "a transaction prepared in the window commits after the REVOKE"),
    fact("pg-createrole", "a role with CREATEROLE lets the account make logins and grant itself more"),
    fact("pg-widen", "granting again with SET TRUE widens the same row; REVOKE SET OPTION FOR narrows it"),
    fact(
        "my-late-grant",
        "a GRANT that waits for a lock lands after its client is gone; KILL of its connection prevents it",
    ),
    fact("my-realm", "the server is @@server_uuid, in MariaDB @@server_uid, which is the same after a restart"),
    fact("my-inactive", "a role that was granted is not active until SET ROLE, or as a default role"),
    fact(
        "maria-default-left",
        "MariaDB has one default role, leaves it set after REVOKE, and a re-grant activates it again",
    ),
    fact(
        "my-session-keeps",
        "open sessions keep a revoked role: in MySQL in their current database, in MariaDB everywhere",
    ),
    fact("my-second-revoke", "a second REVOKE: MySQL fine, MariaDB error 1962"),
    fact(
        "my-missing",
        "a missing account or role: MySQL 3523, MariaDB 1133 and 1959; MariaDB grants to the others all the same",
    ),
    fact("my-no-counting", "two GRANTs and one REVOKE leave nothing, and no grantor is named"),
    fact("my-admin-never", "ADMIN OPTION lets its holder pass the role on, and that stays"),
    fact("my-needs-admin", "ADMIN OPTION on the role is needed to grant it, and enough"),
    fact("my-kill", "ending others' sessions needs CONNECTION_ADMIN (MariaDB: CONNECTION ADMIN), seeing them PROCESS"),
    fact("my-batch", "one role goes to several accounts in one statement"),
    fact("my-tls", "MySQL 9.7 offers caching_sha2_password only; both have TLS by themselves"),
    fact("maria-wait", "MariaDB does not limit by lock_wait_timeout how long a GRANT waits, but by max_statement_time"),
    fact(
        "my-default-right",
        "to set another account's default role takes CREATE USER (MariaDB: UPDATE on mysql.*), or a procedure that has it",
    ),
    Fact {
        id: "my-hosts",
        says: "`alice` means 'alice'@'%'; 'alice'@'localhost' is another account",
        elsewhere: Some("tests/tests/mysql/sessions.rs"),
    },
    fact("my-routine", "a routine that was created under a role leaves EXECUTE and ALTER ROUTINE to its maker"),
    fact(
        "my-event",
        "an EVENT of the broker's can revoke and kill with no more than its own rights, and one that is overdue runs at the next start",
    ),
    fact("my-scheduler", "the event scheduler is on in MySQL and off in MariaDB, unless it is told"),
    fact("pg-sentinel", "a DO block that loops, commits and sleeps goes on after its client is gone, and revokes"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::database_laws::database_laws;

    #[test]
    fn every_fact_is_shown_by_a_law_or_says_where() {
        let laws = database_laws();
        for fact in FACTS {
            let shown = laws.iter().any(|law| law.facts.contains(&fact.id));
            assert_ne!(shown, fact.elsewhere.is_some(), "{}: {}", fact.id, fact.says);
        }
    }

    #[test]
    fn laws_cite_facts_that_there_are() {
        for law in database_laws() {
            for cited in law.facts {
                assert!(FACTS.iter().any(|fact| fact.id == *cited), "{} cites `{cited}`", law.name);
            }
        }
    }
}
