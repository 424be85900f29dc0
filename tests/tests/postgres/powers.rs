//! Tests of the rights that outlive a membership, and of leftovers.

use jit_core::database::{DatabaseError, Rejection};
use jit_core::internal::holding::{leftovers, marks};
use jit_core::policy::Stance;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::World as _;

use crate::must;
use crate::scene::Scene;

pub(crate) async fn powers(scene: Scene) -> Result<(), BoxError> {
    let (schema, closed) = (scene.world.fresh("lent"), scene.world.fresh("closed"));
    let roles =
        ["steward", "keeper", "signals", "maker", "peeker", "passer"].map(|name| (name, scene.world.fresh(name)));
    let mine = |text: &str| {
        let text = text.replace("{schema}", &schema).replace("{closed}", &closed);
        roles.iter().fold(text, |text, (name, fresh)| text.replace(&format!("{{{name}}}"), fresh))
    };
    let owners = ["postgres", "{broker}", "{steward}", "{keeper}", "{signals}", "{maker}", "{peeker}", "{passer}"];
    let function = |(i, owner): (usize, &&str)| {
        format!(
            "; CREATE FUNCTION {{schema}}.lent{i}() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             ALTER FUNCTION {{schema}}.lent{i}() OWNER TO {owner}; REVOKE ALL ON FUNCTION {{schema}}.lent{i}() FROM PUBLIC"
        )
    };
    let functions: Vec<String> = owners.iter().enumerate().map(function).collect();
    scene
        .sql(&mine(&format!(
            "CREATE ROLE {{steward}} CREATEROLE; CREATE ROLE {{keeper}}; CREATE ROLE {{signals}}; GRANT {{signals}} TO {{keeper}} WITH ADMIN OPTION; \
             GRANT pg_signal_backend TO {{signals}}; CREATE ROLE {{maker}}; GRANT CREATE ON DATABASE postgres TO {{maker}}; \
             CREATE ROLE {{peeker}}; GRANT SELECT ON pg_authid TO {{peeker}}; CREATE ROLE {{passer}} BYPASSRLS; CREATE SCHEMA {{closed}}; CREATE SCHEMA {{schema}}; \
             CREATE FUNCTION {{closed}}.lent() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'{}",
            functions.concat()
        )))
        .await?;
    let lent: Vec<(String, String)> = (0..owners.len())
        .map(|i| format!("EXECUTE ON FUNCTION {{schema}}.lent{i}()"))
        .chain(["USAGE ON SCHEMA {closed}".to_owned(), "SELECT (rolname, rolpassword) ON pg_authid".to_owned()])
        .map(|right| (mine(&format!("GRANT {right} TO {{role}}")), mine(&format!("REVOKE {right} FROM {{role}}"))))
        .collect();
    let mut all = vec![
        ("ALTER ROLE {role} CREATEROLE", "ALTER ROLE {role} NOCREATEROLE"),
        ("ALTER ROLE {role} CREATEDB", "ALTER ROLE {role} NOCREATEDB"),
        ("ALTER ROLE {role} REPLICATION", "ALTER ROLE {role} NOREPLICATION"),
        ("ALTER ROLE {role} BYPASSRLS", "ALTER ROLE {role} NOBYPASSRLS"),
        ("GRANT pg_signal_backend TO {role}", "REVOKE pg_signal_backend FROM {role}"),
        ("GRANT pg_read_server_files TO {role}", "REVOKE pg_read_server_files FROM {role}"),
        ("GRANT pg_checkpoint TO {role}", "REVOKE pg_checkpoint FROM {role}"),
        ("GRANT CREATE ON DATABASE postgres TO {role}", "REVOKE CREATE ON DATABASE postgres FROM {role}"),
        ("ALTER DATABASE postgres OWNER TO {role}", "ALTER DATABASE postgres OWNER TO postgres"),
        ("GRANT SELECT ON pg_authid TO {role}", "REVOKE SELECT ON pg_authid FROM {role}"),
        ("GRANT CREATE ON SCHEMA pg_catalog TO {role}", "REVOKE CREATE ON SCHEMA pg_catalog FROM {role}"),
        (
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {role}",
            "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM {role}",
        ),
        ("GRANT SET ON PARAMETER log_statement TO {role}", "REVOKE SET ON PARAMETER log_statement FROM {role}"),
    ];
    all.extend(lent.iter().map(|(give, take)| (give.as_str(), take.as_str())));
    if scene.running.major >= 17 {
        all.push(("GRANT pg_maintain TO {role}", "REVOKE pg_maintain FROM {role}"));
    }
    for (give, take) in all {
        scene.sql(give).await?;
        let answer = scene.try_grant(Stance::Refused).await?;
        let refused =
            matches!(&answer, Err(DatabaseError::Rejected { rejection, .. }) if *rejection == Rejection::RoleCanGrant);
        must(refused, format!("{give}: {answer:?}"))?;
        scene.sql(take).await?;
    }
    scene.try_grant(Stance::Refused).await??;
    Ok(())
}

pub(crate) async fn ordinary(scene: Scene) -> Result<(), BoxError> {
    let (schema, plain) = (scene.world.fresh("own"), scene.world.fresh("plain"));
    scene
        .sql(&format!(
            "GRANT ALL ON TABLE {{role}} TO {{role}} WITH GRANT OPTION; GRANT CREATE ON SCHEMA public TO {{role}}; \
             CREATE SCHEMA {schema} AUTHORIZATION {{role}}; CREATE TABLE {schema}.t (n int); ALTER TABLE {schema}.t OWNER TO {{role}}; \
             CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION {schema}.f() TO {{role}}; \
             GRANT pg_monitor TO {{role}}; GRANT CONNECT, TEMPORARY ON DATABASE postgres TO {{role}}; \
             GRANT USAGE ON LANGUAGE plpgsql TO {{role}}; GRANT SELECT (rolname) ON pg_roles TO {{role}}; \
             GRANT SELECT (n), UPDATE (n) ON {schema}.t TO {{role}}; CREATE ROLE {plain}; \
             CREATE FUNCTION {schema}.theirs() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             ALTER FUNCTION {schema}.theirs() OWNER TO {plain}; GRANT EXECUTE ON FUNCTION {schema}.theirs() TO {{role}}"
        ))
        .await?;
    scene.try_grant(Stance::Refused).await??;
    Ok(())
}

pub(crate) async fn passed_on(scene: Scene) -> Result<(), BoxError> {
    let schema = scene.world.fresh("app");
    let mine = |text: &str| text.replace("{schema}", &schema);
    scene
        .sql(&mine(
            "CREATE SCHEMA {schema} AUTHORIZATION {role}; SET ROLE {role}; CREATE TABLE {schema}.letters (t text); \
             CREATE TABLE {schema}.ledger (t text); ALTER TABLE {schema}.ledger ENABLE ROW LEVEL SECURITY; \
             CREATE TABLE {schema}.still (t text); GRANT SELECT ON {schema}.still TO PUBLIC; \
             CREATE FUNCTION {schema}.counts() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'; RESET ROLE",
        ))
        .await?;
    let owned = async || -> Result<Vec<_>, BoxError> {
        let owned = scene.database.owned_objects(&[scene.membership()?]).await?.each.pop().flatten();
        Ok(owned.ok_or("too many")?)
    };
    let before = marks(&owned().await?);
    must(leftovers(&before, &owned().await?).is_empty(), "what was there before is news")?;
    scene
        .sql(&mine(
            "SET ROLE {role}; GRANT SELECT ON {schema}.letters TO {account}; CREATE POLICY everything ON {schema}.ledger USING (true); \
             GRANT UPDATE (t) ON {schema}.ledger TO PUBLIC; ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {account}; \
             CREATE OR REPLACE FUNCTION {schema}.counts() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 2::bigint'; RESET ROLE",
        ))
        .await?;
    let left = leftovers(&before, &owned().await?);
    for (what, more) in [
        ("letters", "SELECT"),
        ("ledger", "policy"),
        ("ledger", "UPDATE"),
        ("default privileges", ""),
        ("counts", "altered"),
    ] {
        must(
            left.iter().any(|one| one.contains(what) && one.contains(more)),
            format!("{what} ({more}) is not in {left:?}"),
        )?;
    }
    must(!left.iter().any(|one| one.contains("still")), format!("what nobody touched is told: {left:?}"))
}

/// Sets a password on a role that may log in. A member can do that by SET ROLE, and come back as
/// the role after the revoke.
pub(crate) async fn password(scene: Scene) -> Result<(), BoxError> {
    scene.sql("ALTER ROLE {role} LOGIN; GRANT {role} TO {account}").await?;
    let session = scene.running.session(&scene.account, "postgres").await?;
    session.batch_execute(&format!("SET ROLE {0}; ALTER ROLE {0} PASSWORD 'hers'", scene.role)).await?;
    drop(session);
    scene.sql("REVOKE {role} FROM {account}").await?;
    let answer = scene.try_grant(Stance::Refused).await?;
    let refused =
        matches!(&answer, Err(DatabaseError::Rejected { rejection, .. }) if *rejection == Rejection::RoleCanGrant);
    must(refused, format!("such a role is granted without a word: {answer:?}"))?;
    scene.try_grant(Stance::Accepted).await??;
    scene.sql("ALTER ROLE {role} NOLOGIN").await?;
    scene.try_grant(Stance::Refused).await?.map_err(Into::into)
}
