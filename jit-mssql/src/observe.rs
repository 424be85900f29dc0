//! Looking: the memberships that are held now, and the identity of the server.

use chrono::{NaiveDateTime, TimeDelta};
use jit_core::clock::{Time, after, whole_micros};
use jit_core::database::{
    Continuity, DatabaseError, Grantor, Holder, Holders, Identity, Membership, MembershipGrant, MembershipScope,
    ObjectId, Observation, Rejection, Seen, Session,
};
use jit_core::id::{Account, RealmId, RoleName, StoreId};
use jit_core::internal::adapter::HOW_TO_ALLOW;
use tiberius::Row;

use crate::account::{bare, spelled};
use crate::connect::{Connection, Server, Value};
use crate::error::reading;
use crate::row::Columns;
use crate::sql::{self, ROWS};

/// Server that answers, and its time.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    pub(crate) identity: Identity,
    /// Difference that is added to the server's local time to get UTC.
    ahead: TimeDelta,
}

/// Result of [`Connection::look`] at one membership, with what ending its sessions
/// needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) seen: Seen,
    /// Backends in the order of `seen.sessions`.
    pub(crate) backends: Vec<Backend>,
}

/// Number of a session and its beginning, in the server's words. Together they tell it from a later
/// session of the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backend {
    pub(crate) id: i32,
    pub(crate) began: String,
}

/// One row of a question about memberships.
pub(crate) struct MembershipRow<'a> {
    pub(crate) membership: &'a Membership,
    pub(crate) not_after: Time,
    /// Flag about what the role gives; see [`sql::GRANT`] and [`sql::REVOKE`].
    pub(crate) powers: bool,
    pub(crate) actors: bool,
}

impl<'a> MembershipRow<'a> {
    /// Makes a row that is only looked for.
    pub(crate) fn only(membership: &'a Membership, not_after: Time) -> Self {
        Self { membership, not_after, powers: false, actors: false }
    }

    /// Returns the row's values, in the order of [`sql::asked`].
    fn values(&self) -> [Value; sql::COLUMNS] {
        let (account_id, account_sid) = parts(self.membership.account_id.as_ref());
        let (role_id, role_sid) = parts(self.membership.role_id.as_ref());
        [
            Value::Text(self.membership.account.as_str().to_owned()),
            Value::Int(account_id),
            Value::Bytes(account_sid),
            Value::Text(bare(&self.membership.role).to_owned()),
            Value::Int(role_id),
            Value::Bytes(role_sid),
            Value::Time(self.not_after),
            Value::Bit(self.powers),
            Value::Bit(self.actors),
        ]
    }
}

/// Returns the values of all rows.
pub(crate) fn values(rows: &[MembershipRow<'_>]) -> Vec<Value> {
    rows.iter().flat_map(MembershipRow::values).collect()
}

impl Connection {
    /// Returns the server's time and incarnation.
    pub(crate) async fn moment(&mut self) -> Result<Moment, DatabaseError> {
        let text = sql::observe(self.server.scope, &self.server.broker_login, 0, LOCK_WAIT_MS);
        let results = self.run(&text, Vec::new()).await.all().map_err(reading)?;
        self.moment_of(&results)
    }

    /// Looks at all memberships, each at the moment that is read right before. Returns the moment
    /// of the first one.
    pub(crate) async fn look(&mut self, memberships: &[&Membership]) -> Result<(Moment, Vec<Look>), DatabaseError> {
        let mut looks = Vec::with_capacity(memberships.len());
        let mut first = None;
        for memberships in memberships.chunks(ROWS) {
            let rows: Vec<MembershipRow<'_>> =
                memberships.iter().map(|&membership| MembershipRow::only(membership, Time::UNIX_EPOCH)).collect();
            let text = sql::observe(self.server.scope, &self.server.broker_login, rows.len(), LOCK_WAIT_MS);
            let results = self.run(&text, values(&rows)).await.all().map_err(reading)?;
            let (moment, more) = self.shown(&results, memberships)?;
            first.get_or_insert(moment);
            looks.extend(more);
        }
        let moment = match first {
            Some(moment) => moment,
            None => self.moment().await?,
        };
        Ok((moment, looks))
    }

    /// Reads the results of [`sql::MOMENT`] and [`sql::SHOW`].
    pub(crate) fn shown(
        &self,
        results: &[Vec<Row>],
        memberships: &[&Membership],
    ) -> Result<(Moment, Vec<Look>), DatabaseError> {
        let moment = self.moment_of(results)?;
        let [_, found, through, actors, sessions, marks, whole] = results else {
            return Err(DatabaseError::not_applied(
                "the server answered with another number of results than was asked",
            ));
        };
        if !whole.first().map(|row| row.yes("whole")).transpose()?.unwrap_or_default() {
            return Err(DatabaseError::rejected(
                Rejection::PrivilegeMissing,
                format!("the broker does not see all members and sessions: {HOW_TO_ALLOW}"),
            ));
        }
        if found.len() != memberships.len() {
            return Err(DatabaseError::not_applied(
                "the server answered for another number of memberships than was asked",
            ));
        }
        let mut looks: Vec<Look> = Vec::with_capacity(found.len());
        for (membership, row) in memberships.iter().zip(found) {
            looks.push(look_of(membership, row)?);
        }
        for row in through {
            if let Some(look) = at(&mut looks, row)? {
                look.seen.through.push(spelled(self.server.scope, &row.text("name")?));
            }
        }
        for row in actors {
            if let Some(look) = at(&mut looks, row)? {
                look.seen.members.push(row.text("name")?);
            }
        }
        for row in marks {
            if let Some(look) = at(&mut looks, row)? {
                look.seen.marked_by = StoreId::new(row.text("store")?).ok();
            }
        }
        for row in sessions {
            if let Some(look) = at(&mut looks, row)? {
                let (backend, session) = session_of(row, &moment)?;
                look.backends.push(backend);
                look.seen.sessions.push(session);
            }
        }
        Ok((moment, looks))
    }

    /// Reads the result of [`sql::MOMENT`], the first one.
    pub(crate) fn moment_of(&self, results: &[Vec<Row>]) -> Result<Moment, DatabaseError> {
        let row = results.first().and_then(|rows| rows.first());
        let row = row.ok_or_else(|| DatabaseError::not_applied("the server does not say what time it is"))?;
        let moment = moment_of(&self.server, row)?;
        self.server.clock.read(moment.now);
        Ok(moment)
    }

    /// Returns every direct holder of these roles.
    pub(crate) async fn holders(&mut self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        let scope = self.server.scope;
        let mut holders = Vec::new();
        for roles in roles.chunks(ROWS) {
            let names = roles.iter().map(|role| Value::Text(bare(role).to_owned())).collect();
            let results = self.run(&sql::holders(scope, roles.len()), names).await.all().map_err(reading)?;
            for row in results.first().map(Vec::as_slice).unwrap_or_default() {
                let (account, role) = (row.text("account_name")?, spelled(scope, &row.text("role_name")?));
                // Most servers find a name in another case too.
                let Some(role) = roles.iter().find(|asked| asked.as_str() == role) else { continue };
                let Ok(account) = Account::new(&account) else {
                    tracing::warn!(account = ?account, "a holder has a name with control characters and cannot be managed: rename it");
                    continue;
                };
                let mut holder = Holder::new(role.clone(), account, membership_grant(row.yes("admin")?));
                holder.role_id = object_id(row, "role_id", "role_sid")?;
                holder.account_id = object_id(row, "account_id", "account_sid")?;
                holders.push(holder);
            }
        }
        Ok(Holders::new(self.moment().await?.identity, holders))
    }
}

/// Time that a look waits for a change of the catalog that is under way, in milliseconds.
pub(crate) const LOCK_WAIT_MS: u128 = 5_000;

/// Returns the observation of all memberships.
pub(crate) fn observation(moment: Moment, looks: Vec<Look>) -> Observation {
    Observation::new(moment.identity, moment.now, looks.into_iter().map(|look| look.seen).collect())
}

/// Text that stands in an incarnation before the date of the database.
const CREATED: &str = "database of ";
/// Beginning of the realms of databases in availability groups.
pub(crate) const GROUP: &str = "mssql:group/";

/// Says whether the database that was seen as `before` can be the one that shows `now`. That needs
/// a later start of its server, and a database that was not made, or restored, anew.
///
/// A database in an availability group is one database on all its replicas. Nobody shows everybody
/// how far its log is.
pub(crate) fn continues(before: &Identity, now: &Identity) -> Continuity {
    let created = |of: &Identity| of.incarnation.split_once(CREATED).map(|(_, created)| created.to_owned());
    let started =
        |of: &Identity| of.incarnation.strip_prefix("started ").map(|rest| rest.split(',').next().map(str::to_owned));
    if now.realm.as_str().starts_with(GROUP) {
        return Continuity::Same;
    }
    if created(before) != created(now) {
        return Continuity::Unclear("the database was made, or restored, anew".to_owned());
    }
    if started(before) > started(now) {
        return Continuity::Unclear("it was started before the one that was seen".to_owned());
    }
    Continuity::Restarted
}

fn moment_of(server: &Server, row: &Row) -> Result<Moment, DatabaseError> {
    let now = row.utc("now")?;
    let local = row.naive("local_now")?;
    let realm = RealmId::new(server.realm.as_str()).map_err(|error| DatabaseError::not_applied(error.to_string()))?;
    let (started, created) = (row.maybe_text("started")?, row.maybe_text("created")?.unwrap_or_default());
    let started = started.map(|started| format!("started {started}, ")).unwrap_or_default();
    let incarnation = format!("{started}{CREATED}{created}");
    Ok(Moment { now, identity: Identity::new(realm, incarnation), ahead: ahead(now.naive_utc(), local) })
}

/// Returns the offset of local time, to the quarter of an hour: the two clocks were read one after
/// the other.
fn ahead(utc: NaiveDateTime, local: NaiveDateTime) -> TimeDelta {
    let quarter = 15 * 60_i64;
    let seconds = utc.signed_duration_since(local).num_seconds();
    let quarters = seconds.saturating_add(seconds.signum().saturating_mul(quarter / 2)) / quarter;
    TimeDelta::try_seconds(quarters.saturating_mul(quarter)).unwrap_or_default()
}

fn look_of(membership: &Membership, row: &Row) -> Result<Look, DatabaseError> {
    let account_id = object_id(row, "account_id", "account_sid")?;
    let role_id = object_id(row, "role_id", "role_sid")?;
    let name = row.maybe_text("account_name")?;
    let direct = if row.yes("direct")? { vec![membership_grant(row.yes("admin")?)] } else { Vec::new() };
    // The members of a directory's group are not in the server's catalog.
    let group = matches!(row.maybe_text("account_type")?.as_deref().map(str::trim_end), Some("G" | "X"));
    let members = if group { vec![format!("whoever is in the group {}", membership.account)] } else { Vec::new() };
    let mut seen = Seen::default();
    seen.account_exists = account_id.is_some();
    seen.account_id = account_id;
    seen.account_renamed = name.filter(|name| name != membership.account.as_str());
    seen.role_exists = role_id.is_some();
    seen.role_id = role_id;
    seen.direct = direct;
    seen.members = members;
    Ok(Look { seen, backends: Vec::new() })
}

fn session_of(row: &Row, moment: &Moment) -> Result<(Backend, Session), DatabaseError> {
    let backend = Backend { id: row.int("session_id")?, began: row.text("began")? };
    let since = whole_micros(after(row.naive("login_time")?.and_utc(), moment.ahead));
    // A time in the future comes from before the clocks were put back: then the beginning is not
    // known.
    let since = (since <= after(moment.now, TimeDelta::seconds(1))).then_some(since);
    let mut session = Session::new(backend.id.to_string(), row.maybe_text("login")?.unwrap_or_default());
    session.since = since;
    Ok((backend, session))
}

fn at<'a>(looks: &'a mut [Look], row: &Row) -> Result<Option<&'a mut Look>, DatabaseError> {
    Ok(usize::try_from(row.int("n")?).ok().and_then(|n| looks.get_mut(n)))
}

/// Makes the direct membership. The catalog names no grantor, and a role is used without being set.
fn membership_grant(admin: bool) -> MembershipGrant {
    MembershipGrant::new(Grantor::Unknown, MembershipScope::SetRole).admin(admin)
}

/// Reads a number with its security identifier, since numbers are reused: `7:0105...`.
pub(crate) fn object_id(row: &Row, id: &str, sid: &str) -> Result<Option<ObjectId>, DatabaseError> {
    let Some(id) = row.maybe_int(id)? else { return Ok(None) };
    let sid = row.maybe_bytes(sid)?.unwrap_or_default();
    let hex: String = sid.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(ObjectId(format!("{id}:{hex}"))))
}

/// Splits an id of ours into number and security identifier. The number is 0 if there is no id. It
/// is -1, which belongs to no principal, if the text is no id.
pub(crate) fn parts(id: Option<&ObjectId>) -> (i32, Vec<u8>) {
    let Some(ObjectId(text)) = id else { return (0, Vec::new()) };
    let parsed = text.split_once(':').and_then(|(id, hex)| {
        let bytes = hex.as_bytes().chunks(2);
        let sid: Option<Vec<u8>> = bytes
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        Some((id.parse().ok()?, sid?))
    });
    parsed.unwrap_or((-1, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn local_time_is_told_from_utc_by_the_quarter_of_an_hour() {
        let utc = at("2026-06-01T12:00:00.000010");
        assert_eq!(ahead(utc, at("2026-06-01T13:59:59.999")), TimeDelta::hours(-2));
        assert_eq!(ahead(utc, at("2026-06-01T06:30:00.001")), TimeDelta::minutes(330));
        assert_eq!(ahead(utc, at("2026-06-01T12:00:00.5")), TimeDelta::zero());
    }

    #[test]
    fn law_05_a_restart_continues_a_database_and_one_that_was_restored_is_another() {
        let seen = |realm: &str, incarnation: &str| Identity::new(RealmId::new(realm).unwrap(), incarnation);
        let was = seen("mssql:one/7", "started 2026-11-28T19:00:00, database of 2020-01-01T00:00:00");
        let later = seen("mssql:one/7", "started 2026-11-28T20:00:00, database of 2020-01-01T00:00:00");
        let restored = seen("mssql:one/7", "started 2026-11-28T20:00:00, database of 2026-11-28T19:30:00");
        assert_eq!(continues(&was, &later), Continuity::Restarted);
        assert!(matches!(continues(&later, &was), Continuity::Unclear(_)));
        assert!(matches!(continues(&was, &restored), Continuity::Unclear(_)));
        let group = |incarnation| seen("mssql:group/7", incarnation);
        assert_eq!(continues(&group("started 2, database of 1"), &group("started 1, database of 2")), Continuity::Same);
    }

    #[test]
    fn an_id_is_number_and_sid_and_what_is_none_belongs_to_nobody() {
        assert_eq!(parts(Some(&ObjectId("7:0105ff".into()))), (7, vec![1, 5, 255]));
        assert_eq!(parts(None), (0, Vec::new()));
        assert_eq!(parts(Some(&ObjectId("7:zz".into()))), (-1, Vec::new()));
        assert_eq!(parts(Some(&ObjectId("oid".into()))), (-1, Vec::new()));
    }
}
