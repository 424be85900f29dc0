//! Queries about accesses.

use std::collections::BTreeSet;

use crate::engine::Jit;
use crate::engine::access_request::Filter;
use crate::engine::error::JitError;
use crate::engine::repository::loaded;
use crate::engine::view::AccessView;
use crate::id::AccessId;
use crate::model::access::AccessState;
use crate::model::approval::Requirement;
use crate::model::request::Request;
use crate::policy::Explained;
use crate::store::{Kind, PageQuery, StoredEntry};

/// Number of records that are read at a time.
const PAGE: usize = 512;
impl Jit {
    /// Returns the access as it stands.
    ///
    /// # Errors
    /// [`JitError::NotFound`], also for another tenant's id (law 13).
    pub async fn access(&self, id: AccessId) -> Result<AccessView, JitError> {
        let now = self.core.store.now().await?;
        let loaded = self.core.load(&self.tenant, id, now).await?;
        let mut view = AccessView::of(&loaded.access, now);
        if view.pending_on.is_empty()
            && !view.is_final()
            && let Some(silent) = self.lanes.silent(&loaded.access)
        {
            view.last_error = Some(match view.last_error {
                Some(last_error) => format!("{silent}: {last_error}"),
                None => silent,
            });
        }
        Ok(view)
    }

    /// Returns up to `limit` accesses that match, in the order of their requests, starting after
    /// the given one.
    ///
    /// # Errors
    /// [`JitError::Store`] if the store cannot be read.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<AccessId>,
        limit: usize,
    ) -> Result<Vec<AccessView>, JitError> {
        let open = filter.open || filter.state.is_some_and(AccessState::is_open);
        let label = open.then(|| ("open".to_owned(), "yes".to_owned()));
        // if the label covers the whole filter, no record is read in vain
        let all_match = filter.state.is_none() && filter.principal.is_none() && filter.target.is_none();
        let mut found = Vec::new();
        let mut after = after.map(|id| id.to_string());
        while found.len() < limit {
            let size = if all_match { PAGE.min(limit.saturating_sub(found.len())) } else { PAGE };
            let ask =
                PageQuery { tenant: self.tenant.clone(), kind: Kind::Access, label: label.clone(), after, limit: size };
            let page = self.core.store.page(&ask).await?;
            let now = self.core.store.now().await?;
            after = page.last().map(|record| record.at.key.clone());
            for record in &page {
                let view = match loaded(record, now) {
                    Ok(loaded) => AccessView::of(&loaded.access, now),
                    Err(error) => {
                        // one record that cannot be read does not hide the others
                        tracing::error!(%error, "an access cannot be read and is left out of the list");
                        continue;
                    }
                };
                if matches(&view, filter) && found.len() < limit {
                    found.push(view);
                }
            }
            if page.len() < size {
                break;
            }
        }
        Ok(found)
    }

    /// Returns log entries about the access, oldest first. Each holds its canonical JSON, and
    /// [`StoredEntry::read`] reads it.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if there is no such access.
    pub async fn history(&self, id: AccessId, limit: usize) -> Result<Vec<StoredEntry>, JitError> {
        self.access(id).await?;
        Ok(self.core.store.entries_about(&self.tenant, &id.to_string(), limit).await?)
    }

    /// Explains what every rule says to this request, in the order of the policy, without making
    /// the request.
    ///
    /// # Errors
    /// As [`Jit::request`], if the request could not even be made.
    pub async fn explain(
        &self,
        actor: &crate::actor::Actor,
        ask: crate::engine::AccessRequest,
    ) -> Result<Vec<Explained>, JitError> {
        let settings = self.settings_for(actor)?;
        let request: Request = self.as_request(&settings, actor, &ask).await?;
        let requester = settings.person(&request.parties.requester).await?;
        let grantee = settings.person(&request.parties.grantee).await?;
        let humans = BTreeSet::from([&requester.human, &grantee.human]);
        let owes = request.break_glass && self.core.owes_review(&self.tenant, humans, None).await?;
        settings.policy.explain(&settings.question(&request, &requester, &grantee, owes)).await
    }

    /// Returns the people who can decide on what the access is pending on, by the directory and the
    /// plan: whom to ask.
    ///
    /// # Errors
    /// [`JitError::NotFound`]; [`JitError::Directory`] if the directory does not answer.
    pub async fn who_can_decide(&self, id: AccessId) -> Result<BTreeSet<crate::id::Principal>, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let now = self.core.store.now().await?;
        let loaded = self.core.load(&self.tenant, id, now).await?;
        let access = &loaded.access;
        // nobody decides on what lapsed
        if access.lapses_at().is_none_or(|lapses_at| lapses_at <= now) {
            return Ok(BTreeSet::new());
        }
        let approval = access.decidable();
        let mut candidates = BTreeSet::new();
        for group in approval.plan().groups() {
            match settings.directory.members(&group).await {
                Ok(members) => candidates.extend(members),
                Err(crate::directory::DirectoryError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for party in [&approval.parties().requester, &approval.parties().grantee] {
            if let Ok(person) = settings.person(party).await {
                candidates.extend(person.manager);
            }
        }
        let people = approval.plan().stages.iter().flat_map(|stage| &stage.people);
        candidates.extend(people.flat_map(Requirement::named).cloned());
        let mut able = BTreeSet::new();
        let stops = self.core.stops(&self.tenant).await?;
        for candidate in candidates {
            if stops.of_person(&settings, &candidate).await?.is_some() {
                continue;
            }
            let groups = approval.plan().groups();
            let snapshot = match settings.snapshot(&candidate, approval.parties(), &groups).await {
                Err(crate::directory::DirectoryError::Unknown { .. }) => continue,
                other => other?,
            };
            let decision = crate::model::approval::Decision {
                question: approval.question(),
                by: candidate.clone(),
                verdict: crate::model::approval::Verdict::Approve,
                at: now,
                note: String::new(),
                evidence: crate::actor::Evidence::default(),
                snapshot,
                proven: None,
                in_place_of: None,
            };
            let judged = approval.decide(decision);
            if matches!(judged, Ok(_) | Err(crate::model::approval::DecisionRefused::FactorNeeded(_))) {
                able.insert(candidate);
            }
        }
        Ok(able)
    }
}

fn matches(view: &AccessView, filter: &Filter) -> bool {
    let about = |principal: &crate::id::Principal| view.principal == *principal || view.requester == *principal;
    filter.state.is_none_or(|state| view.state == state)
        && filter.principal.as_ref().is_none_or(about)
        && filter.target.as_deref().is_none_or(|target| view.target.as_str() == target)
        && (!filter.open || !view.is_final())
}
