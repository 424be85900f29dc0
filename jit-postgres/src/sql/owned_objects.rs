//! What an account or a role owns and gave on.

/// Lists the owned objects of the accounts and roles in the whole cluster. They are found by the
/// shared catalog that DROP ROLE uses. Names are known of this database's objects only.
///
/// Also lists what they gave in their own name: memberships, rights, default privileges, policies,
/// triggers, rules and settings of a database. An object that can be altered under its name, such
/// as a function's definition, has a version.
///
/// One row per membership, so that nothing can be cut off. `$1` accounts, `$2` their oids, `$3`
/// roles, `$4` their oids, `$5` how many of each kind at most.
pub(crate) const OWNED_OBJECTS: &str = r"
WITH subject AS MATERIALIZED (
  SELECT u.n, x.oid, x.rolname, x.whose
  FROM unnest($1::name[], $2::oid[], $3::name[], $4::oid[]) WITH ORDINALITY AS u(account, account_id, role, role_id, n),
  LATERAL (
    (SELECT r.oid, r.rolname, 'account' AS whose FROM pg_roles r
       WHERE r.oid = coalesce(u.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.account)) LIMIT 1)
    UNION ALL
    (SELECT r.oid, r.rolname, 'role' FROM pg_roles r
       WHERE r.oid = coalesce(u.role_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.role)) LIMIT 1)
  ) x
), here AS (
  SELECT oid FROM pg_database WHERE datname = current_database()
), thing AS MATERIALIZED (
SELECT s.n, t.id, t.what || ' (by ' || s.whose || ' ' || quote_ident(s.rolname) || ')' AS what, t.version
FROM subject s, here, LATERAL (
  (SELECT concat_ws('/', 'owns', d.dbid, d.classid, d.objid, d.objsubid) AS id,
     CASE WHEN d.dbid IN (0, here.oid) THEN coalesce(pg_describe_object(d.classid, d.objid, d.objsubid), 'an object that is gone by now')
          ELSE format('object %s of %s in database %s', d.objid, d.classid::regclass, (SELECT quote_ident(b.datname) FROM pg_database b WHERE b.oid = d.dbid))
     END || CASE WHEN d.classid = 'pg_proc'::regclass AND d.dbid = here.oid AND (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = d.objid)
       THEN ', SECURITY DEFINER' ELSE '' END AS what,
     CASE WHEN d.dbid NOT IN (0, here.oid) THEN NULL ELSE CASE d.classid
       WHEN 'pg_proc'::regclass THEN (SELECT md5(concat_ws('/', p.prosecdef, p.proleakproof, p.prolang, p.proconfig, p.probin, p.prosqlbody, p.prosrc))
         FROM pg_proc p WHERE p.oid = d.objid)
       WHEN 'pg_class'::regclass THEN (SELECT md5(concat_ws('/', c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
           (SELECT string_agg(md5(w.ev_action::text), ',' ORDER BY w.oid) FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename = '_RETURN'),
           (SELECT string_agg(a.adnum || md5(a.adbin::text), ',' ORDER BY a.adnum) FROM pg_attrdef a WHERE a.adrelid = c.oid),
           (SELECT string_agg(k.conname || md5(coalesce(k.conbin::text, '')), ',' ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid),
           (SELECT string_agg(i.inhparent::text, ',' ORDER BY i.inhparent) FROM pg_inherits i WHERE i.inhrelid = c.oid)))
         FROM pg_class c WHERE c.oid = d.objid)
       WHEN 'pg_default_acl'::regclass THEN (SELECT md5(f.defaclacl::text) FROM pg_default_acl f WHERE f.oid = d.objid)
       WHEN 'pg_publication'::regclass THEN (SELECT md5(concat_ws('/', p, (SELECT string_agg(r::text, ',' ORDER BY r.oid) FROM pg_publication_rel r
           WHERE r.prpubid = p.oid))) FROM pg_publication p WHERE p.oid = d.objid)
       WHEN 'pg_event_trigger'::regclass THEN (SELECT md5(e::text) FROM pg_event_trigger e WHERE e.oid = d.objid)
       WHEN 'pg_foreign_server'::regclass THEN (SELECT md5(f::text) FROM pg_foreign_server f WHERE f.oid = d.objid)
       WHEN 'pg_database'::regclass THEN (SELECT md5(string_agg(concat_ws('/', g.setrole, g.setconfig), ',' ORDER BY g.setrole))
         FROM pg_db_role_setting g WHERE g.setdatabase = d.objid)
     END END AS version
   FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype = 'o' LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'part', p.classid, p.oid), pg_describe_object(p.classid, p.oid, 0), p.version
   FROM pg_shdepend d CROSS JOIN LATERAL (
     SELECT 'pg_policy'::regclass AS classid, x.oid, md5(x::text) AS version FROM pg_policy x WHERE x.polrelid = d.objid
     UNION ALL SELECT 'pg_trigger'::regclass, x.oid, md5(concat_ws('/', x.tgfoid, x.tgtype, x.tgenabled, x.tgargs, x.tgqual))
               FROM pg_trigger x WHERE x.tgrelid = d.objid AND NOT x.tgisinternal
     UNION ALL SELECT 'pg_rewrite'::regclass, x.oid, md5(concat_ws('/', x.ev_enabled, x.ev_qual, x.ev_action))
               FROM pg_rewrite x WHERE x.ev_class = d.objid AND x.rulename <> '_RETURN'
   ) p
   WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype = 'o' AND d.classid = 'pg_class'::regclass AND d.dbid = here.oid LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'member', m.roleid, m.member), format('membership of %s in %s', m.member::regrole, m.roleid::regrole),
     m.admin_option::text
   FROM pg_auth_members m WHERE m.grantor = s.oid LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'right', a.grantee, d.classid, d.objid, a.part),
     format('%s on %s for %s', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), pg_describe_object(d.classid, d.objid, a.part),
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END),
     string_agg(a.privilege_type || a.is_grantable, ',' ORDER BY a.privilege_type)
   FROM (
     SELECT DISTINCT d.classid, d.objid FROM pg_shdepend d
     WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype IN ('o', 'a') AND d.dbid IN (0, here.oid) OFFSET 0
   ) d CROSS JOIN LATERAL (
     SELECT 0 AS part, x.* FROM aclexplode(CASE d.classid
       WHEN 'pg_class'::regclass THEN (SELECT c.relacl FROM pg_class c WHERE c.oid = d.objid)
       WHEN 'pg_proc'::regclass THEN (SELECT p.proacl FROM pg_proc p WHERE p.oid = d.objid)
       WHEN 'pg_namespace'::regclass THEN (SELECT n.nspacl FROM pg_namespace n WHERE n.oid = d.objid)
       WHEN 'pg_type'::regclass THEN (SELECT t.typacl FROM pg_type t WHERE t.oid = d.objid)
       WHEN 'pg_database'::regclass THEN (SELECT b.datacl FROM pg_database b WHERE b.oid = d.objid)
       WHEN 'pg_language'::regclass THEN (SELECT l.lanacl FROM pg_language l WHERE l.oid = d.objid)
       WHEN 'pg_largeobject'::regclass THEN (SELECT o.lomacl FROM pg_largeobject_metadata o WHERE o.oid = d.objid)
       WHEN 'pg_foreign_server'::regclass THEN (SELECT f.srvacl FROM pg_foreign_server f WHERE f.oid = d.objid)
       WHEN 'pg_foreign_data_wrapper'::regclass THEN (SELECT f.fdwacl FROM pg_foreign_data_wrapper f WHERE f.oid = d.objid)
       WHEN 'pg_tablespace'::regclass THEN (SELECT t.spcacl FROM pg_tablespace t WHERE t.oid = d.objid)
       WHEN 'pg_parameter_acl'::regclass THEN (SELECT p.paracl FROM pg_parameter_acl p WHERE p.oid = d.objid)
     END) x
     UNION ALL
     SELECT c.attnum, x.* FROM pg_attribute c, aclexplode(c.attacl) x WHERE d.classid = 'pg_class'::regclass AND c.attrelid = d.objid AND c.attacl IS NOT NULL
   ) a
   WHERE a.grantor = s.oid AND a.grantee <> s.oid GROUP BY d.classid, d.objid, a.part, a.grantee LIMIT $5)
) t
)
SELECT u.n, count(t.id) AS things, array_agg(t.id ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS ids,
  array_agg(t.what ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS whats,
  array_agg(t.version ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS versions
FROM generate_series(1, cardinality($1::name[])) u(n) LEFT JOIN thing t ON t.n = u.n GROUP BY u.n ORDER BY u.n";
