//! Marks that tell apart the stores that work with one broker.

use std::collections::BTreeMap;

use super::Call;
use crate::id::StoreId;

/// Separator in a mark, between the label of the call and the store.
const OF_STORE: &str = "/store:";

/// Store with memberships on a server whose dead man's switches it armed and that have not fired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreMarks {
    /// Id of the store.
    pub store: StoreId,
    /// Number of memberships that the store accounts for.
    pub memberships: u64,
}

impl StoreMarks {
    /// Creates the entry of this store.
    #[must_use]
    pub fn new(store: StoreId, memberships: u64) -> Self {
        Self { store, memberships }
    }
}

impl Call {
    /// Returns the mark that is written beside everything that the call arms: its label and its
    /// store. It has at most 63 ASCII characters.
    #[must_use]
    pub fn mark(&self) -> String {
        match &self.store {
            Some(store) => format!("{}{OF_STORE}{store}", self.label),
            None => self.label.clone(),
        }
    }

    /// Returns the store of this mark, if it is another than the call's. A mark without a store was
    /// made before stores had ids, or by a tool: it belongs to everybody.
    #[must_use]
    pub fn another_in(&self, mark: &str) -> Option<StoreId> {
        store_in(mark).filter(|store| self.is_another(store))
    }

    /// Checks whether this is another store than the call's.
    #[must_use]
    pub fn is_another(&self, store: &StoreId) -> bool {
        self.store.as_ref().is_some_and(|own| own != store)
    }
}

/// Returns the store of a mark, if the mark names one.
#[must_use]
pub fn store_in(mark: &str) -> Option<StoreId> {
    StoreId::new(mark.rsplit_once(OF_STORE)?.1).ok()
}

/// Counts the marks of each store.
#[must_use]
pub fn stores_in<M: AsRef<str>>(marks: &[M]) -> Vec<StoreMarks> {
    let mut counts = BTreeMap::<StoreId, u64>::new();
    for store in marks.iter().filter_map(|mark| store_in(mark.as_ref())) {
        let count = counts.entry(store).or_default();
        *count = count.saturating_add(1);
    }
    counts.into_iter().map(|(store, memberships)| StoreMarks { store, memberships }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_mark_names_its_store_and_one_without_is_everybodys() {
        let call = |store: &str| Call {
            label: "node.boot.7".to_owned(),
            limit: Duration::from_secs(1),
            server: None,
            store: StoreId::new(store).ok(),
        };
        let (one, two, tool) = (call("0123456789abcdef"), call("fedcba9876543210"), call(""));
        assert_eq!(one.mark(), "node.boot.7/store:0123456789abcdef");
        assert_eq!(two.another_in(&one.mark()), one.store);
        assert_eq!(one.another_in(&one.mark()), None);
        assert_eq!(one.another_in(&tool.mark()), None, "written before there were ids");
        assert_eq!(tool.another_in(&one.mark()), None, "a tool heeds none");
        for none in ["node.boot.7", "x/store:0123", "x/store:0123456789ABCDEF", "fired", ""] {
            assert_eq!(store_in(none), None, "{none}");
        }
    }
}
