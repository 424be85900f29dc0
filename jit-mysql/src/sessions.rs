//! Matching sessions to accounts, and ending sessions.
//!
//! For a session of another account, the servers show the login name and the client's host, not the
//! account that matched. So jit follows the servers' own rule: of the accounts with that user name
//! (or none), the one with the most specific host matches. Where this cannot be decided, a session
//! counts as the account's. An account that was created after the window began takes no session
//! away. The lease's event keeps who existed then, so without a dead man's switch nobody knows.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jit_core::database::DatabaseError;
use jit_core::internal::adapter::Budget;

use crate::account::Name;
use crate::connect::Connection;
use crate::error;
use crate::observe::{garbled, number};
use crate::sql;
use crate::sql::hosts::CUT;
use crate::sql::routines::{self, Killer};

/// First and longest pause between two looks at the sessions that are ending.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

impl Connection {
    /// Tells these sessions to end, all before waiting for any. Then waits until they are gone or
    /// most of the call's time is used up. The look that follows sees those that stay.
    pub(crate) async fn end_sessions(&mut self, sessions: &BTreeSet<u64>, budget: Budget) -> Result<(), DatabaseError> {
        let mut told = 0_usize;
        for id in sessions {
            match self.end_session(*id).await {
                Ok(()) => told = told.saturating_add(1),
                // it ended by itself
                Err(error) if error::code(&error) == Some(error::NO_SUCH_SESSION) => {}
                Err(error) if error::code(&error).is_some() => {
                    let why = error::said(&error);
                    tracing::warn!(
                        session = id,
                        why,
                        "a session cannot be ended: the check of this target names what is missing"
                    );
                }
                Err(error) => return Err(error::reading(error)),
            }
        }
        if told > 0 {
            self.until_gone(sessions, budget).await?;
        }
        Ok(())
    }

    /// Tells a session to end: by KILL, or by the procedure that a vendor or a DBA provides for
    /// brokers without that right.
    pub(crate) async fn end_session(&mut self, id: u64) -> Result<(), mysql_async::Error> {
        let denied = match self.script(&sql::kill(id)).await {
            Err(error) if error::code(&error) == Some(error::MAY_NOT_KILL) => error,
            other => return other.map(drop),
        };
        let Ok(Some(killer)) = self.killer().await else { return Err(denied) };
        let call = routines::call(&killer.trusted(), &format!("CALL {}({id})", killer.name()));
        match self.script(&call).await {
            // a procedure that was replaced meanwhile was not called
            Err(error) if error::code(&error) == Some(error::STOPPED) => Err(denied),
            other => other.map(drop),
        }
    }

    /// Returns the procedure by which the broker may end sessions.
    pub(crate) async fn killer(&mut self) -> Result<Option<Killer>, DatabaseError> {
        let answers = match self.script(&routines::killers()).await {
            // if accounts may not be read, no procedure can be trusted
            Err(error) if error::is_denied(&error) => return Ok(None),
            answers => answers.map_err(error::reading)?,
        };
        let row = answers.first().and_then(|rows| rows.first()).ok_or_else(garbled)?;
        for killer in Killer::ALL {
            if number(row, killer.name())? != 0 {
                return Ok(Some(killer));
            }
        }
        Ok(None)
    }

    /// Waits until none of them is there, or most of the time is used up.
    pub(crate) async fn until_gone(&mut self, sessions: &BTreeSet<u64>, budget: Budget) -> Result<bool, DatabaseError> {
        let ids = serde_json::to_string(sessions).map_err(|error| DatabaseError::not_applied(error.to_string()))?;
        let enough = budget.patience().mul_f64(0.5);
        let mut pause = PAUSES.0;
        loop {
            let rows = self.ask(sql::STILL_THERE, (&ids,).into()).await.map_err(error::reading)?;
            let there = number(rows.first().ok_or_else(error::cut)?, "there")?;
            if there == 0 {
                return Ok(true);
            }
            if budget.left() < enough {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}

/// Checks whether a session may be the account's. It logged in as `user` from `from` (as the server
/// shows it, with a port). `known` holds all accounts of that user name, and those without one,
/// that may have it instead.
pub(crate) fn may_be(account: &Name, known: &BTreeSet<Name>, user: &str, from: &str) -> bool {
    // a session of an account without a name has a user name that no account has
    if user != account.user && !account.user.is_empty() {
        return false;
    }
    let cut = CUT.contains(&from.len());
    // a connection by socket has no port, and comes from no address
    let (from, socket) = (without_port(from), without_port(from) == from);
    let matches = |host: &str| match matches(host, from) {
        _ if cut => matches_cut(host, from),
        Match::Perhaps if socket => Match::No,
        found => found,
    };
    let mine = matches(&account.host);
    if mine == Match::No {
        return false;
    }
    let others = known.iter().filter(|other| *other != account && (other.user == user || other.user.is_empty()));
    let rank = |name: &Name| (specific(&name.host), !name.user.is_empty());
    // an account that certainly matches and is more specific has the session
    !others
        .into_iter()
        .any(|other| matches(&other.host) == Match::Yes && rank(other) > rank(account) && mine == Match::Yes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// Undecided: the server shows a name, and the account's host is about addresses. Or the server
    /// shows only the beginning of a name.
    Perhaps,
}

fn without_port(from: &str) -> &str {
    match from.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => from,
    }
}

/// Matches a client's host of which the end may be missing. Only another name surely does not
/// match.
fn matches_cut(pattern: &str, from: &str) -> Match {
    let is_name = !pattern.contains(['%', '_', '/']) && !is_about_addresses(pattern);
    let begins = pattern.to_ascii_lowercase().starts_with(from.trim_end_matches(':').to_ascii_lowercase().as_str());
    if is_name && !begins { Match::No } else { Match::Perhaps }
}

fn is_about_addresses(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:%_".contains(&byte))
}

fn matches(pattern: &str, from: &str) -> Match {
    // for a session that runs in an event, the server shows the account's host itself
    if pattern.eq_ignore_ascii_case(from) {
        return Match::Yes;
    }
    let address = from.parse::<IpAddr>().ok();
    if let Some((network, mask)) = pattern.split_once('/') {
        return match (address, network.parse::<Ipv4Addr>(), mask_of(mask)) {
            (Some(IpAddr::V4(address)), Ok(network), Some(mask)) if u32::from(address) & mask == u32::from(network) => {
                Match::Yes
            }
            (Some(_), Ok(_), Some(_)) => Match::No,
            _ => Match::Perhaps,
        };
    }
    if like(pattern.as_bytes(), from.to_ascii_lowercase().as_bytes()) {
        return Match::Yes;
    }
    // if an address is shown, the server knew no name, and matched the address alone
    if address.is_none() && is_about_addresses(pattern) { Match::Perhaps } else { Match::No }
}

fn mask_of(text: &str) -> Option<u32> {
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        return Some(u32::from(mask));
    }
    let bits: u32 = text.parse().ok().filter(|bits| *bits <= 32)?;
    Some(u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or_default())
}

/// Matches as LIKE does: `%` is any text, `_` any character.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|skipped| text.get(skipped..).is_some_and(|text| like(rest, text))),
        Some((one, rest)) => {
            text.split_first().is_some_and(|(first, text)| (*one == b'_' || one == first) && like(rest, text))
        }
    }
}

/// Returns the rank of a host: the more specific, the greater. Single hosts come first, then
/// networks, then patterns by the length of their literal part.
fn specific(host: &str) -> (u8, usize) {
    if let Some((_, mask)) = host.split_once('/') {
        let bits = mask_of(mask).map_or(0, u32::count_ones);
        return (1, usize::try_from(bits).unwrap_or_default());
    }
    match host.find(['%', '_']) {
        None => (2, 0),
        Some(literal) => (0, literal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[(&str, &str)]) -> BTreeSet<Name> {
        names.iter().map(|(user, host)| Name::of(*user, *host)).collect()
    }

    #[test]
    fn law_05_a_session_is_whose_account_is_most_specific() {
        let all = known(&[
            ("u", "%"),
            ("u", "localhost"),
            ("u", "10.0.%"),
            ("u", "10.0.0.5"),
            ("u", "192.168.1.0/255.255.255.0"),
        ]);
        let whose = |from: &str| -> Vec<&str> {
            all.iter().filter(|name| may_be(name, &all, "u", from)).map(|name| name.host.as_str()).collect()
        };
        assert_eq!(whose("10.0.0.5:4711"), ["10.0.0.5"]);
        assert_eq!(whose("10.0.0.6:4711"), ["10.0.%"]);
        assert_eq!(whose("192.168.1.9:1"), ["192.168.1.0/255.255.255.0"]);
        assert_eq!(whose("172.16.0.1:4711"), ["%"]);
        assert_eq!(whose("localhost"), ["localhost"]);
        assert_eq!(whose("127.0.0.1:4711"), ["%"]);
        assert!(!may_be(&Name::of("u", "%"), &all, "v", "172.16.0.1:4711"));
    }

    #[test]
    fn law_05_what_cannot_be_told_counts_as_the_accounts() {
        let all = known(&[("u", "%"), ("u", "10.0.0.%")]);
        // the server resolved the name: it may come from that network
        assert!(may_be(&Name::of("u", "10.0.0.%"), &all, "u", "app1.example:4711"));
        assert!(may_be(&Name::of("u", "%"), &all, "u", "app1.example:4711"));
        // an account without a name is matched before a less specific host
        let anonymous = known(&[("u", "%"), ("", "10.0.0.7")]);
        assert!(!may_be(&Name::of("u", "%"), &anonymous, "u", "10.0.0.7:1"));
        assert!(may_be(&Name::of("u", "%"), &anonymous, "u", "10.0.0.8:1"));
        // an account that was dropped has sessions all the same
        assert!(may_be(&Name::of("u", "%"), &BTreeSet::new(), "u", "10.0.0.8:1"));
        assert!(may_be(&Name::of("u", "10.1.0.0/16"), &BTreeSet::new(), "u", "10.1.2.3:1"));
        assert!(!may_be(&Name::of("u", "10.1.0.0/16"), &BTreeSet::new(), "u", "10.2.2.3:1"));
        // an event of the account runs
        assert!(may_be(&Name::of("u", "10.1.0.0/16"), &BTreeSet::new(), "u", "10.1.0.0/16"));
        assert!(!may_be(&Name::of("u", "10.1.0.0/16"), &BTreeSet::new(), "u", "10.1.0.0/255.255.0.0"));
    }

    #[test]
    fn law_05_a_host_whose_end_is_missing_counts_as_the_accounts() {
        let name = "db-client-0001.batch-workers.payments-production.svc.cluster-eu1.corp.example";
        // as MariaDB shows it: 63 bytes, and a port as a whole or not at all
        for shown in [&name[..63], &format!("{}:", &name[..58]), &format!("{}:4711", &name[..58])] {
            for host in ["%", "%.corp.example", "db-client-%", name, &name[..58], "10.0.%", "10.0.0.0/8", "10.0.0.5"] {
                let all = known(&[("u", "%"), ("u", "db-client-0001%"), ("u", "10.0.0.5"), ("u", host)]);
                let whole = host == &name[..58] && shown.len() == 63 && !shown.contains(':');
                assert_eq!(may_be(&Name::of("u", host), &all, "u", shown), !whole, "{host} {shown}");
            }
            for host in ["localhost", "db-client-0002.corp.example"] {
                assert!(!may_be(&Name::of("u", host), &BTreeSet::new(), "u", shown), "{host} {shown}");
            }
        }
        // as MySQL shows it, as a whole
        let shown = format!("{name}:4711");
        assert!(may_be(&Name::of("u", "%.corp.example"), &BTreeSet::new(), "u", &shown));
        assert!(!may_be(&Name::of("u", "%.other.example"), &BTreeSet::new(), "u", &shown));
        // an event of the account runs
        let host = format!("{name}.and.more");
        assert!(may_be(&Name::of("u", host.as_str()), &BTreeSet::new(), "u", &host[..64]));
    }
}
