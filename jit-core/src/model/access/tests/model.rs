//! A world in which accesses live: people, policy, one server with its catalog, and small account
//! work.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::actor::Evidence;
use crate::catalog::{
    Grantor, Identity, Membership, MembershipGrant, ObjectId, PreparedTransaction, RevokeHow, RevokeOrder,
    RevokeReport, Seen, Session,
};
use crate::database::GrantOrder;
use crate::handling::{Activation, DeadMansSwitchPolicy, Leftovers, Prepared as PreparedRule, Sessions, Stance};
use crate::id::{Account, Group, RealmId, RoleName, RuleName, TargetName};
use crate::model::approval::{
    Decision, Fresh, Handling, Limits, Parties, Requirement, RequirementParty, Snapshot, Stage, Verdict,
};
use crate::model::grant::Granting;
use crate::model::holding::{self, Closing, closings, judge, look, settled, verify};
use crate::model::proof::VerifiedEnd;

pub(super) const START: i64 = 1_800_000_000;

pub(crate) fn at(seconds: i64) -> Time {
    after(Time::UNIX_EPOCH, TimeDelta::seconds(START + seconds))
}

fn who(name: &str) -> Principal {
    Principal::new(name).unwrap()
}

fn group(name: &str) -> Group {
    Group::new(name).unwrap()
}

/// Names of the people. `alice` asks; `alice-adm` and `bob-adm` are second accounts of alice and
/// bob; `eve` is a stranger.
pub(super) const PEOPLE: [&str; 7] = ["alice", "alice-adm", "bob", "bob-adm", "carol", "frank", "eve"];

/// Returns the directory's answer. `left`: the person left all their groups and posts.
pub(super) fn snapshot(name: &str, left: bool) -> Snapshot {
    let human = name.trim_end_matches("-adm");
    let dba = ["bob", "bob-adm", "carol", "alice-adm"].contains(&name) && !left;
    Snapshot {
        human: who(human),
        requester: who("alice"),
        grantee: who("alice"),
        groups: dba.then(|| group("dba")).into_iter().collect(),
        manages_requester: name == "bob" && !left,
        manages_grantee: name == "bob" && !left,
    }
}

pub(crate) fn decision(name: &str, verdict: Verdict, now: Time) -> Decision {
    Decision {
        question: QuestionId::default(),
        by: who(name),
        verdict,
        at: now,
        note: "so be it".to_owned(),
        evidence: Evidence::default(),
        snapshot: snapshot(name, false),
        proven: None,
        in_place_of: None,
    }
}

/// Returns the event in which this person answers the pending question.
pub(crate) fn said(access: &Access, name: &str, verdict: Verdict, now: Time) -> Event {
    Event::Decide(Decision { question: access.decidable().question(), ..decision(name, verdict, now) })
}

/// Returns a question id of that time.
pub(crate) fn question(now: Time) -> QuestionId {
    let micros = now.timestamp_micros() & 0xffff_ffff_ffff;
    format!("{micros:012x}").parse().unwrap()
}

/// Returns one of four plans: at once with narrow scope; two stages with wide scope; one person,
/// sessions stay; at once with wide scope, up to the ceiling.
pub(crate) fn plan(kind: usize) -> Plan {
    let people = |people| Stage { people, ..Stage::default() };
    let dba = Requirement::Group { group: group("dba"), quorum: 2 };
    let boss =
        Requirement::Any(vec![Requirement::ManagerOf(RequirementParty::Requester), Requirement::Person(who("frank"))]);
    let stages = match kind {
        1 => vec![people(vec![dba]), people(vec![boss])],
        2 => vec![people(vec![Requirement::Person(who("frank"))])],
        _ => Vec::new(),
    };
    let hours = TimeDelta::hours;
    Plan {
        rule: RuleName::new(format!("rule {kind}")).unwrap(),
        policy: "hash".to_owned(),
        stages,
        limits: Limits {
            max: hours([1, 1, 1, 24][kind]),
            max_total: hours([4, 2, 1, 100][kind]),
            decide_by: TimeDelta::minutes(30),
            start_within: hours(24),
            grant_within: TimeDelta::minutes(15),
        },
        handling: Handling {
            sessions: if kind == 2 { Sessions::Keep } else { Sessions::End },
            set_role: if kind % 2 == 1 { MembershipScope::SetRole } else { MembershipScope::Inherit },
            account_members: Stance::Refused,
            prepared: if kind == 1 { PreparedRule::Rollback } else { PreparedRule::Report },
            can_grant: Stance::Refused,
            activation: Activation::Default,
            dead_mans_switch: DeadMansSwitchPolicy::default(),
            leftovers: Leftovers::default(),
        },
        notify: BTreeSet::new(),
        break_glass: None,
    }
}

pub(crate) fn id(number: usize) -> AccessId {
    format!("00000000-0000-7000-8000-{number:012}").parse().unwrap()
}

pub(crate) fn access(number: usize, kind: usize, role: usize) -> Access {
    let alice = who("alice");
    let request = Request {
        target: TargetName::new("orders").unwrap(),
        role: RoleName::new(format!("role{role}")).unwrap(),
        parties: Parties { requester: alice.clone(), grantee: alice },
        account: Account::new("alice").unwrap(),
        duration: TimeDelta::minutes([30, 60, 20, 24 * 60][kind]),
        start: None,
        reason: "OPS-12".to_owned(),
        ticket: None,
        asked_at: at(0),
        break_glass: false,
    };
    let realm = RealmId::new("postgres:1").unwrap();
    Access::new(id(number), TenantId::default(), Some(realm), request, plan(kind), at(0))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// PostgreSQL 15: one row per role and member, no reliable grantor, no set option.
    OneRow,
    /// PostgreSQL 16 and later: a row per grantor, each with its options.
    PerGrantor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    NotGranted,
    /// The statement was applied, and the answer is lost.
    UnknownApplied,
    /// The statement may arrive later.
    UnknownWaiting,
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    NotApplied,
    EdgeStays,
    SessionsStay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spurious {
    Granted,
    NotGranted,
    Unknown,
    Rejected,
    Settled(Found),
    EndFailed,
    Standing,
    Reappeared,
    OthersClear,
    OldVerified,
    Placed,
}

/// Something that happens. Its numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Wait(i64),
    WaitUntilDue,
    Tick(usize),
    Decide(usize, usize, bool),
    ApproveAll(usize),
    RuleAgain(usize, Option<usize>, u8),
    Begin(usize),
    Answer(usize, Answer),
    Arrive(usize),
    Settle(usize),
    Expire,
    End(usize, usize, bool),
    Close(Fault),
    Look,
    Restart { lost: bool },
    Extend(usize, i64, usize),
    Retire(usize),
    Cancel(usize),
    HandGrant(usize),
    HandRevoke(usize),
    Recreate,
    Session,
    Prepare,
    RollBack,
    Spurious(usize, Spurious),
}

pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let a = || 0..4_usize;
    let found = prop_oneof![Just(Found::Held), Just(Found::Absent), Just(Found::Lost)];
    let spurious = prop_oneof![
        Just(Spurious::Granted),
        Just(Spurious::NotGranted),
        Just(Spurious::Unknown),
        Just(Spurious::Rejected),
        found.prop_map(Spurious::Settled),
        Just(Spurious::EndFailed),
        Just(Spurious::Standing),
        Just(Spurious::Reappeared),
        Just(Spurious::OthersClear),
        Just(Spurious::OldVerified),
        Just(Spurious::Placed),
    ];
    let answer = prop_oneof![
        6 => Just(Answer::Granted),
        1 => Just(Answer::NotGranted),
        2 => Just(Answer::UnknownApplied),
        2 => Just(Answer::UnknownWaiting),
        1 => Just(Answer::Rejected),
    ];
    let fault = prop_oneof![
        5 => Just(Fault::None),
        1 => Just(Fault::NotApplied),
        1 => Just(Fault::EdgeStays),
        1 => Just(Fault::SessionsStay),
    ];
    let wait = prop_oneof![
        4 => 0..10_i64,
        4 => 10..3_600_i64,
        1 => 3_600..200_000_i64,
        1 => Just(3_000_000_000_i64),
    ];
    let act = prop_oneof![
        6 => wait.prop_map(Act::Wait),
        6 => Just(Act::WaitUntilDue),
        4 => a().prop_map(Act::Tick),
        6 => (a(), 0..PEOPLE.len(), proptest::bool::weighted(0.85)).prop_map(|(a, who, yes)| Act::Decide(a, who, yes)),
        5 => a().prop_map(Act::ApproveAll),
        3 => (a(), proptest::option::weighted(0.85, a()), 0..8_u8).prop_map(|(a, plan, fresh)| Act::RuleAgain(a, plan, fresh)),
        12 => a().prop_map(Act::Begin),
        12 => (a(), answer).prop_map(|(a, answer)| Act::Answer(a, answer)),
        2 => a().prop_map(Act::Arrive),
        4 => a().prop_map(Act::Settle),
        5 => Just(Act::Expire),
        4 => (a(), 0..CAUSES.len(), any::<bool>()).prop_map(|(a, cause, by)| Act::End(a, cause, by)),
        10 => fault.prop_map(Act::Close),
        3 => Just(Act::Look),
        1 => any::<bool>().prop_map(|lost| Act::Restart { lost }),
        4 => (a(), -60..100_000_i64, a()).prop_map(|(a, longer, plan)| Act::Extend(a, longer, plan)),
        1 => a().prop_map(Act::Retire),
        1 => a().prop_map(Act::Cancel),
        2 => (0..2_usize).prop_map(Act::HandGrant),
        1 => (0..2_usize).prop_map(Act::HandRevoke),
        1 => Just(Act::Recreate),
        2 => Just(Act::Session),
        1 => Just(Act::Prepare),
        1 => Just(Act::RollBack),
        6 => (a(), spurious).prop_map(|(a, spurious)| Act::Spurious(a, spurious)),
    ];
    proptest::collection::vec(act, 10..80)
}

pub(super) const CAUSES: [Cause; 13] = [
    Cause::Expired,
    Cause::Released,
    Cause::Revoked,
    Cause::Stopped,
    Cause::NoLongerAllowed,
    Cause::Vanished,
    Cause::AccountDropped,
    Cause::Standing,
    Cause::Rejected,
    Cause::GaveUp,
    Cause::Reappeared,
    Cause::Retired,
    Cause::Damaged,
];

/// Catalog rows of one role, with their true origin.
#[derive(Debug, Default)]
struct Rows {
    /// Scope of our grant. `OneRow` does not record the scope.
    ours: Option<MembershipScope>,
    /// Another person granted it.
    standing: bool,
    /// A person changed our row by hand or wrote it off, or a failover restored it. Nobody can know
    /// what is ours then.
    excused: bool,
}

struct Server {
    engine: Engine,
    incarnation: u32,
    /// Counter that grows when the account is dropped and created again.
    account: u32,
    roles: [Rows; 2],
    sessions: Vec<Session>,
    prepared: Vec<PreparedTransaction>,
}

impl Server {
    fn identity(&self) -> Identity {
        let realm = RealmId::new("mock:1").unwrap();
        Identity { realm, incarnation: self.incarnation(), position: String::new() }
    }

    fn incarnation(&self) -> String {
        format!("boot {}", self.incarnation)
    }

    fn role(membership: &Membership) -> usize {
        usize::from(membership.role.as_str() == "role1")
    }

    fn knows(&self, membership: &Membership) -> bool {
        membership.account_id.as_ref().is_none_or(|id| *id == self.account_id())
    }

    fn account_id(&self) -> ObjectId {
        ObjectId(format!("account {}", self.account))
    }

    fn seen(&self, membership: &Membership) -> Seen {
        let role_id = Some(ObjectId(format!("id of {}", membership.role)));
        if !self.knows(membership) {
            return Seen { role_id, role_exists: true, ..Seen::default() };
        }
        let rows = &self.roles[Self::role(membership)];
        let edge = |grantor, scope| MembershipGrant { grantor, scope, admin: false };
        let direct = match self.engine {
            Engine::OneRow if rows.ours.is_some() || rows.standing => {
                vec![edge(Grantor::Unknown, MembershipScope::SetRole)]
            }
            Engine::OneRow => Vec::new(),
            Engine::PerGrantor => {
                let ours = rows.ours.map(|scope| edge(Grantor::Broker, scope));
                let other = rows.standing.then(|| edge(Grantor::Other("dba".to_owned()), MembershipScope::SetRole));
                ours.into_iter().chain(other).collect()
            }
        };
        Seen {
            account_id: Some(self.account_id()),
            account_exists: true,
            role_id,
            role_exists: true,
            direct,
            sessions: self.sessions.clone(),
            prepared: self.prepared.clone(),
            ..Seen::default()
        }
    }

    /// Applies a statement of ours. Returns false if the server rejects it.
    fn grant(&mut self, order: &GrantOrder) -> bool {
        let known = self.knows(order.membership());
        let engine = self.engine;
        let rows = &mut self.roles[Self::role(order.membership())];
        match engine {
            _ if !known => {}
            // a no-op over the existing row
            Engine::OneRow if rows.standing => {}
            Engine::OneRow => rows.ours = Some(MembershipScope::SetRole),
            // the row takes the options of the statement
            Engine::PerGrantor => rows.ours = Some(order.scope()),
        }
        known
    }

    fn revoke(&mut self, order: &RevokeOrder, fault: Fault, now: Time) -> RevokeReport {
        let known = self.knows(&order.membership);
        let rows = &mut self.roles[Self::role(&order.membership)];
        if known && fault != Fault::EdgeStays {
            match (order.how, self.engine) {
                (RevokeHow::Remove, Engine::OneRow) => {
                    assert!(!rows.standing || rows.excused, "law 6: a standing membership was taken away");
                    *rows = Rows::default();
                }
                (RevokeHow::Remove, Engine::PerGrantor) => {
                    rows.ours = None;
                    rows.excused = rows.excused && rows.standing;
                }
                (RevokeHow::Narrow, Engine::PerGrantor) => rows.ours = rows.ours.map(|_| MembershipScope::Inherit),
                (RevokeHow::Narrow, Engine::OneRow) | (RevokeHow::Nothing, _) => {}
            }
        }
        let was_held = None;
        let mut ended = Vec::new();
        if order.sessions == Sessions::End && fault != Fault::SessionsStay && known {
            ended = std::mem::take(&mut self.sessions);
        }
        let mut rolled_back = Vec::new();
        if order.prepared == PreparedRule::Rollback && known {
            rolled_back = std::mem::take(&mut self.prepared).into_iter().map(|one| one.gid).collect();
        }
        RevokeReport {
            seen: self.seen(&order.membership),
            was_held,
            default_kept: None,
            ended,
            rolled_back,
            revoked_at: now,
            server_time: now,
            identity: self.identity(),
        }
    }
}

/// Record of one access along its way.
#[derive(Debug, Default)]
struct Trail {
    /// Statement that was sent and not answered, or may still arrive.
    sent: Option<GrantOrder>,
    latest_end: Option<Time>,
    extended: TimeDelta,
    overdue_told: Option<Time>,
    verified: Vec<VerifiedEnd>,
}

pub(super) struct World {
    now: Time,
    server: Server,
    accesses: Vec<Access>,
    trails: Vec<Trail>,
    watches: BTreeMap<usize, Watch>,
}

impl World {
    pub(super) fn new(engine: Engine, kinds: &[(usize, usize)]) -> Self {
        let accesses: Vec<Access> =
            kinds.iter().enumerate().map(|(number, (kind, role))| access(number, *kind, *role)).collect();
        let server = Server {
            engine,
            incarnation: 1,
            account: 1,
            roles: Default::default(),
            sessions: Vec::new(),
            prepared: Vec::new(),
        };
        let trails = accesses.iter().map(|_| Trail::default()).collect();
        Self { now: at(1), server, accesses, trails, watches: BTreeMap::new() }
    }

    /// Performs all acts, then lets a healthy server and the account work bring everything to its
    /// end.
    pub(super) fn live(mut self, acts: &[Act]) {
        for act in acts {
            self.now = after(self.now, TimeDelta::microseconds(1));
            self.act(act);
            self.check();
        }
        self.drain();
    }

    fn all(&self) -> Vec<&Access> {
        self.accesses.iter().collect()
    }

    fn asked(&self, i: usize) -> Membership {
        let request = self.accesses[i].request();
        Membership { account: request.account.clone(), account_id: None, role: request.role.clone(), role_id: None }
    }

    fn role_of(&self, i: usize) -> usize {
        Server::role(&self.asked(i))
    }

    /// Checks whether a membership in the role may be ours, as far as anybody can know.
    fn may_be_ours(&self, role: usize) -> bool {
        (0..self.accesses.len()).filter(|i| self.role_of(*i) == role).any(|i| {
            self.accesses[i].grant().is_some_and(Grant::is_live)
                && !matches!(self.accesses[i].grant(), Some(Grant::Revoking(revoking)) if revoking.untouched)
        })
    }

    fn act(&mut self, act: &Act) {
        let n = self.accesses.len();
        match *act {
            Act::Wait(seconds) => self.now = after(self.now, TimeDelta::seconds(seconds)),
            Act::WaitUntilDue => {
                let dues = self.accesses.iter().flat_map(|access| [access.effect_due(), access.desk_due()]).flatten();
                let watched = self.watches.values().map(|watch| watch.next);
                if let Some(due) = dues.chain(watched).filter(|due| *due > self.now).min() {
                    self.now = due;
                }
            }
            Act::Tick(a) => self.tick(a % n),
            Act::Decide(a, person, yes) => {
                let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
                let said = said(&self.accesses[a % n], PEOPLE[person], verdict, self.now);
                self.event(a % n, said);
            }
            Act::ApproveAll(a) => {
                for name in ["bob", "carol", "frank"] {
                    let said = said(&self.accesses[a % n], name, Verdict::Approve, self.now);
                    self.event(a % n, said);
                }
            }
            Act::RuleAgain(a, kind, fresh) => {
                let ruling = match kind {
                    Some(kind) => Ruling::Planned(plan(kind)),
                    None => Ruling::Denied { rule: None, reason: "no more".to_owned(), policy: "hash".to_owned() },
                };
                let fresh = match fresh {
                    0 => Vec::new(),
                    _ => PEOPLE
                        .iter()
                        .map(|name| Fresh {
                            by: who(name),
                            snapshot: snapshot(name, fresh == 1 && *name == "bob"),
                            in_place_of: None,
                        })
                        .collect(),
                };
                self.event(a % n, Event::RuleAgain { ruling, fresh, question: question(self.now) });
            }
            Act::Begin(a) => self.begin(a % n),
            Act::Answer(a, answer) => self.answer(a % n, answer),
            Act::Arrive(a) => self.arrive(a % n),
            Act::Settle(a) => self.settle(a % n),
            Act::Expire => self.expire(),
            Act::End(a, cause, by) => {
                let by = by.then(|| who("carol"));
                self.event(a % n, Event::End { cause: CAUSES[cause], by, why: Some("it has to".to_owned()) });
            }
            Act::Close(fault) => self.close(fault),
            Act::Look => self.look(),
            Act::Restart { lost } => self.restart(lost),
            Act::Extend(a, longer, kind) => {
                let longer = TimeDelta::seconds(longer);
                let (by, question) = (who("alice"), question(self.now));
                let extend = Extend { question, by, longer, reason: "more".to_owned(), plan: plan(kind) };
                self.event(a % n, Event::Extend(extend));
            }
            Act::Retire(a) => {
                if self.accesses[a % n].grant().is_some_and(Grant::is_live) {
                    let role = self.role_of(a % n);
                    self.server.roles[role].excused = true;
                    self.trails[a % n].sent = None;
                }
                self.event(a % n, Event::Retire { by: who("carol") });
            }
            Act::Cancel(a) => {
                self.event(a % n, Event::Cancel { by: who("alice"), why: "not needed".to_owned() });
            }
            // if one row holds both, nobody can tell a standing membership made over ours from ours
            Act::HandGrant(role) => {
                if self.server.engine == Engine::PerGrantor
                    || !self.may_be_ours(role) && self.server.roles[role].ours.is_none()
                {
                    self.server.roles[role].standing = true;
                }
            }
            Act::HandRevoke(role) => {
                let rows = &mut self.server.roles[role];
                *rows = Rows { excused: rows.ours.is_some() || rows.excused, ..Rows::default() };
            }
            Act::Recreate => {
                self.server.account += 1;
                self.server.sessions.clear();
                for rows in &mut self.server.roles {
                    *rows = Rows { excused: rows.ours.is_some() || rows.excused, ..Rows::default() };
                }
            }
            Act::Session => {
                let id = format!("{}", self.now.timestamp_micros());
                self.server.sessions.push(Session { id, account: "alice".to_owned(), since: Some(self.now) });
            }
            Act::Prepare => {
                let (gid, database, owner) = ("x'1".to_owned(), "orders".to_owned(), "alice".to_owned());
                self.server.prepared.push(PreparedTransaction { gid, database, owner });
            }
            Act::RollBack => self.server.prepared.clear(),
            Act::Spurious(a, spurious) => self.spurious(a % n, spurious),
        }
    }

    /// Ticks until nothing more is due. A tick that changes nothing is the last one.
    fn tick(&mut self, i: usize) {
        for _ in 0..4 {
            let before = self.accesses[i].clone();
            self.event(i, Event::Tick);
            if self.accesses[i] == before {
                let due = before.desk_due();
                assert!(due.is_none_or(|due| due > self.now), "law 4: what is due stays due after a tick: {before:?}");
                return;
            }
        }
        panic!("a tick does not come to rest: {:?}", self.accesses[i]);
    }

    fn begin(&mut self, i: usize) {
        // law 14: work on one account is serial, and open work is settled first
        let open = |trail: &Trail| trail.sent.is_some();
        let unsettled = |access: &Access| matches!(access.grant(), Some(Grant::Granting(_)));
        if self.trails.iter().any(open) || self.accesses.iter().any(unsettled) {
            return;
        }
        let asked = self.asked(i);
        let not_after = after(self.now, TimeDelta::minutes(1));
        let live = self.all();
        let event = match judge(&self.accesses[i], &live, &self.server.seen(&asked), &asked, "node-1", not_after) {
            Ok(clear) => Event::BeginGrant(clear),
            Err(how) => Event::Standing(how),
        };
        let (role, rows) = (self.role_of(i), &self.server.roles[self.role_of(i)]);
        // without a named grantor, a row that appeared beside a restart counts as ours, and is
        // ending
        let alike = self.server.engine != Engine::PerGrantor && rows.excused && self.may_be_ours(role);
        let standing = rows.standing && !alike;
        assert!(!standing || matches!(event, Event::Standing(_)), "law 6: a role already held was not refused");
        if !self.event(i, event) {
            return;
        }
        if let Some(Grant::Granting(Granting { membership, intent, latest_end, .. })) = self.accesses[i].grant() {
            let access = &self.accesses[i];
            let scope = holding::scope(access, &self.all());
            let witness = access.witness().unwrap();
            let (membership, refused) = (membership.clone(), Stance::Refused);
            let order = GrantOrder::new(&witness, membership, scope, intent.not_after)
                .with_account_members(refused)
                .with_can_grant(refused);
            self.trails[i].latest_end = Some(*latest_end);
            self.trails[i].extended = TimeDelta::zero();
            self.trails[i].sent = Some(order);
        }
    }

    fn answer(&mut self, i: usize, answer: Answer) {
        let Some(order) = self.trails[i].sent.clone() else { return };
        let why = "the answer".to_owned();
        let in_time = self.now <= order.not_after();
        let event = match answer {
            Answer::UnknownWaiting => {
                self.event(i, Event::GrantUnknown { why });
                return;
            }
            // the outcome was unknown before: no certain answer comes after that
            _ if self.accesses[i].last_error().is_some() => return,
            Answer::UnknownApplied => {
                if in_time {
                    self.server.grant(&order);
                }
                Event::GrantUnknown { why }
            }
            Answer::NotGranted => Event::NotGranted { why, retry_at: after(self.now, TimeDelta::seconds(3)) },
            Answer::Granted if !in_time => Event::NotGranted { why, retry_at: self.now },
            Answer::Granted if self.server.grant(&order) => {
                Event::Granted(Granted { server_time: self.now, identity: self.server.identity() })
            }
            Answer::Granted | Answer::Rejected => Event::GrantRejected { rejection: Rejection::NoSuchAccount, why },
        };
        self.trails[i].sent = None;
        self.event(i, event);
    }

    /// Lets a statement that waited for a lock arrive, unless its deadline passed.
    fn arrive(&mut self, i: usize) {
        let Some(order) = self.trails[i].sent.take() else { return };
        if self.now <= order.not_after() {
            self.server.grant(&order);
        }
        self.event(i, Event::GrantUnknown { why: "the answer".to_owned() });
    }

    fn settle(&mut self, i: usize) {
        let membership = match self.accesses[i].grant() {
            Some(Grant::Granting(granting)) => granting.membership.clone(),
            Some(Grant::Revoking(revoking)) if revoking.unsettled.is_some() => revoking.membership.clone(),
            _ => return,
        };
        self.trails[i].sent = None;
        let found = settled(&self.server.seen(&membership), &membership, self.accesses[i].scope());
        assert!(self.event(i, Event::Settled(found)), "settling is always an answer");
    }

    fn expire(&mut self) {
        for i in 0..self.accesses.len() {
            if matches!(self.accesses[i].grant(), Some(Grant::Active(active)) if active.window.end() <= self.now) {
                self.event(i, Event::End { cause: Cause::Expired, by: None, why: None });
            }
        }
    }

    fn close(&mut self, fault: Fault) {
        let closings: Vec<Closing> = closings(&self.all(), self.now);
        for closing in closings {
            let retry_at = after(self.now, TimeDelta::seconds(5));
            let report = self.server.revoke(&closing.order, fault, self.now);
            let verified = match fault {
                Fault::NotApplied => Err("the database did not answer".to_owned()),
                _ => verify(&closing, &report),
            };
            for access in &closing.accesses {
                let i = (0..self.accesses.len()).find(|i| self.accesses[*i].id() == *access).unwrap();
                match &verified {
                    Ok(all) => {
                        let one = all.iter().find(|one| one.access() == *access).unwrap().clone();
                        self.trails[i].verified.push(one.clone());
                        assert!(self.event(i, Event::Ended(one)));
                        assert!(self.accesses[i].is_final());
                        if let Some(watch) = self.accesses[i].watch() {
                            assert_eq!(watch.next, after(self.now, TimeDelta::minutes(1)));
                            self.watches.insert(i, watch);
                        }
                    }
                    Err(why) => {
                        assert!(self.event(i, Event::EndFailed { why: why.clone(), retry_at }));
                        assert!(self.accesses[i].is_overdue(self.now), "law 4: one failed revoke is overdue");
                        assert_eq!(self.accesses[i].effect_due(), Some(retry_at));
                    }
                }
            }
            self.check();
        }
    }

    fn look(&mut self) {
        for (i, watch) in self.watches.clone() {
            let seen = self.server.seen(&watch.membership);
            let incarnation = self.server.incarnation();
            let looked = look(&watch, &self.all(), &seen, &incarnation);
            if let Look::Reappeared(how) = looked {
                assert!(self.event(i, Event::Reappeared(how)) || self.accesses[i].grant().is_some_and(Grant::is_live));
                self.watches.remove(&i);
                continue;
            }
            match watch.looked(self.now, &seen, &incarnation) {
                Some(next) => self.watches.insert(i, next),
                None => self.watches.remove(&i),
            };
        }
    }

    /// Restarts the server as another incarnation. `lost`: it lost the last revokes.
    fn restart(&mut self, lost: bool) {
        self.server.incarnation += 1;
        self.server.sessions.clear();
        for (i, watch) in &self.watches {
            let role = Server::role(&watch.membership);
            let live = self.may_be_ours(role);
            let known = self.server.knows(&watch.membership);
            let rows = &mut self.server.roles[role];
            if lost && !live && known && !rows.standing {
                rows.ours = Some(self.accesses[*i].scope());
            }
            // without a named grantor, a row seen in a new incarnation counts as ours
            rows.excused = true;
        }
    }

    /// Sends events in states where they are impossible. Nothing changes.
    fn spurious(&mut self, i: usize, spurious: Spurious) {
        let access = &self.accesses[i];
        let grant = access.grant();
        let why = "spurious".to_owned();
        let granting = matches!(grant, Some(Grant::Granting(_)));
        let scheduled = matches!(grant, Some(Grant::Scheduled(_)));
        let unsettled = matches!(grant, Some(Grant::Revoking(revoking)) if revoking.unsettled.is_some());
        let (belongs, event) = match spurious {
            Spurious::Granted => {
                (granting, Event::Granted(Granted { server_time: self.now, identity: self.server.identity() }))
            }
            Spurious::NotGranted => (granting || scheduled, Event::NotGranted { why, retry_at: self.now }),
            Spurious::Unknown => (granting, Event::GrantUnknown { why }),
            Spurious::Rejected => (granting, Event::GrantRejected { rejection: Rejection::Other, why }),
            Spurious::Settled(found) => (granting || unsettled, Event::Settled(found)),
            Spurious::EndFailed => {
                (matches!(grant, Some(Grant::Revoking(_))), Event::EndFailed { why, retry_at: self.now })
            }
            Spurious::Standing => (scheduled, Event::Standing(why)),
            Spurious::Reappeared => {
                (matches!(grant, Some(Grant::Revoked(_) | Grant::Failed(_))), Event::Reappeared(why))
            }
            Spurious::OthersClear => {
                let other = super::model::access(99, 0, self.role_of(i));
                let asked = self.asked(i);
                let clear = judge(&other, &[], &Seen::default(), &asked, "node-1", self.now).unwrap();
                (false, Event::BeginGrant(clear))
            }
            Spurious::OldVerified => {
                let n = self.accesses.len();
                let of_another = self.trails[(i + 1) % n].verified.last();
                let old = self.trails[i].verified.last().or(of_another).cloned();
                match old {
                    Some(verified) => (false, Event::Ended(verified)),
                    None => return,
                }
            }
            Spurious::Placed => (false, Event::Placed(RealmId::new("postgres:2").unwrap())),
        };
        if !belongs {
            let step = access.handle(event, self.now).unwrap();
            assert_eq!(step.access, *access, "a spurious event changed something");
            assert!(step.audit_events.is_empty(), "a spurious event has audit events: {:?}", step.audit_events);
        }
    }

    /// Sends the event twice. Returns true if it changed something.
    fn event(&mut self, i: usize, event: Event) -> bool {
        let before = self.accesses[i].clone();
        let step = match before.handle(event.clone(), self.now) {
            Ok(step) => step,
            Err(refused) => {
                assert!(!refused.audit_events.is_empty() && !refused.why.to_string().is_empty());
                return false;
            }
        };
        let after_it = &step.access;
        self.check_way(&before, &event, after_it);
        check_again(after_it, &event, self.now);
        let bytes = after_it.to_bytes().unwrap();
        let loaded = Access::from_bytes(&bytes, self.now).unwrap_or_else(|damaged| panic!("{damaged}: {after_it:?}"));
        assert_eq!(loaded, *after_it);

        for audit_event in &step.audit_events {
            let trail = &mut self.trails[i];
            match audit_event.what {
                EventKind::Extended => {
                    let grown = span(before.window().unwrap().end(), after_it.window().unwrap().end());
                    trail.extended = trail.extended.checked_add(&grown).unwrap();
                    trail.overdue_told = None;
                }
                EventKind::Overdue => {
                    assert!(after_it.is_overdue(after(self.now, TimeDelta::seconds(1))), "{before:?} {after_it:?}");
                    if let Some(told) = trail.overdue_told {
                        let gap = span(told, self.now);
                        assert!(gap >= TimeDelta::seconds(3_594), "overdue was told twice within the hour: {gap}");
                    }
                    trail.overdue_told = Some(self.now);
                }
                EventKind::Reappeared => trail.overdue_told = None,
                _ => {}
            }
        }
        let changed = step.access != before;
        self.accesses[i] = step.access;
        changed
    }

    /// Checks that the state changed in one of the allowed ways.
    fn check_way(&self, before: &Access, event: &Event, now: &Access) {
        let (from, to) = (before.state().as_str(), now.state().as_str());
        let certain = matches!(event, Event::NotGranted { .. } | Event::Settled(Found::Absent));
        let allowed = match (from, to) {
            (from, to) if from == to => true,
            ("pending", "scheduled" | "denied" | "cancelled" | "lapsed") => true,
            ("scheduled", "pending" | "denied") => matches!(event, Event::RuleAgain { .. }),
            ("scheduled", "granting" | "withdrawn") => true,
            ("scheduled", "failed") => matches!(event, Event::Standing(_)),
            ("granting", "scheduled") => certain,
            ("granting", "active") => matches!(event, Event::Granted(_) | Event::Settled(Found::Held)),
            ("granting" | "active", "revoking") => true,
            ("granting" | "active" | "revoking", "retired") => matches!(event, Event::Retire { .. }),
            ("revoking", "revoked" | "failed") => matches!(event, Event::Ended(_)),
            ("revoked" | "failed", "revoking") => matches!(event, Event::Reappeared(_)),
            _ => false,
        };
        assert!(allowed, "{from} became {to} by {event:?}");
        if to == "granting" || to == "active" {
            assert!(now.witness().is_some(), "law 1: {to} without a satisfied approval");
        }
        if from == "pending" && to == "scheduled" {
            assert!(now.witness().is_some(), "law 1: scheduled without a satisfied approval");
            let Phase::Pending(pending) = before.phase() else { unreachable!() };
            assert!(self.now < pending.lapses_at, "approved after it lapsed");
        }
    }

    fn check(&self) {
        for (access, trail) in self.accesses.iter().zip(&self.trails) {
            check_access(access, trail);
        }
        for role in 0..2 {
            self.check_role(role);
        }
    }

    /// Checks that the catalog rows of one role follow from the live accesses.
    fn check_role(&self, role: usize) {
        let rows = &self.server.roles[role];
        if rows.excused {
            return;
        }
        let account = Some(self.server.account_id());
        let of_role = |access: &&Access| {
            let membership = access.grant().filter(|grant| grant.is_live()).and_then(Grant::membership);
            membership.is_some_and(|membership| Server::role(membership) == role && membership.account_id == account)
        };
        let live: Vec<&Access> = self.accesses.iter().filter(of_role).collect();
        if let Some(scope) = rows.ours {
            let widest = live.iter().map(|access| access.scope()).max();
            assert!(widest.is_some(), "law 4: a membership of ours that no access answers for: {:?}", self.accesses);
            let wider = self.server.engine == Engine::PerGrantor && Some(scope) > widest;
            assert!(!wider, "law 7: wider than any live access wants");
        }
        for access in live.iter().filter(|access| access.state() == "active") {
            let held = rows.ours.is_some_and(|scope| scope >= access.scope());
            assert!(held, "law 7: an active access lost its membership: {access:?}");
        }
    }

    /// Runs account work on a healthy server: everything ends, and nothing of ours is left.
    fn drain(mut self) {
        for _ in 0..400 {
            self.now = after(self.now, TimeDelta::microseconds(1));
            self.server.prepared.clear();
            for i in 0..self.accesses.len() {
                self.tick(i);
                self.settle(i);
            }
            self.expire();
            self.close(Fault::None);
            for i in 0..self.accesses.len() {
                self.begin(i);
                self.answer(i, Answer::Granted);
            }
            self.look();
            self.check();
            let quiet = self.accesses.iter().all(Access::is_final) && self.watches.is_empty();
            if quiet {
                return self.check_end();
            }
            self.act(&Act::WaitUntilDue);
        }
        panic!("law 4: it never ends: {:?}", self.accesses);
    }

    fn check_end(&self) {
        let retired: BTreeSet<usize> = (0..self.accesses.len())
            .filter(|i| self.accesses[*i].state() == "retired")
            .map(|i| self.role_of(i))
            .collect();
        for (role, rows) in self.server.roles.iter().enumerate() {
            let left = rows.ours.is_some() && !retired.contains(&role) && !rows.excused;
            assert!(!left, "law 2: a membership of ours outlived everything");
        }
    }
}

fn check_access(access: &Access, trail: &Trail) {
    let state = access.state();
    let live = access.grant().is_some_and(Grant::is_live);
    if live || state == "scheduled" {
        assert!(access.effect_due().is_some(), "law 4: nobody looks after it: {access:?}");
    }
    assert_eq!(access.desk_due().is_none(), access.is_final(), "law 4: nobody is told: {access:?}");
    if let Some(window) = access.window() {
        let latest = after(trail.latest_end.unwrap(), trail.extended);
        assert!(window.end() <= latest, "law 2: longer than its latest end: {access:?}");
        let total = span(window.activated_at(), window.end());
        assert!(total <= crate::model::grant::CEILING, "law 2: longer than the ceiling");
    }
    if let Some(Grant::Revoked(ended) | Grant::Failed(ended)) = access.grant() {
        let verified = ended.evidence.is_some() || ended.cause == Cause::Standing && ended.membership.is_none();
        assert!(verified, "law 5: ended and not verified: {access:?}");
    }
}

/// Checks that a repeated event changes nothing, unless it counts each time.
fn check_again(access: &Access, event: &Event, now: Time) {
    if matches!(event, Event::Tick | Event::EndFailed { .. } | Event::Extend(_)) {
        return;
    }
    if let Ok(step) = access.handle(event.clone(), now) {
        assert_eq!(step.access, *access, "a repeated event changed something: {event:?}");
        assert!(step.audit_events.is_empty(), "a repeated event has audit events: {event:?} {:?}", step.audit_events);
    }
}
