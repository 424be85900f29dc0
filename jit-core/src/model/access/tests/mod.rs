//! State machines in a small world: a catalog that behaves like PostgreSQL 15 or 16, and several
//! accesses of one account. Events come in any order, and the laws are checked after every step.

pub(crate) mod model;
mod tampering;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::audit_event::EventKind;
use crate::catalog::{Granted, Rejection};
use crate::model::grant::Cause;
use crate::model::holding::{Look, Watch};
use crate::model::ruling::Ruling;
use model::{Engine, World, acts};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn law_01_to_07_hold_in_any_order_of_events_on_an_engine_that_names_grantors(
        kinds in proptest::collection::vec((0..4_usize, 0..2_usize), 2..=4),
        acts in acts(),
    ) {
        World::new(Engine::PerGrantor, &kinds).live(&acts);
    }

    #[test]
    fn law_01_to_07_hold_in_any_order_of_events_on_an_engine_that_names_none(
        kinds in proptest::collection::vec((0..4_usize, 0..2_usize), 2..=4),
        acts in acts(),
    ) {
        World::new(Engine::OneRow, &kinds).live(&acts);
    }
}

#[test]
fn law_04_only_what_had_ended_reappears() {
    let scheduled = model::access(1, 0, 0);
    let step = scheduled.handle(Event::End { cause: Cause::Reappeared, by: None, why: None }, model::at(2)).unwrap();
    assert_eq!(step.access, scheduled);
    assert!(step.audit_events.is_empty());
}
