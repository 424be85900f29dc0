//! What a role can do beyond its objects.

/// Lists the powers of a role: what reaches beyond its objects or outlives a membership. Covers the
/// role itself and every role that it is a member of.
///
/// A list names what is harmless: rights on tables, sequences, functions, types, large objects and
/// schemas of the database's own, and owning such objects. Everything else is a power:
///
/// - Each attribute of a role is one. With LOGIN, a grantee that may SET ROLE can give the role a
///   password and come back as it.
/// - Each predefined role is one, except those that only look.
/// - ADMIN OPTION is one, and being the broker.
/// - Owning a database is one, making schemas in it, and the schemas `jit` and `cron`.
/// - So is what belongs to the system, and whatever else the catalog knows rights on.
///
/// For other databases only the kind of an object is known. Stands in other statements as
/// `{powers}`, where `r` is the role: one row with the array `powers`.
pub(super) const POWERS: &str = r"WITH RECURSIVE above(oid) AS (
      SELECT r.oid
      UNION
      SELECT y.roleid FROM above x, LATERAL (SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.oid OFFSET 0) y
    )
    SELECT array_agg(DISTINCT w.word) AS powers
    FROM above x, LATERAL (
      SELECT r.rolname::text AS name, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.rolcanlogin
      FROM pg_roles r WHERE r.oid = x.oid LIMIT 1
    ) r, LATERAL (
      SELECT 'SUPERUSER' AS word WHERE r.rolsuper
      UNION ALL SELECT 'CREATEROLE' WHERE r.rolcreaterole
      UNION ALL SELECT 'CREATEDB' WHERE r.rolcreatedb
      UNION ALL SELECT 'REPLICATION' WHERE r.rolreplication
      UNION ALL SELECT 'BYPASSRLS' WHERE r.rolbypassrls
      UNION ALL SELECT 'LOGIN' WHERE r.rolcanlogin
      UNION ALL SELECT 'everything that the broker may' WHERE r.name = current_user
      UNION ALL SELECT r.name WHERE (r.name LIKE 'pg\_%' OR r.name IN ('rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin'))
                AND r.name NOT IN ({only look})
      UNION ALL SELECT 'ADMIN OPTION on ' || quote_ident((SELECT g.rolname FROM pg_roles g WHERE g.oid = m.roleid))
                FROM pg_auth_members m WHERE m.member = x.oid AND m.admin_option
      UNION ALL SELECT CASE s.deptype WHEN 'o' THEN 'owner of ' ELSE 'rights on ' END || CASE WHEN s.here
                  THEN coalesce(pg_describe_object(s.classid, s.objid, 0), 'an object that is gone by now')
                  ELSE format('object %s of %s in database %s', s.objid, s.classid::regclass, (SELECT quote_ident(b.datname) FROM pg_database b WHERE b.oid = s.dbid))
                END
        FROM (
          SELECT d.dbid, d.classid, d.objid, d.deptype, d.objid < 16384 AND d.objid <> 2200 AS built_in,
            d.dbid = 0 OR d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AS here
          FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = x.oid AND d.deptype IN ('o', 'a') OFFSET 0
        ) s
        WHERE CASE
          {by kind}
          WHEN s.classid = 'pg_language'::regclass AND s.deptype = 'a' AND s.here
            THEN NOT (SELECT l.lanpltrusted FROM pg_language l WHERE l.oid = s.objid)
          WHEN s.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass) THEN true
          WHEN NOT s.here OR s.deptype = 'o' AND s.built_in THEN s.built_in
          WHEN s.objid = ANY (ARRAY({schemas of the broker}))
            OR s.objid = ANY (ARRAY(SELECT d.objid FROM pg_depend d
              WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid IN ({schemas of the broker}))) THEN true
          WHEN EXISTS (
            -- functions that run as their owner: those that it may call, and those that everybody may call in a schema that
            -- not everybody may use
            SELECT FROM pg_proc f WHERE f.oid = ANY (CASE s.classid
                WHEN 'pg_proc'::regclass THEN ARRAY(SELECT s.objid WHERE s.deptype = 'a')
                WHEN 'pg_namespace'::regclass THEN ARRAY(
                  SELECT d.objid FROM pg_namespace n, pg_depend d
                  WHERE n.oid = s.objid AND d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.classid = 'pg_proc'::regclass
                    AND (s.deptype = 'o' OR EXISTS (SELECT FROM aclexplode(n.nspacl) e WHERE e.grantee = x.oid AND e.privilege_type = 'USAGE'))
                    AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) e WHERE e.grantee = 0 AND e.privilege_type = 'USAGE'))
              END) AND f.prosecdef
              AND (s.classid = 'pg_proc'::regclass) <> EXISTS (
                SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) e WHERE e.grantee = 0 AND e.privilege_type = 'EXECUTE')
              AND (s.classid <> 'pg_proc'::regclass OR EXISTS (SELECT FROM aclexplode(f.proacl) e WHERE e.grantee = x.oid))
              AND {reaches far}) THEN true
          WHEN s.deptype = 'o' THEN false
          WHEN s.classid = 'pg_namespace'::regclass THEN s.built_in AND EXISTS (
            SELECT FROM pg_namespace n, aclexplode(n.nspacl) e WHERE n.oid = s.objid AND e.grantee = x.oid AND e.privilege_type = 'CREATE')
          WHEN s.classid = 'pg_class'::regclass THEN s.built_in AND EXISTS (
            SELECT FROM pg_class c, LATERAL (
              SELECT e.*, NULL::aclitem[] AS of_column FROM aclexplode(c.relacl) e
              UNION ALL SELECT e.*, t.attacl FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = c.oid
            ) e WHERE c.oid = s.objid AND e.grantee = x.oid AND NOT EXISTS (
              SELECT FROM (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(e.of_column)) p
              WHERE p.grantee = 0 AND p.privilege_type = e.privilege_type))
          ELSE EXISTS (
            SELECT FROM pg_proc f, aclexplode(f.proacl) e WHERE f.oid = s.objid AND e.grantee = x.oid
              AND f.prolang IN (SELECT l.oid FROM pg_language l WHERE NOT l.lanpltrusted AND l.lanname <> 'sql')
              AND NOT EXISTS (SELECT FROM aclexplode(f.proacl) p WHERE p.grantee = 0 AND p.privilege_type = 'EXECUTE'))
        END
    ) w";

/// Checks whether the owner of the function `f` can do more than use objects. The measure is that
/// of [`POWERS`], apart from functions that the owner may call in turn, and from LOGIN. Stands in
/// [`POWERS`] as `{reaches far}`.
pub(super) const REACHES_FAR: &str = r"EXISTS (
                WITH RECURSIVE own(oid) AS (
                  SELECT f.proowner
                  UNION
                  SELECT y.roleid FROM own x, LATERAL (SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.oid OFFSET 0) y
                )
                SELECT FROM own x JOIN pg_roles o ON o.oid = x.oid
                WHERE o.oid = f.proowner AND (o.rolsuper OR o.rolcreaterole OR o.rolcreatedb OR o.rolreplication OR o.rolbypassrls
                    OR o.rolname = current_user)
                  OR o.rolname LIKE 'pg\_%'
                    AND o.rolname NOT IN ({only look})
                  OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = x.oid AND m.admin_option)
                  OR EXISTS (
                    SELECT FROM pg_shdepend s
                    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = x.oid AND s.deptype IN ('o', 'a') AND CASE
                      {by kind}
                      WHEN s.classid = 'pg_language'::regclass AND s.deptype = 'a'
                        THEN NOT coalesce((SELECT l.lanpltrusted FROM pg_language l WHERE l.oid = s.objid), false)
                      WHEN s.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass) THEN true
                      ELSE s.objid < 16384 AND s.objid <> 2200 OR s.objid = ANY (ARRAY({schemas of the broker}))
                    END))";

/// Predefined roles that are no power: they only look. Stands in [`POWERS`] and [`REACHES_FAR`] as
/// `{only look}`.
pub(super) const ONLY_LOOK: &str =
    "'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_database_owner'";

/// First branches about the row `s` of `pg_shdepend`, whose role is `x`: objects that are judged
/// without looking into them. Stands in [`POWERS`] and [`REACHES_FAR`] as `{by kind}`.
pub(super) const BY_KIND: &str = r"WHEN s.classid IN ({without code}) THEN false
          WHEN s.classid = 'pg_database'::regclass AND s.deptype = 'a'
            THEN EXISTS (SELECT FROM pg_database b, aclexplode(b.datacl) e WHERE b.oid = s.objid AND e.grantee = x.oid AND e.privilege_type = 'CREATE')";

/// Classes of objects on which no right reaches beyond the object itself. Stands in [`BY_KIND`] as
/// `{without code}`.
pub(super) const WITHOUT_CODE: &str = "'pg_auth_members'::regclass, 'pg_authid'::regclass, 'pg_default_acl'::regclass, 'pg_largeobject'::regclass, \
'pg_type'::regclass, 'pg_collation'::regclass, 'pg_conversion'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, \
'pg_opfamily'::regclass, 'pg_statistic_ext'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass";

/// Schemas in which code runs as the broker, or as somebody who lets it end sessions. Stands in
/// [`POWERS`] and [`REACHES_FAR`] as `{schemas of the broker}`.
pub(super) const SCHEMAS_OF_THE_BROKER: &str = "SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('jit', 'cron', 'jit_sessions') OR n.nspname LIKE 'jit\\_of\\_%'";
