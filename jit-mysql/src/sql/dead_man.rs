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
      IF v_goes THEN
        {default}
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
      UPDATE jit.leases l SET l.fired_at = UTC_TIMESTAMP(6), l.failure = NULL WHERE l.id = v_id;
    END;
  END LOOP;
END";

/// Sessions of the account, and of those who can act as it: where another account of the name is more specific about where a session comes
/// from, the session is that one's.
const SESSIONS: &str = "\
{holders}SELECT DISTINCT p.id FROM (
          SELECT s.ID AS id, CONVERT(s.USER USING utf8mb4) COLLATE utf8mb4_bin AS user, s.HOST NOT REGEXP ':[0-9]+$' AS socket,
            CONVERT(LOWER(IF(s.HOST REGEXP ':[0-9]+$', LEFT(s.HOST, CHAR_LENGTH(s.HOST) - CHAR_LENGTH(SUBSTRING_INDEX(s.HOST, ':', -1)) - 1), s.HOST)) USING utf8mb4) COLLATE utf8mb4_bin AS host
          FROM information_schema.PROCESSLIST s
        ) p JOIN {holder} h ON p.user = CONVERT(h.user USING utf8mb4) AND ({certainly h.host} OR {perhaps h.host})
        WHERE NOT EXISTS (
          SELECT 1 FROM mysql.user o WHERE (CONVERT(o.User USING utf8mb4) COLLATE utf8mb4_bin = CONVERT(h.user USING utf8mb4) OR o.User = '') AND {certainly h.host} AND {certainly o.Host}
            AND {rank o.Host} * 2 + (o.User <> '') > {rank h.host} * 2 + 1)";
/// The host certainly matches where the session comes from.
const CERTAINLY: &str = "IF({h} LIKE '%/%', COALESCE(INET_ATON(p.host) & {mask} = INET_ATON(SUBSTRING_INDEX({h}, '/', 1)), 0), p.host LIKE CONVERT({h} USING utf8mb4))";
/// The server shows a name, and the host is about addresses.
const PERHAPS: &str = "(NOT p.socket AND INET6_ATON(p.host) IS NULL AND {h} REGEXP '^[0-9a-fA-F.:%_/]+$')";
/// What names one host, then networks, then patterns by how far they are literal.
const RANK: &str = "IF({h} LIKE '%/%', 1000 + BIT_COUNT({mask}), IF({h} REGEXP '[%_]', LEAST(LOCATE('%', CONCAT({h}, '%')), LOCATE('_', CONCAT({h}, '_'))), 2000))";
const MASK: &str = "IF(SUBSTRING_INDEX({h}, '/', -1) LIKE '%.%', INET_ATON(SUBSTRING_INDEX({h}, '/', -1)), (4294967295 << (32 - SUBSTRING_INDEX({h}, '/', -1))) & 4294967295)";

/// The procedure `jit.dead_man` for MySQL.
#[must_use]
pub fn dead_man_in_mysql() -> String {
    procedure(Flavour::MySql)
}

/// The same for MariaDB.
#[must_use]
pub fn dead_man_in_mariadb() -> String {
    procedure(Flavour::MariaDb)
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
            ("{default}", "CALL jit.default_role(v_user, v_host, v_role, v_role_host, FALSE);"),
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
    let mut text = parts.iter().fold(DEAD_MAN.to_owned(), |text, (name, part)| text.replace(name, part));
    for host in ["h.host", "o.Host"] {
        for (name, part) in [("certainly", CERTAINLY), ("perhaps", PERHAPS), ("rank", RANK)] {
            let part = part.replace("{mask}", MASK).replace("{h}", host);
            text = text.replace(&format!("{{{name} {host}}}"), &part);
        }
    }
    text
}

/// What a DBA runs for it, in the servers' own client.
pub(crate) fn make(flavour: Flavour, broker: &str) -> String {
    let procedure = procedure(flavour);
    format!(
        "CREATE DATABASE IF NOT EXISTS jit;\n{LEASES};\nDELIMITER //\n{procedure}//\nDELIMITER ;\n\
         GRANT EVENT ON jit.* TO {broker};\nGRANT SELECT, INSERT, UPDATE, DELETE ON jit.leases TO {broker};\n\
         GRANT EXECUTE ON PROCEDURE jit.dead_man TO {broker}"
    )
}

/// How the scheduler is turned on.
pub(crate) const SCHEDULER_ON: &str = "the event scheduler is off: run SET GLOBAL event_scheduler = ON, and put event_scheduler = ON into the server's option file";

/// Whether everything is there. `?`: the name of the broker's event.
pub(crate) const STATE: &str = "\
SELECT @@global.event_scheduler AS scheduler, \
(SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'jit' AND ROUTINE_NAME = 'dead_man') AS has_procedure, \
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
