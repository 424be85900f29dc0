//! End of a history: everything works again, and everything ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::database::restart;
use super::hands::ADMIN;
use super::laws::{Case, broken};
use super::running::{Running, actor};
use super::steps::{Step, place_of};
use super::world::{Power, Weather};
use jit_core::engine::{Jit, Reconcile};
use jit_core::id::{TargetName, TenantId};
use jit_core::store::BoxError;

impl Running {
    /// Makes everything work again.
    async fn mend(&mut self) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        {
            let mut inside = world.inside();
            inside.weather = Weather::default();
            inside.ambushes.clear();
            inside.moves.clear();
            inside.mended = true;
        }
        self.let_go();
        for server in 0..world.servers.len() {
            self.rename_back(server);
            if world.inside().up.get(server) != Some(&Power::Up) {
                restart(&world, server);
            }
        }
        // a grant by hand without a recorded grantor hides whether our membership is gone: it may
        // be ours, or one of ours under another name; the operator is asked to take it away
        let by_hand = world.inside().oracle.given_where_nobody_says();
        for held in by_hand {
            if let Some(it) = world.servers.get(held.0) {
                it.revoke(&held.1, &held.2, ADMIN)?;
            }
            let mut inside = world.inside();
            inside.oracle.standing.remove(&held);
            inside.oracle.by_hand.remove(&held);
        }
        // paused nodes go on within 40 s
        tokio::time::sleep(Duration::from_secs(45)).await;
        self.lead_home();
        for node in 0..self.nodes.len() {
            self.start(node).await?;
            self.policy(node, 0).await;
        }
        // a confirmation that was begun is done again, for all targets of the realm: a target that
        // leads to the old server would be refused forever
        let carried = self.world.inside().carried.clone();
        for target in carried {
            let others = self.world.inside().oracle.left_where_it_was(target);
            others.into_iter().for_each(|(other, server)| self.world.lead(other, server));
            self.confirm(0, target, true).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let others = self.world.inside().oracle.left_where_it_was(target);
            for (other, server) in others {
                self.world.lead(other, server);
                self.confirm(0, other, true).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        self.take(Step::Resume { node: 0 }).await
    }

    /// Leads every target to its known server.
    fn lead_home(&self) {
        self.homes().into_iter().enumerate().for_each(|(target, home)| self.world.lead(target, home));
    }

    fn homes(&self) -> Vec<usize> {
        let oracle = &self.world.inside().oracle;
        (0..oracle.homes.len()).map(|target| oracle.home(target)).collect()
    }

    /// Leads every target to a server with something alive on it, to each of these servers in turn.
    fn lead_where_something_lives(&self, round: usize) {
        for (target, home) in self.homes().into_iter().enumerate() {
            let of = |case: &&Case| !case.is_final() && place_of(case.target()) == Some(target);
            let mut servers: BTreeSet<usize> = {
                let inside = self.world.inside();
                inside.oracle.cases.values().filter(of).filter_map(|case| case.server).collect()
            };
            servers.insert(home);
            let turn = round.checked_div(4).and_then(|turn| turn.checked_rem(servers.len())).unwrap_or_default();
            if let Some(server) = servers.into_iter().nth(turn) {
                self.world.lead(target, server);
            }
        }
    }

    /// Makes everything work again, lets time pass, and checks that everything ends.
    pub(super) async fn finish(&mut self) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        world.begin(u64::MAX >> 1);
        self.mend().await?;
        world.look();
        for round in 0..80 {
            let open = world.inside().oracle.cases.values().any(|case| !case.is_final());
            if !open || world.failure().is_some() {
                break;
            }
            self.lead_where_something_lives(round);
            tokio::time::sleep(Duration::from_secs(10)).await;
            world.look();
        }
        self.lead_home();
        if world.failure().is_some() {
            return Ok(());
        }
        world.look();
        // a membership from a backup is found by the second looks, after a day at the latest
        for pause in [70, 3_700, 90_000] {
            self.take(Step::Jump { secs: pause }).await?;
            tokio::time::sleep(Duration::from_secs(70)).await;
            world.look();
        }
        let restored = world.inside().oracle.left_of_restored();
        world.hold(restored);
        for target in [0, 3] {
            self.reconcile(0, target, true).await?;
        }
        let (by, tenant, target) = (actor("other", "frank")?, TenantId::new("other")?, TargetName::new("o1")?);
        let command = |jit: Jit| async move {
            jit.tenant(&tenant)?.reconcile(&by, &target, Reconcile::Enforce).await.map(|_| None)
        };
        self.command(0, "reconcile elsewhere", command).await;
        tokio::time::sleep(Duration::from_secs(70)).await;
        world.look();
        let over = world.inside().oracle.over_now();
        world.hold(over);
        self.logs().await;
        Ok(())
    }

    /// Checks that the logs are complete (laws 9 and 5 depend on them).
    async fn logs(&mut self) {
        let world = Arc::clone(&self.world);
        for name in ["default", "other"] {
            let Ok(tenant) = TenantId::new(name) else { continue };
            let committed = world.inside().oracle.entries.get(name).copied().unwrap_or_default();
            match jit_core::audit::verify(&world.store, &tenant, &[]).await {
                Ok(log) => {
                    let found = log.size.saturating_add(log.unnumbered as u64);
                    if found != committed {
                        let why = format!("the log of `{name}` has {found} entries of {committed}");
                        world.hold(Err(broken(9, why)));
                    }
                }
                Err(error) => world.hold(Err(broken(9, format!("the log of `{name}`: {error}")))),
            }
        }
    }
}
