//! What runs with an account's rights, being defined by it. Who may not run or change such things does not see them, so that a procedure looks for
//! the broker: it has its maker's rights, takes names only, and shows names only.

use super::Flavour;

/// The procedure that shows a broker what accounts and roles (JSON, `user@host`) defined in MySQL; a DBA makes it in a database `jit`.
pub const DEFINITIONS_IN_MYSQL: &str = r"CREATE PROCEDURE jit.definitions(IN definers LONGTEXT CHARACTER SET utf8mb4)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  SELECT d.definer, d.kind, d.name FROM (
    SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin AS definer, 'event' AS kind, CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) AS name
    FROM information_schema.EVENTS
    UNION ALL SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin, 'view', CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)
    FROM information_schema.VIEWS WHERE SECURITY_TYPE = 'DEFINER'
    UNION ALL SELECT CONVERT(DEFINER USING utf8mb4) COLLATE utf8mb4_bin, 'trigger', CONCAT(TRIGGER_SCHEMA, '.', TRIGGER_NAME)
    FROM information_schema.TRIGGERS) d
  WHERE d.definer IN (SELECT j.definer FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j);
END";

/// The same for MariaDB: events only, since it would have to open every table to say who defined its triggers, and every view.
pub const DEFINITIONS_IN_MARIADB: &str = r"CREATE PROCEDURE jit.definitions(IN definers LONGTEXT CHARACTER SET utf8mb4)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  SELECT CONVERT(e.DEFINER USING utf8mb4) AS definer, 'event' AS kind, CONCAT(e.EVENT_SCHEMA, '.', e.EVENT_NAME) AS name
  FROM information_schema.EVENTS e
  WHERE CONVERT(e.DEFINER USING utf8mb4) COLLATE utf8mb4_bin IN (
    SELECT j.definer FROM JSON_TABLE(definers, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j);
END";

/// How a DBA makes it, in the servers' own client.
pub(crate) fn make(flavour: Flavour, broker: &str) -> String {
    let procedure = match flavour {
        Flavour::MySql => DEFINITIONS_IN_MYSQL,
        Flavour::MariaDb => DEFINITIONS_IN_MARIADB,
    };
    super::make_procedure(procedure, "definitions", broker)
}

/// Who defined what: definers as JSON.
pub(crate) const CALL: &str = "CALL jit.definitions(?)";
