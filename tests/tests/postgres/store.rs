//! Tests of the logins to the store of many nodes: what an auditor or a node can see, break or hold
//! up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use jit_core::id::{NodeId, TenantId};
use jit_core::store::{BoxError, Change, ClaimRequest, Expect, Kind, Lane, RecordKey, Schedule, Write, Writing};
use jit_core::testkit::database_laws::{Certificate, Login};
use jit_core::testkit::store_laws::StorePlace as _;
use jit_postgres::{PostgresConfig, PostgresStore, StoreConfig, StoreUsers};
use jit_tests::places::OnPostgres;
use jit_tests::server::Cluster;
use jit_tests::servers::RunningPostgres;
use tokio_postgres::error::SqlState;

use crate::must;

/// Plants an auditor's function with the lowest cost that the planner accepts. It sees no row that
/// the views leave out.
pub(crate) async fn auditor(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    running
        .admin(place.name())
        .await?
        .batch_execute(
            "INSERT INTO jit.records (tenant, kind, key, version, body) SELECT 'default', k, k || n, 1, convert_to(k || n, 'UTF8') \
             FROM unnest(ARRAY['access', 'checkpoint', 'totp']) k, generate_series(1, 50) n; \
             INSERT INTO jit.entries (id, tenant, body) SELECT gen_random_uuid(), 'default', convert_to('entry' || n, 'UTF8') \
             FROM generate_series(1, 50) n; \
             INSERT INTO jit.numbers (entry, tenant, number) SELECT seq, tenant, seq FROM jit.entries WHERE seq % 2 = 0",
        )
        .await?;
    let auditor = running.session(&format!("{}_auditor", place.name()), place.name()).await?;
    auditor
        .batch_execute(
            "CREATE FUNCTION pg_temp.look(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN \
             PERFORM set_config('my.seen', current_setting('my.seen', true) || E'\\n' || $1, false); RETURN true; END $$; \
             SET cpu_operator_cost = 0; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off",
        )
        .await?;
    for (view, shown) in [("jit.audit_checkpoints", 50_usize), ("jit.audit_log", 25)] {
        let query = format!("SET my.seen = ''; SELECT count(*) FROM {view} v WHERE pg_temp.look(v::text)");
        auditor.batch_execute(&query).await?;
        let seen: String = auditor.query_one("SELECT current_setting('my.seen')", &[]).await?.try_get(0)?;
        let seen: Vec<&str> = seen.lines().filter(|line| !line.is_empty()).collect();
        must(seen.len() == shown, format!("{view}: the function saw {} rows of {shown}", seen.len()))?;
        let other = seen.iter().find(|row| row.contains("access") || row.contains("totp"));
        must(other.is_none(), format!("{view}: the function saw {other:?}"))?;
    }
    for hidden in ["jit.records", "jit.entries", "jit.labels", "jit.claims", "jit.meta"] {
        let looked = auditor.batch_execute(&format!("SELECT FROM {hidden}")).await;
        must(looked.is_err(), format!("an auditor reads {hidden}"))?;
    }
    Ok(())
}

/// Tells the store false times, as a thief of a node's password could. They are refused, or have no
/// effect.
pub(crate) async fn time(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    let store = place.open().await?;
    let node = running.session(&format!("{}_node", place.name()), place.name()).await?;
    for told in ["infinity", "-infinity", "2100-01-01", "9999-12-31", "0001-01-01"] {
        for call in [
            "SELECT jit.time('{told}')",
            "SELECT FROM jit.poll('thief', '{told}')",
            "SELECT FROM jit.commit('thief', '{told}', '[]', '')",
            "SELECT FROM jit.claim('{told}', 'desk', 1, '1 min', 'thief')",
            "SELECT FROM jit.lanes('{told}')",
            "SELECT jit.set_back(0, 'infinity')",
            "SELECT jit.set_back(0, '100 years')",
            "SELECT jit.accept_clock('{told}')",
        ] {
            // some calls are refused, and some have no effect
            let _ = node.batch_execute(&call.replace("{told}", told)).await;
        }
    }
    let server: chrono::DateTime<chrono::Utc> =
        running.admin(place.name()).await?.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?;
    for store in [store, place.open().await?] {
        let off = store.now().await?.signed_duration_since(server).abs();
        must(off < TimeDelta::minutes(2), format!("the store's time is off by {off}"))?;
        put_due(&*store, &format!("after {off}")).await?;
    }
    Ok(())
}

/// Plants functions that fit a call better than the server's own. Neither the owner, who makes the
/// store, nor a node calls them.
pub(crate) async fn planted(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    let admin = running.admin(place.name()).await?;
    let stranger = format!("{}_auditor", place.name());
    admin
        .batch_execute(&format!(
            "CREATE TABLE public.called (what text); GRANT INSERT ON public.called TO PUBLIC; GRANT CREATE, USAGE ON SCHEMA public TO {stranger}; \
             GRANT USAGE ON SCHEMA public TO PUBLIC; SET ROLE {stranger}"
        ))
        .await?;
    for (function, returns, answer) in [
        ("quote_ident(name)", "text", "$1::text"),
        ("format(text, name, regrole)", "text", "$1"),
        ("pg_has_role(oid, text)", "bool", "true"),
        ("aclexplode(aclitem[])", "SETOF record", "NULL::record"),
        ("make_interval(secs float8)", "interval", "pg_catalog.make_interval(secs => $1)"),
        ("unnest(text[])", "SETOF text", "pg_catalog.unnest($1)"),
        ("convert_from(bytea, text)", "text", "pg_catalog.convert_from($1, $2::name)"),
    ] {
        let set = returns.starts_with("SETOF");
        let last = if set { format!("RETURN QUERY SELECT {answer}") } else { format!("RETURN {answer}") };
        admin
            .batch_execute(&format!(
                "CREATE FUNCTION public.{function} RETURNS {returns} LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO public.called VALUES ('{function} by ' || session_user); {last}; END $$"
            ))
            .await?;
    }
    // a careless caller does call them
    admin.batch_execute("RESET ROLE; SELECT quote_ident('a'::name); SELECT unnest(ARRAY['a'])").await?;
    let called = async || -> Result<Vec<String>, BoxError> {
        let rows = admin.query("SELECT what FROM public.called", &[]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    };
    must(called().await?.len() == 2, "nobody calls what was planted")?;
    admin.batch_execute("TRUNCATE public.called; DROP SCHEMA jit CASCADE").await?;
    let users = StoreUsers::nodes(vec![format!("{}_node", place.name())]);
    PostgresStore::migrate(&owner(&place)?, &users).await?;
    let store = place.open().await?;
    put_due(&*store, "one").await?;
    let ask = ClaimRequest::new(NodeId::new("node")?, Lane::desk(), 1, TimeDelta::seconds(5));
    let claimed = store.claim(&ask).await?;
    let keys: Vec<RecordKey> = claimed.iter().map(|claimed| claimed.record.at.clone()).collect();
    must(store.read_all(&keys).await?.into_iter().flatten().count() == 1, "what was put there is not read")?;
    let called = called().await?;
    must(called.is_empty(), format!("planted functions were called: {called:?}"))
}

/// Returns the configuration with which the owner of the database logs in.
fn owner(place: &OnPostgres) -> Result<StoreConfig, BoxError> {
    let socket = place.server().socket.to_string_lossy().replace('/', "%2F");
    let url = format!("postgres://{0}_owner@{socket}:{1}/{0}", place.name(), place.server().port);
    Ok(StoreConfig::new(PostgresConfig::from_url(&url)?))
}

/// Plants a schema `jit` that a stranger made, or may create objects in. Neither does a node use
/// it, nor a migration.
pub(crate) async fn planted_schema(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    let (admin, stranger) = (running.admin(place.name()).await?, format!("{}_auditor", place.name()));
    let refused = async |why: &str| {
        let opened = place.open().await.err().map(|error| error.to_string()).unwrap_or_default();
        must(opened.contains(why), format!("a node does not say `{why}`: {opened}"))?;
        let migrated = PostgresStore::migrate(&owner(&place)?, &StoreUsers::default()).await;
        let migrated = migrated.err().map(|error| error.to_string()).unwrap_or_default();
        must(migrated.contains(why), format!("the owner does not say `{why}`: {migrated}"))
    };
    for (put, taken, why) in [
        ("GRANT CREATE ON SCHEMA jit TO {0}", "REVOKE CREATE ON SCHEMA jit FROM {0}", "(CREATE of {0})"),
        ("GRANT CREATE ON SCHEMA jit TO PUBLIC", "REVOKE CREATE ON SCHEMA jit FROM PUBLIC", "(CREATE of PUBLIC)"),
        (
            "CREATE FUNCTION jit.hers() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION jit.hers OWNER TO {0}",
            "DROP FUNCTION jit.hers()",
            "(`hers` of {0})",
        ),
        ("ALTER TABLE jit.entries OWNER TO {0}", "ALTER TABLE jit.entries OWNER TO {1}", "`entries` of {0}"),
        ("ALTER SCHEMA jit OWNER TO {0}", "ALTER SCHEMA jit OWNER TO {1}", "belongs to `{0}`"),
    ] {
        let said = |text: &str| text.replace("{0}", &stranger).replace("{1}", &format!("{}_owner", place.name()));
        admin.batch_execute(&said(put)).await?;
        refused(&said(why)).await.map_err(|error| format!("{put}: {error}"))?;
        admin.batch_execute(&said(taken)).await?;
        place.open().await.map_err(|error| format!("{taken}: {error}"))?;
    }
    // before any store exists
    admin
        .batch_execute(&format!(
            "DROP SCHEMA jit CASCADE; CREATE SCHEMA jit AUTHORIZATION {stranger}; CREATE TABLE jit.meta (schema int); \
             INSERT INTO jit.meta VALUES (1); ALTER TABLE jit.meta OWNER TO {stranger}; GRANT ALL ON ALL TABLES IN SCHEMA jit TO PUBLIC"
        ))
        .await?;
    refused(&format!("belongs to `{stranger}`")).await
}

/// Checks that only the users of a store may connect to its database.
pub(crate) async fn closed(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    let stranger = format!("{}_stranger", place.name());
    running.admin("postgres").await?.batch_execute(&format!("CREATE ROLE {stranger} LOGIN")).await?;
    running.session(&stranger, "postgres").await?;
    let refused = running.session(&stranger, place.name()).await.err();
    let code = refused.as_ref().and_then(|error| error.code());
    must(code == Some(&SqlState::INSUFFICIENT_PRIVILEGE), format!("a stranger connects: {refused:?}"))?;
    for user in ["owner", "node", "auditor"] {
        running.session(&format!("{}_{user}", place.name()), place.name()).await?;
    }
    Ok(())
}

/// Locks everything that a reader may lock. Nodes claim and commit all the same.
pub(crate) async fn locks(running: RunningPostgres) -> Result<(), BoxError> {
    let place = OnPostgres::make(&running).await?;
    let store = place.open().await?;
    let reader = running.session(&format!("{}_auditor", place.name()), place.name()).await?;
    reader
        .batch_execute(
            "SELECT pg_advisory_lock(hashtextextended(l, k)) FROM unnest(ARRAY['desk', 'realm:postgres:1', 'lane:desk']) l, \
             unnest(ARRAY[0, 7416]) k; SELECT pg_advisory_lock(7416, 0), pg_advisory_lock(7416); \
             BEGIN; SELECT count(*) FROM jit.audit_log; SELECT count(*) FROM jit.audit_checkpoints; \
             LOCK TABLE jit.audit_log, jit.audit_checkpoints IN ACCESS SHARE MODE",
        )
        .await?;
    for lock in [
        "LOCK TABLE jit.audit_checkpoints IN SHARE MODE",
        "LOCK TABLE jit.turns IN ACCESS SHARE MODE",
        "SELECT FROM jit.audit_checkpoints FOR SHARE",
        "SELECT FROM jit.turns FOR UPDATE",
    ] {
        let taken = reader.batch_execute(&format!("SAVEPOINT s; {lock}")).await;
        must(taken.is_err(), format!("a reader may {lock}"))?;
        reader.batch_execute("ROLLBACK TO s").await?;
    }
    let begun = Instant::now();
    put_due(&*store, "one").await?;
    let ask = ClaimRequest::new(NodeId::new("node")?, Lane::desk(), 1, TimeDelta::seconds(5));
    let claimed = store.claim(&ask).await?;
    must(claimed.len() == 1, "nothing is claimed")?;
    let took = begun.elapsed();
    must(took < Duration::from_secs(5), format!("a reader's locks hold up a claim: {took:?}"))
}

async fn put_due(store: &dyn jit_core::store::Store, key: &str) -> Result<(), BoxError> {
    let schedule = Some(Schedule::new(Lane::desk(), store.now().await?, key));
    let what = Writing::Put { body: b"due".to_vec(), schedule, labels: BTreeMap::new() };
    let at = RecordKey::new(&TenantId::default(), Kind::Access, key);
    let write = Write::new(at, Expect::Absent, what);
    store.commit(Change::writing(vec![write])).await?;
    Ok(())
}

/// Connects to a server whose certificate names no host. It is trusted by the expected name, or by
/// the authority that signed it.
pub(crate) async fn store_by_name(running: RunningPostgres) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(running.major).await?;
    let running = cluster.running();
    jit_tests::tls::show(&running.ca, Certificate::Nameless)?;
    let admin = running.admin("postgres").await?;
    admin.batch_execute("ALTER ROLE postgres PASSWORD 'secret of the owner'").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let config = |login| -> Result<StoreConfig, BoxError> {
        let url = format!("postgres://postgres:secret%20of%20the%20owner@127.0.0.1:{}/other", running.port);
        let tls = jit_tests::tls::mode(login, Some(running.ca.clone()), &running.other_ca);
        Ok(StoreConfig::new(PostgresConfig::from_url(&url)?.tls(tls)))
    };
    let migrate =
        async |login| PostgresStore::migrate(&config(login)?, &StoreUsers::default()).await.map_err(BoxError::from);
    let mut taken = migrate(Login::NameInCertificate).await;
    for _ in 0..100 {
        if taken.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        taken = migrate(Login::NameInCertificate).await;
    }
    taken?;
    migrate(Login::ChainAlone).await?;
    for login in [Login::Broker, Login::AnotherName, Login::NameByUnknownCa, Login::ChainByUnknownCa] {
        let refused = migrate(login).await.err().ok_or_else(|| format!("{login:?} is taken"))?;
        let why = format!("{refused} {refused:?}");
        must(why.contains("certificate"), format!("{login:?}: {why}"))?;
    }
    Ok(())
}
