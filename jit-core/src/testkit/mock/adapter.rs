//! Adapter for the mock: the calls that the broker makes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::future::{Either, select};

use super::catalog::{Catalog, Statement};
use super::dead_mans_switch::{MockSwitch, fires_at};
use super::server::{ADMIN, COPY, MockServer};
use crate::clock::{Time, after, span, to_std};
use crate::database::{
    ArmOrder, Armed, Call, Capabilities, Check, CheckSubject, Continuity, Database, DatabaseError, DeadMansSwitch,
    DefaultRole, Disarmed, GrantOrder, Granted, Grantor, Holder, Holders, Identity, Membership, MembershipGrant,
    MembershipScope, NameError, ObjectId, Observation, Owned, OwnedObject, PreparedTransaction, Rejection, RevokeHow,
    RevokeOrder, RevokeReport, Seen, Session, SettleOrder, Severity, StoreMarks, SwitchKind,
};
use crate::id::{Account, RealmId, RoleName, StoreId};
use crate::policy::{Activation, Prepared as PreparedRule, Sessions, Stance};

/// An adapter of a [`MockServer`].
#[derive(Debug, Clone)]
pub struct MockDatabase {
    server: MockServer,
    login: &'static str,
    /// Largest number of rows that the server shows of a list, like `sql_select_limit`.
    most_rows: usize,
}

#[async_trait]
impl Database for MockDatabase {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        let what = "an account";
        self.server.catalog().profile.name_problem(what, name)?;
        Account::new(name).map_err(|error| NameError { what, given: error.given, why: error.why.to_owned() })
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        let what = "a role";
        self.server.catalog().profile.name_problem(what, name)?;
        RoleName::new(name).map_err(|error| NameError { what, given: error.given, why: error.why.to_owned() })
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.up()?;
        self.identity()
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        let place = |of: &Identity| of.incarnation.split_once(COPY).map(|(_, place)| place.to_owned());
        let written = |of: &Identity| of.position.parse().unwrap_or(0_u64);
        if place(before) != place(now) {
            return Continuity::Other("a copy is another server, however often it starts".to_owned());
        }
        if before.realm == now.realm && written(now) < written(before) {
            return Continuity::Other("it lacks what was written".to_owned());
        }
        Continuity::Restarted
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.up()?;
        let catalog = self.server.catalog();
        let known = catalog.profile.capabilities();
        let here = catalog.dead_mans_switch_grace.map(|_| DeadMansSwitch::Available(SwitchKind::Event));
        Ok(Capabilities { dead_mans_switch: here.unwrap_or(known.dead_mans_switch.clone()), ..known })
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.up()?;
        let catalog = self.server.catalog();
        let mut findings = Vec::new();
        let mut find = |severity, what: &str, on: Option<&RoleName>, message: String, remedy: Option<String>| {
            let about = CheckSubject { what: what.to_owned(), on: on.map(|role| role.as_str().to_owned()) };
            findings.push(Check { severity, about, message, remedy });
        };
        let refusal = Severity::Refusal;
        if self.login == ADMIN {
            find(refusal, "superuser", None, "the broker is a superuser".to_owned(), None);
        }
        if !catalog.signals {
            let remedy = Some(format!("GRANT pg_signal_backend TO {}", self.login));
            find(refusal, "signal-backend", None, "the broker cannot end sessions".to_owned(), remedy);
        }
        if catalog.dead_mans_switch_grace.is_none() {
            let remedy = Some("turn the mock's scheduler on".to_owned());
            find(Severity::Remark, "dead-man", None, "there is no dead man's switch".to_owned(), remedy);
        }
        for role in roles {
            let Some(id) = catalog.id(role.as_str()) else {
                find(refusal, "role", Some(role), format!("there is no role `{role}`"), None);
                continue;
            };
            if !self.broker(&catalog).is_some_and(|broker| catalog.may_grant(broker, id)) {
                let remedy = Some(format!("GRANT {role} TO {} WITH ADMIN OPTION", self.login));
                find(refusal, "admin-option", Some(role), format!("the broker cannot grant `{role}`"), remedy);
            }
            let powers = catalog.powers(id);
            if !powers.is_empty() {
                let message = format!("`{role}` has powers that outlive a window: {}", powers.join(", "));
                find(Severity::Danger, "can-grant", Some(role), message, None);
            }
        }
        Ok(findings)
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.up()?;
        let (server_time, identity) = (self.server.now(), self.identity()?);
        let catalog = self.server.catalog();
        let seen = memberships.iter().map(|membership| self.look(&catalog, membership)).collect::<Result<_, _>>()?;
        Ok(Observation { server_time, identity, seen })
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        let mut answers = Vec::new();
        for order in orders {
            answers.push(match went_with(&answers) {
                Some(error) => Err(error),
                None => self.grant_one(call, order).await,
            });
        }
        answers
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        let mut answers = Vec::new();
        for order in orders {
            answers.push(match went_with(&answers) {
                Some(error) => Err(error),
                None => self.revoke_one(call, order).await,
            });
        }
        answers
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.up()?;
        let Some(latest) = orders.iter().map(|order| order.not_after).max() else { return self.identity() };
        loop {
            // also ends statements that arrived while this waited
            let labelled = |label: &String| orders.iter().any(|order| order.label == *label);
            self.server.catalog().waiting.retain(|waiting| !labelled(&waiting.label));
            let left = span(self.server.now(), latest);
            if left < TimeDelta::zero() {
                self.up()?;
                return self.identity();
            }
            self.server.clock.sleep(to_std(left).saturating_add(std::time::Duration::from_millis(1))).await;
        }
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        orders.iter().map(|order| self.arm_one(call, order)).collect()
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        let one = |membership: &Membership| {
            let identity = self.meant(call)?;
            let mut catalog = self.server.catalog();
            let key = member_key(&catalog, membership);
            let theirs = |one: &MockSwitch| call.another_in(&one.armed_by).is_some();
            let key = key.filter(|key| !catalog.dead_mans_switches.get(key).is_some_and(theirs));
            let was = key.and_then(|key| catalog.dead_mans_switches.remove(&key));
            Ok(Disarmed { fired_at: was.and_then(|was| was.fired_at), identity })
        };
        orders.iter().map(one).collect()
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.up()?;
        let identity = self.identity()?;
        let catalog = self.server.catalog();
        let owned = |membership: &Membership| {
            let account = by_id_or_name(&catalog, membership.account_id.as_ref(), membership.account.as_str());
            let role = by_id_or_name(&catalog, membership.role_id.as_ref(), membership.role.as_str());
            let mine = |(owner, _): &&(u32, String)| Some(*owner) == account || Some(*owner) == role;
            let things = catalog.things.iter().filter(mine).map(|(owner, name)| OwnedObject {
                id: name.clone(),
                what: format!("object {name} of `{}`", catalog.name(*owner)),
                version: None,
                membership: None,
            });
            let mut things = self.list(things)?;
            if !catalog.profile.is_postgres() {
                things.extend(self.list(passed_on(&catalog, membership))?);
            }
            Ok(Some(things))
        };
        Ok(Owned { identity, each: memberships.iter().map(owned).collect::<Result<_, DatabaseError>>()? })
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.up()?;
        let identity = self.identity()?;
        let catalog = self.server.catalog();
        let mut holders = Vec::new();
        for role in roles {
            let Some(id) = catalog.id(role.as_str()) else { continue };
            for row in self.list(catalog.members.iter().filter(|row| row.role == id))? {
                let account = Account::new(catalog.name(row.member))
                    .map_err(|error| DatabaseError::rejected(Rejection::Other, error.to_string()))?;
                holders.push(Holder {
                    role: role.clone(),
                    role_id: Some(object(id)),
                    account,
                    account_id: Some(object(row.member)),
                    grant: self.membership_grant(&catalog, row),
                });
            }
        }
        Ok(Holders { identity, holders })
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.up()?;
        let mut counts = std::collections::BTreeMap::<StoreId, u64>::new();
        for store in self.server.catalog().dead_mans_switches.values().filter_map(MockSwitch::store) {
            let count = counts.entry(store).or_default();
            *count = count.saturating_add(1);
        }
        Ok(counts.into_iter().map(|(store, memberships)| StoreMarks { store, memberships }).collect())
    }
}

impl MockDatabase {
    pub(super) fn new(server: MockServer, login: &'static str) -> Self {
        Self { server, login, most_rows: usize::MAX }
    }

    /// Returns the same adapter, with a server that cuts every answer to this many rows.
    #[doc(hidden)]
    #[must_use]
    pub fn cut_to(&self, most_rows: usize) -> Self {
        Self { most_rows, ..self.clone() }
    }

    /// Returns a list as the server shows it: with an extra last row, unless it is cut.
    fn shown<T>(&self, rows: impl IntoIterator<Item = T>) -> Vec<Option<T>> {
        rows.into_iter().map(Some).chain([None]).take(self.most_rows).collect()
    }

    /// Returns a whole list of the catalog.
    ///
    /// # Errors
    /// Returns an error if the list was cut: an entry that is missing in it may still exist.
    fn list<T>(&self, rows: impl IntoIterator<Item = T>) -> Result<Vec<T>, DatabaseError> {
        let mut shown = self.shown(rows);
        match shown.pop() {
            Some(None) => Ok(shown.into_iter().flatten().collect()),
            _ => Err(DatabaseError::not_applied("the server's answer was cut: nothing can be concluded")),
        }
    }

    fn up(&self) -> Result<(), DatabaseError> {
        if self.server.catalog().up { Ok(()) } else { Err(DatabaseError::unreachable("the server is down")) }
    }

    /// Checks that the server is up and is the one that the call is meant for. Returns its
    /// identity.
    fn meant(&self, call: &Call) -> Result<Identity, DatabaseError> {
        self.up()?;
        let identity = self.identity()?;
        call.meant_for(&identity).map(|()| identity)
    }

    fn broker(&self, catalog: &Catalog) -> Option<u32> {
        catalog.id(self.login)
    }

    fn identity(&self) -> Result<Identity, DatabaseError> {
        let realm = RealmId::new(self.server.realm())
            .map_err(|error| DatabaseError::rejected(Rejection::Other, error.to_string()))?;
        let position = self.server.catalog().written.to_string();
        Ok(Identity { realm, incarnation: self.incarnation(), position })
    }

    fn incarnation(&self) -> String {
        let catalog = self.server.catalog();
        match catalog.copy {
            0 => format!("start {}", catalog.starts),
            copy => format!("start {}{COPY}{copy}", catalog.starts),
        }
    }

    fn arm_one(&self, call: &Call, order: &ArmOrder) -> Result<Armed, DatabaseError> {
        let identity = self.meant(call)?;
        let now = self.server.now();
        let mut catalog = self.server.catalog();
        let Some(grace) = catalog.dead_mans_switch_grace else {
            return Err(DatabaseError::rejected(Rejection::NoDeadMansSwitch, "turn the mock's scheduler on"));
        };
        let key = member_key(&catalog, &order.membership);
        let (Some(key), Some(grantor)) = (key, self.broker(&catalog)) else {
            return Err(DatabaseError::rejected(Rejection::NoSuchAccount, "there is no such account or role"));
        };
        let default_goes = match &order.default_role {
            DefaultRole::Stays => None,
            DefaultRole::Goes { back_to } => Some(back_to.as_ref().and_then(|back_to| catalog.id(back_to))),
        };
        if let Some(store) = anothers(&catalog, call, &order.membership) {
            return Err(DatabaseError::another_store(&order.membership.account, &order.membership.role, &store));
        }
        let fires_at = fires_at(now, order.ends_in, grace);
        let (ends_sessions, armed_by) = (order.sessions == Sessions::End, call.mark());
        let one = MockSwitch { fires_at, fired_at: None, took: false, grantor, ends_sessions, default_goes, armed_by };
        catalog.dead_mans_switches.insert(key, one);
        Ok(Armed { kind: SwitchKind::Event, fires_at, identity })
    }

    async fn grant_one(&self, call: &Call, order: &GrantOrder) -> Result<Granted, DatabaseError> {
        self.meant(call)?;
        let now = self.server.now();
        if now > order.not_after() {
            return Err(DatabaseError::not_applied("the deadline is past"));
        }
        let statement = self.judge_grant(&self.server.catalog(), order)?;
        self.execute(call, now, statement).await?;
        Ok(Granted { server_time: self.server.now(), identity: self.identity()? })
    }

    fn judge_grant(&self, catalog: &Catalog, order: &GrantOrder) -> Result<Statement, DatabaseError> {
        let membership = order.membership();
        let reject = |rejection, why: String| Err(DatabaseError::rejected(rejection, why));
        let Some(role) = by_id_or_name(catalog, membership.role_id.as_ref(), membership.role.as_str()) else {
            return reject(Rejection::NoSuchRole, format!("there is no role `{}`", membership.role));
        };
        let Some(member) = by_id_or_name(catalog, membership.account_id.as_ref(), membership.account.as_str()) else {
            return reject(Rejection::NoSuchAccount, format!("there is no account `{}`", membership.account));
        };
        let Some(grantor) = self.broker(catalog).filter(|broker| catalog.may_grant(*broker, role)) else {
            return reject(Rejection::PrivilegeMissing, format!("the broker may not grant `{}`", membership.role));
        };
        let members = self.acting_as(catalog, member);
        if order.account_members() == Stance::Refused && !members.is_empty() {
            return reject(Rejection::AccountHasMembers, format!("`{}` has members", membership.account));
        }
        let powers = catalog.powers(role);
        if order.can_grant() == Stance::Refused && !powers.is_empty() {
            return reject(Rejection::RoleCanGrant, format!("`{}` has {}", membership.role, powers.join(", ")));
        }
        let activate = order.activation() == Activation::Default;
        Ok(Statement::Grant { grantor, role, member, scope: order.scope(), activate })
    }

    async fn revoke_one(&self, call: &Call, order: &RevokeOrder) -> Result<RevokeReport, DatabaseError> {
        self.meant(call)?;
        let now = self.server.now();
        let theirs = anothers(&self.server.catalog(), call, &order.membership);
        if theirs.is_some() {
            let seen = Seen { marked_by: theirs, ..self.look(&self.server.catalog(), &order.membership)? };
            let identity = self.identity()?;
            let (was_held, default_kept, ended, rolled_back) = (None, None, Vec::new(), Vec::new());
            return Ok(RevokeReport {
                seen,
                was_held,
                default_kept,
                ended,
                rolled_back,
                revoked_at: now,
                server_time: now,
                identity,
            });
        }
        let statement = self.judge_revoke(&self.server.catalog(), &order.membership, order.how)?;
        let was_held = (order.how == RevokeHow::Remove).then_some(statement.is_some());
        if let Some(statement) = statement {
            self.execute(call, now, statement).await?;
        }
        let revoked_at = self.server.now();
        let mut catalog = self.server.catalog();
        self.put_back(&mut catalog, order);
        let unseen = |error: DatabaseError| {
            DatabaseError::unknown(format!("the statement was applied, and looking afterwards failed: {error}"))
        };
        let before = self.look(&catalog, &order.membership).map_err(unseen)?;
        let mut ended = Vec::new();
        if order.sessions == Sessions::End && catalog.signals {
            let end =
                |session: &Session| session.id.parse().is_ok_and(|pid: u32| catalog.backends.remove(&pid).is_some());
            ended = before.sessions.into_iter().filter(end).collect();
        }
        let mut rolled_back = Vec::new();
        if order.prepared == PreparedRule::Rollback {
            // only their owner may end them, or an account that may become the owner
            let mine = |owner: &str| {
                let (broker, owner) = (self.broker(&catalog), catalog.id(owner));
                broker.zip(owner).is_some_and(|(broker, owner)| catalog.may_become(broker, owner))
            };
            rolled_back = before.prepared.iter().filter(|one| mine(&one.owner)).map(|one| one.gid.clone()).collect();
            for gid in &rolled_back {
                catalog.prepared.remove(gid);
            }
        }
        let seen = self.look(&catalog, &order.membership).map_err(unseen)?;
        drop(catalog);
        let (server_time, identity) = (self.server.now(), self.identity()?);
        let default_kept = None;
        Ok(RevokeReport { seen, was_held, default_kept, ended, rolled_back, revoked_at, server_time, identity })
    }

    /// Puts back the earlier default role.
    fn put_back(&self, catalog: &mut Catalog, order: &RevokeOrder) {
        let DefaultRole::Goes { back_to } = &order.default_role else { return };
        let names = (catalog.id(order.membership.account.as_str()), catalog.id(order.membership.role.as_str()));
        let (Some(account), Some(role)) = names else { return };
        let back_to = back_to.as_ref().and_then(|back_to| catalog.id(back_to));
        catalog.deactivate(account, role, back_to);
    }

    fn judge_revoke(
        &self,
        catalog: &Catalog,
        membership: &Membership,
        how: RevokeHow,
    ) -> Result<Option<Statement>, DatabaseError> {
        let role = by_id_or_name(catalog, membership.role_id.as_ref(), membership.role.as_str());
        let member = by_id_or_name(catalog, membership.account_id.as_ref(), membership.account.as_str());
        let (Some(role), Some(member), Some(grantor)) = (role, member, self.broker(catalog)) else { return Ok(None) };
        // before 16 a revoke takes whatever is there: only rows with our name are ours
        let named = catalog.profile.is_postgres();
        let ours = |row: &super::catalog::Member| {
            (row.role, row.member) == (role, member) && (!named || row.grantor == grantor)
        };
        if how == RevokeHow::Nothing || !catalog.members.iter().any(ours) {
            return Ok(None);
        }
        if !catalog.may_grant(grantor, role) {
            let why = format!("the broker may not revoke `{}`", membership.role);
            return Err(DatabaseError::rejected(Rejection::PrivilegeMissing, why));
        }
        Ok(Some(Statement::Revoke { grantor, role, member, how }))
    }

    /// Runs the statement, once nothing blocks it.
    async fn execute(&self, call: &Call, now: Time, statement: Statement) -> Result<(), DatabaseError> {
        let (Statement::Grant { role, member, .. } | Statement::Revoke { role, member, .. }) = statement;
        let limit = call.limit.checked_div(2).unwrap_or_default();
        let (blocker, id, answered) = {
            let mut catalog = self.server.catalog();
            if catalog.read_only {
                return Err(DatabaseError::not_applied("the server is read-only: it is a standby"));
            }
            let Some(blocker) = catalog.blocker(role, member) else {
                catalog.run(statement);
                return Ok(());
            };
            let until = after(now, TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX));
            let (id, answered) = catalog.wait(&call.label, until, statement);
            (blocker, id, answered)
        };
        match select(answered, self.server.clock.sleep(limit)).await {
            Either::Left((Ok(()), _)) => Ok(()),
            Either::Left((Err(_), _)) => Err(DatabaseError::unknown("the connection was ended")),
            Either::Right(_) => {
                self.server.catalog().give_up(id);
                let why = format!("session {blocker} holds a lock on the role in an open transaction");
                Err(DatabaseError::not_applied(why))
            }
        }
    }

    /// Returns the accounts that can act as this account, without the broker.
    fn acting_as(&self, catalog: &Catalog, account: u32) -> BTreeSet<u32> {
        let mut acting = catalog.acting_as(account);
        if let Some(broker) = self.broker(catalog) {
            acting.remove(&broker);
        }
        acting
    }

    fn look(&self, catalog: &Catalog, membership: &Membership) -> Result<Seen, DatabaseError> {
        let account = by_id_or_name(catalog, membership.account_id.as_ref(), membership.account.as_str());
        let role = by_id_or_name(catalog, membership.role_id.as_ref(), membership.role.as_str());
        let names = self.list([account, role].into_iter().flatten())?;
        let account = account.filter(|account| names.contains(account));
        let role = role.filter(|role| names.contains(role));
        let mut seen = Seen {
            account_id: account.map(object),
            account_exists: account.is_some(),
            role_id: role.map(object),
            role_exists: role.is_some(),
            ..Seen::default()
        };
        if !catalog.profile.is_postgres() {
            // the engine has no ids, only names
            (seen.account_id, seen.role_id) = (None, None);
        }
        let defaults = account.and_then(|account| catalog.defaults.get(&account)).into_iter().flatten();
        let marked = member_key(catalog, membership).and_then(|key| catalog.dead_mans_switches.get(&key));
        seen.marked_by = marked.and_then(MockSwitch::store);
        seen.taken_by_dead_mans_switch = !catalog.profile.is_postgres() && marked.is_some_and(|marked| marked.took);
        seen.default_roles = self.list(defaults.map(|role| catalog.name(*role)))?;
        let Some(account) = account else { return Ok(seen) };
        let name = catalog.name(account);
        seen.account_renamed = (name != membership.account.as_str()).then_some(name);
        if let Some(role) = role {
            let direct = catalog.members.iter().filter(|row| row.role == role && row.member == account);
            seen.direct = self.list(direct.map(|row| self.membership_grant(catalog, row)))?;
            let mut between = catalog.reach(account, |_| true);
            between.remove(&account);
            between.remove(&role);
            let holds = |other: &&u32| catalog.members.iter().any(|row| row.role == role && row.member == **other);
            seen.through = self.list(between.iter().filter(holds).map(|other| catalog.name(*other)))?;
        }
        let members = self.acting_as(catalog, account);
        seen.members = self.list(members.iter().map(|member| catalog.name(*member)))?;
        let concerned = |login: u32| login == account || members.contains(&login);
        let backends = catalog.backends.iter().filter(|(_, backend)| concerned(backend.login));
        seen.sessions = self.list(backends.map(|(pid, backend)| Session {
            id: pid.to_string(),
            account: catalog.name(backend.login),
            since: Some(backend.since),
        }))?;
        let prepared = catalog.prepared.iter().filter(|(_, owner)| concerned(**owner));
        seen.prepared = self.list(prepared.map(|(gid, owner)| PreparedTransaction {
            gid: gid.clone(),
            database: "mock".to_owned(),
            owner: catalog.name(*owner),
        }))?;
        Ok(seen)
    }

    fn membership_grant(&self, catalog: &Catalog, row: &super::catalog::Member) -> MembershipGrant {
        let grantor = match self.broker(catalog) {
            _ if !catalog.profile.capabilities().grantor_recorded => Grantor::Unknown,
            Some(broker) if broker == row.grantor => Grantor::Broker,
            _ => Grantor::Other(catalog.name(row.grantor)),
        };
        MembershipGrant {
            grantor,
            scope: if row.set { MembershipScope::SetRole } else { MembershipScope::Inherit },
            admin: row.admin,
        }
    }
}

/// Returns the store that accounts for the membership, if it is another than the call's store.
fn anothers(catalog: &Catalog, call: &Call, membership: &Membership) -> Option<StoreId> {
    let one = member_key(catalog, membership).and_then(|key| catalog.dead_mans_switches.get(&key))?;
    one.store().filter(|store| call.is_another(store))
}

/// Returns the ids of role and member.
fn member_key(catalog: &Catalog, membership: &Membership) -> Option<(u32, u32)> {
    let role = by_id_or_name(catalog, membership.role_id.as_ref(), membership.role.as_str())?;
    Some((role, by_id_or_name(catalog, membership.account_id.as_ref(), membership.account.as_str())?))
}

/// Lists the members of the role and the roles of the account. Without ids, only these lists show a
/// renamed account.
fn passed_on(catalog: &Catalog, membership: &Membership) -> Vec<OwnedObject> {
    let (account, role) = (catalog.id(membership.account.as_str()), catalog.id(membership.role.as_str()));
    let about = |row: &super::catalog::Member| Some(row.member) == account || Some(row.role) == role;
    let rows = catalog.members.iter().filter(|row| about(row));
    let things = rows.filter_map(|row| {
        let (member, role) = (catalog.name(row.member), catalog.name(row.role));
        let membership = Some((Account::new(&member).ok()?, RoleName::new(&role).ok()?));
        let id = crate::names::join(["membership", &member, &role]);
        Some(OwnedObject { id, what: format!("`{member}` is in `{role}`"), version: None, membership })
    });
    things.collect()
}

fn object(id: u32) -> ObjectId {
    ObjectId(id.to_string())
}

/// Finds an account or a role. An id, if given, wins: a renamed account is found, and another
/// account under the old name is not.
fn by_id_or_name(catalog: &Catalog, id: Option<&ObjectId>, name: &str) -> Option<u32> {
    match id {
        Some(id) => id.0.parse().ok().filter(|id| catalog.names.contains_key(id)),
        None => catalog.id(name),
    }
}

/// Returns the error for later orders of a call whose connection was ended.
fn went_with<T>(before: &[Result<T, DatabaseError>]) -> Option<DatabaseError> {
    let ended = matches!(before.last(), Some(Err(DatabaseError::OutcomeUnknown { .. })));
    ended.then(|| DatabaseError::unknown("the connection was ended"))
}
