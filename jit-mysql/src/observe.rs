//! Looking: what is held now, and which server answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jit_core::clock::{Time, whole_micros};
use jit_core::database::{
    Continuity, DatabaseError, Grantor, Holder, Holders, Identity, Membership, MembershipGrant, MembershipScope,
    Observation, Seen, Session,
};
use jit_core::id::{Account, RealmId, RoleName};
use mysql_async::Row;
use mysql_async::prelude::FromValue;
use serde::{Deserialize, Serialize};

use crate::account::Name;
use crate::connect::Connection;
use crate::error::reading;
use crate::sessions::may_be;
use crate::sql::dead_mans_switch::Namesakes;
use crate::sql::{self, Flavour, Read};

/// Server that answered, and its time.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    pub(crate) identity: Identity,
}

/// View of one membership by [`Connection::look`], with what is needed to end its sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) seen: Seen,
    /// Connection ids, in the order of `seen.sessions`. The server counts them up, and none comes
    /// again before it restarts.
    pub(crate) backends: Vec<u64>,
    /// Account itself, and all who can act as it.
    pub(crate) holders: BTreeSet<Name>,
    /// Privileges of the role that outlive a membership, if they were read.
    pub(crate) powers: Vec<String>,
    /// Every account of their user names that may have a session instead of them.
    pub(crate) known: Arc<BTreeSet<Name>>,
}

/// Subject by its names, as this server keeps them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Named {
    pub(crate) account: Name,
    pub(crate) role: Name,
}

#[derive(Debug, Serialize)]
struct MembershipRow<'a> {
    account_user: &'a str,
    account_host: &'a str,
    role_user: &'a str,
    role_host: &'a str,
}

#[derive(Debug, Serialize)]
struct Everybody<'a> {
    user: &'a str,
    host: &'a str,
}

/// Number of looks at most, when the roles that everybody holds change meanwhile.
const EVERYBODY_CHANGES: usize = 4;

/// Largest number of similar accounts that are named when an account does not exist.
const MOST_ALIKE: usize = 3;

/// Catalog entries that all memberships have in common.
#[derive(Debug, Default)]
struct Catalog {
    names: Arc<BTreeSet<Name>>,
    /// Direct roles of each member, with true for the admin option.
    held: BTreeMap<Name, BTreeMap<Name, bool>>,
    members: BTreeMap<Name, BTreeSet<Name>>,
    defaults: BTreeMap<Name, BTreeSet<Name>>,
    /// Roles that everybody holds.
    everybody: Vec<Name>,
    sessions: Vec<(u64, String, String)>,
}

impl Named {
    /// Parses the names of a membership. A name that no server can have becomes one that no account
    /// has.
    pub(crate) fn of(flavour: Flavour, membership: &Membership) -> Self {
        let name = |text: &str| Name::parse(text).unwrap_or_else(|_| Name::of("", "-"));
        Self { account: name(membership.account.as_str()), role: flavour.role(&name(membership.role.as_str())) }
    }
}

/// Text in an incarnation before the address where the server listens.
const AT: &str = ", at ";

/// Returns the server as [`sql::run`] compares it: its uuid and its address, which cost nothing to
/// read.
pub(crate) fn cheaply(server: &Identity) -> String {
    let place = server.incarnation.split(AT).nth(1).unwrap_or_default();
    format!("{} {place}", server.realm)
}

impl Moment {
    pub(crate) fn of(row: &Row, realm: &str) -> Result<Self, DatabaseError> {
        let started = number(row, "started")?;
        let started = Time::from_timestamp(started, 0).unwrap_or(Time::UNIX_EPOCH);
        let started = started.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let incarnation = format!("started {started}{AT}{}", text(row, "place")?);
        let realm = RealmId::new(realm).map_err(|error| DatabaseError::not_applied(error.to_string()))?;
        let now: Time = text(row, "now")?.parse().map_err(|_| garbled())?;
        let identity = Identity::new(realm, incarnation).at_position(Position::of(row)?.text());
        Ok(Self { now: whole_micros(now), identity })
    }
}

/// Checks whether the server that was seen as `before` can run as `now`. It can if it was restarted
/// later, listens on the same address, uses the same folder, and has everything that was seen. A
/// copy of its folder has the same uuid.
pub(crate) fn continues(before: &Identity, now: &Identity) -> Continuity {
    if before.realm == now.realm
        && let Some(why) = Position::read(before).lacks(&Position::read(now))
    {
        return Continuity::Other(why);
    }
    let (Some((started, was_at)), Some((starts, is_at))) =
        (before.incarnation.split_once(AT), now.incarnation.split_once(AT))
    else {
        return Continuity::Unclear("it does not say where it listens".to_owned());
    };
    let (was_in, is_in) = (Position::read(before).data, Position::read(now).data);
    if was_at != is_at {
        return Continuity::Unclear(format!("it listens at {is_at}, and did at {was_at}"));
    }
    if !was_in.is_empty() && was_in != is_in {
        return Continuity::Unclear(format!("its data is in {is_in}, and was in {was_in}"));
    }
    if started >= starts {
        return Continuity::Unclear("it was started before the one that was seen".to_owned());
    }
    Continuity::Restarted
}

/// Position that a later run of the server shows again, as kept in [`Identity::position`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Position up to which InnoDB's log is on disk: it never goes back.
    #[serde(default)]
    lsn: Option<u64>,
    /// Changes in the binary log: empty if there is none. None: not kept.
    #[serde(default)]
    gtids: Option<String>,
    /// Folder with the server's data.
    #[serde(default)]
    data: String,
}

/// Largest size of a set of changes that is kept, in bytes.
const MOST_GTIDS: usize = 4_096;

impl Position {
    fn of(row: &Row) -> Result<Self, DatabaseError> {
        let gtids = text(row, "gtids")?.replace(char::is_whitespace, "");
        let gtids = Some(gtids).filter(|gtids| gtids.len() <= MOST_GTIDS);
        Ok(Self { lsn: text(row, "lsn")?.parse().ok(), gtids, data: text(row, "data")? })
    }

    /// Reads a position. An older version of jit kept another form, which counts as nothing.
    fn read(of: &Identity) -> Self {
        serde_json::from_str(&of.position).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns what a server with the other position lacks of what this one had.
    fn lacks(&self, other: &Self) -> Option<String> {
        if let (Some(was), Some(is)) = (self.lsn, other.lsn)
            && is < was
        {
            return Some(format!("its log ends at {is}, and was seen at {was}: it was copied, or saved, before"));
        }
        let (Some(had), Some(has)) = (&self.gtids, &other.gtids) else { return None };
        let has = changes(has);
        let missing = changes(had).into_iter().find(|(source, first, last)| {
            !has.iter().any(|(whose, from, to)| whose == source && from <= first && last <= to)
        });
        missing.map(|(source, first, last)| {
            format!("it lacks changes {first} to {last} of {source}, which were seen: it was copied, or saved, before")
        })
    }
}

/// Parses the changes of a set: source, first and last. MySQL lists all of them (`uuid:1-5:7`, with
/// tags `uuid:tag:1-5`). MariaDB lists the last of each domain (`0-1-123`), whichever server made
/// it.
fn changes(set: &str) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    for part in set.split(',') {
        let mut pieces = part.split(':');
        let source = pieces.next().unwrap_or_default();
        if let [domain, _, last] = source.split('-').collect::<Vec<_>>().as_slice()
            && let Ok(last) = last.parse()
        {
            all.push((format!("domain {domain}"), 0, last));
        }
        let mut whose = source.to_owned();
        for piece in pieces {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) => all.push((whose.clone(), first, last)),
                _ => whose = format!("{source}:{piece}"),
            }
        }
    }
    all
}

impl Connection {
    /// Reads the server's time and incarnation.
    pub(crate) async fn moment(&mut self) -> Result<Moment, DatabaseError> {
        let answers = self.script(&self.server.flavour.text(sql::MOMENT)).await.map_err(reading)?;
        self.moment_of(answers.first())
    }

    fn moment_of(&self, rows: Option<&Vec<Row>>) -> Result<Moment, DatabaseError> {
        let row = rows.and_then(|rows| rows.first()).ok_or_else(garbled)?;
        let moment = Moment::of(row, &text(row, "realm")?)?;
        self.server.clock.read(moment.now);
        Ok(moment)
    }

    /// Looks at all memberships; the moment's time was read right before.
    pub(crate) async fn look(&mut self, memberships: &[Membership]) -> Result<(Moment, Vec<Look>), DatabaseError> {
        if memberships.is_empty() {
            return Ok((self.moment().await?, Vec::new()));
        }
        let flavour = self.server.flavour;
        self.look_at(&memberships.iter().map(|membership| Named::of(flavour, membership)).collect::<Vec<_>>()).await
    }

    /// Looks at memberships by their names.
    pub(crate) async fn look_at(&mut self, named: &[Named]) -> Result<(Moment, Vec<Look>), DatabaseError> {
        // what everybody holds is known only after one look, and may change meanwhile
        for _ in 0..EVERYBODY_CHANGES {
            self.say_what_is_asked(named).await?;
            let lists = [sql::NAMES, sql::HELD, sql::DEFAULTS, sql::MEMBERS];
            let marks = Read::ended(3, &self.marks(named));
            let answers = self.lists(&[sql::MOMENT, sql::MANDATORY], &lists, Some(marks)).await?;
            let moment = self.moment_of(answers.first())?;
            let mandatory = answers.get(1).and_then(|rows| rows.first()).ok_or_else(garbled)?;
            let everybody = self.server.flavour.everybody(&text(mandatory, "mandatory")?);
            if everybody != self.server.everybody {
                self.server.everybody = everybody;
                continue;
            }
            let mut catalog = Catalog::of(&answers, everybody)?;
            let marks = self.marked(named, answers.last().ok_or_else(garbled)?)?;
            catalog.sessions = self.sessions_of(named, &catalog).await?;
            let looks = named.iter().zip(marks).map(|(one, mark)| {
                let mut look = catalog.look(one, mark.namesakes.as_ref());
                (look.seen.marked_by, look.seen.taken_by_dead_mans_switch) = (mark.store, mark.taken);
                look
            });
            return Ok((moment, looks.collect()));
        }
        Err(DatabaseError::not_applied(
            "mandatory_roles changes faster than it can be looked at: nothing can be concluded",
        ))
    }

    /// Reads the sessions of these accounts, and of all who can act as one of them.
    async fn sessions_of(
        &mut self,
        named: &[Named],
        catalog: &Catalog,
    ) -> Result<Vec<(u64, String, String)>, DatabaseError> {
        let accounts = named.iter().map(|one| &one.account);
        let users = accounts.chain(catalog.members.values().flatten()).map(|name| name.user.as_str());
        let anonymous = catalog.members.values().flatten().any(|member| member.user.is_empty());
        let users: BTreeSet<&str> = users.filter(|user| !user.is_empty()).collect();
        let users = serde_json::to_string(&users).map_err(|_| garbled())?;
        let mut rows = self.list(sql::SESSIONS, (users,).into()).await?;
        if anonymous {
            rows.extend(self.list(sql::SESSIONS_WITHOUT_ACCOUNT, ().into()).await?);
        }
        let mut sessions = Vec::new();
        for row in rows {
            let id = u64::try_from(number(&row, "id")?).unwrap_or_default();
            sessions.push((id, text(&row, "user")?, text(&row, "host")?));
        }
        sessions.sort();
        Ok(sessions)
    }

    pub(crate) async fn say_what_is_asked(&mut self, named: &[Named]) -> Result<(), DatabaseError> {
        let asked: Vec<MembershipRow<'_>> = named
            .iter()
            .map(|one| MembershipRow {
                account_user: &one.account.user,
                account_host: &one.account.host,
                role_user: &one.role.user,
                role_host: &one.role.host,
            })
            .collect();
        let asked = serde_json::to_string(&asked).map_err(|_| garbled())?;
        let everybody: Vec<Everybody<'_>> =
            self.server.everybody.iter().map(|role| Everybody { user: &role.user, host: &role.host }).collect();
        let everybody = serde_json::to_string(&everybody).map_err(|_| garbled())?;
        self.ask(sql::ASK, (asked, everybody).into()).await.map_err(reading).map(drop)
    }

    /// Reads every direct holder of these roles.
    pub(crate) async fn holders(&mut self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        let flavour = self.server.flavour;
        let nobody = Name::of("", "-");
        let named = roles.iter().filter_map(|role| Name::parse(role.as_str()).ok());
        let named: Vec<Named> =
            named.map(|role| Named { account: nobody.clone(), role: flavour.role(&role) }).collect();
        if named.is_empty() {
            return Ok(Holders::new(self.moment().await?.identity, Vec::new()));
        }
        self.say_what_is_asked(&named).await?;
        let mut holders = Vec::new();
        for row in &self.list(sql::HOLDERS, ().into()).await? {
            let (role, member) = (name(row, "role_user", "role_host")?, name(row, "member_user", "member_host")?);
            // the broker has the admin option on what it grants
            if format!("{}@{}", member.user, member.host) == self.server.broker {
                continue;
            }
            let (Ok(account), Ok(role)) = (Account::new(member.to_string()), RoleName::new(role.as_role())) else {
                tracing::warn!(account = ?member.user, "a holder has a name with control characters and cannot be managed: rename it");
                continue;
            };
            holders.push(Holder::new(role, account, membership_grant(number(row, "with_admin")? != 0)));
        }
        Ok(Holders::new(self.moment().await?.identity, holders))
    }
}

impl Catalog {
    fn of(answers: &[Vec<Row>], everybody: Vec<Name>) -> Result<Self, DatabaseError> {
        let [_, _, names, held, defaults, members, _] = answers else { return Err(garbled()) };
        let names = names.iter().map(|row| name(row, "user", "host")).collect::<Result<BTreeSet<Name>, _>>()?;
        let mut catalog = Self { names: Arc::new(names), everybody, ..Self::default() };
        for row in held {
            let (member, role) = (name(row, "member_user", "member_host")?, name(row, "role_user", "role_host")?);
            catalog.held.entry(member).or_default().insert(role, number(row, "with_admin")? != 0);
        }
        for row in defaults {
            let account = name(row, "account_user", "account_host")?;
            catalog.defaults.entry(account).or_default().insert(name(row, "role_user", "role_host")?);
        }
        for row in members {
            let account = name(row, "account_user", "account_host")?;
            catalog.members.entry(account).or_default().insert(name(row, "member_user", "member_host")?);
        }
        Ok(catalog)
    }

    /// Checks whether the members of `from` are in `role` too.
    fn leads_to(&self, from: &Name, role: &Name) -> bool {
        let (mut known, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = open.pop() {
            for next in self.held.get(at).into_iter().flat_map(BTreeMap::keys) {
                if next == role {
                    return true;
                }
                if known.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// Returns the accounts that may have a session instead of this one. Of its own user name, only
    /// those count that existed when the window began, if that is known.
    fn known(&self, account: &Name, there: Option<&Namesakes>) -> Arc<BTreeSet<Name>> {
        let Some(there) = there else { return Arc::clone(&self.names) };
        let counts =
            |name: &&Name| *name == account || name.user != account.user && !name.user.is_empty() || there.has(name);
        if self.names.iter().all(|name| counts(&name)) {
            return Arc::clone(&self.names);
        }
        Arc::new(self.names.iter().filter(counts).cloned().collect())
    }

    fn look(&self, named: &Named, there: Option<&Namesakes>) -> Look {
        let Named { account, role } = named;
        let known = self.known(account, there);
        let held = self.held.get(account);
        let direct = held.and_then(|held| held.get(role)).map(|admin| membership_grant(*admin));
        let others = held.into_iter().flat_map(BTreeMap::keys).filter(|via| *via != role);
        let mut through: Vec<String> = others.filter(|via| self.leads_to(via, role)).map(Name::as_role).collect();
        for everybodys in &self.everybody {
            if everybodys == role {
                through.push(MANDATORY_ROLES.to_owned());
            } else if self.leads_to(everybodys, role) {
                through.push(everybodys.as_role());
            }
        }
        let members: BTreeSet<&Name> = self.members.get(account).into_iter().flatten().collect();
        let holders: BTreeSet<&Name> = members.iter().copied().chain([account]).collect();
        let (mut sessions, mut backends) = (Vec::new(), Vec::new());
        for (id, user, from) in &self.sessions {
            if let Some(holder) = holders.iter().find(|holder| may_be(holder, &known, user, from)) {
                sessions.push(Session::new(id.to_string(), holder.to_string()));
                backends.push(*id);
            }
        }
        let mut seen = Seen::default();
        seen.account_exists = self.names.contains(account) && !account.user.is_empty();
        seen.role_exists = self.names.contains(role) && !role.user.is_empty();
        seen.direct = direct.into_iter().collect();
        seen.through = through;
        seen.members = members.into_iter().map(Name::to_string).collect();
        seen.sessions = sessions;
        seen.default_roles = self.defaults.get(account).into_iter().flatten().map(Name::as_role).collect();
        // two accounts of one user, or one whose user looks like a user and a host
        let whole = format!("{}@{}", account.user, account.host);
        let alike = self.names.iter().filter(|name| !name.host.is_empty() && *name != account);
        let alike = alike.filter(|name| name.user == account.user || name.user == whole);
        if !seen.account_exists {
            seen.alike = alike.take(MOST_ALIKE).map(Name::to_string).collect();
        }
        let holders = holders.into_iter().cloned().collect();
        Look { seen, backends, holders, powers: Vec::new(), known }
    }
}

/// Name of the server setting, shown for a role that everybody holds because the setting lists it.
pub(crate) const MANDATORY_ROLES: &str = "mandatory_roles";

/// Builds the observation of all memberships.
pub(crate) fn observation(moment: Moment, looks: Vec<Look>) -> Observation {
    Observation::new(moment.identity, moment.now, looks.into_iter().map(|look| look.seen).collect())
}

/// Makes the direct membership. The catalog names no grantor, and SET ROLE cannot be withheld.
fn membership_grant(admin: bool) -> MembershipGrant {
    MembershipGrant::new(Grantor::Unknown, MembershipScope::SetRole).admin(admin)
}

pub(crate) fn garbled() -> DatabaseError {
    DatabaseError::not_applied("the server's answer could not be read")
}

fn column<T: FromValue>(row: &Row, column: &str) -> Result<T, DatabaseError> {
    row.get_opt(column).and_then(Result::ok).ok_or_else(garbled)
}

/// Reads a column of text; NULL is empty.
pub(crate) fn text(row: &Row, name: &str) -> Result<String, DatabaseError> {
    let bytes: Option<Vec<u8>> = column(row, name)?;
    String::from_utf8(bytes.unwrap_or_default()).map_err(|_| garbled())
}

/// Reads a column of whole numbers; NULL is zero.
pub(crate) fn number(row: &Row, name: &str) -> Result<i64, DatabaseError> {
    let number: Option<f64> = match column::<Option<i64>>(row, name) {
        Ok(number) => return Ok(number.unwrap_or_default()),
        Err(_) => column(row, name)?,
    };
    // the difference of a number and a text is floating point, and still whole
    number.map_or(Ok(0), |number| format!("{number:.0}").parse().map_err(|_| garbled()))
}

pub(crate) fn name(row: &Row, user: &str, host: &str) -> Result<Name, DatabaseError> {
    Ok(Name::of(text(row, user)?, text(row, host)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(incarnation: &str, lsn: u64, gtids: &str, data: &str) -> Identity {
        let position = Position { lsn: Some(lsn), gtids: Some(gtids.to_owned()), data: data.to_owned() }.text();
        Identity::new(RealmId::new("mysql:7").unwrap(), incarnation).at_position(position)
    }

    #[test]
    fn law_05_a_restart_with_all_that_was_seen_continues_a_server_and_nothing_else_does() {
        let uuid = "3E11FA47-71CA-11E1-9E33-C80AA9429562";
        let had = format!("{uuid}:1-5:8,{uuid}:jit:1-2");
        let was = seen("started 2026-11-28T19:00:00Z, at one:3306", 500, &had, "/data/");
        let later = "started 2026-11-28T20:00:00Z, at one:3306";
        let more = format!("{uuid}:1-9,{uuid}:jit:1-3");
        for (incarnation, lsn, gtids, data, expected) in [
            (later, 500, had.as_str(), "/data/", "restarted"),
            (later, 501, more.as_str(), "/data/", "restarted"),
            (later, 499, more.as_str(), "/data/", "other"),
            (later, 501, &format!("{uuid}:1-7,{uuid}:jit:1-3"), "/data/", "other"),
            (later, 501, &format!("{uuid}:1-9"), "/data/", "other"),
            (later, 501, "", "/data/", "other"),
            (later, 501, more.as_str(), "/copy/", "unclear"),
            ("started 2026-11-28T20:00:00Z, at two:3306", 501, more.as_str(), "/data/", "unclear"),
            ("started 2026-11-28T18:00:00Z, at one:3306", 501, more.as_str(), "/data/", "unclear"),
        ] {
            let found = match continues(&was, &seen(incarnation, lsn, gtids, data)) {
                Continuity::Same => "same",
                Continuity::Restarted => "restarted",
                Continuity::Unclear(_) => "unclear",
                Continuity::Other(_) => "other",
                _ => "unknown",
            };
            assert_eq!(found, expected, "{incarnation} {lsn} {gtids} {data}");
        }
        let (before, after) = (seen(later, 1, "0-1-7,1-2-3", "/data/"), seen(later, 1, "0-2-6,1-2-3", "/data/"));
        assert!(Position::read(&before).lacks(&Position::read(&after)).is_some(), "MariaDB's log went back");
        assert!(Position::read(&after).lacks(&Position::read(&before)).is_none());
        let older = Identity::new(was.realm, was.incarnation);
        assert_eq!(continues(&older, &seen(later, 1, "", "/data/")), Continuity::Restarted, "of an older version");
    }
}
