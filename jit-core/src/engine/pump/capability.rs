//! What this process knows of its targets: whether each has a dead man's switch.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Pump;
use crate::clock::to_std;
use crate::database::{Database, DeadMansSwitch};
use crate::id::{TargetName, TenantId};

/// Pause before a target without a dead man's switch is asked again whether it has one.
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl Pump {
    /// Notes that the target was registered, or is another database now. It has to identify itself
    /// again, and the work that waited for it is looked at.
    pub(in crate::engine) fn registered(&self, tenant: &TenantId, target: &TargetName) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.checked.forget(tenant, target);
        let key = (tenant.clone(), target.clone());
        self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values_mut().for_each(|breaker| breaker.forget(tenant, target));
        drop(breakers);
        self.done.notify_one();
    }

    /// Asks whether the target has a dead man's switch. It is asked once, and again after a while
    /// if it had none.
    #[expect(clippy::disallowed_methods, reason = "it limits how often this process asks")]
    pub(super) async fn dead_mans_switch(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        database: &Arc<dyn Database>,
    ) -> DeadMansSwitch {
        let key = (tenant.clone(), target.clone());
        match self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned() {
            Some((here @ DeadMansSwitch::Available(_), _)) => return here,
            Some((here, asked)) if asked.elapsed() < ASK_AGAIN => return here,
            _ => {}
        }
        let limit = to_std(self.core.limits.call);
        let here = match self.core.tasks.within(limit, database.capabilities()).await {
            Some(Ok(capabilities)) => capabilities.dead_mans_switch,
            Some(Err(error)) => return no_dead_mans_switch(&error.with_causes()),
            None => return no_dead_mans_switch("it does not answer in time"),
        };
        let mut dead_mans_switches = self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner);
        dead_mans_switches.insert(key, (here.clone(), Instant::now()));
        here
    }

    /// Returns what is known of the target's dead man's switch, without asking.
    pub(super) fn known_dead_mans_switch(&self, tenant: &TenantId, target: &TargetName) -> DeadMansSwitch {
        let known = self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&(tenant.clone(), target.clone())).map(|(here, _)| here.clone());
        known.unwrap_or_else(|| no_dead_mans_switch("it was not asked yet"))
    }
}

/// Returns the answer for a target without a dead man's switch, or whose state is not known.
pub(super) fn no_dead_mans_switch(why: &str) -> DeadMansSwitch {
    DeadMansSwitch::Unavailable { remedy: why.to_owned() }
}
