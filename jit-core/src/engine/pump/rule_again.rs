//! New ruling on every access right before its grant begins.

use std::time::Duration;

use chrono::TimeDelta;

use super::account_work::AccountWork;
use super::effect::MAY_ARRIVE;
use super::realm::{Pass, due};
use crate::clock::{Time, after};
use crate::directory::DirectoryError;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::records::{add_guards, guard, stops_key};
use crate::engine::rules::stops::StopsNow;
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, QuestionId};
use crate::model::access::{Access, Event};
use crate::model::grant::{Cause, Grant};
use crate::model::holding::{RETRY_FIRST, RETRY_LONGEST};
use crate::store::{ClockState, StoreError, Write};

/// Limit for the directory before a grant: the ends of others wait behind it.
const RULED_WITHIN: Duration = Duration::from_secs(1);

impl Pass<'_> {
    /// Rules again on every access before its grant begins. Nothing begins during a stop or with a
    /// doubtful clock.
    pub(super) async fn rule_again(&mut self) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let is_scheduled = |access: &Access| matches!(access.grant(), Some(Grant::Scheduled(_)));
        let begins = |work: &AccountWork| {
            let due = due(work, now).into_iter();
            due.filter(|id| work.accesses.get(id).is_some_and(|loaded| is_scheduled(&loaded.access))).collect()
        };
        let beginning: Vec<(usize, Vec<AccessId>)> = self.accounts.iter().map(begins).enumerate().collect();
        let Some(tenant) = self.accounts.first().map(|work| work.holding.tenant.clone()) else { return Ok(()) };
        if beginning.iter().all(|(_, ids)| ids.is_empty()) {
            return Ok(());
        }
        let key = stops_key(&tenant);
        let record = self.core.store.read(&key).await?;
        let stops = self.core.stops_in(&tenant, record.as_ref()).await?;
        // a stop that is committed before the intent has to conflict
        for (place, _) in beginning.iter().filter(|(_, ids)| !ids.is_empty()) {
            if let Some(work) = self.accounts.get_mut(*place) {
                work.guards = vec![guard(key.clone(), record.as_ref())];
                if let Some(wait) = self.pump.ending_ahead.wait(&work.at()) {
                    work.quiet(after(now, TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)));
                }
            }
        }
        let doubtful = matches!(self.core.store.clock_state().await?, ClockState::Doubtful { .. });
        let (core, settings, accounts, stops) = (self.core, self.settings, &self.accounts, &stops);
        let each = beginning.iter().flat_map(|(place, ids)| ids.iter().map(move |id| (*place, *id)));
        // all at once: a slow directory delays nothing for longer than one of them waits
        let judged = futures_util::future::join_all(each.map(|(place, id)| async move {
            let work = accounts.get(place)?;
            let access = &work.accesses.get(&id)?.access;
            let (event, guards) = match work.holding.quiet_until.filter(|until| *until > now) {
                Some(retry_at) => (Event::NotGranted { why: MAY_ARRIVE.to_owned(), retry_at }, Vec::new()),
                None => begin_or_not(core, settings, access, stops, doubtful, now).await,
            };
            Some((place, id, event, guards))
        }));
        for (place, id, event, guards) in judged.await.into_iter().flatten() {
            let Some(work) = self.accounts.get_mut(place) else { continue };
            work.handle(id, Event::Tick, now);
            work.handle(id, event, now);
            add_guards(&mut work.guards, guards);
        }
        Ok(())
    }
}

/// Returns the event for an access before its grant: an obstacle or a new ruling. Also returns
/// guards of the records that the ruling read.
async fn begin_or_not(
    core: &Core,
    settings: &Tenant,
    access: &Access,
    stops: &StopsNow,
    doubtful: bool,
    now: Time,
) -> (Event, Vec<Write>) {
    let retry_at = after(now, RETRY_LONGEST);
    if doubtful {
        let why = "the clock is doubtful: new grants wait until an operator accepts it".to_owned();
        return (Event::NotGranted { why, retry_at }, Vec::new());
    }
    let ruled = async {
        if let Some(stop) = stops.meets(settings, access.request(), access.realm()).await? {
            let why = Some(format!("emergency stop by `{}`: {}", stop.by, stop.reason));
            return Ok((Event::End { cause: Cause::Stopped, by: None, why }, Vec::new()));
        }
        let ruling = core.ruling(settings, access.tenant(), access.request(), Some(access.id())).await?;
        let (fresh, guards) = core.fresh(settings, access.tenant(), access.approval(), stops).await?;
        Ok::<_, JitError>((Event::RuleAgain { ruling, fresh, question: QuestionId::fresh(&*core.entropy) }, guards))
    };
    let ruled = core.tasks.within(RULED_WITHIN, ruled).await;
    let ruled = ruled.unwrap_or_else(|| Err(slow_directory()));
    match ruled {
        Ok(ruled) => ruled,
        // nobody is granted anything on what a directory said once (fail closed)
        Err(error) => {
            let why = error.to_string();
            (Event::NotGranted { why, retry_at: after(now, RETRY_FIRST) }, Vec::new())
        }
    }
}

fn slow_directory() -> JitError {
    let why = format!("it did not answer within {} s", RULED_WITHIN.as_secs());
    DirectoryError::Unavailable { why }.into()
}
