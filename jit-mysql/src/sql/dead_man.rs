//! The dead-man's statements: a table of leases, a procedure that acts on those that ran out, and an event that calls it.

use super::Flavour;

/// Where leases are kept, in a database `jit`. A DBA makes it; brokers see only rows, which carry their names.
pub const LEASES: &str = "\
CREATE TABLE IF NOT EXISTS jit.leases (
  id CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  broker VARCHAR(384) NOT NULL,
  account_user VARCHAR(128) NOT NULL,
  account_host VARCHAR(255) NOT NULL,
  role_user VARCHAR(128) NOT NULL,
  role_host VARCHAR(255) NOT NULL,
  fires_at DATETIME(6) NOT NULL,
  ends_sessions BOOLEAN NOT NULL,
  default_goes BOOLEAN NOT NULL,
  back_to VARCHAR(128) NULL,
  armed_by VARCHAR(255) NOT NULL,
  fired_at DATETIME(6) NULL,
  failure TEXT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Takes away what ran out, with its sessions. It runs as the broker that calls it, so that it can do no more than the broker may. What fails
/// stays, with why, and is tried again by the next event. Names are quoted here and nowhere else.
const DEAD_MAN: &str = r"CREATE PROCEDURE jit.dead_man()
SQL SECURITY INVOKER
BEGIN
  DECLARE v_id, v_last CHAR(64) CHARACTER SET ascii;
  DECLARE v_user, v_role, v_back VARCHAR(128) CHARACTER SET utf8mb4;
  DECLARE v_host, v_role_host VARCHAR(255) CHARACTER SET utf8mb4;
  DECLARE v_ends, v_goes BOOLEAN;
  SET v_last = '';
  leases: LOOP
    SET v_id = NULL;
    SELECT l.id, l.account_user, l.account_host, l.role_user, l.role_host, l.ends_sessions, l.default_goes, l.back_to
      INTO v_id, v_user, v_host, v_role, v_role_host, v_ends, v_goes, v_back
      FROM jit.leases l
      WHERE l.broker = CURRENT_USER() AND l.fired_at IS NULL AND l.fires_at <= UTC_TIMESTAMP(6) AND l.id > v_last
      ORDER BY l.id LIMIT 1;
    IF v_id IS NULL THEN LEAVE leases; END IF;
    SET v_last = v_id;
    BEGIN
      DECLARE v_session BIGINT;
      DECLARE v_none INT DEFAULT 0;
      DECLARE its_sessions CURSOR FOR {sessions};
      DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_none = 1;
      DECLARE EXIT HANDLER FOR SQLEXCEPTION
      BEGIN
        GET DIAGNOSTICS CONDITION 1 @jit_why = MESSAGE_TEXT;
        UPDATE jit.leases l SET l.failure = @jit_why WHERE l.id = v_id;
      END;
      IF EXISTS (SELECT 1 FROM {edge}) THEN
        SET @jit_revoke = CONCAT('REVOKE ', {role}, ' FROM `', REPLACE(v_user, '`', '``'), '`@`', REPLACE(v_host, '`', '``'), '`');
        PREPARE jit_revoke FROM @jit_revoke;
        EXECUTE jit_revoke;
        DEALLOCATE PREPARE jit_revoke;
      END IF;
      IF v_ends THEN
        SET v_none = 0;
        OPEN its_sessions;
        sessions: LOOP
          FETCH its_sessions INTO v_session;
          IF v_none THEN LEAVE sessions; END IF;
          BEGIN
            -- it went by itself
            DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
            KILL CONNECTION v_session;
          END;
        END LOOP;
        CLOSE its_sessions;
      END IF;
      IF v_goes THEN
        {default}
      END IF;
      UPDATE jit.leases l SET l.fired_at = UTC_TIMESTAMP(6), l.failure = NULL WHERE l.id = v_id;
    END;
  END LOOP;
END";

/// Sessions of the account, and of those who can act as it: where another account of the name is more specific about where a session comes
/// from, the session is that one's.
const SESSIONS: &str = "\
{holders}SELECT DISTINCT p.ID FROM information_schema.PROCESSLIST p JOIN {holder} h
          ON CONVERT(p.USER USING utf8mb4) COLLATE utf8mb4_bin = CONVERT(h.user USING utf8mb4) AND jit.came_from(h.host, p.HOST) > 0
        WHERE NOT EXISTS (
          SELECT 1 FROM mysql.user o
          WHERE (o.User = '' OR CONVERT(o.User USING utf8mb4) COLLATE utf8mb4_bin = CONVERT(h.user USING utf8mb4))
            AND jit.came_from(h.host, p.HOST) = 2 AND jit.came_from(o.Host, p.HOST) = 2
            AND jit.how_specific(o.Host) > jit.how_specific(h.host))";

/// Whether a session that comes from there (as the server shows it, with a port) can be an account's of this host: 2 certainly, 1 where the server
/// shows a name and the host is about addresses, 0 not.
const CAME_FROM: &str = r"CREATE FUNCTION jit.came_from(pattern VARCHAR(255) CHARACTER SET utf8mb4, origin VARCHAR(255) CHARACTER SET utf8mb4)
RETURNS INT DETERMINISTIC NO SQL
BEGIN
  DECLARE has_port BOOLEAN DEFAULT origin REGEXP ':[0-9]+$';
  DECLARE place VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    DEFAULT LOWER(IF(has_port, LEFT(origin, CHAR_LENGTH(origin) - LOCATE(':', REVERSE(origin))), origin));
  IF pattern LIKE '%/%' THEN
    -- a name is no address, which strict mode would not even ask
    IF IS_IPV4(place) THEN
      RETURN IF(INET_ATON(place) & jit.network_mask(pattern) = INET_ATON(SUBSTRING_INDEX(pattern, '/', 1)), 2, 0);
    END IF;
  ELSEIF place LIKE pattern THEN
    RETURN 2;
  END IF;
  RETURN IF(has_port AND NOT IS_IPV4(place) AND NOT IS_IPV6(place) AND pattern REGEXP '^[0-9a-fA-F.:%_/]+$', 1, 0);
END";
/// The mask of `10.0.0.0/8` or `10.0.0.0/255.0.0.0`.
const NETWORK_MASK: &str = r"CREATE FUNCTION jit.network_mask(pattern VARCHAR(255) CHARACTER SET utf8mb4) RETURNS BIGINT UNSIGNED DETERMINISTIC NO SQL
BEGIN
  DECLARE mask VARCHAR(255) CHARACTER SET utf8mb4 DEFAULT SUBSTRING_INDEX(pattern, '/', -1);
  RETURN IF(mask LIKE '%.%', INET_ATON(mask), (4294967295 << (32 - mask)) & 4294967295);
END";
/// The more specific the greater: what names one host, then networks, then patterns by how far they are literal.
const HOW_SPECIFIC: &str = r"CREATE FUNCTION jit.how_specific(pattern VARCHAR(255) CHARACTER SET utf8mb4) RETURNS INT DETERMINISTIC NO SQL
BEGIN
  IF pattern LIKE '%/%' THEN RETURN 1000 + BIT_COUNT(jit.network_mask(pattern)); END IF;
  IF pattern NOT REGEXP '[%_]' THEN RETURN 2000; END IF;
  RETURN LEAST(LOCATE('%', CONCAT(pattern, '%')), LOCATE('_', CONCAT(pattern, '_')));
END";

/// The routines of the dead-man for MySQL: a DBA makes them in the database `jit`, in this order.
#[must_use]
pub fn dead_man_in_mysql() -> Vec<String> {
    routines(Flavour::MySql)
}

/// The same for MariaDB.
#[must_use]
pub fn dead_man_in_mariadb() -> Vec<String> {
    routines(Flavour::MariaDb)
}

fn routines(flavour: Flavour) -> Vec<String> {
    let functions = [NETWORK_MASK, CAME_FROM, HOW_SPECIFIC].map(str::to_owned);
    functions.into_iter().chain([procedure(flavour)]).collect()
}

fn procedure(flavour: Flavour) -> String {
    let parts: [(&str, &str); 6] = match flavour {
        Flavour::MySql => [
            ("{sessions}", SESSIONS),
            (
                "{holders}",
                "WITH RECURSIVE holders AS (
          SELECT CAST(v_user AS CHAR(128)) AS user, CAST(v_host AS CHAR(255)) AS host
          UNION SELECT e.TO_USER, e.TO_HOST FROM mysql.role_edges e JOIN holders x ON e.FROM_USER = x.user AND e.FROM_HOST = x.host
        ) ",
            ),
            ("{holder}", "holders"),
            (
                "{edge}",
                "mysql.role_edges e WHERE e.FROM_USER = v_role AND e.FROM_HOST = v_role_host AND e.TO_USER = v_user AND e.TO_HOST = v_host",
            ),
            ("{role}", "'`', REPLACE(v_role, '`', '``'), '`@`', REPLACE(v_role_host, '`', '``'), '`'"),
            (
                "{default}",
                "IF EXISTS (SELECT 1 FROM mysql.default_roles d
          WHERE d.USER = v_user AND d.HOST = v_host AND d.DEFAULT_ROLE_USER = v_role AND d.DEFAULT_ROLE_HOST = v_role_host) THEN
          CALL jit.default_role(v_user, v_host, v_role, v_role_host, FALSE);
        END IF;",
            ),
        ],
        Flavour::MariaDb => [
            ("{sessions}", SESSIONS),
            ("{holders}", ""),
            ("{holder}", "(SELECT v_user AS user, v_host AS host) AS"),
            (
                "{edge}",
                "mysql.roles_mapping e WHERE e.Role = v_role AND e.User = v_user AND e.Host = v_host",
            ),
            ("{role}", "'`', REPLACE(v_role, '`', '``'), '`'"),
            (
                "{default}",
                "IF EXISTS (SELECT 1 FROM mysql.user d WHERE d.User = v_user AND d.Host = v_host AND d.default_role = v_role) THEN
          CALL jit.default_role(v_user, v_host, v_back);
        END IF;",
            ),
        ],
    };
    parts.iter().fold(DEAD_MAN.to_owned(), |text, (name, part)| text.replace(name, part))
}

/// What a DBA runs for it, in the servers' own client.
pub(crate) fn make(flavour: Flavour, broker: &str) -> String {
    let routines = routines(flavour).join("//\n");
    let functions = ["network_mask", "came_from", "how_specific"];
    let functions: String =
        functions.iter().map(|name| format!("GRANT EXECUTE ON FUNCTION jit.{name} TO {broker};\n")).collect();
    format!(
        "CREATE DATABASE IF NOT EXISTS jit;\n{LEASES};\nDELIMITER //\n{routines}//\nDELIMITER ;\n\
         GRANT EVENT ON jit.* TO {broker};\nGRANT SELECT, INSERT, UPDATE, DELETE ON jit.leases TO {broker};\n{functions}\
         GRANT EXECUTE ON PROCEDURE jit.dead_man TO {broker}"
    )
}

/// How the scheduler is turned on.
pub(crate) const SCHEDULER_ON: &str = "the event scheduler is off: run SET GLOBAL event_scheduler = ON, and put event_scheduler = ON into the server's option file";

/// Whether everything is there. `?`: the name of the broker's event.
pub(crate) const STATE: &str = "\
SELECT @@global.event_scheduler AS scheduler, \
(SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'jit' \
AND ROUTINE_NAME IN ('network_mask', 'came_from', 'how_specific', 'dead_man')) = 4 AS has_routines, \
(SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'jit' AND TABLE_NAME = 'leases') AS has_table, \
(SELECT COUNT(*) FROM information_schema.SCHEMA_PRIVILEGES WHERE TABLE_SCHEMA = 'jit' AND PRIVILEGE_TYPE = 'EVENT' \
AND GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))) AS may_schedule, \
(SELECT MAX(STATUS) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'jit' AND EVENT_NAME = ?) AS event";

/// Looks every other second for what ran out. A server that was a replica has it disabled: then it is enabled.
pub(crate) fn schedule(event: &str, there: bool) -> String {
    let (verb, enable) = if there { ("ALTER EVENT", " ENABLE") } else { ("CREATE EVENT IF NOT EXISTS", "") };
    let when = "ON SCHEDULE EVERY 2 SECOND ON COMPLETION PRESERVE";
    format!("{verb} jit.{event} {when}{enable} DO CALL jit.dead_man()")
}

/// Arms, or moves: leases (JSON), by whose call, until when that may be done.
pub(crate) const ARM: &str = "\
REPLACE INTO jit.leases (id, broker, account_user, account_host, role_user, role_host, fires_at, ends_sessions, default_goes, back_to, armed_by) \
SELECT j.id, CURRENT_USER(), j.account_user, j.account_host, j.role_user, j.role_host, UTC_TIMESTAMP(6) + INTERVAL j.micros MICROSECOND, \
j.ends_sessions, j.default_goes, j.back_to, ? \
FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(64) CHARACTER SET ascii PATH '$.id', \
account_user VARCHAR(128) CHARACTER SET utf8mb4 PATH '$.account_user', account_host VARCHAR(255) CHARACTER SET utf8mb4 PATH '$.account_host', \
role_user VARCHAR(128) CHARACTER SET utf8mb4 PATH '$.role_user', role_host VARCHAR(255) CHARACTER SET utf8mb4 PATH '$.role_host', \
micros BIGINT PATH '$.micros', ends_sessions INT PATH '$.ends_sessions', default_goes INT PATH '$.default_goes', \
back_to VARCHAR(128) CHARACTER SET utf8mb4 PATH '$.back_to')) j \
WHERE SYSDATE(6) < CAST(? AS DATETIME(6))";

/// What is armed of these (JSON).
pub(crate) const ARMED: &str = "\
SELECT id, armed_by, DATE_FORMAT(fires_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS fires_at, DATE_FORMAT(fired_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS fired_at \
FROM jit.leases WHERE broker = CURRENT_USER() AND id IN (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(64) CHARACTER SET ascii PATH '$')) j)";

/// Disarms these (JSON), until then.
pub(crate) const DISARM: &str = "\
DELETE FROM jit.leases WHERE broker = CURRENT_USER() AND SYSDATE(6) < CAST(? AS DATETIME(6)) \
AND id IN (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(64) CHARACTER SET ascii PATH '$')) j)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_is_left_open() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let text = procedure(flavour);
            assert!(!text.contains('{'), "{text}");
        }
    }
}
