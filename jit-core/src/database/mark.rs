//! The marks by which stores that work with one broker are told apart.

use super::Call;
use crate::id::StoreId;

/// Stands in a mark between the label of the call and the store.
const OF_STORE: &str = "/store:";

/// What a store has armed on a server, and what has not fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreMarks {
    /// Which store.
    pub store: StoreId,
    /// How many memberships it accounts for.
    pub memberships: u64,
}

impl Call {
    /// What is written beside everything that the call arms: its label, and which store works. At most 63 ASCII characters.
    #[must_use]
    pub fn mark(&self) -> String {
        match &self.store {
            Some(store) => format!("{}{OF_STORE}{store}", self.label),
            None => self.label.clone(),
        }
    }

    /// The store of this mark, where that is another than the call's. A mark without one was made before there were ids, or by a tool: it is
    /// everybody's.
    #[must_use]
    pub fn another_in(&self, mark: &str) -> Option<StoreId> {
        store_in(mark).filter(|store| self.is_another(store))
    }

    /// Whether this is another store than the call's.
    #[must_use]
    pub fn is_another(&self, store: &StoreId) -> bool {
        self.store.as_ref().is_some_and(|own| own != store)
    }
}

/// The store of a mark, where it names one.
#[must_use]
pub fn store_in(mark: &str) -> Option<StoreId> {
    StoreId::new(mark.rsplit_once(OF_STORE)?.1).ok()
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
