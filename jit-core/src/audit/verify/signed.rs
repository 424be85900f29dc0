//! The stored checkpoints, each compared with the tree when it has that size.

use std::collections::VecDeque;

use super::VerifyError;
use crate::audit::broken::{Broken, Damage};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::head::{LogHead, read_checkpoint};
use crate::audit::key::VerifyingKey;
use crate::audit::tree::Edge;
use crate::id::TenantId;
use crate::store::{Kind, PageQuery, Store, StoreError};

const PAGE: usize = 256;

/// The checkpoints of a log in the order of their sizes.
pub(super) struct Signed<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    keys: &'a [VerifyingKey],
    ask: PageQuery,
    next: VecDeque<Checkpoint>,
    checked: u64,
    latest: Option<Checkpoint>,
}

impl<'a> Signed<'a> {
    pub(super) async fn read(
        store: &'a dyn Store,
        tenant: &'a TenantId,
        keys: &'a [VerifyingKey],
    ) -> Result<Self, VerifyError> {
        let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Checkpoint, label: None, after: None, limit: PAGE };
        let mut signed = Self { store, tenant, keys, ask, next: VecDeque::new(), checked: 0, latest: None };
        signed.fill().await?;
        Ok(signed)
    }

    /// Compares the checkpoint of the tree's size, if there is one.
    pub(super) async fn compare(&mut self, edge: &Edge) -> Result<(), VerifyError> {
        if self.next.front().is_none_or(|next| next.statement().size > edge.size()) {
            return Ok(());
        }
        let Some(checkpoint) = self.next.pop_front() else { return Ok(()) };
        let size = checkpoint.statement().size;
        checkpoint
            .verify(self.tenant, self.keys)
            .map_err(|error| Broken::log(Damage::Checkpoint { size, why: error.to_string() }))?;
        if checkpoint.statement().root != edge.root() || size != edge.size() {
            let good = self.latest.as_ref().map_or(0, |latest| latest.statement().size);
            return Err(Broken::log(Damage::Rewritten { good, bad: size }).into());
        }
        self.checked = self.checked.saturating_add(1);
        self.latest = Some(checkpoint);
        if self.next.is_empty() { self.fill().await } else { Ok(()) }
    }

    /// Returns the number of checked checkpoints, and the last one. `head` was verified, and `now`
    /// is the head after that.
    pub(super) async fn finish(
        mut self,
        head: &LogHead,
        now: &LogHead,
    ) -> Result<(u64, Option<Checkpoint>), VerifyError> {
        let checked = self.latest.as_ref().map_or(0, |latest| latest.statement().size);
        if checked < head.checkpointed {
            let why = "it was made, but is missing".to_owned();
            return Err(Broken::log(Damage::Checkpoint { size: head.checkpointed, why }).into());
        }
        // the remaining checkpoints state sizes that the log had not reached: it grew meanwhile, or
        // it was cut
        while let Some(checkpoint) = self.next.pop_front() {
            let size = checkpoint.statement().size;
            if size > now.size {
                return Err(Broken::entry(head.size, None, Damage::Truncated { size }).into());
            }
            if self.next.is_empty() {
                self.fill().await?;
            }
        }
        Ok((self.checked, self.latest))
    }

    async fn fill(&mut self) -> Result<(), VerifyError> {
        for record in self.store.page(&self.ask).await? {
            match read_checkpoint(&record) {
                Ok(checkpoint) => self.next.push_back(checkpoint),
                Err(StoreError::Damaged { key, why, .. }) => {
                    let size = key.parse().unwrap_or_default();
                    return Err(Broken::log(Damage::Checkpoint { size, why }).into());
                }
                Err(error) => return Err(error.into()),
            }
            self.ask.after = Some(record.at.key);
        }
        Ok(())
    }
}
