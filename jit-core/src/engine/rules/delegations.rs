//! Who decides in whose place.

use crate::clock::Time;
use crate::engine::core::Core;
use crate::engine::repository::records::{Delegations, body, delegated_label, delegation_key, guard};
use crate::id::{Principal, TenantId};
use crate::store::{Kind, PageQuery, StoreError, Write};

impl Core {
    /// Returns what this person delegated, and a guard of the record as it was read.
    pub(in crate::engine) async fn delegation(
        &self,
        tenant: &TenantId,
        of: &Principal,
    ) -> Result<(Option<Delegations>, Write), StoreError> {
        let at = delegation_key(tenant, of);
        let record = self.store.read(&at).await?;
        let given = record.as_ref().map(body).transpose()?;
        Ok((given, guard(at, record.as_ref())))
    }

    /// Returns the people in whose place this person can decide at this time, in the order of their
    /// names. Each comes with a guard of the delegation as it was read.
    pub(in crate::engine) async fn delegators(
        &self,
        tenant: &TenantId,
        to: &Principal,
        at: Time,
    ) -> Result<Vec<(Principal, Write)>, StoreError> {
        let label = Some(delegated_label(to));
        let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Delegation, label, after: None, limit: 512 };
        let mut all = Vec::new();
        for record in self.store.page(&ask).await? {
            let given: Delegations = body(&record)?;
            if given.cover(to, at) {
                all.push((given.of, guard(record.at.clone(), Some(&record))));
            }
        }
        Ok(all)
    }
}
