//! Standbys that are named as replicas: after a revoke each has to show that it has replayed it, and that it holds no session that is older.
//! Nothing is granted or revoked there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jit_core::database::adapter::{Budget, finding, read};
use jit_core::database::{
    AtReplica, Call, Check, DatabaseError, Identity, Replica, ReplicasMissing, RevokeHow, RevokeOrder, RevokeReport,
    Severity, Subject,
};
use jit_core::policy::Prepared;
use tokio_postgres::types::Type;

use crate::config::{ConfigError, PostgresConfig};
use crate::connect::Connection;
use crate::error::reading;
use crate::observe::{Look, Moment};
use crate::pool::{Lease, Pool};
use crate::revoke::Aftermath;
use crate::sql::{self, Wal};

/// How long a call waits for its replicas: a later one asks again.
const WITHIN: Duration = Duration::from_secs(2);
/// How much of that a standby has to replay the revoke.
const REPLAYED_WITHIN: Duration = Duration::from_secs(1);
/// A replica that did not answer is not asked again for so long: nobody's revoke waits for it each time.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// First and longest pause between two looks at how far a standby is.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// The standbys that are named for a server.
#[derive(Debug, Clone)]
pub(crate) struct Replicas {
    all: Vec<Standby>,
    missing: ReplicasMissing,
}

/// One of them.
#[derive(Debug, Clone)]
struct Standby {
    name: String,
    pool: Pool<Connection>,
    /// When it did not answer, and why.
    silent: Arc<Mutex<Option<(Instant, String)>>>,
}

/// Why a replica shows nothing that counts.
#[derive(Debug)]
enum Fault {
    /// It does not answer.
    Silent(String),
    /// It is behind, or a look or an end failed.
    Open(String),
    /// It is not a standby of this server.
    NoStandby(String),
}

impl Fault {
    /// Goes on from the replica's name.
    fn why(&self) -> String {
        match self {
            Self::Silent(why) => format!("does not answer: {why}"),
            Self::Open(why) | Self::NoStandby(why) => why.clone(),
        }
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        let why = error.with_causes();
        if error.is_unreachable() { Self::Silent(why) } else { Self::Open(format!("cannot be looked at: {why}")) }
    }
}

/// What a check found of the replicas.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) findings: Vec<Check>,
    /// How many are standbys of this server.
    pub(crate) standbys: usize,
    /// The addresses on which those answer; none where one is not known.
    pub(crate) addresses: Option<Vec<String>>,
}

impl Replicas {
    /// Pools for the replicas of this configuration; connects to nothing.
    pub(crate) fn new(config: &PostgresConfig) -> Result<Self, ConfigError> {
        let each = config.replicas.iter().map(|(name, server)| {
            let config = PostgresConfig { server: server.clone(), replicas: Vec::new(), ..config.clone() };
            Ok(Standby { name: name.clone(), pool: Pool::new(config)?, silent: Arc::default() })
        });
        Ok(Self { all: each.collect::<Result<_, ConfigError>>()?, missing: config.replicas_missing })
    }

    /// Their names, for people.
    pub(crate) fn names(&self) -> Option<String> {
        let names: Vec<&str> = self.all.iter().map(|standby| standby.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Looks at every replica, side by side, for the orders that were applied on the primary, and ends sessions there as on the primary. One
    /// list per order.
    pub(crate) async fn after_revoke(
        &self,
        primary: (&Connection, &Identity),
        call: &Call,
        orders: &[RevokeOrder],
        applied: &[bool],
        budget: Budget,
    ) -> Vec<Vec<Replica>> {
        let mut shown: Vec<Vec<Replica>> = orders.iter().map(|_| Vec::new()).collect();
        // what takes nothing away ends nowhere
        let taken = |(order, applied): &(&RevokeOrder, &bool)| **applied && order.how != RevokeHow::Nothing;
        let (which, asked): (Vec<usize>, Vec<RevokeOrder>) = orders
            .iter()
            .zip(applied)
            .enumerate()
            .filter(|(_, order)| taken(order))
            .map(|(i, (order, _))| (i, RevokeOrder { prepared: Prepared::Report, ..order.clone() }))
            .unzip();
        if self.all.is_empty() || asked.is_empty() {
            return shown;
        }
        let budget = Budget::of(WITHIN.min(budget.statement()));
        let position = primary.0.position().await;
        let looks = self.all.iter().map(|standby| async {
            match &position {
                Ok(position) => {
                    Box::pin(standby.after_revoke((position.as_deref(), primary.1), call, &asked, budget)).await
                }
                Err(error) => Err(Fault::Open(format!("cannot be compared with the primary: {}", error.with_causes()))),
            }
        });
        for (standby, looked) in self.all.iter().zip(join_all(looks).await) {
            let at = |i: usize| match &looked {
                Ok(reports) => match reports.get(i) {
                    Some(RevokeReport { seen, ended, revoked_at, identity, .. }) => AtReplica::Seen {
                        identity: identity.clone(),
                        seen: Box::new(seen.clone()),
                        ended: ended.clone(),
                        revoked_at: *revoked_at,
                    },
                    None => AtReplica::Open("did not show every account".to_owned()),
                },
                Err(fault @ Fault::Silent(_)) if self.missing == ReplicasMissing::Told => {
                    AtReplica::Missing(fault.why())
                }
                Err(fault) => AtReplica::Open(fault.why()),
            };
            for (i, place) in which.iter().enumerate() {
                if let Some(shown) = shown.get_mut(*place) {
                    shown.push(Replica { name: standby.name.clone(), shown: at(i) });
                }
            }
        }
        shown
    }

    /// What is wrong with each of them.
    pub(crate) async fn check(&self, primary: &Identity) -> Named {
        let each = join_all(self.all.iter().map(|standby| Box::pin(standby.place(primary)))).await;
        let mut named = Named { addresses: Some(Vec::new()), ..Named::default() };
        for (standby, place) in self.all.iter().zip(each) {
            let name = &standby.name;
            let found = match place {
                Ok((identity, address)) => {
                    match (named.addresses.as_mut(), address) {
                        (Some(addresses), Some(address)) => addresses.push(address),
                        _ => named.addresses = None,
                    }
                    if identity != *primary {
                        named.standbys = named.standbys.saturating_add(1);
                        continue;
                    }
                    (Severity::Remark, format!("replica `{name}` is this server itself just now"))
                }
                Err(fault @ Fault::NoStandby(_)) => (Severity::Refusal, format!("replica `{name}` {}", fault.why())),
                Err(fault) => {
                    let then = match self.missing {
                        ReplicasMissing::Unverified => "no end is verified until it does",
                        ReplicasMissing::Told => "ends are verified without it, and their entries tell so",
                    };
                    (Severity::Danger, format!("replica `{name}` {}; {then}", fault.why()))
                }
            };
            named.findings.push(finding(found.0, ("replica", Some(name.clone())), found.1, None));
        }
        named
    }
}

impl Standby {
    /// A call that changes nothing in its catalog; one that does not answer is not asked again at once.
    async fn ask<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Lease<Connection>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if let Some((since, why)) = &*self.silent.lock().unwrap_or_else(PoisonError::into_inner)
            && since.elapsed() < SILENT_FOR
        {
            return Err(Fault::Silent(why.clone()));
        }
        let asked = read(&self.pool, limit, async |lease| {
            let worked = work(lease).await;
            // only then is the connection closed
            if let Err(Fault::Silent(why)) = worked { Err(DatabaseError::unreachable(why)) } else { Ok(worked) }
        });
        let answer = match tokio::time::timeout(limit, Box::pin(asked)).await {
            Ok(Ok(worked)) => worked,
            Ok(Err(error)) => Err(Fault::from(error)),
            Err(_) => Err(Fault::Silent(format!("nothing came within {} s", limit.as_secs_f32()))),
        };
        let silent = match &answer {
            Err(Fault::Silent(why)) => Some((Instant::now(), why.clone())),
            _ => None,
        };
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent;
        answer
    }

    /// Waits until it has replayed this position, ends sessions, and looks.
    async fn after_revoke(
        &self,
        (position, primary): (Option<&str>, &Identity),
        call: &Call,
        orders: &[RevokeOrder],
        budget: Budget,
    ) -> Result<Vec<RevokeReport>, Fault> {
        let subjects: Vec<Subject> = orders.iter().map(|order| order.subject.clone()).collect();
        self.ask(budget.left(), async |lease| {
            let (revoked, looks) = lease.look_replayed(position, primary, &subjects).await?;
            let call = Call { server: Some(revoked.identity.clone()), ..call.clone() };
            let (connector, connection, applied) = (self.pool.connector(), &**lease, vec![true; orders.len()]);
            let aftermath =
                Aftermath { connector, connection, call: &call, orders, subjects: &subjects, applied, revoked, budget };
            Ok(Box::pin(aftermath.run(looks)).await?)
        })
        .await
    }

    /// Who it is, and on which address it answers.
    async fn place(&self, primary: &Identity) -> Result<(Identity, Option<String>), Fault> {
        self.ask(WITHIN, async |lease| {
            let identity = lease.moment().await?.identity;
            let row = lease.client.query_typed_one(sql::STANDBY, &[]).await.map_err(reading)?;
            is_replica(primary, &identity, row.try_get("standby").map_err(reading)?)?;
            Ok((identity, row.try_get("address").map_err(reading)?))
        })
        .await
    }
}

impl Connection {
    /// How far the write-ahead log of a primary is; none where the server does not say.
    async fn position(&self) -> Result<Option<String>, DatabaseError> {
        if self.server.wal == Wal::Refused {
            return Ok(None);
        }
        let row = self.client.query_typed_one(sql::POSITION, &[]).await.map_err(reading)?;
        row.try_get(0).map_err(reading)
    }

    /// Looks at a standby once it has replayed this position.
    async fn look_replayed(
        &self,
        position: Option<&str>,
        primary: &Identity,
        subjects: &[Subject],
    ) -> Result<(Moment, Vec<Look>), Fault> {
        self.prepare_look().await?;
        let since = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            let asked = [(&position as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT)];
            // sent one behind the other: what is looked at is no older than the position that was read
            let (row, look) =
                tokio::join!(biased; self.client.query_typed_one(sql::REPLAYED, &asked), self.look(subjects));
            let row = row.map_err(reading)?;
            let (moment, looks) = look?;
            is_replica(primary, &moment.identity, row.try_get("standby").map_err(reading)?)?;
            if row.try_get("replayed").map_err(reading)? {
                return Ok((moment, looks));
            }
            if since.elapsed() >= REPLAYED_WITHIN {
                let at: Option<String> = row.try_get("at").map_err(reading)?;
                let paused: bool = row.try_get("paused").map_err(reading)?;
                return Err(Fault::Open(format!(
                    "has not replayed the revoke yet: it is at {}, the revoke at {}{}",
                    at.as_deref().unwrap_or("no position"),
                    position.unwrap_or_default(),
                    if paused { "; its replay is paused (pg_wal_replay_resume() goes on)" } else { "" }
                )));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}

/// Refuses what is no standby of this primary. The primary itself is one whose role changed with a failover: it was looked at.
fn is_replica(primary: &Identity, found: &Identity, standby: bool) -> Result<(), Fault> {
    if found.realm != primary.realm {
        return Err(Fault::NoStandby(format!(
            "is another server (`{}`, and the target is `{}`): correct `replicas` of the target",
            found.realm, primary.realm
        )));
    }
    if !standby && found != primary {
        return Err(Fault::NoStandby(
            "is no standby any more, it was promoted: point the target at it if it is the primary now, else rebuild it as a standby or take \
             it out of `replicas`"
                .to_owned(),
        ));
    }
    Ok(())
}
