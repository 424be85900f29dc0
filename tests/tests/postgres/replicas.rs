//! A primary with a streaming standby that is named as its replica.

use std::time::{Duration, Instant};

use jit_core::database::{AtReplica, Check, Database, Gone, ReplicasMissing, RevokeReport, Severity, TlsMode};
use jit_core::policy::{Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::World;
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::{Cluster, Down};

use crate::scene::Scene;
use crate::{Tests, must};

/// Adds them, each with servers of its own.
pub(super) fn all(tests: &mut Tests<'_>) {
    tests.add("law_05_a_session_on_a_replica_ends_with_its_role", session);
    tests.add("law_05_an_end_is_open_until_its_replica_has_replayed_it", behind);
    tests.add("law_05_an_end_is_open_while_its_replica_does_not_answer", stopped);
    tests.add("a_replica_has_to_be_a_standby_of_its_primary", no_standby);
}

/// A primary and its standby.
struct Pair {
    primary: Scene,
    standby: Cluster,
    /// Lives as long as both.
    _server: Cluster,
}

impl Pair {
    async fn new(other: &Scene) -> Result<Self, BoxError> {
        let mut server = Cluster::start_fresh(other.running.major).await?;
        let standby = server.standby().await?;
        let mut primary = Scene::new(server.running().clone()).await?;
        primary.database = primary.world.with_replicas(&[standby.running().port], ReplicasMissing::Unverified)?;
        Ok(Self { primary, standby, _server: server })
    }

    async fn on_standby(&self, statement: &str) -> Result<String, BoxError> {
        let statement = statement.replace("{role}", &self.primary.role).replace("{account}", &self.primary.account);
        let answer = self.standby.running().admin("postgres").await?.query_one(&statement, &[]).await?;
        Ok(answer.try_get(0)?)
    }

    /// The role is granted, and the standby has heard of it.
    async fn granted(&self) -> Result<(), BoxError> {
        self.primary.try_grant(Stance::Refused).await??;
        for _ in 0..100 {
            if self.on_standby("SELECT pg_has_role('{account}', '{role}', 'MEMBER')::text").await? == "true" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the standby does not follow".into())
    }

    /// Its only replica's part of the report.
    fn shown<'r>(&self, report: &'r RevokeReport) -> Result<&'r AtReplica, BoxError> {
        let name = format!("127.0.0.1:{}", self.standby.running().port);
        match report.replicas.as_slice() {
            [replica] if replica.name == name => Ok(&replica.shown),
            others => Err(format!("not its one replica: {others:?}").into()),
        }
    }

    fn is_open(&self, report: &RevokeReport, why: &str) -> Result<(), BoxError> {
        must(report.seen.direct.is_empty(), "the primary's revoke waits for its replica")?;
        match self.shown(report)? {
            AtReplica::Open(text) => must(text.contains(why), format!("`{text}` does not say `{why}`")),
            other => Err(format!("it is not open: {other:?}").into()),
        }
    }

    fn is_gone(&self, report: &RevokeReport) -> Result<(), BoxError> {
        match self.shown(report)? {
            AtReplica::Seen { seen, .. } => {
                must(seen.direct.is_empty() && seen.sessions.is_empty(), format!("{seen:?}"))
            }
            other => Err(format!("it was not seen: {other:?}").into()),
        }
    }
}

async fn session(scene: Scene) -> Result<(), BoxError> {
    let pair = Pair::new(&scene).await?;
    pair.granted().await?;
    let alice = pair.standby.running().session(&pair.primary.account, "postgres").await?;
    alice.batch_execute(&format!("SET ROLE {}", pair.primary.role)).await?;
    // the rule's word on sessions counts there, too
    let kept = pair.primary.revoke_with(pair.primary.subject()?, Sessions::Keep).await?;
    let AtReplica::Seen { seen, ended, .. } = pair.shown(&kept)? else { return Err(format!("{kept:?}").into()) };
    must(seen.direct.is_empty() && seen.sessions.len() == 1 && ended.is_empty(), format!("{seen:?} {ended:?}"))?;
    alice.batch_execute("SELECT 1").await?;
    pair.granted().await?;
    let report = pair.primary.revoke().await?;
    pair.is_gone(&report)?;
    let AtReplica::Seen { ended, .. } = pair.shown(&report)? else { return Err("it was not seen".into()) };
    must(ended.len() == 1 && ended.iter().all(|one| one.account == pair.primary.account), format!("{ended:?}"))?;
    must(alice.batch_execute("SELECT 1").await.is_err(), "the session on the standby lives on")?;
    // a standby that nobody named is told, and one that is named is not
    let unnamed = pair.primary.world.with_replicas(&[], ReplicasMissing::Unverified)?;
    let about = |checks: Vec<Check>| checks.into_iter().any(|check| check.about.what == "standby");
    must(about(unnamed.check(&[]).await?), "an unnamed standby is not told")?;
    let checks = pair.primary.database.check(&[]).await?;
    must(!checks.iter().any(|check| check.about.what == "replica"), format!("{checks:?}"))?;
    must(!about(checks), "a standby that is named counts as unnamed")
}

async fn behind(scene: Scene) -> Result<(), BoxError> {
    let mut pair = Pair::new(&scene).await?;
    pair.granted().await?;
    pair.on_standby("SELECT pg_wal_replay_pause()::text").await?;
    let open = pair.primary.revoke().await?;
    pair.is_open(&open, "has not replayed the revoke yet")?;
    // what comes after the revoke is not ended again and again; on 15 a broker that does not inherit cannot see when it came
    pair.primary.sql("GRANT pg_read_all_stats TO {broker}").await?;
    let later = pair.primary.running.session(&pair.primary.account, "postgres").await?;
    pair.primary.gone = vec![Gone { server: open.identity, at: open.revoked_at }];
    pair.is_open(&pair.primary.revoke().await?, "paused")?;
    must(
        later.batch_execute("SELECT 1").await.is_ok() || scene.running.major < 16,
        "a session that came later is ended",
    )?;
    pair.on_standby("SELECT pg_wal_replay_resume()::text").await?;
    pair.is_gone(&pair.primary.revoke().await?)
}

async fn stopped(scene: Scene) -> Result<(), BoxError> {
    let mut pair = Pair::new(&scene).await?;
    pair.granted().await?;
    pair.standby.stop(Down::Fast)?;
    let before = Instant::now();
    pair.is_open(&pair.primary.revoke().await?, "does not answer")?;
    must(before.elapsed() < Duration::from_secs(5), "it waits for its replica")?;
    let told = pair.primary.world.with_replicas(&[pair.standby.running().port], ReplicasMissing::Told)?;
    let patient = std::mem::replace(&mut pair.primary.database, told);
    let report = pair.primary.revoke().await?;
    must(matches!(pair.shown(&report)?, AtReplica::Missing(_)), format!("{report:?}"))?;
    pair.primary.database = patient;
    let checks = pair.primary.database.check(&[]).await?;
    let missed = |check: &Check| check.about.what == "replica" && check.severity == Severity::Danger;
    must(checks.iter().any(missed), format!("{checks:?}"))?;
    pair.standby.start().await?;
    // it is not asked again at once
    tokio::time::sleep(Duration::from_secs(6)).await;
    pair.is_gone(&pair.primary.revoke().await?)
}

async fn no_standby(scene: Scene) -> Result<(), BoxError> {
    let pair = Pair::new(&scene).await?;
    let refused = |checks: Vec<Check>, why: &str| {
        let said = checks.iter().any(|check| {
            check.about.what == "replica" && check.severity == Severity::Refusal && check.message.contains(why)
        });
        must(said, format!("`{why}` is not among {checks:?}"))
    };
    // a broker of the same name and password on another server
    let (broker, other) = (pair.primary.world.broker(), scene.running.admin("postgres").await?);
    other.batch_execute(&format!("CREATE ROLE {broker} LOGIN PASSWORD 'secret of {broker}'")).await?;
    let url = format!("postgres://{broker}:secret%20of%20{broker}@127.0.0.1:{}/postgres", pair.primary.running.port);
    let config = PostgresConfig::from_url(&url)?.tls(TlsMode::DangerPlaintext);
    let config = config.replica(&format!("postgres://127.0.0.1:{}", scene.running.port))?;
    let checks = PostgresDatabase::new(config.replicas_missing(ReplicasMissing::Told))?.check(&[]).await;
    other.batch_execute(&format!("DROP ROLE {broker}")).await?;
    refused(checks?, "is another server")?;
    // the target followed its host to what was named as its replica
    let itself = pair.primary.world.with_replicas(&[pair.primary.running.port], ReplicasMissing::Unverified)?;
    let told = itself.check(&[]).await?;
    must(told.iter().any(|check| check.message.contains("this server itself")), format!("{told:?}"))?;
    pair.granted().await?;
    pair.on_standby("SELECT pg_promote()::text").await?;
    pair.is_open(&pair.primary.revoke().await?, "it was promoted")?;
    refused(pair.primary.database.check(&[]).await?, "it was promoted")
}
