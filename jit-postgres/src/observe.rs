//! Looking: the memberships that are held now, and the identity of the server.

use jit_core::clock::{Time, whole_micros};
use jit_core::database::{
    Continuity, DatabaseError, Grantor, Holder, Holders, Identity, Membership, MembershipGrant, MembershipScope,
    ObjectId, Observation, OfTheBroker, PreparedTransaction, Seen, Session,
};
use jit_core::id::{Account, RealmId, RoleName, StoreId};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::connect::{Connection, Server, pooled};
use crate::error::reading;
use crate::server_text::ServerText;
use crate::sql::{self, Catalog};

/// Server that answers, and its time.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    pub(crate) identity: Identity,
}

/// Result of a look at one membership, with what ending its sessions needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) seen: Seen,
    /// Process ids, each with the oid that logged in, in the order of `seen.sessions`.
    pub(crate) backends: Vec<Backend>,
}

/// One server process and its user. Together they tell it from a later process of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backend {
    pub(crate) pid: i32,
    pub(crate) user: u32,
}

impl Connection {
    /// Returns the server's time and incarnation.
    pub(crate) async fn moment(&self) -> Result<Moment, DatabaseError> {
        let statement = self.moment_statement().await?;
        let row = self.client.query_one(statement, &[]).await.map_err(reading)?;
        if row.try_get::<_, i32>("pid").map_err(reading)? != self.server.pid {
            return Err(pooled());
        }
        let moment = moment_of(&row)?;
        self.server.clock.read(moment.now);
        Ok(moment)
    }

    /// Looks at all memberships at one moment. The moment's time was read right before.
    pub(crate) async fn look(&self, memberships: &[Membership]) -> Result<(Moment, Vec<Look>), DatabaseError> {
        // Sent one behind the other without waiting: the server reads the clock first.
        let (moment, looks) = tokio::join!(biased; self.moment(), self.looks(memberships));
        Ok((moment?, looks?))
    }

    /// Prepares what [`Self::look`] needs, so that it is one round trip.
    pub(crate) async fn prepare_look(&self) -> Result<(), DatabaseError> {
        let (moment, observe) = tokio::join!(self.moment_statement(), self.observe_statement());
        moment?;
        observe.map(|_| ())
    }

    async fn looks(&self, memberships: &[Membership]) -> Result<Vec<Look>, DatabaseError> {
        if memberships.is_empty() {
            return Ok(Vec::new());
        }
        let asked = MembershipColumns::of(memberships);
        let statement = self.observe_statement().await?;
        let rows = self
            .client
            .query(statement, &asked.with(&self.server.broker, &self.server.administrators))
            .await
            .map_err(reading)?;
        if rows.len() != memberships.len() {
            return Err(DatabaseError::not_applied(
                "the server answered for another number of memberships than was asked",
            ));
        }
        memberships.iter().zip(&rows).map(|(membership, row)| look_of(&self.server, membership, row)).collect()
    }

    pub(crate) async fn moment_statement(&self) -> Result<&Statement, DatabaseError> {
        self.prepared(&self.statements.moment, || sql::moment(self.server.wal)).await
    }

    async fn observe_statement(&self) -> Result<&Statement, DatabaseError> {
        let Server { administrators, prepares, .. } = &self.server;
        self.prepared(&self.statements.observe, || sql::observe(!administrators.is_empty(), *prepares)).await
    }

    /// Returns every direct holder of these roles.
    pub(crate) async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        let names: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
        let holders = self.memberships(sql::HOLDERS, &[&names, &self.server.broker]).await?;
        Ok(Holders::new(self.moment().await?.identity, holders))
    }

    /// Returns the memberships that the broker granted, and those that it can use itself.
    pub(crate) async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        let broker = &self.server.broker;
        let mut of_the_broker = OfTheBroker::default();
        of_the_broker.granted = self.memberships(sql::GRANTED, &[broker]).await?;
        of_the_broker.usable = self.memberships(sql::USABLE, &[broker, &sql::FOR_ITS_WORK.as_slice()]).await?;
        of_the_broker.identity = Some(self.moment().await?.identity);
        Ok(of_the_broker)
    }

    async fn memberships(&self, text: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Holder>, DatabaseError> {
        let text = self.server.catalog.text(text);
        let row = self.client.query_one(&text, parameters).await.map_err(reading)?;
        let count: i64 = row.try_get("memberships").map_err(reading)?;
        let (roles, role_ids): (Vec<ServerText>, Vec<u32>) = (list(&row, "roles")?, list(&row, "role_ids")?);
        let (accounts, account_ids): (Vec<ServerText>, Vec<u32>) =
            (list(&row, "accounts")?, list(&row, "account_ids")?);
        let edges = edges_of(&self.server, &row)?;
        let counts = [roles.len(), role_ids.len(), accounts.len(), account_ids.len(), edges.len()];
        if counts.iter().any(|here| usize::try_from(count) != Ok(*here)) {
            return Err(DatabaseError::not_applied(
                "the server's list of memberships is not complete: nothing is concluded",
            ));
        }
        let named = roles.into_iter().zip(role_ids).zip(accounts.into_iter().zip(account_ids));
        let mut holders = Vec::with_capacity(edges.len());
        for (((role, role_id), (account, account_id)), edge) in named.zip(edges) {
            let (Ok(account), Ok(role)) = (Account::new(account.0.clone()), RoleName::new(role.0)) else {
                tracing::warn!(account = ?account.0, "a holder has a name with control characters and cannot be managed: rename it");
                continue;
            };
            let mut holder = Holder::new(role, account, edge);
            (holder.role_id, holder.account_id) = (object_id(role_id), object_id(account_id));
            holders.push(holder);
        }
        Ok(holders)
    }
}

/// Says whether the cluster that was seen as `before` can run as `now`. That needs a later start on
/// the same port, and the same timeline with a log that goes on. On a later timeline a standby was
/// promoted, or a copy.
pub(crate) fn continues(before: &Identity, now: &Identity) -> Continuity {
    let part = |of: &Identity, name: &str| {
        of.incarnation.split(", ").find_map(|part| part.strip_prefix(name).map(str::to_owned))
    };
    let timeline = |of: &Identity| place(&of.position).map(|(timeline, _)| timeline);
    let (started, port) = (|of: &Identity| part(of, "started "), |of: &Identity| part(of, "port "));
    if started(before) == started(now) && port(before) == port(now) {
        return Continuity::Same;
    }
    match (timeline(before), timeline(now)) {
        (Some(was), Some(is)) if is < was => {
            return Continuity::Other(format!("it is on timeline {is}, and was on timeline {was}"));
        }
        (Some(was), Some(is)) if is > was => {
            return Continuity::Unclear(format!("it is on timeline {is}, and was on timeline {was}: it was promoted"));
        }
        _ => {}
    }
    if before.realm == now.realm
        && let (Some((_, was)), Some((_, is))) = (place(&before.position), place(&now.position))
        && is < was
    {
        let (was, is) = (&before.position, &now.position);
        return Continuity::Other(format!(
            "its log ends at {is}, and was seen at {was}: it was copied, or saved, before"
        ));
    }
    if port(before) != port(now) {
        return Continuity::Unclear("it listens elsewhere".to_owned());
    }
    if started(before) > started(now) {
        return Continuity::Unclear("it was started before the one that was seen".to_owned());
    }
    Continuity::Restarted
}

/// Reads a timeline and a place in its log, as the server writes them (`00000001 0/16B3748`).
fn place(text: &str) -> Option<(u32, u64)> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let (timeline, place) = text.split_once(' ')?;
    let (high, low) = place.split_once('/')?;
    Some((number(timeline)?, u64::from(number(high)?) << 32 | u64::from(number(low)?)))
}

/// Returns the observation of all memberships, with the marks that stand on them if those could be
/// read.
pub(crate) fn observation((moment, looks): (Moment, Vec<Look>), marks: Option<Vec<Option<StoreId>>>) -> Observation {
    let mut marks = marks.unwrap_or_default().into_iter();
    let marked = |look: Look| {
        let mut seen = look.seen;
        seen.marked_by = marks.next().flatten();
        seen
    };
    Observation::new(moment.identity, moment.now, looks.into_iter().map(marked).collect())
}

/// Returns the oid that an id of ours stands for. An id that is no oid belongs to no object.
pub(crate) fn oid(id: Option<&ObjectId>) -> Option<u32> {
    id.map(|id| id.0.parse().unwrap_or_default())
}

/// Subjects in the form that a statement takes.
pub(crate) struct MembershipColumns<'a> {
    pub(crate) accounts: Vec<&'a str>,
    pub(crate) account_ids: Vec<Option<u32>>,
    roles: Vec<&'a str>,
    role_ids: Vec<Option<u32>>,
}

impl<'a> MembershipColumns<'a> {
    pub(crate) fn of(memberships: impl IntoIterator<Item = &'a Membership>) -> Self {
        let memberships: Vec<&Membership> = memberships.into_iter().collect();
        Self {
            accounts: memberships.iter().map(|membership| membership.account.as_str()).collect(),
            account_ids: memberships.iter().map(|membership| oid(membership.account_id.as_ref())).collect(),
            roles: memberships.iter().map(|membership| membership.role.as_str()).collect(),
            role_ids: memberships.iter().map(|membership| oid(membership.role_id.as_ref())).collect(),
        }
    }

    /// Returns the parameters, with one more at the end.
    pub(crate) fn parameters<'b>(&'b self, last: &'b (dyn ToSql + Sync)) -> [&'b (dyn ToSql + Sync); 5] {
        [&self.accounts, &self.account_ids, &self.roles, &self.role_ids, last]
    }

    /// Returns the parameters, with the broker and the administrators.
    fn with<'b>(&'b self, broker: &'b u32, administrators: &'b Vec<String>) -> [&'b (dyn ToSql + Sync); 6] {
        [&self.accounts, &self.account_ids, &self.roles, &self.role_ids, broker, administrators]
    }

    /// Returns the accounts only, with the broker, a label and the administrators.
    pub(crate) fn of_accounts<'b>(&'b self, server: &'b Server, label: &'b String) -> [&'b (dyn ToSql + Sync); 5] {
        [&self.accounts, &self.account_ids, &server.broker, label, &server.administrators]
    }
}

fn moment_of(row: &Row) -> Result<Moment, DatabaseError> {
    let now: Time = row.try_get("now").map_err(reading)?;
    let identity: &str = row.try_get("identity").map_err(reading)?;
    let (realm, incarnation) = identity.split_once(' ').unwrap_or((identity, ""));
    let realm = RealmId::new(realm).map_err(|error| DatabaseError::not_applied(error.to_string()))?;
    let position: Option<&str> = row.try_get("position").map_err(reading)?;
    let identity = Identity::new(realm, incarnation).at_position(position.unwrap_or_default());
    Ok(Moment { now: whole_micros(now), identity })
}

fn look_of(server: &Server, membership: &Membership, row: &Row) -> Result<Look, DatabaseError> {
    let account: Option<u32> = row.try_get("account").map_err(reading)?;
    let role: Option<u32> = row.try_get("role").map_err(reading)?;
    let name: Option<ServerText> = row.try_get("account_name").map_err(reading)?;
    let pids: Vec<i32> = list(row, "pids")?;
    let users: Vec<u32> = list(row, "users")?;
    let backends = pids.iter().zip(users).map(|(&pid, user)| Backend { pid, user }).collect();
    let mut seen = Seen::default();
    seen.account_id = account.and_then(object_id);
    seen.account_exists = account.is_some();
    seen.account_renamed = name.map(String::from).filter(|name| name != membership.account.as_str());
    seen.role_id = role.and_then(object_id);
    seen.role_exists = role.is_some();
    seen.direct = edges_of(server, row)?;
    seen.through = texts(row, "through")?;
    seen.members = texts(row, "members")?;
    seen.sessions = sessions_of(pids, list(row, "session_names")?, list(row, "since")?);
    seen.apart = sessions_of(list(row, "apart_pids")?, list(row, "apart_names")?, list(row, "apart_since")?);
    seen.prepared = prepared_of(row)?;
    Ok(Look { seen, backends })
}

fn edges_of(server: &Server, row: &Row) -> Result<Vec<MembershipGrant>, DatabaseError> {
    let grantors: Vec<Option<u32>> = list(row, "grantors")?;
    let names: Vec<Option<ServerText>> = list(row, "grantor_names")?;
    let sets: Vec<bool> = list(row, "sets")?;
    let admins: Vec<bool> = list(row, "admins")?;
    let edges = grantors.into_iter().zip(names).zip(sets.into_iter().zip(admins));
    Ok(edges
        .map(|((grantor, name), (set, admin))| {
            let grantor = grantor_of(server, grantor, name.map(String::from));
            MembershipGrant::new(grantor, width_of(set)).admin(admin)
        })
        .collect())
}

fn sessions_of(pids: Vec<i32>, names: Vec<Option<ServerText>>, since: Vec<Option<Time>>) -> Vec<Session> {
    let sessions = pids.into_iter().zip(names.into_iter().zip(since)).map(|(pid, (name, since))| {
        let mut session = Session::new(pid.to_string(), name.map(String::from).unwrap_or_default());
        session.since = since.map(whole_micros);
        session
    });
    sessions.collect()
}

fn prepared_of(row: &Row) -> Result<Vec<PreparedTransaction>, DatabaseError> {
    let gids = texts(row, "gids")?;
    let databases = texts(row, "databases")?;
    let owners = texts(row, "owners")?;
    let all = gids.into_iter().zip(databases.into_iter().zip(owners));
    Ok(all.map(|(gid, (database, owner))| PreparedTransaction::new(gid, database, owner)).collect())
}

/// Reads an array. An aggregate over nothing is NULL, which means an empty list.
pub(crate) fn list<T>(row: &Row, column: &str) -> Result<Vec<T>, DatabaseError>
where
    Vec<T>: for<'r> tokio_postgres::types::FromSql<'r>,
{
    Ok(row.try_get::<_, Option<Vec<T>>>(column).map_err(reading)?.unwrap_or_default())
}

/// Reads an array of texts that others chose.
pub(crate) fn texts(row: &Row, column: &str) -> Result<Vec<String>, DatabaseError> {
    Ok(list::<ServerText>(row, column)?.into_iter().map(String::from).collect())
}

/// Returns the grantor of a membership. On 15 the catalog keeps one row whoever granted it, so the
/// recorded grantor says nothing.
fn grantor_of(server: &Server, grantor: Option<u32>, name: Option<String>) -> Grantor {
    match (server.catalog, grantor) {
        (Catalog::Merged, _) | (_, None) => Grantor::Unknown,
        (Catalog::PerGrantor, Some(grantor)) if grantor == server.broker => Grantor::Broker,
        (Catalog::PerGrantor, Some(grantor)) => Grantor::Other(name.unwrap_or_else(|| format!("oid {grantor}"))),
    }
}

fn width_of(set: bool) -> MembershipScope {
    if set { MembershipScope::SetRole } else { MembershipScope::Inherit }
}

fn object_id(oid: u32) -> Option<ObjectId> {
    (oid != 0).then(|| ObjectId(oid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_05_a_restart_with_all_that_was_seen_continues_a_cluster_and_nothing_else_does() {
        let seen = |incarnation: &str, position: &str| {
            Identity::new(RealmId::new("postgres:7").unwrap(), incarnation).at_position(position)
        };
        let was = seen("started 2026-11-28T19:37:07.123456Z, port 5432", "00000001 0/FF000010");
        let later = "started 2026-11-28T20:37:07.123456Z, port 5432";
        for (now, position, expected) in [
            (later, "00000001 0/FF000010", "restarted"),
            (later, "00000001 1/0", "restarted"),
            // A position may be missing.
            (later, "", "restarted"),
            (later, "00000001 0/FF00000F", "other"),
            ("started 2026-11-28T10:37:07.123456Z, port 5433", "00000002 1/0", "unclear"),
            ("started 2026-11-28T20:37:07.123456Z, port 5432", "00000002 1/0", "unclear"),
            ("started 2026-11-28T19:37:07.123456Z, port 5432", "00000002 0/FF000010", "same"),
            ("started 2026-11-28T20:37:07.123456Z, port 5433", "00000001 1/0", "unclear"),
            ("started 2026-11-28T18:37:07.123456Z, port 5432", "00000001 1/0", "unclear"),
        ] {
            let found = match continues(&was, &seen(now, position)) {
                Continuity::Same => "same",
                Continuity::Restarted => "restarted",
                Continuity::Unclear(_) => "unclear",
                Continuity::Other(_) => "other",
                _ => "unknown",
            };
            assert_eq!(found, expected, "{now} {position}");
        }
        let standby = seen("started 2026-11-28T19:37:07.123456Z, port 5432", "");
        assert_eq!(continues(&standby, &was), Continuity::Same, "promoted where it runs");
        let older = seen("started 2026-11-28T20:00:00.000000Z, port 5432", "00000001 1/0");
        let newer = seen("started 2026-11-28T19:00:00.000000Z, port 5432", "00000003 0/0");
        assert!(matches!(continues(&newer, &older), Continuity::Other(_)), "an older timeline");
    }
}
