//! Dead-men, on the first server of every second history: armed before the role is granted, fired when nobody else takes it, and not before.
//! Only of roles whose rule requires one: for all others it may be missing.

use chrono::TimeDelta;

use super::statement::Sender;
use super::{Case, Held, Lawful, Oracle, broken};
use crate::clock::{Time, after, span};

/// So long after the end they fire.
pub(in super::super) const GRACE: TimeDelta = TimeDelta::seconds(10);
/// How much later one can be armed than its pass counted: a pass that waits for a store which hangs (20 s), its claim (10 s), and its call (8 s).
const LATE: TimeDelta = TimeDelta::seconds(40);
/// The server that has a scheduler.
pub(in super::super) const SERVER: usize = 0;

/// Whether histories of this seed have dead-men.
pub(in super::super) fn has(seed: u64) -> bool {
    seed.checked_div(3).unwrap_or_default().is_multiple_of(2)
}

/// Whether rules about this role require one.
fn is_guarded(server: usize, role: &str) -> bool {
    server == SERVER && matches!(role, "writer" | "admin")
}

impl Oracle {
    /// Whether it can be known when it fires: the server's clock was never put, and nobody who was paused, or knows less than was known
    /// once, had a say.
    fn is_certain(&self, held: &Held) -> bool {
        self.dead_men && is_guarded(held.0, &held.1) && !self.clock_was_put && !self.loose.contains(held)
    }

    /// The clock of a server is put by hand: what counts by it fires early or late.
    pub(in super::super) fn puts_clock(&mut self, server: usize) {
        self.clock_was_put |= server == SERVER;
    }

    /// Whoever goes on behind a store that lost its tail may move them as that has it.
    pub(super) fn loosen_all(&mut self) {
        for (role, account, ..) in self.dead_men_of(SERVER) {
            self.loose.insert((SERVER, role, account));
        }
    }

    /// An order for a dead-man is about to be sent, by the pump or because a window is about to be extended; one that disarms only when nothing is
    /// held any more that somebody could forget.
    pub(in super::super) fn sends_dead_man(
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
            return Err(broken(4, format!("the dead-man of `{account}` is disarmed, who has `{role}`")));
        }
        // an extension is no work of a claim: it may be overtaken by a pass that does not know of it yet
        if !fresh || extends {
            self.loose.insert(held);
        } else {
            self.loose.remove(&held);
        }
        Ok(())
    }

    /// A grant is about to be sent by who holds its claim.
    pub(super) fn is_armed(&self, id: &str, case: &Case, held: &Held, now: Time) -> Lawful {
        if !self.dead_men || !is_guarded(held.0, &held.1) || self.clock_was_put {
            return Ok(());
        }
        let (Some(server), Some(end)) = (self.servers.get(SERVER), case.latest_end) else { return Ok(()) };
        let armed =
            self.dead_men_of(SERVER).into_iter().find(|(role, account, ..)| (role, account) == (&held.1, &held.2));
        let Some((.., fires_at, None)) = armed else {
            return Err(broken(
                4,
                format!("`{}` is granted to `{}` for {id}, and no dead-man is armed", held.1, held.2),
            ));
        };
        // both clocks run alike
        let (fires_in, ends_in) = (span(server.now(), fires_at), span(now, end));
        if after(now, fires_in) < after(now, ends_in) {
            let why = format!("the dead-man of {id} fires in {fires_in}, and its window may last {ends_in}");
            return Err(broken(7, why));
        }
        Ok(())
    }

    /// What fired since the last time was taken away by the server itself.
    pub(in super::super) fn dead_men_fired(&mut self, now: Time) -> Lawful {
        let all = self.dead_men_of(SERVER);
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
                return Err(broken(7, format!("a dead-man took `{role}` from `{account}` before its end")));
            }
        }
        Ok(())
    }

    /// Law 4: with nobody there to take it, the server does.
    pub(super) fn outlives_nobody(&self, held: &Held, now: Time) -> Lawful {
        let about = || self.cases.values().filter(|case| case.is_about(held.0, &held.2, &held.1));
        let retired = about().any(|case| case.state == "retired");
        // it stays where it was armed when a window is closed before its end
        let end = |case: &Case| case.window.as_ref().map(|window| window.end).max(case.latest_end);
        let Some(until) = about().filter(|case| case.is_live()).filter_map(end).max() else { return Ok(()) };
        // a start of the server has it armed anew
        let until = self.guarded_stopped.map_or(until, |stopped| until.max(stopped));
        let late = now > after(after(until, GRACE), LATE);
        if late && !retired && self.is_certain(held) && !self.restored.contains_key(held) && !self.locks {
            let (_, role, account) = held;
            return Err(broken(
                4,
                format!("`{account}` has `{role}` since its end at {until}, in spite of its dead-man"),
            ));
        }
        Ok(())
    }
}
