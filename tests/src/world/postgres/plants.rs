//! Objects that a stranger could put into the broker's lease schema or search path.

use jit_core::testkit::database_laws::Plant;

/// Role that is neither the broker nor a superuser.
const STRANGER: &str = "pg_monitor";

/// Returns all plants, each by itself, in the broker's schema.
pub(super) fn all(schema: &str) -> Vec<Plant> {
    let leases = format!("{schema}.leases");
    let columns = "broker oid NOT NULL, role oid NOT NULL, account oid NOT NULL, fires_at timestamptz NOT NULL, \
                   ends_sessions bool NOT NULL, armed_by text NOT NULL, fired_at timestamptz, sessions_ended int4, failure text";
    let aside = format!("ALTER TABLE {leases} RENAME TO aside");
    let back = |what: &str| format!("DROP {what} {leases}; ALTER TABLE {schema}.aside RENAME TO leases");
    let owner = format!("(SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '{schema}')");
    let owned = |what: &str, name: &str| {
        format!("DO $$ BEGIN EXECUTE format('ALTER {what} {name} OWNER TO %I', {owner}); END $$")
    };
    let function = format!(
        "CREATE FUNCTION {schema}.planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
         CREATE FUNCTION {schema}.planted(int4) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$"
    );
    let functions = format!("DROP FUNCTION {schema}.planted(); DROP FUNCTION {schema}.planted(int4)");
    let plant = |put: String, taken: String, named: &str| Plant { put, taken, named: named.to_owned() };
    // ownership goes back: each object gets the owner of the other
    let restored = format!(
        "DO $$ BEGIN EXECUTE format('ALTER SCHEMA {schema} OWNER TO %I', \
         (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = '{leases}'::regclass)); END $$"
    );
    let mut all = vec![
        plant(
            format!(
                "{function}; CREATE TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE ON {leases} FOR EACH ROW EXECUTE FUNCTION {schema}.planted()"
            ),
            format!("DROP TRIGGER planted ON {leases}; {functions}"),
            "trigger",
        ),
        plant(
            format!("CREATE RULE planted AS ON INSERT TO {leases} DO ALSO SELECT 1"),
            format!("DROP RULE planted ON {leases}"),
            "rule",
        ),
        plant(
            format!("ALTER TABLE {leases} ENABLE ROW LEVEL SECURITY; CREATE POLICY planted ON {leases} USING (false)"),
            format!("DROP POLICY planted ON {leases}; ALTER TABLE {leases} DISABLE ROW LEVEL SECURITY"),
            "row security",
        ),
        plant(
            format!("ALTER TABLE {leases} ALTER failure SET DEFAULT 'planted'"),
            format!("ALTER TABLE {leases} ALTER failure DROP DEFAULT"),
            "default",
        ),
        plant(
            format!(
                "{function}; ALTER TABLE {leases} ADD CONSTRAINT planted CHECK ({schema}.planted(sessions_ended)) NOT VALID"
            ),
            format!("ALTER TABLE {leases} DROP CONSTRAINT planted; {functions}"),
            "constraint",
        ),
        plant(
            format!(
                "{function}; CREATE INDEX planted ON {leases} ((sessions_ended IS NULL OR {schema}.planted(sessions_ended)))"
            ),
            format!("DROP INDEX {schema}.planted; {functions}"),
            "index",
        ),
        plant(
            format!("CREATE STATISTICS {schema}.planted ON (sessions_ended + 1) FROM {leases}"),
            format!("DROP STATISTICS {schema}.planted"),
            "statistics",
        ),
        plant(
            format!("CREATE TABLE {schema}.planted () INHERITS ({leases})"),
            format!("DROP TABLE {schema}.planted"),
            "inherit",
        ),
        plant(
            format!("{aside}; CREATE TABLE {leases} ({columns}, planted int4, PRIMARY KEY (broker, role, account))"),
            back("TABLE"),
            "columns",
        ),
        plant(
            format!("{aside}; CREATE UNLOGGED TABLE {leases} ({columns}, PRIMARY KEY (broker, role, account))"),
            back("TABLE"),
            "ordinary",
        ),
        plant(format!("{aside}; CREATE VIEW {leases} AS SELECT * FROM {schema}.aside"), back("VIEW"), "ordinary"),
        plant(format!("ALTER TABLE {leases} OWNER TO {STRANGER}"), owned("TABLE", &leases), STRANGER),
        plant(format!("ALTER SCHEMA {schema} OWNER TO {STRANGER}"), restored, STRANGER),
        plant(
            format!("GRANT CREATE ON SCHEMA {schema} TO {STRANGER}"),
            format!("REVOKE CREATE ON SCHEMA {schema} FROM {STRANGER}"),
            STRANGER,
        ),
    ];
    for (right, named) in
        [("INSERT", STRANGER), ("TRIGGER", STRANGER), ("REFERENCES", STRANGER), ("UPDATE (fires_at)", STRANGER)]
    {
        all.push(plant(
            format!("GRANT {right} ON {leases} TO {STRANGER}"),
            format!("REVOKE {right} ON {leases} FROM {STRANGER}"),
            named,
        ));
    }
    all
}

/// Returns a search path with somebody else's objects under the server's own names, and settings
/// that cut, block or end the broker's work.
pub(super) fn defaults(broker: &str) -> Plant {
    let schema = format!("planted_for_{broker}");
    let settings = [
        ("search_path", format!("{schema}, pg_temp, pg_catalog")),
        ("default_transaction_read_only", "on".to_owned()),
        ("default_transaction_isolation", "serializable".to_owned()),
        ("synchronous_commit", "off".to_owned()),
        ("exit_on_error", "on".to_owned()),
        ("quote_all_identifiers", "on".to_owned()),
        ("transform_null_equals", "on".to_owned()),
        ("statement_timeout", "'400ms'".to_owned()),
        ("lock_timeout", "'1ms'".to_owned()),
        ("idle_session_timeout", "'100ms'".to_owned()),
        ("client_min_messages", "debug5".to_owned()),
        ("client_connection_check_interval", "'10ms'".to_owned()),
        ("DateStyle", "'SQL, DMY'".to_owned()),
        ("TimeZone", "'Asia/Kathmandu'".to_owned()),
        ("plpgsql.extra_errors", "'all'".to_owned()),
        ("row_security", "off".to_owned()),
        ("session_replication_role", "replica".to_owned()),
        ("client_encoding", "LATIN1".to_owned()),
        ("standard_conforming_strings", "off".to_owned()),
        // a role that the broker may set: it then has none of its own rights
        ("role", "pg_signal_backend".to_owned()),
    ];
    let set: Vec<String> =
        settings.iter().map(|(name, value)| format!("ALTER ROLE {broker} SET {name} = {value}")).collect();
    let planted = format!(
        "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO PUBLIC; \
         CREATE DOMAIN {schema}.text AS pg_catalog.int4; CREATE DOMAIN {schema}.oid AS pg_catalog.int4; CREATE DOMAIN {schema}.record AS pg_catalog.int4; \
         CREATE VIEW {schema}.pg_roles AS SELECT 0::pg_catalog.oid AS oid, 'nobody'::pg_catalog.name AS rolname WHERE false; \
         CREATE FUNCTION {schema}.same(pg_catalog.oid, pg_catalog.oid) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
         CREATE OPERATOR {schema}.= (LEFTARG = pg_catalog.oid, RIGHTARG = pg_catalog.oid, FUNCTION = {schema}.same); \
         CREATE FUNCTION {schema}.set_config(pg_catalog.text, pg_catalog.text, pg_catalog.bool) RETURNS pg_catalog.text LANGUAGE plpgsql \
           AS $$ BEGIN RAISE 'planted'; END $$; \
         CREATE FUNCTION {schema}.clock_timestamp() RETURNS pg_catalog.timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
         CREATE FUNCTION {schema}.step(pg_catalog.oid[], pg_catalog.oid) RETURNS pg_catalog.oid[] LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
         CREATE AGGREGATE {schema}.array_agg(pg_catalog.oid) (SFUNC = {schema}.step, STYPE = pg_catalog.oid[], INITCOND = '{{}}'); "
    );
    Plant {
        put: format!("{planted}{}", set.join("; ")),
        taken: format!("ALTER ROLE {broker} RESET ALL; DROP SCHEMA {schema} CASCADE"),
        named: String::new(),
    }
}
