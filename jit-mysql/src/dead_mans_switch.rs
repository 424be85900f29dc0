//! Dead man's switch: an event for each lease, which revokes memberships that ran out. It outlives
//! every process of ours, and a restart of the server. The events are the broker's own, in a
//! database in which no other account has rights; any other event counts as none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use jit_core::clock::Time;
use jit_core::database::{
    ArmOrder, Armed, Call, DatabaseError, DeadMansSwitch, DefaultRole, Disarmed, Identity, Membership, Rejection,
    StoreMarks, SwitchKind,
};
use jit_core::id::StoreId;
use jit_core::internal::adapter::{Budget, HOW_TO_MAKE, copied, late, none_applied, store_in, stores_in};
use jit_core::policy::Sessions;
use mysql_async::Row;

use crate::account::Name;
use crate::connect::Connection;
use crate::error::{self, reading};
use crate::observe::{Named, garbled, name, number, text};
use crate::sql::dead_mans_switch::{self as sql, Lease, Namesakes, When};
use crate::sql::{NAMES, NAMES_IN};

/// Number of events in one packet.
const AT_ONCE: usize = 32;
/// Longest time for which an event is armed, in seconds: far more than any window.
const LONGEST: u64 = 366 * 24 * 3600;

/// State of the switch on the server.
pub(crate) struct State {
    /// Database of the broker.
    home: String,
    is_there: bool,
    /// Broker may make events there, and sees its own.
    may_schedule: bool,
    is_scheduler_on: bool,
    may_kill: bool,
    /// Accounts other than the broker that have events or routines in the broker's database, for
    /// people to read.
    pub(crate) strangers: String,
}

impl State {
    /// Returns whether there is a switch, given the others (for people to read) who may change what
    /// the broker has.
    pub(crate) fn here(&self, others: Option<&str>) -> DeadMansSwitch {
        let Self { home, strangers, .. } = self;
        let remedy = if !(self.may_schedule && self.is_there) {
            HOW_TO_MAKE.to_owned()
        } else if !strangers.is_empty() {
            format!(
                "in the broker's database `{home}` there are events or routines of others ({strangers}): drop them, and take the rights on it from who made them"
            )
        } else if let Some(others) = others.filter(|others| !others.is_empty()) {
            format!(
                "others may change or drop what is in the broker's database `{home}` ({others}): revoke their rights on it, or on a pattern that \
                 matches its name"
            )
        } else if !self.is_scheduler_on {
            sql::SCHEDULER_ON.to_owned()
        } else {
            return DeadMansSwitch::Available(SwitchKind::Event);
        };
        DeadMansSwitch::Unavailable { remedy }
    }
}

/// Mark of an event on its membership, if the broker has an event for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark {
    /// Store that accounts for the membership.
    pub(crate) store: Option<StoreId>,
    /// Event has revoked the membership.
    pub(crate) taken: bool,
    /// Accounts that existed when the window began.
    pub(crate) namesakes: Option<Namesakes>,
}

/// Event as the server has it.
struct Event {
    armed_by: String,
    fires_at: Time,
    fired_at: Option<Time>,
    /// Body of the event, if it is the broker's own and looks every other second.
    body: Option<String>,
    enabled: bool,
    own: bool,
}

impl Connection {
    /// Reads whether there is a dead man's switch here.
    pub(crate) async fn dead_mans_switch(&mut self) -> Result<DeadMansSwitch, DatabaseError> {
        let others = self.others().await?;
        Ok(self.dead_mans_switch_state().await?.here(others.as_deref()))
    }

    /// Reads the state of the switch on the server.
    pub(crate) async fn dead_mans_switch_state(&mut self) -> Result<State, DatabaseError> {
        let home = self.home();
        let rows = self.ask(sql::STATE, (&home, &home, &home, &home).into()).await.map_err(reading)?;
        let row = rows.first().ok_or_else(garbled)?;
        let there = |column| number(row, column).map(|count| count != 0);
        Ok(State {
            is_there: there("has_home")?,
            may_schedule: there("may_schedule")?,
            is_scheduler_on: ["ON", "1"].contains(&text(row, "scheduler")?.to_ascii_uppercase().as_str()),
            may_kill: there("may_kill")?,
            strangers: text(row, "strangers")?,
            home,
        })
    }

    /// Reads who else may change or drop what is in the broker's database, for people to read.
    /// None: the broker may not see that.
    pub(crate) async fn others(&mut self) -> Result<Option<String>, DatabaseError> {
        match self.ask(sql::OTHERS, (self.home(),).into()).await {
            Ok(rows) => text(rows.first().ok_or_else(garbled)?, "others").map(Some),
            // earlier versions of jit did not ask for that right
            Err(error) if error::is_denied(&error) => Ok(None),
            Err(error) => Err(reading(error)),
        }
    }

    /// Returns the server, if it is the one that the call is meant for.
    async fn meant(&mut self, call: &Call) -> Result<Identity, DatabaseError> {
        let identity = self.moment().await?.identity;
        call.meant_for(&identity).map(|()| identity)
    }

    /// Returns the name of the database with the broker's events.
    pub(crate) fn home(&self) -> String {
        sql::home(&self.server.broker)
    }

    fn event(&self, named: &Named) -> String {
        let Named { account, role } = named;
        sql::event(&[&self.server.broker, &account.user, &account.host, &role.user, &role.host])
    }

    /// Returns the statement that reads the marks on these memberships.
    pub(crate) fn marks(&self, named: &[Named]) -> String {
        let names: BTreeSet<String> = named.iter().map(|named| self.event(named)).collect();
        sql::marks(&self.home(), &names.into_iter().collect::<Vec<_>>())
    }

    /// Parses the rows of that statement, by membership.
    pub(crate) fn marked(&self, named: &[Named], rows: &[Row]) -> Result<Vec<Mark>, DatabaseError> {
        let mut marks = BTreeMap::new();
        for row in rows {
            let mark = text(row, "armed_by")?;
            let taken = [sql::TOOK, sql::FIRED].contains(&mark.as_str());
            let namesakes = Namesakes::read(&text(row, "there")?);
            marks.insert(text(row, "name")?, Mark { store: store_in(&mark), taken, namesakes });
        }
        Ok(named.iter().map(|named| marks.get(&self.event(named)).cloned().unwrap_or_default()).collect())
    }

    /// Reads the stores that have marks here.
    pub(crate) async fn stores(&mut self) -> Result<Vec<StoreMarks>, DatabaseError> {
        let rows = self.list(sql::MARKS, (self.home(),).into()).await?;
        let marks = rows.iter().map(|row| text(row, "armed_by")).collect::<Result<Vec<_>, _>>()?;
        Ok(stores_in(&marks))
    }

    /// Reads every account of these user names, and those without one.
    async fn accounts(&mut self, named: &[Named]) -> Result<BTreeSet<Name>, DatabaseError> {
        self.say_what_is_asked(named).await?;
        self.list(NAMES, ().into()).await?.iter().map(|row| name(row, "user", "host")).collect()
    }

    /// Reads the events of these names, by name.
    async fn events(&mut self, names: &[String]) -> Result<BTreeMap<String, Event>, DatabaseError> {
        let these = serde_json::to_string(names).map_err(|_| garbled())?;
        let home = self.home();
        let time = |text: String| text.parse::<Time>().map_err(|_| garbled());
        let mut events = BTreeMap::new();
        for row in self.list(sql::ARMED, (home, these).into()).await? {
            let own = number(&row, "is_ours")? != 0;
            let (armed_by, status) = (text(&row, "armed_by")?, text(&row, "status")?);
            let executed = Some(text(&row, "executed")?).filter(|text| !text.is_empty()).map(time).transpose()?;
            let fired = own && status == "DISABLED" && [sql::FIRED, sql::FOUND_NOTHING].contains(&armed_by.as_str());
            let event = Event {
                fired_at: executed.filter(|_| fired),
                fires_at: time(text(&row, "fires_at")?)?,
                body: own.then(|| text(&row, "body")).transpose()?,
                enabled: status == "ENABLED",
                armed_by,
                own,
            };
            events.insert(text(&row, "name")?, event);
        }
        Ok(events)
    }
}

/// Arms the switch; returns one result per order.
pub(crate) async fn arm(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Vec<Result<Armed, DatabaseError>> {
    arm_all(connection, call, orders, grace, budget).await.unwrap_or_else(|error| none_applied(orders.len(), &error))
}

async fn arm_all(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Result<Vec<Result<Armed, DatabaseError>>, DatabaseError> {
    let identity = connection.meant(call).await?;
    let (others, state) = (connection.others().await?, connection.dead_mans_switch_state().await?);
    if let DeadMansSwitch::Unavailable { remedy } = state.here(others.as_deref()) {
        return Err(DatabaseError::rejected(Rejection::NoDeadMansSwitch, remedy));
    }
    let killer = if state.may_kill { None } else { connection.killer().await? };
    let (flavour, home) = (connection.server.flavour, connection.home());
    let label = comment(&call.mark());
    let named: Vec<Named> = orders.iter().map(|order| Named::of(flavour, &order.membership)).collect();
    let names: Vec<String> = named.iter().map(|named| connection.event(named)).collect();
    let there = connection.events(&names).await?;
    // an event that is armed anew within the window keeps the accounts of the window's begin, so it
    // needs no table that could be locked
    let kept = |event: &String| {
        let armed = there.get(event).filter(|event| event.enabled)?;
        armed.body.as_deref().and_then(Namesakes::in_body)
    };
    let kept: Vec<Option<Namesakes>> = names.iter().map(kept).collect();
    let all_kept = kept.iter().all(Option::is_some);
    let accounts = if all_kept { BTreeSet::new() } else { connection.accounts(&named).await? };
    let mut wanted = Vec::new();
    for (((order, named), event), kept) in orders.iter().zip(named).zip(&names).zip(kept) {
        let namesakes = kept.unwrap_or_else(|| Namesakes::of(&named.account, &accounts));
        let lease = Lease {
            armed_by: label.clone(),
            account_user: named.account.user,
            account_host: named.account.host,
            role_user: named.role.user,
            role_host: named.role.host,
            ends_sessions: order.sessions == Sessions::End,
            default_goes: matches!(order.default_role, DefaultRole::Goes { .. }),
            back_to: match &order.default_role {
                DefaultRole::Goes { back_to: Some(role) } => Name::parse(role).ok().map(|role| role.user),
                _ => None,
            },
            killer,
            namesakes,
        };
        let body = sql::body(flavour, &home, event, &lease);
        // the servers count in seconds, and nothing may be early
        let seconds = order.ends_in.saturating_add(grace).as_secs().saturating_add(1).min(LONGEST);
        wanted.push((event.clone(), body, seconds));
    }
    let until = until(connection, budget);
    let mut failure = None;
    // a membership that another store accounts for stays as it is
    let others: Vec<Option<StoreId>> = wanted.iter().map(|(event, ..)| another(call, there.get(event))).collect();
    let ours: Vec<&(String, String, u64)> =
        wanted.iter().zip(&others).filter(|(_, other)| other.is_none()).map(|(ours, _)| ours).collect();
    for some in ours.chunks(AT_ONCE) {
        let each = some.iter().map(|(event, body, seconds)| {
            let when = When { seconds: *seconds, armed_by: &label, until: &until, wait: wait(budget) };
            sql::arm(&home, event, there.contains_key(event), &when, body)
        });
        // once for all events: the names of each are in its REVOKE
        let packet: Vec<String> = std::iter::once(NAMES_IN.to_owned()).chain(each).collect();
        if let Err(error) = connection.script(&packet.join("; ")).await {
            failure = Some(gated(&error));
            break;
        }
    }
    if let Some(unknown @ DatabaseError::OutcomeUnknown { .. }) = failure {
        return Err(unknown);
    }
    let now = connection.events(&names).await?;
    let each = wanted.iter().zip(orders).zip(others).map(|(((event, body, _), order), other)| match now.get(event) {
        _ if other.is_some() => {
            let Membership { account, role, .. } = &order.membership;
            Err(other.map_or_else(late, |store| DatabaseError::another_store(account, role, &store)))
        }
        Some(armed) if armed.enabled && armed.armed_by == label && armed.body.as_ref() == Some(body) => {
            Ok(Armed::new(identity.clone(), SwitchKind::Event, armed.fires_at))
        }
        Some(Event { own: false, .. }) => {
            let why = format!("the event `{home}`.`{event}` is somebody else's, or was changed: drop it");
            Err(DatabaseError::rejected(Rejection::NoDeadMansSwitch, why))
        }
        _ => Err(failure.as_ref().map_or_else(late, copied)),
    });
    Ok(each.collect())
}

/// Disarms the switch; returns one result per order.
pub(crate) async fn disarm(
    connection: &mut Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Vec<Result<Disarmed, DatabaseError>> {
    disarm_all(connection, call, memberships, budget)
        .await
        .unwrap_or_else(|error| none_applied(memberships.len(), &error))
}

async fn disarm_all(
    connection: &mut Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Result<Vec<Result<Disarmed, DatabaseError>>, DatabaseError> {
    let identity = connection.meant(call).await?;
    let (flavour, home) = (connection.server.flavour, connection.home());
    let names: Vec<String> =
        memberships.iter().map(|membership| connection.event(&Named::of(flavour, membership))).collect();
    if !connection.dead_mans_switch_state().await?.may_schedule {
        // an armed event would fire all the same, and nobody would see it
        let why = format!("the broker does not see its events any more: GRANT EVENT ON {home}.* to it again");
        return Err(DatabaseError::not_applied(why));
    }
    let before = connection.events(&names).await?;
    let until = until(connection, budget);
    let is_ours =
        |name: &&String| before.get(*name).is_some_and(|event| event.own && call.another_in(&event.armed_by).is_none());
    let ours: Vec<&String> = names.iter().filter(is_ours).collect();
    for some in ours.chunks(AT_ONCE) {
        let each = some.iter().map(|event| sql::disarm(&home, event, &until, wait(budget)));
        connection.script(&each.collect::<Vec<_>>().join("; ")).await.map_err(|error| gated(&error))?;
    }
    if !ours.is_empty() {
        let left = connection.events(&names).await?;
        if let Some(name) = ours.iter().find(|name| left.get(**name).is_some_and(|event| event.own)) {
            return Err(DatabaseError::not_applied(format!("the event `{home}`.`{name}` is still there")));
        }
    }
    // an event that has fired names no store any more
    let fired_at = |name: &String| before.get(name).and_then(|event| event.fired_at);
    let each = names.iter().map(|name| Ok(Disarmed::new(identity.clone(), fired_at(name))));
    Ok(each.collect())
}

/// Returns the store that accounts for a membership by this event, if it is not the store of the
/// call.
fn another(call: &Call, event: Option<&Event>) -> Option<StoreId> {
    call.another_in(&event.filter(|event| event.own)?.armed_by)
}

/// Converts a mark to the comment of an event, which holds 64 characters.
fn comment(label: &str) -> String {
    let mut text = String::new();
    for one in label.chars().take(64) {
        let plain = one.is_ascii_alphanumeric() || "._:-/#@".contains(one);
        let _ = write!(text, "{}", if plain { one } else { '_' });
    }
    text
}

/// Converts the error that stopped a packet: its own gate, or the server.
fn gated(error: &mysql_async::Error) -> DatabaseError {
    if error::code(error) == Some(error::STOPPED) { late() } else { error::changing(error) }
}

/// Returns the longest wait of a statement for a lock, in seconds.
fn wait(budget: Budget) -> u64 {
    budget.patience().as_secs().clamp(1, 5)
}

/// Returns the deadline of a packet: a packet of an abandoned call must not undo what is done
/// later.
fn until(connection: &Connection, budget: Budget) -> String {
    connection.server.clock.after(budget.left()).format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
