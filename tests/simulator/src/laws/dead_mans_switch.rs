//! Laws of dead man's switches, on the first server of every second history. A switch is armed
//! before the role is granted. It fires if nobody else takes the role, and not before. Only roles
//! whose rule requires a switch are checked: for all others it may be missing.

use chrono::TimeDelta;

use super::statement::Sender;
use super::{Case, Held, Lawful, Oracle, broken};
use jit_core::clock::{Time, after, span};

/// Grace after the end before a switch fires.
pub(crate) const GRACE: TimeDelta = TimeDelta::seconds(10);
/// Largest delay between the time that a pass counted with and the arming: a wait for a store that
/// hangs (20 s), its claim (10 s), and its call (8 s).
const LATE: TimeDelta = TimeDelta::seconds(40);
/// Server that has a scheduler.
pub(crate) const SERVER: usize = 0;

/// Checks whether histories of this seed have dead man's switches.
pub(crate) fn has(seed: u64) -> bool {
    seed.checked_div(3).unwrap_or_default().is_multiple_of(2)
}

/// Checks whether rules about this role require a switch.
fn is_guarded(server: usize, role: &str) -> bool {
    server == SERVER && matches!(role, "writer" | "admin")
}

impl Oracle {
    /// Checks whether it is known when the switch fires: the server's clock was never set by hand,
    /// and no paused or less informed node moved the switch.
    fn is_certain(&self, held: &Held) -> bool {
        self.dead_mans_switches && is_guarded(held.0, &held.1) && !self.clock_was_put && !self.loose.contains(held)
    }

    /// Records that the clock of a server is set by hand: its switches fire early or late.
    pub(crate) fn puts_clock(&mut self, server: usize) {
        self.clock_was_put |= server == SERVER;
    }

    /// Marks every switch as loose: nodes behind a store that lost its tail may move them by its
    /// older knowledge.
    pub(super) fn loosen_all(&mut self) {
        for (role, account, ..) in self.dead_mans_switches_of(SERVER) {
            self.loose.insert((SERVER, role, account));
        }
    }

    /// Checks an order for a switch that the pump, or an extension of a window, is about to send.
    /// An order to disarm may be sent only if no membership is held that could be forgotten.
    pub(crate) fn sends_dead_mans_switch(
        &mut self,
        by: Sender,
        label: &str,
        (account, role): (&str, &str),
        disarms: bool,
    ) -> Lawful {
        let held = (by.server, role.to_owned(), account.to_owned());
        let extends = label.ends_with(".extend");
        let fresh = if extends { true } else { self.claimed(by, account)? };
        if disarms && fresh && self.is_ours(by.server, account, role).is_some() && !self.is_nobodys(&held) {
            return Err(broken(4, format!("the dead man's switch of `{account}` is disarmed, who has `{role}`")));
        }
        // an extension needs no claim: a pass that does not know it yet may overtake it
        if !fresh || extends {
            self.loose.insert(held);
        } else {
            self.loose.remove(&held);
        }
        Ok(())
    }

    /// Checks that the switch is armed when the holder of the claim is about to send a grant.
    pub(super) fn is_armed(&self, id: &str, case: &Case, held: &Held, now: Time) -> Lawful {
        if !self.dead_mans_switches || !is_guarded(held.0, &held.1) || self.clock_was_put {
            return Ok(());
        }
        let (Some(server), Some(end)) = (self.servers.get(SERVER), case.latest_end) else { return Ok(()) };
        let armed = self
            .dead_mans_switches_of(SERVER)
            .into_iter()
            .find(|(role, account, ..)| (role, account) == (&held.1, &held.2));
        let Some((.., fires_at, None)) = armed else {
            return Err(broken(
                4,
                format!("`{}` is granted to `{}` for {id}, and no dead man's switch is armed", held.1, held.2),
            ));
        };
        // both clocks run at the same speed
        let (fires_in, ends_in) = (span(server.now(), fires_at), span(now, end));
        if after(now, fires_in) < after(now, ends_in) {
            let why = format!("the dead man's switch of {id} fires in {fires_in}, and its window may last {ends_in}");
            return Err(broken(7, why));
        }
        Ok(())
    }

    /// Records the switches that fired since the last check: the server itself took the membership
    /// away.
    pub(crate) fn dead_mans_switches_fired(&mut self, now: Time) -> Lawful {
        let all = self.dead_mans_switches_of(SERVER);
        for (role, account, _, fired_at) in all {
            let Some(fired_at) = fired_at else { continue };
            let held = (SERVER, role, account);
            if self.fired.insert(held.clone(), fired_at) == Some(fired_at) {
                continue;
            }
            self.comes_about("dead-men fired");
            let (account, role) = (held.2.clone(), held.1.clone());
            self.removed(SERVER, &account, &role, fired_at);
            let wants = |case: &&Case| {
                case.state == "active"
                    && case.is_about(SERVER, &account, &role)
                    && case.window.as_ref().is_some_and(|window| window.end > now)
            };
            if self.is_certain(&held) && self.cases.values().any(|case| wants(&case)) {
                return Err(broken(7, format!("a dead man's switch took `{role}` from `{account}` before its end")));
            }
        }
        Ok(())
    }

    /// Checks law 4: if nobody else takes the membership, the server does.
    pub(super) fn outlives_nobody(&self, held: &Held, now: Time) -> Lawful {
        let about = || self.cases.values().filter(|case| case.is_about(held.0, &held.2, &held.1));
        let retired = about().any(|case| case.state == "retired");
        // the switch stays as it was armed if a window is closed before its end
        let end = |case: &Case| case.window.as_ref().map(|window| window.end).max(case.latest_end);
        let Some(until) = about().filter(|case| case.is_live()).filter_map(end).max() else { return Ok(()) };
        // after a start of the server the switch is armed anew
        let until = self.guarded_stopped.map_or(until, |stopped| until.max(stopped));
        let late = now > after(after(until, GRACE), LATE);
        if late && !retired && self.is_certain(held) && !self.restored.contains_key(held) && !self.locks {
            let (_, role, account) = held;
            return Err(broken(
                4,
                format!("`{account}` has `{role}` since its end at {until}, in spite of its dead man's switch"),
            ));
        }
        Ok(())
    }
}
