//! Statements that read the rights of a role. MySQL's tables can be read. In MariaDB some rights
//! are beside the passwords, so the server itself has to show those of an active role.

use super::{NAMES_IN, Read};
use crate::account::backticked;

/// Columns of `mysql.user` that the broker reads in MySQL: every right, and no password.
pub const USER_COLUMNS: &str = "\
User, Host, Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Reload_priv, Shutdown_priv, Process_priv, File_priv, \
Grant_priv, References_priv, Index_priv, Alter_priv, Show_db_priv, Super_priv, Create_tmp_table_priv, Lock_tables_priv, Execute_priv, \
Repl_slave_priv, Repl_client_priv, Create_view_priv, Show_view_priv, Create_routine_priv, Alter_routine_priv, Create_user_priv, Event_priv, \
Trigger_priv, Create_tablespace_priv, Create_role_priv, Drop_role_priv";

/// Columns of `mysql.user` in MariaDB that hold rights on the whole server. Rights that later
/// versions split from SUPER, such as SET USER, are in no column that a broker may read.
pub const USER_RIGHTS_IN_MARIADB: &str = "\
Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Reload_priv, Shutdown_priv, Process_priv, File_priv, Grant_priv, \
References_priv, Index_priv, Alter_priv, Show_db_priv, Super_priv, Create_tmp_table_priv, Lock_tables_priv, Execute_priv, Repl_slave_priv, \
Repl_client_priv, Create_view_priv, Show_view_priv, Create_routine_priv, Alter_routine_priv, Create_user_priv, Event_priv, Trigger_priv, \
Create_tablespace_priv, Delete_history_priv";

/// Reads the rights of the roles in question, held directly or through other roles, with their
/// object, and whether they may be passed on.
pub(crate) const OF_MYSQL: Read = Read::new(
    7,
    "\
WITH RECURSIVE wide AS (\
SELECT DISTINCT a.role_user, a.role_host, a.role_user AS own_user, a.role_host AS own_host FROM {asked} a \
UNION SELECT w.role_user, w.role_host, e.role_user, e.role_host FROM wide w \
JOIN {edges} e ON e.member_user = w.own_user AND e.member_host = w.own_host) \
SELECT w.role_user, w.role_host, 'global' AS level, CAST('' AS CHAR(255)) AS db, CAST('' AS CHAR(255)) AS object, CONCAT_WS(',', \
IF(u.Select_priv = 'Y', 'SELECT', NULL), IF(u.Insert_priv = 'Y', 'INSERT', NULL), IF(u.Update_priv = 'Y', 'UPDATE', NULL), \
IF(u.Delete_priv = 'Y', 'DELETE', NULL), IF(u.Create_priv = 'Y', 'CREATE', NULL), IF(u.Drop_priv = 'Y', 'DROP', NULL), \
IF(u.Reload_priv = 'Y', 'RELOAD', NULL), IF(u.Shutdown_priv = 'Y', 'SHUTDOWN', NULL), IF(u.Process_priv = 'Y', 'PROCESS', NULL), \
IF(u.File_priv = 'Y', 'FILE', NULL), IF(u.References_priv = 'Y', 'REFERENCES', NULL), IF(u.Index_priv = 'Y', 'INDEX', NULL), \
IF(u.Alter_priv = 'Y', 'ALTER', NULL), IF(u.Show_db_priv = 'Y', 'SHOW DATABASES', NULL), IF(u.Super_priv = 'Y', 'SUPER', NULL), \
IF(u.Create_tmp_table_priv = 'Y', 'CREATE TEMPORARY TABLES', NULL), IF(u.Lock_tables_priv = 'Y', 'LOCK TABLES', NULL), \
IF(u.Execute_priv = 'Y', 'EXECUTE', NULL), IF(u.Repl_slave_priv = 'Y', 'REPLICATION SLAVE', NULL), \
IF(u.Repl_client_priv = 'Y', 'REPLICATION CLIENT', NULL), IF(u.Create_view_priv = 'Y', 'CREATE VIEW', NULL), \
IF(u.Show_view_priv = 'Y', 'SHOW VIEW', NULL), IF(u.Create_routine_priv = 'Y', 'CREATE ROUTINE', NULL), \
IF(u.Alter_routine_priv = 'Y', 'ALTER ROUTINE', NULL), IF(u.Create_user_priv = 'Y', 'CREATE USER', NULL), IF(u.Event_priv = 'Y', 'EVENT', NULL), \
IF(u.Trigger_priv = 'Y', 'TRIGGER', NULL), IF(u.Create_tablespace_priv = 'Y', 'CREATE TABLESPACE', NULL), \
IF(u.Create_role_priv = 'Y', 'CREATE ROLE', NULL), IF(u.Drop_role_priv = 'Y', 'DROP ROLE', NULL)) AS rights, u.Grant_priv = 'Y' AS grantable \
FROM wide w JOIN mysql.user u ON u.User = w.own_user AND u.Host = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'global', '', '', g.PRIV, g.WITH_GRANT_OPTION = 'Y' \
FROM wide w JOIN mysql.global_grants g ON g.USER = w.own_user AND g.HOST = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'database', d.Db, '', CONCAT_WS(',', \
IF(d.Select_priv = 'Y', 'SELECT', NULL), IF(d.Insert_priv = 'Y', 'INSERT', NULL), IF(d.Update_priv = 'Y', 'UPDATE', NULL), \
IF(d.Delete_priv = 'Y', 'DELETE', NULL), IF(d.Create_priv = 'Y', 'CREATE', NULL), IF(d.Drop_priv = 'Y', 'DROP', NULL), \
IF(d.References_priv = 'Y', 'REFERENCES', NULL), IF(d.Index_priv = 'Y', 'INDEX', NULL), IF(d.Alter_priv = 'Y', 'ALTER', NULL), \
IF(d.Create_tmp_table_priv = 'Y', 'CREATE TEMPORARY TABLES', NULL), IF(d.Lock_tables_priv = 'Y', 'LOCK TABLES', NULL), \
IF(d.Create_view_priv = 'Y', 'CREATE VIEW', NULL), IF(d.Show_view_priv = 'Y', 'SHOW VIEW', NULL), \
IF(d.Create_routine_priv = 'Y', 'CREATE ROUTINE', NULL), IF(d.Alter_routine_priv = 'Y', 'ALTER ROUTINE', NULL), \
IF(d.Execute_priv = 'Y', 'EXECUTE', NULL), IF(d.Event_priv = 'Y', 'EVENT', NULL), IF(d.Trigger_priv = 'Y', 'TRIGGER', NULL)), d.Grant_priv = 'Y' \
FROM wide w JOIN mysql.db d ON d.User = w.own_user AND d.Host = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'table', t.Db, t.Table_name, UPPER(CONCAT_WS(',', NULLIF(t.Table_priv, ''), NULLIF(t.Column_priv, ''))), \
FIND_IN_SET('Grant', t.Table_priv) > 0 \
FROM wide w JOIN mysql.tables_priv t ON t.User = w.own_user AND t.Host = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'routine', r.Db, r.Routine_name, UPPER(CONCAT_WS(',', NULLIF(r.Proc_priv, ''))), \
FIND_IN_SET('Grant', r.Proc_priv) > 0 \
FROM wide w JOIN mysql.procs_priv r ON r.User = w.own_user AND r.Host = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'proxy', '', p.Proxied_user, 'PROXY', p.With_grant \
FROM wide w JOIN mysql.proxies_priv p ON p.User = w.own_user AND p.Host = w.own_host \
UNION ALL SELECT w.role_user, w.role_host, 'role', '', e.role_user, 'ADMIN OPTION', 1 \
FROM wide w JOIN {edges} e ON e.member_user = w.own_user AND e.member_host = w.own_host AND e.with_admin",
);

/// Returns the statements that show the rights of a MariaDB role, and of every role that it holds.
/// An account that may not read all accounts sees the rights of an active role only. So the role is
/// active for these statements.
pub(crate) fn of_mariadb(role: &str) -> String {
    let role = backticked(role);
    format!("{NAMES_IN}; SET ROLE {role}; SHOW GRANTS FOR {role}; SET ROLE NONE")
}
