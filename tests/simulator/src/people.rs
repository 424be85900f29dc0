//! Calls that people and outside systems make to the engine.

use std::sync::Arc;

use super::laws::{Case, broken};
use super::running::{Running, actor, scope_of, seconds};
use super::steps::{PEOPLE, ROLES, Step, TARGETS};
use super::systems::Proves;
use jit_core::Actor;
use jit_core::clock::after;
use jit_core::engine::{About, AccessRequest, Jit, Scope};
use jit_core::id::{AccessId, FactorName, Principal, TenantId};
use jit_core::store::BoxError;

impl Running {
    /// Makes the step's call to the engine.
    pub(super) async fn by_people(&mut self, step: Step) -> Result<(), BoxError> {
        match step {
            Step::Request { .. } => self.request(step).await,
            Step::RequestElsewhere { .. } | Step::Intrude { .. } => self.elsewhere(step).await,
            Step::Decide { .. } | Step::Confirm { .. } | Step::Delegate { .. } => self.decides(step).await,
            Step::Review { .. } | Step::Callback { .. } => self.says(step).await,
            Step::Release { .. } | Step::Cancel { .. } | Step::Extend { .. } => self.as_requester(step).await,
            Step::Revoke { .. } | Step::Stop { .. } | Step::Resume { .. } => self.as_operator(step).await,
            _ => Ok(()),
        }
    }

    /// Makes the actor for a person, with the proof that they give.
    fn proving(&self, who: &str, proves: Proves, id: Option<AccessId>, pick: u64) -> Result<Actor, BoxError> {
        let by = actor("default", who)?;
        let nonce = |id: AccessId| {
            let inside = self.world.inside();
            let case = inside.oracle.cases.get(&id.to_string());
            case.map_or_else(|| id.to_string(), |case| case.nonce(&id.to_string()))
        };
        let other = self.pick(pick.rotate_left(32)).filter(|other| Some(*other) != id);
        let other = other.map_or_else(|| "nothing".to_owned(), nonce);
        let nonce = id.map(nonce).unwrap_or_default();
        match self.world.proof(who, proves, &nonce, &other) {
            Some((factor, words)) => Ok(by.responding(FactorName::new(factor)?, words)),
            None => Ok(by),
        }
    }

    async fn request(&mut self, step: Step) -> Result<(), BoxError> {
        let Step::Request { node, who, role, target, secs, grantee, start_in, keyed, emergency, proves } = step else {
            return Ok(());
        };
        let (Some(who), Some(role), Some((target, _))) = (PEOPLE.get(who), ROLES.get(role), TARGETS.get(target)) else {
            return Ok(());
        };
        let mut ask = AccessRequest::new(*target, *role, seconds(secs)).because("a history").ticket("T-1");
        if let Some(grantee) = grantee.and_then(|grantee| PEOPLE.get(grantee)) {
            ask = ask.on_behalf_of(Principal::new(*grantee)?);
        }
        if start_in > 0 {
            ask = ask.starting(after(self.world.now(), seconds(start_in)));
        }
        if keyed {
            ask = ask.key(format!("{who}/{role}/{target}/{secs}/{grantee:?}/{emergency}"));
        }
        if emergency {
            ask = ask.break_glass();
        }
        let actor = self.proving(who, proves, None, secs)?;
        self.command(node, "request", |jit| async move { jit.request(&actor, ask).await.map(Some) }).await;
        Ok(())
    }

    /// Makes a call in the other tenant, or from there.
    async fn elsewhere(&mut self, step: Step) -> Result<(), BoxError> {
        let tenant = TenantId::new("other")?;
        match step {
            Step::RequestElsewhere { node, who, role, secs } => {
                let (Some(who), Some(role)) = (PEOPLE.get(who), ROLES.get(role)) else { return Ok(()) };
                let (actor, ask) =
                    (actor("other", who)?, AccessRequest::new("o1", *role, seconds(secs)).because("a history"));
                let command = |jit: Jit| async move { jit.tenant(&tenant)?.request(&actor, ask).await.map(Some) };
                self.command(node, "request elsewhere", command).await;
            }
            Step::Intrude { node, pick } => {
                let Some(id) = self.pick(pick) else { return Ok(()) };
                let (actor, world) = (actor("other", "frank")?, Arc::clone(&self.world));
                let command = |jit: Jit| async move {
                    let jit = jit.tenant(&tenant)?;
                    let seen = [jit.access(id).await, jit.release(&actor, id).await, jit.approve(&actor, id, "").await];
                    if seen.iter().any(Result::is_ok) {
                        world.hold(Err(broken(13, format!("{id} is seen from another tenant"))));
                    }
                    Ok(None)
                };
                self.command(node, "intrude", command).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn decides(&mut self, step: Step) -> Result<(), BoxError> {
        match step {
            Step::Decide { node, who, pick, yes, proves } => {
                let (Some(who), Some(id)) = (PEOPLE.get(who), self.pick(pick)) else { return Ok(()) };
                let by = self.proving(who, proves, Some(id), pick)?;
                self.calls_for(who, id);
                let about = self.about(who, id, pick)?;
                let command = |jit: Jit| async move {
                    match yes {
                        true => jit.approve(&by, about, "").await.map(Some),
                        false => jit.deny(&by, about, "no").await.map(Some),
                    }
                };
                self.command(node, "decide", command).await;
            }
            Step::Confirm { node, pick, proves } => {
                let Some(id) = self.pick_of(pick, Case::awaits_proof) else { return Ok(()) };
                let who = self.world.inside().oracle.cases.get(&id.to_string()).map(|case| case.requester().to_owned());
                let Some(who) = who else { return Ok(()) };
                let by = self.proving(&who, proves, Some(id), pick)?;
                self.command(node, "confirm", |jit| async move { jit.confirm(&by, id).await.map(Some) }).await;
            }
            Step::Delegate { node, who, to, secs } => {
                let (Some(who), Some(to)) = (PEOPLE.get(who), PEOPLE.get(to)) else { return Ok(()) };
                let until = secs.map(|secs| after(self.world.now(), seconds(secs)));
                // prefer to end the delegation of an approver for whom somebody already decided
                let away = self.world.inside().oracle.away().filter(|_| until.is_none());
                let (by, to) = (actor("default", away.as_deref().unwrap_or(who))?, Principal::new(*to)?);
                let command = |jit: Jit| async move {
                    match until {
                        Some(until) => jit.delegate(&by, &to, until).await?,
                        None => jit.end_delegation(&by).await?,
                    }
                    Ok(None)
                };
                self.command(node, "delegate", command).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes the calls of reviewers and of outside systems.
    async fn says(&mut self, step: Step) -> Result<(), BoxError> {
        match step {
            Step::Review { node, who, pick } => {
                let (Some(who), Some(id)) = (PEOPLE.get(who), self.owing(pick)) else { return Ok(()) };
                self.calls_for(who, id);
                let by = actor("default", who)?;
                let command = |jit: Jit| async move { jit.review(&by, id, "seen").await.map(Some) };
                self.command(node, "review", command).await;
            }
            Step::Callback { node, pick, calls } => {
                let Some(callback) = self.world.callback(pick, calls) else { return Ok(()) };
                let command = |jit: Jit| async move { jit.callback(&callback).await.map(Some) };
                self.command(node, "callback", command).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn as_requester(&mut self, step: Step) -> Result<(), BoxError> {
        let (Step::Release { node, pick } | Step::Cancel { node, pick } | Step::Extend { node, pick, .. }) = step
        else {
            return Ok(());
        };
        let Some(id) = self.pick(pick) else { return Ok(()) };
        let command = move |jit: Jit| async move {
            let who = jit.access(id).await?.requester;
            let by = Actor::authenticated(TenantId::default(), who, "simulated");
            match step {
                Step::Release { .. } => jit.release(&by, id).await.map(Some),
                Step::Extend { secs, .. } => jit.extend(&by, id, seconds(secs), "a history").await.map(Some),
                _ => jit.cancel(&by, id, "").await.map(Some),
            }
        };
        self.command(node, "as the requester", command).await;
        Ok(())
    }

    async fn as_operator(&mut self, step: Step) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        match step {
            Step::Revoke { node, who, pick } => {
                let (Some(who), Some(id)) = (PEOPLE.get(who), self.pick(pick)) else { return Ok(()) };
                let (by, may) = (actor("default", who)?, *who == "frank");
                let command = |jit: Jit| async move {
                    let answer = jit.revoke(&by, id, "a history").await;
                    if answer.is_ok() && !may {
                        world.hold(Err(broken(16, format!("{id} was revoked by `{}`", by.principal))));
                    }
                    answer.map(Some)
                };
                self.command(node, "revoke", command).await;
            }
            Step::Stop { node, who, scope } => {
                let Some(who) = PEOPLE.get(who) else { return Ok(()) };
                let (by, may, scope) = (actor("default", who)?, *who == "frank", scope_of(scope)?);
                let command = |jit: Jit| async move {
                    let answer = jit.stop(&by, scope, "a history").await;
                    if answer.is_ok() && !may {
                        world.hold(Err(broken(16, format!("a stop by `{}`", by.principal))));
                    }
                    answer.map(|()| None)
                };
                self.command(node, "stop", command).await;
            }
            Step::Resume { node } => {
                let by = actor("default", "frank")?;
                let scopes = (0..4).map(scope_of).collect::<Result<Vec<Scope>, _>>()?;
                let command = |jit: Jit| async move {
                    for scope in scopes {
                        // most of them are not in force
                        let _ = jit.resume(&by, scope).await;
                    }
                    Ok(None)
                };
                self.command(node, "resume", command).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Picks the question that this person decides on: the pending one, a closed one, or none
    /// named.
    fn about(&self, who: &str, id: AccessId, pick: u64) -> Result<About, BoxError> {
        let mut inside = self.world.inside();
        let case = inside.oracle.cases.get(&id.to_string()).filter(|_| !pick.is_multiple_of(3));
        let question = case.and_then(|case| case.question(pick.rotate_left(16)));
        let meant = question.clone().unwrap_or_default();
        inside.oracle.meant.insert((who.to_owned(), id.to_string(), meant));
        Ok(About::question(id, question.map(|question| question.parse()).transpose()?))
    }

    /// Records that this person's decisions on the access may count from now on.
    fn calls_for(&self, who: &str, id: AccessId) {
        self.world.inside().oracle.called.insert((who.to_owned(), id.to_string()));
    }

    /// Picks an access that owes a review.
    fn owing(&self, pick: u64) -> Option<AccessId> {
        let inside = self.world.inside();
        let owing: Vec<&String> =
            inside.oracle.cases.iter().filter(|(_, case)| case.owes()).map(|(id, _)| id).collect();
        let place = usize::try_from(pick.checked_rem(owing.len() as u64)?).ok()?;
        owing.get(place)?.parse().ok()
    }
}
