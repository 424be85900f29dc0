//! Tests of what is written to a holding, and of its merge with what others wrote.

use super::*;
use crate::id::TargetName;
use crate::model::grant::Window;

fn empty() -> Holding {
    let asking = access(1, NARROW, 0);
    let realm = asking.realm().unwrap().clone();
    Holding::new(asking.tenant().clone(), realm, asking.request().account.clone())
}

fn target() -> TargetName {
    TargetName::new("orders").unwrap()
}

fn elsewhere() -> TargetName {
    TargetName::new("elsewhere").unwrap()
}

fn held(access: &Access) -> Membership {
    access.grant().and_then(Grant::membership).unwrap().clone()
}

/// Returns a holding with one live access, whose dead man's switch is armed for its end.
fn armed(live: &Access) -> Holding {
    let mut holding = empty();
    holding.place(live);
    holding.plan_dead_mans_switches(&[live], Some(&target()), at(4));
    assert!(holding.switch_armed(&held(live), live.window().map(Window::end), at(5)));
    holding
}

fn extended(live: &Access) -> Access {
    let (by, longer) = (live.request().parties.requester.clone(), TimeDelta::minutes(5));
    let extend = Extend { question: question(at(20)), by, longer, reason: "more".to_owned(), plan: plan(NARROW) };
    next(live, Event::Extend(extend), at(20))
}

#[test]
fn law_04_who_begins_joins_and_who_ends_leaves_at_once() {
    let (scheduled, live) = (access(1, NARROW, 0), active(1, NARROW));
    assert!(concerns_holding(None, &scheduled) && !concerns_holding(Some(&live), &live));
    let mut holding = empty();
    let due = holding.follow(None, &scheduled, None, at(1));
    assert_eq!((due, holding.live.contains(&id(1))), (scheduled.effect_due(), true));
    // what is due before stays due
    assert_eq!(holding.follow(Some(&scheduled), &live, Some(at(0)), at(3)), Some(at(0)));
    let ended = ending(&live);
    assert!(concerns_holding(Some(&live), &ended));
    assert_eq!(holding.follow(Some(&live), &ended, None, at(10)), Some(at(10)));
    assert!(holding.live.contains(&id(1)), "what is being revoked is live");
    let gone = revoked(&ended);
    assert_eq!(holding.follow(Some(&ended), &gone, None, at(11)), Some(at(11)), "others may end with it");
    assert_eq!((holding.live.len(), holding.watched.len()), (0, 1));
    // who left before is not watched again
    holding.watched.clear();
    holding.place(&gone);
    assert!(holding.is_empty());
    holding.watched.extend(gone.watch());
    holding.take_back(id(1));
    assert_eq!((holding.live.len(), holding.watched.len()), (1, 0));
    holding.forget(id(1));
    assert!(holding.is_empty());
}

#[test]
fn law_07_the_switch_follows_a_window_that_moved_and_goes_with_a_server_written_off() {
    let live = active(1, NARROW);
    let mut holding = armed(&live);
    let before = holding.clone();
    assert_eq!(holding.follow(Some(&live), &live, None, at(20)), live.effect_due());
    assert_eq!(holding, before);
    let longer = extended(&live);
    assert!(concerns_holding(Some(&live), &longer));
    assert_eq!(holding.follow(Some(&live), &longer, None, at(20)), Some(at(20)));
    assert_eq!(holding.armed[0].due, Some(at(20)));
    let retired = next(&live, Event::Retire { by: live.request().parties.requester.clone() }, at(30));
    holding.follow(Some(&longer), &retired, None, at(30));
    assert!(holding.is_empty(), "{holding:?}");
}

#[test]
fn a_switch_that_fails_is_tried_again_soon_and_then_less_often() {
    let live = active(1, NARROW);
    let (mut holding, membership) = (armed(&live), held(&live));
    assert!(!holding.switch_armed(&membership, Some(at(6)), at(6)), "a move closer is no news");
    holding.switch_delayed(&membership, at(10));
    assert_eq!((holding.armed[0].due, holding.armed[0].last_error.as_deref()), (Some(at(11)), None));
    assert!(holding.switch_failed(&membership, "a lock", at(20)));
    assert_eq!(holding.armed[0].due, Some(at(21)));
    assert!(!holding.switch_failed(&membership, "a lock", at(21)));
    assert_eq!(holding.armed[0].due, Some(at(36)));
    assert!(holding.switches_to_disarm(&target(), &[&live], at(36)).is_empty(), "it is needed");
    assert!(holding.switches_to_disarm(&target(), &[], at(35)).is_empty(), "it is not due");
    assert!(holding.switches_to_disarm(&elsewhere(), &[], at(36)).is_empty(), "only its target can");
    assert_eq!(holding.switches_to_disarm(&target(), &[], at(36)), std::slice::from_ref(&membership));
    assert!(!holding.postpone_switches_elsewhere(&target(), at(36)));
    assert!(holding.postpone_switches_elsewhere(&elsewhere(), at(36)));
    assert_eq!(holding.armed[0].due, Some(at(51)));
    holding.switch_gone(&membership);
    assert!(holding.armed.is_empty());
}

#[test]
fn law_07_a_switch_that_may_be_about_to_fire_is_tried_again_before_it_does() {
    let live = active(1, NARROW);
    let (mut holding, membership) = (armed(&live), held(&live));
    holding.switch_armed(&membership, Some(at(30)), at(6));
    holding.switch_failed(&membership, "a lock", at(20));
    let tries = [(20, 30), (30, 31), (44, 45), (45, 60)];
    for (failed, again) in tries {
        holding.switch_failed(&membership, "a lock", at(failed));
        assert_eq!(holding.armed[0].due, Some(at(again)), "it failed at {failed}");
        holding.armed[0].due = Some(at(failed));
        assert!(holding.postpone_switches_elsewhere(&elsewhere(), at(failed)));
        assert_eq!(holding.armed[0].due, Some(at(again)), "it was left to another target at {failed}");
    }
}

#[test]
fn law_04_an_orphan_is_ordered_away_once_and_tried_until_it_is_gone_or_accounted_for() {
    let live = active(1, NARROW);
    let (mut holding, membership) = (empty(), membership(&live));
    assert!(holding.order_away(target(), membership.clone(), at(1)));
    assert!(!holding.order_away(target(), membership.clone(), at(2)));
    holding.orphan_left(&membership, at(2));
    assert_eq!(holding.orphans[0].retry_at, at(17));
    assert!(!holding.drop_accounted(&[&access(2, NARROW, 0)]));
    assert!(holding.clone().drop_accounted(&[&live]));
    holding.orphan_gone(&membership);
    assert!(holding.is_empty());
}

#[test]
fn what_is_carried_to_another_server_is_known_by_name_and_due_there() {
    let live = active(1, NARROW);
    let (mut old, mut new) = (armed(&live), empty());
    new.realm = RealmId::new("mock:2").unwrap();
    let mut other = revoked(&ending(&active(2, NARROW))).watch().unwrap();
    other.target = elsewhere();
    let stays = Watch { access: id(3), target: target(), ..other.clone() };
    old.watched = vec![other, stays];
    old.order_away(target(), held(&live), at(1));
    assert!(old.carry_looks(&mut new, &target(), at(40)) && !old.carry_looks(&mut new, &target(), at(40)));
    assert_eq!((old.watched.len(), old.orphans.len()), (1, 0));
    assert_eq!((new.watched[0].next, new.orphans[0].retry_at), (at(40), at(40)));
    assert_eq!(new.watched[0].membership, by_name(&new.watched[0].membership));
    old.carry(&mut new, &live, &elsewhere(), at(40));
    assert_eq!((old.armed.len(), new.armed.len()), (1, 0), "its target moves it");
    old.carry(&mut new, &live, &target(), at(40));
    assert!(old.live.is_empty() && old.armed.is_empty() && new.live.contains(&id(1)));
    assert_eq!((new.armed[0].end, new.armed[0].due), (None, Some(at(40))));
    assert_eq!(new.armed[0].membership, by_name(&held(&live)));
}

#[test]
fn law_15_nothing_is_granted_until_the_latest_of_what_may_arrive() {
    let mut holding = empty();
    holding.keep_quiet(at(20));
    holding.keep_quiet(at(10));
    assert_eq!(holding.quiet_until, Some(at(20)));
    let theirs = Holding { quiet_until: Some(at(30)), ..empty() };
    assert_eq!(Holding::merge(&empty(), holding.clone(), theirs.clone()).quiet_until, Some(at(30)));
    assert_eq!(Holding::merge(&empty(), theirs, holding).quiet_until, Some(at(30)));
}

/// Returns the times at which the watches are due.
fn looks(holding: &Holding) -> Vec<(AccessId, Time)> {
    holding.watched.iter().map(|watch| (watch.access, watch.next)).collect()
}

#[test]
fn law_05_a_merge_loses_no_look_and_brings_none_back() {
    let watch = revoked(&ending(&active(1, NARROW))).watch().unwrap();
    let of = |number, now| Watch { access: id(number), next: now, ..watch.clone() };
    let base = Holding { watched: vec![of(1, at(10)), of(2, at(10)), of(3, at(10)), of(4, at(10))], ..empty() };
    // mine looked at the first, is done with the second, and watches a fifth
    let mine = Holding { watched: vec![of(1, at(50)), of(3, at(10)), of(4, at(10)), of(5, at(60))], ..empty() };
    // theirs made all due, carried the fourth away and brought a sixth
    let due = at(20);
    let theirs = Holding { watched: vec![of(1, due), of(2, due), of(3, due), of(6, due)], ..empty() };
    let merged = Holding::merge(&base, mine, theirs);
    assert_eq!(looks(&merged), [(id(1), at(50)), (id(3), due), (id(6), due), (id(5), at(60))]);
}

#[test]
fn law_04_a_merge_loses_no_orphan() {
    let membership = membership(&access(1, NARROW, 0));
    let mut base = empty();
    base.order_away(target(), membership.clone(), at(1));
    let (mut failed, mut gone, mut theirs) = (base.clone(), base.clone(), base.clone());
    failed.orphan_left(&membership, at(10));
    gone.orphan_gone(&membership);
    let other = Membership { role: RoleName::new("other").unwrap(), ..membership };
    theirs.order_away(target(), other.clone(), at(2));
    let merged = Holding::merge(&base, failed, theirs.clone());
    assert_eq!(merged.orphans.iter().map(|orphan| orphan.retry_at).collect::<Vec<_>>(), [at(25), at(2)]);
    let merged = Holding::merge(&base, gone, theirs);
    assert_eq!(merged.orphans.iter().map(|orphan| &orphan.membership).collect::<Vec<_>>(), [&other]);
}

#[test]
fn law_04_a_merge_leaves_no_switch_behind() {
    let live = active(1, NARROW);
    let (base, membership) = (armed(&live), held(&live));
    // others made it due while it was moved
    let (mut mine, mut theirs) = (base.clone(), base.clone());
    theirs.look_now(at(20));
    mine.switch_armed(&membership, Some(at(90)), at(19));
    let merged = Holding::merge(&base, mine.clone(), theirs.clone());
    assert_eq!((merged.armed[0].end, merged.armed[0].due), (Some(at(90)), Some(at(20))));
    // a switch that was disarmed is gone, and one that others wrote off or carried away, too
    let without = Holding { armed: Vec::new(), ..base.clone() };
    assert!(Holding::merge(&base, without.clone(), theirs).armed.is_empty());
    assert!(Holding::merge(&base, mine, without.clone()).armed.is_empty());
    // a switch that either recorded is kept
    assert_eq!(Holding::merge(&without, base.clone(), without.clone()).armed, base.armed);
    assert_eq!(Holding::merge(&without, without.clone(), base.clone()).armed, base.armed);
}

#[test]
fn law_04_the_live_accesses_of_a_merge_are_theirs() {
    let live = active(1, NARROW);
    let (base, mut theirs) = (armed(&live), armed(&live));
    let mut mine = base.clone();
    mine.place(&revoked(&ending(&live)));
    theirs.place(&active(2, NARROW));
    let merged = Holding::merge(&base, mine, theirs);
    assert_eq!(merged.live, [id(1), id(2)].into(), "the end is handled again on what others made of it");
}
