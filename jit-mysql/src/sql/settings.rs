//! Settings of the broker's connections. A server-wide setting may truncate, reorder or block what
//! the broker reads and writes. So each connection sets its own values: when it is opened, and each
//! time before it is used.

use super::Flavour;

/// First statement on a connection: from then on no answer is truncated, whatever the server sets
/// for everybody.
pub(crate) const FIRST: &str = "SET SESSION sql_select_limit = 18446744073709551615";

/// Setting, or several that only go together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) statement: &'static str,
    /// Broker cannot do its work without it. The others do not exist in all versions, or not every
    /// account may set them.
    pub(crate) needed: bool,
}

const fn needed(statement: &'static str) -> Setting {
    Setting { statement, needed: true }
}

const fn wanted(statement: &'static str) -> Setting {
    Setting { statement, needed: false }
}

/// Returns all of them, in the order in which they are sent.
pub(crate) fn settings(flavour: Flavour) -> impl Iterator<Item = Setting> {
    let own: &[Setting] = match flavour {
        Flavour::MySql => &OF_MYSQL,
        Flavour::MariaDb => &OF_MARIADB,
    };
    OF_BOTH.iter().chain(own).copied()
}

/// Settings of both servers. No role of the broker's own is active: it grants them, and does not
/// use them.
const OF_BOTH: [Setting; 23] = [
    needed(FIRST),
    needed(super::NAMES_IN),
    needed("SET SESSION sql_mode = 'STRICT_ALL_TABLES'"),
    needed("SET SESSION autocommit = 1"),
    needed("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE"),
    needed(
        "SET SESSION max_join_size = 18446744073709551615, SESSION sql_big_selects = 1, SESSION sql_safe_updates = 0",
    ),
    needed("SET SESSION time_zone = '+00:00'"),
    needed("SET SESSION lock_wait_timeout = 5, SESSION innodb_lock_wait_timeout = 5"),
    needed("SET SESSION group_concat_max_len = 65536"),
    wanted("SET SESSION max_sort_length = 1024"),
    wanted("SET SESSION tmp_table_size = 16777216, SESSION max_heap_table_size = 16777216"),
    wanted("SET SESSION sql_auto_is_null = 0"),
    wanted("SET SESSION completion_type = 'NO_CHAIN'"),
    // a transaction that `init_connect` began would always show the state of its begin
    needed("ROLLBACK"),
    wanted("SET SESSION div_precision_increment = 4"),
    wanted("SET SESSION lc_time_names = 'en_US', SESSION lc_messages = 'en_US'"),
    wanted("SET SESSION foreign_key_checks = 1, SESSION unique_checks = 1"),
    wanted("SET SESSION sql_quote_show_create = 1"),
    wanted("SET SESSION sql_buffer_result = 0"),
    wanted("SET SESSION max_error_count = 64"),
    wanted("SET SESSION low_priority_updates = 0"),
    wanted("SET SESSION explicit_defaults_for_timestamp = 1"),
    needed("SET ROLE NONE"),
];

const OF_MYSQL: [Setting; 2] =
    [needed("SET SESSION max_execution_time = 0"), needed("SET SESSION cte_max_recursion_depth = 4294967295")];

/// Settings of MariaDB, which cuts a recursive query at its limit, with a warning only.
const OF_MARIADB: [Setting; 13] = [
    wanted("SET SESSION max_session_mem_used = 9223372036854775807"),
    needed("SET SESSION max_statement_time = 0"),
    needed("SET SESSION max_recursive_iterations = 4294967295"),
    wanted("SET SESSION standard_compliant_cte = 1"),
    wanted("SET SESSION in_predicate_conversion_threshold = 1000"),
    wanted("SET SESSION tmp_disk_table_size = 18446744073709551615"),
    // MariaDB 11.5 and later
    wanted("SET SESSION max_tmp_session_space_usage = 1099511627776"),
    wanted("SET SESSION check_constraint_checks = 1"),
    wanted("SET SESSION query_cache_type = 'OFF'"),
    wanted("SET SESSION default_regex_flags = ''"),
    wanted("SET SESSION sql_if_exists = 0"),
    // in a Galera cluster: a GRANT reaches all nodes, and a look sees what other nodes committed
    wanted("SET SESSION wsrep_osu_method = 'TOI'"),
    wanted("SET SESSION wsrep_sync_wait = 7"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_15_whatever_can_cut_a_look_is_set_by_the_connection_itself() {
        let all = |flavour| settings(flavour).map(|one| one.statement).collect::<Vec<_>>().join("; ");
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            for setting in ["sql_select_limit", "max_join_size", "sql_big_selects", "sql_safe_updates", "READ WRITE"] {
                assert!(all(flavour).contains(setting), "{flavour:?}: {setting}");
            }
            // DEFAULT would be the server's value for everybody
            assert!(!all(flavour).contains("= DEFAULT"), "{flavour:?}");
        }
        assert!(all(Flavour::MariaDb).contains("max_recursive_iterations"));
        assert!(all(Flavour::MariaDb).contains("max_session_mem_used"));
        assert!(all(Flavour::MySql).contains("cte_max_recursion_depth"));
    }
}
