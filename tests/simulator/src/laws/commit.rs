//! Laws about what may be committed.

use chrono::TimeDelta;

use super::reading::{Reading, read};
use super::records::{
    AccessRecord, ApprovalRecord, EntryRecord, ExtensionRecord, GrantRecord, HoldingRecord, PhaseRecord, RequestRecord,
    WindowRecord,
};
use super::{Case, Lawful, Oracle, broken};
use crate::steps::is_second;
use jit_core::clock::{Time, after, span};
use jit_core::database::ObjectId;
use jit_core::store::Record;

/// Audit events that people are told of.
const TOLD: [&str; 28] = [
    "requested",
    "reminder",
    "escalated",
    "approved",
    "denied",
    "cancelled",
    "lapsed",
    "active",
    "ending-soon",
    "extension-requested",
    "extended",
    "extension-refused",
    "revoked",
    "failed",
    "withdrawn",
    "overdue",
    "finding",
    "reappeared",
    "retired",
    "dead-man-fired",
    "break-glass",
    "reviewed",
    "review-overdue",
    "factor-locked",
    "stopped",
    "target-lost",
    "target-back",
    "target-refused",
];

/// Largest age of a look when its intent is committed: a call of the store that hangs (20 s), and
/// the look itself.
const LOOKED: TimeDelta = TimeDelta::seconds(30);

impl Oracle {
    /// Checks what a node committed. `holding` reads what the store has now.
    pub(crate) fn committed(
        &mut self,
        node: usize,
        reading: Reading,
        at: Time,
        holding: &dyn Fn(&str, &str, &str) -> Option<Record>,
    ) -> Lawful {
        if self.latest.is_some_and(|latest| at < latest) {
            return Err(broken(10, format!("a commit at {at} after one at {:?}", self.latest)));
        }
        self.latest = Some(at);
        self.dead_mans_switches_fired(at)?;
        for (tenant, _) in &reading.entries {
            let count = self.entries.entry(tenant.clone()).or_default();
            *count = count.saturating_add(1);
        }
        if let Some(stops) = &reading.stops {
            self.stops.clone_from(&stops.stops);
        }
        let about = |entry: &&(String, EntryRecord)| entry.0 == "default";
        let told =
            reading.entries.iter().filter(about).filter(|(_, entry)| TOLD.contains(&entry.what.as_str())).count();
        if told != reading.notices {
            return Err(broken(9, format!("{told} audit events to be told, {} notices with them", reading.notices)));
        }
        for (tenant, entry) in &reading.entries {
            self.is_told(tenant, entry, at)?;
            self.used_up(entry)?;
        }
        for record in reading.delegations {
            self.stands_in(record, &reading.entries)?;
        }
        self.looks_are(&reading.holdings);
        for (id, record) in reading.accesses {
            let whats: Vec<&EntryRecord> = reading
                .entries
                .iter()
                .map(|(_, entry)| entry)
                .filter(|entry| entry.access.as_deref() == Some(&id))
                .collect();
            self.access(node, &id, record, &whats, at)?;
            self.placed(&id, holding)?;
        }
        Ok(())
    }

    fn access(&mut self, node: usize, id: &str, record: AccessRecord, told: &[&EntryRecord], at: Time) -> Lawful {
        let (state, grant) = match record.phase {
            PhaseRecord::Pending(_) => ("pending".to_owned(), GrantRecord::default()),
            PhaseRecord::Denied(_) => ("denied".to_owned(), GrantRecord::default()),
            PhaseRecord::Cancelled(_) => ("cancelled".to_owned(), GrantRecord::default()),
            PhaseRecord::Lapsed(_) => ("lapsed".to_owned(), GrantRecord::default()),
            PhaseRecord::Approved(grant) => (grant.is.clone(), grant),
        };
        let before = self.cases.get(id).cloned();
        let was = before.as_ref().map_or("", |before| before.state.as_str());
        if !may_follow(was, &state) {
            let law = if matches!(was, "granting" | "active" | "revoking") { 4 } else { 1 };
            return Err(broken(law, format!("{id} was {was} and is {state}")));
        }
        if was != state && !told.iter().any(|entry| tells(&entry.what, &state)) {
            let whats: Vec<&str> = told.iter().map(|entry| entry.what.as_str()).collect();
            return Err(broken(9, format!("{id} became {state} with the entries {whats:?} only")));
        }
        let mut case = before.clone().unwrap_or_else(|| Case {
            tenant: record.tenant.clone(),
            request: record.request.clone(),
            realm: None,
            server: None,
            account_id: None,
            state: String::new(),
            start: None,
            intents: Vec::new(),
            unsettled: false,
            ever_revoking: false,
            latest_end: None,
            window: None,
            put_off: Vec::new(),
            extended: 0,
            since: None,
            heard: ApprovalRecord::default(),
            more: None,
            asked: Vec::new(),
            extensions: 0,
            review: None,
            alerted: false,
            executed: None,
        });
        if before.is_none() {
            self.order.push(id.to_owned());
            if case.request.break_glass && !told.iter().any(|entry| entry.what == "break-glass") {
                return Err(broken(9, format!("{id} is an emergency, and nobody is told")));
            }
        }
        self.heard(id, before.as_ref().map(|before| &before.heard), &record.approval, told, None)?;
        case.heard = record.approval;
        case.is_asked(&case.heard.question.clone());
        self.more(node, id, &mut case, record.extension, &record.extended, told, at)?;
        case.server = record.realm.as_deref().and_then(|realm| self.place(&case.tenant, realm));
        case.realm = record.realm;
        case.account_id = grant.membership.as_ref().and_then(|membership| membership.account_id.clone()).map(ObjectId);
        self.follows(id, &case, before.as_ref(), at)?;
        if grant.is == "scheduled" {
            case.start = grant.start.max(case.request.start);
        }
        let longer = told.iter().filter(|entry| entry.what == "extended");
        let longer: i64 = longer.filter_map(|entry| micros(entry.details.get("longer")?)).sum();
        if longer > 0 && was != "active" {
            return Err(broken(2, format!("{id} was extended while {was}")));
        }
        case.extended = case.extended.saturating_add(longer);
        if let Some(intent) = &grant.intent
            && !case.intents.contains(intent)
        {
            self.intended(node, id, &case, intent, at)?;
            self.comes_about_by(&case.request, &case.heard);
            self.mingle(&case);
            case.intents.push(intent.clone());
            case.executed = None;
            case.latest_end = grant.latest_end;
        }
        lengths(id, &case, &grant, at)?;
        let settled = self.settled(id, &case, &state, &grant);
        case.unsettled = state == "granting" || grant.unsettled.is_some();
        case.ever_revoking |= state == "revoking";
        if was == "active" && state == "revoking" {
            let early = case.window.as_ref().is_some_and(|window| at < window.end);
            if early && grant.cause.as_deref() == Some("expired") {
                return Err(broken(10, format!("{id} expired before its end")));
            }
        }
        if state == "active" && was != "active" {
            self.overlaps = self.overlaps.saturating_add(u64::from(self.overlapping(id, &case)));
        }
        let alerted = told.iter().any(|entry| entry.what == "overdue");
        case.alerted = matches!(state.as_str(), "granting" | "active" | "revoking") && (case.alerted || alerted);
        if let (Some(was), Some(is)) = (&case.window, &grant.window)
            && was.end < is.end
        {
            case.put_off.push((was.end, at));
        }
        case.window = grant.window.clone().or(case.window);
        case.since = grant.since;
        case.state.clone_from(&state);
        self.owed(node, id, &case, record.review.as_ref(), told, at)?;
        self.comes_about_of(told);
        case.review = record.review;
        let kept = grant.evidence.as_ref().is_some_and(|evidence| !evidence.still_held_by.is_empty());
        let verified = was == "revoking" && matches!(state.as_str(), "revoked" | "failed");
        if verified && grant.evidence.is_none() {
            return Err(broken(5, format!("{id} is {state} without evidence")));
        }
        self.cases.insert(id.to_owned(), case);
        settled?;
        self.owner(id)?;
        if verified { self.gone(id, kept) } else { Ok(()) }
    }

    /// Checks that an access which went to another realm did so by an operator's confirmation (law
    /// 5).
    fn follows(&mut self, id: &str, case: &Case, before: Option<&Case>, at: Time) -> Lawful {
        let Some(before) = before.filter(|before| before.realm.is_some() && before.realm != case.realm) else {
            return Ok(());
        };
        let (realm, server) = (case.realm.clone().unwrap_or_default(), case.server.unwrap_or_default());
        if !self.confirmed.contains(&(case.tenant.clone(), realm.clone(), server)) {
            return Err(broken(5, format!("{id} is carried to {realm}, and nobody confirmed that")));
        }
        self.comes_about("accesses carried to another realm");
        let case = Case { state: before.state.clone(), ..case.clone() };
        self.is_carried(&case, before.server, at);
        Ok(())
    }

    /// Checks an extension that is asked for or given: it takes the same approvals as the role.
    #[allow(clippy::too_many_arguments)]
    fn more(
        &mut self,
        node: usize,
        id: &str,
        case: &mut Case,
        waits: Option<ExtensionRecord>,
        given: &[ExtensionRecord],
        told: &[&EntryRecord],
        at: Time,
    ) -> Lawful {
        let before = case.more.take();
        case.more = waits.map(|waits| waits.approval);
        if let Some(more) = case.more.as_ref().map(|more| more.question.clone()) {
            case.is_asked(&more);
        }
        let is_given = given.len() > case.extensions;
        case.extensions = given.len();
        let said = if is_given { given.last().map(|given| &given.approval) } else { case.more.as_ref() };
        let Some(said) = said else { return Ok(()) };
        self.heard(id, before.as_ref(), said, told, Some(&case.heard))?;
        if is_given {
            self.comes_about("extensions given");
            self.allows(node, id, case, said, at)?;
        }
        Ok(())
    }

    fn overlapping(&self, id: &str, case: &Case) -> bool {
        case.server.is_some_and(|server| !self.others(id, server, &case.request.account, &case.request.role).is_empty())
    }

    /// Records that the membership may be ours from now on. If rows have no grantor, a grant by
    /// hand since the last look cannot be told from ours: the membership was observed absent.
    fn mingle(&mut self, case: &Case) {
        let Some(server) = case.server else { return };
        let held = (server, case.request.role.clone(), case.request.account.clone());
        let since = self.standing.get(&held).copied();
        let now = self.servers.get(server).map(jit_core::testkit::mock::MockServer::now);
        let unseen = since.zip(now).is_some_and(|(since, now)| span(since, now) < LOOKED);
        if unseen && self.merged.get(server) == Some(&true) {
            self.standing.remove(&held);
        }
        self.ever_ours.insert(held);
    }

    /// Checks law 15: nothing is concluded about a statement that may still arrive.
    fn settled(&self, id: &str, case: &Case, state: &str, grant: &GrantRecord) -> Lawful {
        let concluded = case.unsettled && state != "granting" && grant.unsettled.is_none();
        if !concluded {
            return Ok(());
        }
        if let Some(sent) =
            self.statements.values().find(|sent| sent.grants == Some(id.to_owned()) && self.may_arrive(sent))
        {
            return Err(broken(15, format!("{id} is {state}, and its statement `{}` may still arrive", sent.label)));
        }
        let counted = match (&grant.window, case.executed) {
            (Some(window), Some(executed)) if window.server_time.is_none() => window.activated_at <= executed,
            _ => true,
        };
        if counted { Ok(()) } else { Err(broken(2, format!("{id} counts from later than its statement"))) }
    }

    /// Checks law 13: a role of a realm belongs to one tenant.
    fn owner(&self, id: &str) -> Lawful {
        let Some(case) = self.cases.get(id).filter(|case| case.is_live()) else { return Ok(()) };
        let other = self.cases.iter().find(|(_, other)| {
            other.is_live()
                && other.tenant != case.tenant
                && other.realm == case.realm
                && other.request.role == case.request.role
        });
        match other {
            Some((other, _)) => Err(broken(13, format!("{id} and {other} of another tenant share a role"))),
            None => Ok(()),
        }
    }

    /// Checks law 5: a membership that is reported as gone is gone.
    fn gone(&self, id: &str, kept: bool) -> Lawful {
        let Some(case) = self.cases.get(id) else { return Ok(()) };
        let Some(server) = case.server else { return Ok(()) };
        let (account, role) = (case.request.account.as_str(), case.request.role.as_str());
        let held = (server, role.to_owned(), account.to_owned());
        let nobodys = self.is_nobodys(&held);
        let others = self.others(id, server, account, role);
        let row = self.is_ours(server, account, role);
        if row.is_some() && others.is_empty() && !nobodys {
            return Err(broken(5, format!("{id} is {}, and `{account}` still has `{role}`", case.state)));
        }
        let narrow = others.iter().all(|(_, other)| other.request.target != "wide");
        let narrowed = is_second(server) || row != Some(true) || !narrow || nobodys;
        if !narrowed {
            return Err(broken(7, format!("{id} is {}, and what remains is as wide as it was", case.state)));
        }
        if kept {
            return Ok(());
        }
        let Some(removed) = self.removed.get(&held) else { return Ok(()) };
        // an account that was carried over by name, and has another name there, is not found
        let carried = self.confirmed.iter().any(|(tenant, _, at)| (tenant, *at) == (&case.tenant, server));
        if carried && self.called_otherwise(server).iter().any(|(_, was)| was == account) {
            return Ok(());
        }
        let open = self.logins.iter().filter(|login| login.server == server && login.account == account);
        for login in open.filter(|login| login.since < *removed) {
            if login.session.is_open() {
                return Err(broken(5, format!("{id} is {}, and a session of `{account}` is open", case.state)));
            }
        }
        Ok(())
    }

    /// Checks law 4: every live access is in a holding that is due in time.
    fn placed(&self, id: &str, holding: &dyn Fn(&str, &str, &str) -> Option<Record>) -> Lawful {
        let Some(case) = self.cases.get(id) else { return Ok(()) };
        let Some(realm) = &case.realm else { return Ok(()) };
        if !case.is_live() && case.state != "scheduled" {
            return Ok(());
        }
        let lost = |why: &str| Err(broken(4, format!("{id} is {}, and {why}", case.state)));
        let Some(record) = holding(&case.tenant, realm, &case.request.account) else {
            return lost("its account has no holding");
        };
        let found: HoldingRecord = read(&record.body, "a holding")?;
        if !found.live.iter().any(|live| live == id) {
            return lost("its holding does not know it");
        }
        let Some(schedule) = &record.schedule else { return lost("its holding is never due") };
        let latest = match (case.state.as_str(), &case.window, case.since) {
            ("active", Some(window), _) => Some(window.end),
            ("granting", ..) => case.intents.last().map(|intent| intent.at),
            // the longest wait of one order is 15 s
            ("revoking", _, _) => self.latest.map(|latest| after(latest, TimeDelta::seconds(16))),
            _ => None,
        };
        match latest {
            // overdue work is due by now, whatever else made it due
            Some(latest) if schedule.due > latest.max(self.latest.unwrap_or(latest)) => {
                lost("its holding is due after it")
            }
            _ => Ok(()),
        }
    }
}

/// Checks law 2: a window is not longer than the request with its extensions, and it begins when
/// the role was usable.
fn lengths(id: &str, case: &Case, grant: &GrantRecord, at: Time) -> Lawful {
    let asked = TimeDelta::microseconds(case.request.duration);
    if grant.is == "granting" {
        let (Some(latest_end), Some(intent)) = (grant.latest_end, &grant.intent) else {
            return Err(broken(2, format!("{id} is granted without an end")));
        };
        // every rule of the simulated policy has `grant_within = 1m`
        if latest_end > after(after(intent.at, asked), MINUTE) {
            return Err(broken(2, format!("{id} may last until {latest_end}")));
        }
    }
    let Some(window) = &grant.window else { return Ok(()) };
    let longest = TimeDelta::microseconds(case.request.duration.saturating_add(case.extended));
    if span(window.activated_at, window.end) > longest.min(most(&case.request)) {
        return Err(broken(2, format!("{id} lasts from {} to {}", window.activated_at, window.end)));
    }
    if window.activated_at > at {
        return Err(broken(2, format!("{id} counts from {}, and it is {at}", window.activated_at)));
    }
    match &case.window {
        Some(WindowRecord { activated_at, .. }) if window.activated_at > *activated_at && case.state == "active" => {
            Err(broken(2, format!("{id} counts from later than before")))
        }
        _ => Ok(()),
    }
}

/// Returns the longest window, with extensions, under the rules of the simulated policies.
fn most(request: &RequestRecord) -> TimeDelta {
    match (request.break_glass, request.target.as_str()) {
        (true, _) => TimeDelta::minutes(1),
        (false, "a1" | "a2" | "b1") => TimeDelta::minutes(5),
        _ => TimeDelta::minutes(3),
    }
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// Checks whether a state may follow another one.
fn may_follow(was: &str, state: &str) -> bool {
    let after: &[&str] = match was {
        "" => &["pending", "scheduled"],
        "pending" => &["scheduled", "denied", "cancelled", "lapsed"],
        "scheduled" => &["pending", "denied", "granting", "failed", "withdrawn"],
        "granting" => &["scheduled", "active", "revoking", "retired"],
        "active" => &["revoking", "retired"],
        "revoking" => &["revoked", "failed", "retired"],
        "revoked" | "failed" => &["revoking"],
        _ => &[],
    };
    was == state || after.contains(&state)
}

/// Checks whether an entry tells of a state.
fn tells(what: &str, state: &str) -> bool {
    match state {
        "pending" => matches!(what, "requested" | "ruled-again"),
        "scheduled" => matches!(what, "requested" | "satisfied" | "ruled-again" | "grant-delayed"),
        "revoking" => matches!(what, "revoking" | "reappeared"),
        other => what == other,
    }
}

/// Converts a duration of the log, in whole seconds, to microseconds.
fn micros(value: &serde_json::Value) -> Option<i64> {
    value.as_i64()?.checked_mul(1_000_000)
}
