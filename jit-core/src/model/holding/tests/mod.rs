//! Tests of what one account holds, what is taken from it, and how it is looked at again.

mod writer;

use chrono::TimeDelta;

use super::*;
use crate::catalog::{
    DefaultRole, Granted, Grantor, Identity, Membership, MembershipGrant, ObjectId, PreparedTransaction, Rejection,
    RevokeHow, RevokeReport, Seen, Session,
};
use crate::clock::after;
use crate::handling::MembershipScope;
use crate::handling::Sessions;
use crate::id::RoleName;
use crate::model::access::tests::model::{access, at, id, plan, question};
use crate::model::access::{Event, Extend, Found};
use crate::model::grant::{Cause, Grant};
use crate::model::proof::VerifiedEnd;

/// Plans of the model: narrow and wide, both at once.
const NARROW: usize = 0;
const WIDE: usize = 3;

fn next(access: &Access, event: Event, now: Time) -> Access {
    access.handle(event, now).unwrap().access
}

fn membership(access: &Access) -> Membership {
    let request = access.request();
    Membership { account: request.account.clone(), account_id: None, role: request.role.clone(), role_id: None }
}

fn seen(edges: &[(Grantor, MembershipScope)]) -> Seen {
    let direct =
        edges.iter().map(|(grantor, scope)| MembershipGrant { grantor: grantor.clone(), scope: *scope, admin: false });
    let id = |text: &str| Some(ObjectId(text.to_owned()));
    Seen {
        account_id: id("account 1"),
        account_exists: true,
        role_id: id("role 1"),
        role_exists: true,
        direct: direct.collect(),
        ..Seen::default()
    }
}

fn granting_where(access: &Access, seen: &Seen) -> Access {
    let clear = judge(access, &[], seen, &membership(access), "node-1", at(62)).unwrap();
    next(access, Event::BeginGrant(clear), at(2))
}

fn granting(number: usize, kind: usize) -> Access {
    granting_where(&access(number, kind, 0), &seen(&[]))
}

fn granted(access: &Access) -> Access {
    next(
        access,
        Event::Granted(Granted {
            server_time: at(3),
            identity: Identity {
                realm: RealmId::new("mock:1").unwrap(),
                incarnation: "boot 1".to_owned(),
                position: String::new(),
            },
        }),
        at(3),
    )
}

fn active(number: usize, kind: usize) -> Access {
    granted(&granting(number, kind))
}

fn ending(access: &Access) -> Access {
    next(access, Event::End { cause: Cause::Released, by: None, why: None }, at(10))
}

fn report(seen: Seen) -> RevokeReport {
    RevokeReport {
        seen,
        was_held: Some(true),
        default_kept: None,
        ended: Vec::new(),
        rolled_back: Vec::new(),
        revoked_at: at(11),
        server_time: at(11),
        identity: Identity {
            realm: RealmId::new("mock:1").unwrap(),
            incarnation: "boot 1".to_owned(),
            position: String::new(),
        },
    }
}

fn revoked_at(access: &Access, now: Time) -> Access {
    let closing = closings(&[access], now).remove(0);
    let verified = verify(&closing, &report(seen(&[]))).unwrap().remove(0);
    next(access, Event::Ended(verified), now)
}

fn revoked(access: &Access) -> Access {
    revoked_at(access, at(11))
}

fn session(since: i64) -> Session {
    Session { id: format!("{since}"), account: "alice".to_owned(), since: Some(at(since)) }
}

#[test]
fn law_07_accesses_that_end_together_are_one_order_and_all_are_verified_by_it() {
    let (one, two) = (ending(&active(1, NARROW)), ending(&active(2, WIDE)));
    let closings = closings(&[&one, &two], at(11));
    let [closing] = closings.as_slice() else { panic!("one membership, one order") };
    assert_eq!((closing.order.how, closing.stays), (RevokeHow::Remove, None));
    assert_eq!(closing.accesses, [id(1), id(2)]);
    let verified = verify(closing, &report(seen(&[]))).unwrap();
    assert_eq!(verified.iter().map(VerifiedEnd::access).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(next(&two, Event::Ended(verified[1].clone()), at(12)).state(), "revoked");
    // the proof is valid for one access and one revoke
    assert_eq!(next(&two, Event::Ended(verified[0].clone()), at(12)), two);
    let back = next(&revoked(&two), Event::Reappeared("back".to_owned()), at(100));
    assert_eq!(next(&back, Event::Ended(verified[1].clone()), at(101)), back);
}

#[test]
fn law_07_what_others_hold_stays_and_is_narrowed_where_the_ended_one_was_wider() {
    let (wide, narrow) = (active(1, WIDE), active(2, NARROW));
    let ended = ending(&wide);
    let closing = closings(&[&ended, &narrow], at(11)).remove(0);
    assert_eq!((closing.order.how, closing.stays), (RevokeHow::Narrow, Some(MembershipScope::Inherit)));
    assert_eq!(closing.still_held_by, [id(2)]);
    assert!(verify(&closing, &report(seen(&[(Grantor::Broker, MembershipScope::SetRole)]))).is_err());
    let verified = verify(&closing, &report(seen(&[(Grantor::Broker, MembershipScope::Inherit)]))).unwrap();
    assert_eq!(verified[0].evidence().still_held_by, [id(2)]);

    let ended = ending(&narrow);
    let closing = closings(&[&wide, &ended], at(11)).remove(0);
    assert_eq!((closing.order.how, closing.order.sessions), (RevokeHow::Nothing, Sessions::Keep));
}

#[test]
fn law_07_a_narrower_grant_over_a_wider_one_grants_as_wide_as_both_want() {
    let (wide, narrow) = (active(1, WIDE), granting(2, NARROW));
    assert_eq!(scope(&narrow, &[&wide, &narrow]), MembershipScope::SetRole);
    assert_eq!(scope(&narrow, &[&ending(&wide), &narrow]), MembershipScope::Inherit);
}

#[test]
fn law_04_a_membership_that_is_being_granted_is_closed_once_that_is_settled() {
    let ended = ending(&active(1, NARROW));
    let other = granting(2, NARROW);
    assert!(closings(&[&ended, &other], at(11)).is_empty());
    let not_made = next(&other, Event::NotGranted { why: "a lock".to_owned(), retry_at: at(20) }, at(11));
    assert_eq!(closings(&[&ended, &not_made], at(11)).remove(0).order.how, RevokeHow::Remove);
    assert_eq!(closings(&[&ended, &granted(&other)], at(11)).remove(0).order.how, RevokeHow::Nothing);
}

#[test]
fn law_15_a_statement_that_may_still_arrive_is_settled_before_its_end() {
    let unsettled = ending(&granting(1, NARROW));
    assert!(closings(&[&unsettled], at(11)).is_empty());
    let held = next(&unsettled, Event::Settled(Found::Held), at(11));
    assert_eq!(closings(&[&held], at(11)).remove(0).order.how, RevokeHow::Remove);
    let absent = next(&unsettled, Event::Settled(Found::Absent), at(11));
    assert_eq!(closings(&[&absent], at(11)).remove(0).order.how, RevokeHow::Nothing);
}

#[test]
fn law_06_a_rejected_grant_is_only_looked_at_and_what_it_finds_is_not_ours() {
    let rejected = Event::GrantRejected { rejection: Rejection::NoSuchRole, why: "no such role".to_owned() };
    let rejected = next(&granting(1, NARROW), rejected, at(3));
    let closing = closings(&[&rejected], at(11)).remove(0);
    assert_eq!((closing.order.how, closing.order.sessions), (RevokeHow::Nothing, Sessions::Keep));
    let mut standing = seen(&[(Grantor::Unknown, MembershipScope::SetRole)]);
    standing.prepared = vec![prepared()];
    standing.sessions = vec![session(0)];
    let verified = verify(&closing, &report(standing)).unwrap().remove(0);
    assert_eq!(verified.evidence().residual.len(), 1);
    let failed = next(&rejected, Event::Ended(verified), at(12));
    assert_eq!(failed.state(), "failed");
    assert!(failed.watch().is_none(), "nothing of ours was there to come back");
}

fn prepared() -> PreparedTransaction {
    PreparedTransaction { gid: "it's".to_owned(), database: "orders".to_owned(), owner: "alice".to_owned() }
}

#[test]
fn law_05_what_is_left_keeps_the_end_unverified() {
    let ended = ending(&active(1, NARROW));
    let closing = closings(&[&ended], at(11)).remove(0);
    let left = |seen: Seen| verify(&closing, &report(seen)).unwrap_err();
    assert!(left(seen(&[(Grantor::Broker, MembershipScope::Inherit)])).contains("still shows"));
    assert!(left(seen(&[(Grantor::Unknown, MembershipScope::SetRole)])).contains("still shows"));
    assert!(left(Seen { sessions: vec![session(11)], ..seen(&[]) }).contains("sessions are still open"));
    let no_time = Session { since: None, ..session(0) };
    assert!(left(Seen { sessions: vec![no_time], ..seen(&[]) }).contains("sessions"));
    assert!(left(Seen { prepared: vec![prepared()], ..seen(&[]) }).contains("ROLLBACK PREPARED 'it''s'"));

    // a session that began after the revoke never had the role; grants by others are residual
    let others = seen(&[(Grantor::Other("dba".to_owned()), MembershipScope::SetRole)]);
    let fine = Seen { sessions: vec![session(12)], through: vec!["staff".to_owned()], ..others };
    let verified = verify(&closing, &report(fine)).unwrap().remove(0);
    assert_eq!(verified.evidence().residual, ["through role `staff`", "granted by `dba`"]);
    // an administrator's session that may have used it is reported, and does not keep the end open
    let apart = Seen { apart: vec![session(11), session(12)], ..seen(&[]) };
    let verified = verify(&closing, &report(apart)).unwrap().remove(0);
    assert_eq!(verified.evidence().residual.len(), 1, "{verified:?}");
    assert!(verified.evidence().residual[0].contains("SET ROLE"), "{verified:?}");
    let gone = verify(&closing, &report(Seen::default())).unwrap().remove(0);
    assert_eq!(gone.evidence().gone, ["account", "role"]);
}

#[test]
fn law_05_an_account_made_anew_is_another_one() {
    let old = ending(&active(1, NARROW));
    let anew = Seen { account_id: Some(ObjectId("account 2".to_owned())), ..seen(&[]) };
    let new = ending(&granted(&granting_where(&access(2, NARROW, 0), &anew)));
    let closings = closings(&[&old, &new], at(11));
    assert_eq!(closings.len(), 2, "one order by the old account's id would not have taken the new one's membership");
    assert!(closings.iter().all(|closing| closing.accesses.len() == 1));
}

#[test]
fn law_05_who_is_not_found_by_his_name_may_hold_it_under_another() {
    let failed = Event::EndFailed { why: "no answer".to_owned(), retry_at: at(60) };
    let failed = next(&ending(&active(1, NARROW)), failed, at(12));
    let renamed = Seen { account_id: None, account_exists: false, ..seen(&[]) };
    let by_name = ending(&granted(&granting_where(&access(2, NARROW, 0), &renamed)));
    assert_eq!(closings(&[&failed, &by_name], at(59)).remove(0).accesses, [id(2)]);
    assert_eq!(closings(&[&failed, &by_name], at(60)).len(), 2);
}

#[test]
fn law_06_what_is_held_already_is_refused_and_ours_is_not() {
    let asking = access(1, NARROW, 0);
    let ours = active(2, NARROW);
    let judged = |live: &[&Access], seen: &Seen| judge(&asking, live, seen, &membership(&asking), "node-1", at(62));
    assert_eq!(judged(&[], &seen(&[])).unwrap().observed(), "absent");
    let unknown = seen(&[(Grantor::Unknown, MembershipScope::SetRole)]);
    assert!(judged(&[], &unknown).is_err());
    assert!(judged(&[&asking], &unknown).is_err(), "its own wish makes it not ours");
    assert_eq!(judged(&[&ours], &unknown).unwrap().observed(), "ours");
    assert!(judged(&[&ours], &seen(&[(Grantor::Other("dba".to_owned()), MembershipScope::Inherit)])).is_err());
    let brokers = seen(&[(Grantor::Broker, MembershipScope::Inherit)]);
    assert_eq!(judged(&[&ours], &brokers).unwrap().observed(), "ours");
    assert!(
        judged(&[], &brokers).unwrap_err().contains("no access here accounts for it"),
        "another store's, or nobody's"
    );
    assert!(judged(&[&ours], &Seen { through: vec!["staff".to_owned()], ..seen(&[]) }).is_err());

    let found = |seen: &Seen, scope| settled(seen, &membership(&asking), scope);
    assert_eq!(found(&seen(&[(Grantor::Broker, MembershipScope::Inherit)]), MembershipScope::SetRole), Found::Absent);
    assert_eq!(found(&seen(&[(Grantor::Unknown, MembershipScope::SetRole)]), MembershipScope::SetRole), Found::Held);
    assert_eq!(
        found(&seen(&[(Grantor::Other("dba".to_owned()), MembershipScope::SetRole)]), MembershipScope::Inherit),
        Found::Absent
    );
    let by_id = Seen { account_exists: false, account_id: None, ..seen(&[]) };
    assert_eq!(found(&by_id, MembershipScope::Inherit), Found::Absent, "where ids tell accounts apart, it is gone");
    let by_name = Seen { role_id: None, ..by_id };
    assert_eq!(found(&by_name, MembershipScope::Inherit), Found::Lost, "it may be held under another name");
}

#[test]
fn law_04_a_failed_end_is_tried_again_when_it_said_and_not_before() {
    let failed = Event::EndFailed { why: "no answer".to_owned(), retry_at: at(60) };
    let failed = next(&ending(&active(1, NARROW)), failed, at(12));
    assert_eq!(failed.effect_due(), Some(at(60)));
    assert!(closings(&[&failed], at(59)).is_empty());
    assert_eq!(closings(&[&failed], at(60)).len(), 1);
    // another access that ends there takes it along
    let other = ending(&active(2, NARROW));
    assert_eq!(closings(&[&failed, &other], at(59)).remove(0).accesses, [id(1), id(2)]);
}

#[test]
fn law_05_it_is_looked_at_again_after_a_minute_an_hour_and_a_day() {
    let gone = revoked(&ending(&active(1, NARROW)));
    let watch = gone.watch().unwrap();
    assert_eq!((watch.gone_at, watch.next), (at(11), at(11 + 60)));
    let there = seen(&[]);
    let second = watch.looked(at(71), &there, "boot 1").unwrap();
    assert_eq!(second.next, at(11 + 3_600));
    let third = second.looked(at(11 + 3_600), &there, "boot 1").unwrap();
    assert_eq!(third.next, at(11 + 86_400));
    assert_eq!(third.looked(at(11 + 86_400), &there, "boot 1"), None);
    // a restart adds one look, and removes none
    let restarted = watch.looked(at(20), &there, "boot 2").unwrap();
    assert_eq!((restarted.next, restarted.incarnation.as_str()), (watch.next, "boot 2"));
    // missed looks are made up by a single one
    assert_eq!(watch.looked(at(4_000), &there, "boot 1").unwrap().next, at(11 + 86_400));
    assert_eq!(watch.looked(at(90_000), &there, "boot 1"), None);
    // an account known by name only, and not found, does not count as seen
    let lost = Seen { account_id: None, role_id: None, account_exists: false, ..there };
    let membership = Membership { account_id: None, role_id: None, ..watch.membership.clone() };
    let by_name = Watch { membership, ..watch };
    assert_eq!(by_name.looked(at(20), &lost, "boot 2").unwrap().incarnation, "boot 1");
}

#[test]
fn law_05_what_comes_back_is_ours_by_its_grantor_or_by_a_new_incarnation() {
    let gone = revoked(&ending(&active(1, NARROW)));
    let watch = gone.watch().unwrap();
    let unknown = seen(&[(Grantor::Unknown, MembershipScope::SetRole)]);
    let broker = seen(&[(Grantor::Broker, MembershipScope::Inherit)]);
    let other = seen(&[(Grantor::Other("dba".to_owned()), MembershipScope::Inherit)]);
    assert_eq!(look(&watch, &[], &seen(&[]), "boot 2"), Look::Gone);
    assert_eq!(look(&watch, &[], &other, "boot 2"), Look::Gone);
    assert!(matches!(look(&watch, &[], &unknown, "boot 1"), Look::Finding(_)));
    assert!(matches!(look(&watch, &[], &unknown, "boot 2"), Look::Reappeared(_)));
    assert!(matches!(look(&watch, &[], &broker, "boot 1"), Look::Reappeared(_)));
    // another access holds the membership now
    assert_eq!(look(&watch, &[&active(2, NARROW)], &broker, "boot 2"), Look::Gone);

    let back = next(&gone, Event::Reappeared("it is back".to_owned()), at(100));
    assert_eq!((back.state().as_str(), back.effect_due()), ("revoking", Some(at(100))));
    assert!(!back.is_overdue(at(104)) && back.is_overdue(at(106)));
    assert_eq!(closings(&[&back], at(100)).remove(0).order.how, RevokeHow::Remove);
    assert_eq!(revoked_at(&back, at(110)).watch().unwrap().gone_at, at(110), "watched anew");
}

#[test]
fn law_04_a_holding_is_due_when_the_first_of_its_accesses_or_watches_is() {
    let asking = access(1, NARROW, 0);
    let realm = asking.realm().unwrap().clone();
    let mut holding = Holding::new(asking.tenant().clone(), realm, asking.request().account.clone());
    assert!(holding.is_empty());
    let (live, foreign) = (active(1, NARROW), active(2, NARROW));
    assert_eq!(holding.due([&live]), None);
    holding.live.insert(live.id());
    let end = live.window().unwrap().end();
    assert_eq!(holding.due([&live, &foreign]), Some(end));
    assert_eq!(holding.due([&ending(&live)]), Some(at(10)));

    let longer = TimeDelta::minutes(5);
    let by = live.request().parties.requester.clone();
    let extend =
        Event::Extend(Extend { question: question(at(20)), by, longer, reason: "more".to_owned(), plan: plan(NARROW) });
    assert_eq!(holding.due([&next(&live, extend, at(20))]), Some(after(end, longer)));

    let gone = revoked(&ending(&foreign));
    holding.watched.extend(gone.watch());
    assert_eq!(holding.due([&live]), Some(at(11 + 60)));
    holding.live.clear();
    assert!(!holding.is_empty());
    assert!(matches!(gone.grant(), Some(Grant::Revoked(_))));
    assert_eq!(holding.due([&gone]), Some(at(11 + 60)));
    assert_eq!(holding.serial(), "holding:10/postgres:1/alice");
}

#[test]
fn law_07_the_default_role_that_was_there_first_comes_back_last() {
    let having = |role: &str| Seen { default_roles: vec![role.to_owned()], ..seen(&[]) };
    let of = |number, role, live: &[&Access], seen: &Seen| {
        let asking = access(number, NARROW, role);
        let seen = &Seen { role_id: Some(ObjectId(format!("id {role}"))), ..seen.clone() };
        let clear = judge(&asking, live, seen, &membership(&asking), "node-1", at(62)).unwrap();
        granted(&next(&asking, Event::BeginGrant(clear), at(2)))
    };
    let goes = |live: &[&Access]| closings(live, at(11)).remove(0).order.default_role;
    let to = |role: &str| DefaultRole::Goes { back_to: Some(role.to_owned()) };
    let first = of(1, 1, &[], &having("before"));
    let second = of(2, 2, &[&first], &having("role1"));
    assert_eq!((first.default_before(), second.default_before()), (Some("before"), Some("before")));
    // the role of the other one, as long as it lives, whichever ends
    assert_eq!(goes(&[&first, &ending(&second)]), to("role1"));
    assert_eq!(goes(&[&ending(&first), &second]), to("role2"));
    assert_eq!(goes(&[&ending(&second)]), to("before"));
    assert_eq!(goes(&[&ending(&first)]), to("before"));
    // another access of the same membership keeps it
    let twin = of(3, 1, &[&first], &having("role1"));
    assert_eq!(goes(&[&ending(&first), &twin]), DefaultRole::Stays);
    assert_eq!(goes(&[&ending(&twin)]), to("before"));
    // the dead man's switch does the same, and is armed while they are live
    let fires = |live: &[&Access]| wanted_dead_mans_switches(live).remove(0).default_role;
    assert_eq!(fires(&[&first]), to("before"));
    assert_eq!(fires(&[&first, &twin]), to("before"));
    assert_eq!(fires(&[&first, &second]), to("role2"));
    // a role that a revoke left behind belongs to nobody
    assert_eq!(of(4, 1, &[], &having("role1")).default_before(), None);
    let loaded = Access::from_bytes(&second.to_bytes().unwrap(), at(20)).unwrap();
    assert_eq!(loaded, second);
}

#[test]
fn law_05_a_default_role_that_is_still_set_is_not_gone() {
    let ended = ending(&active(1, NARROW));
    let closing = closings(&[&ended], at(11)).remove(0);
    let role = closing.order.membership.role.as_str().to_owned();
    let still = report(Seen { default_roles: vec![role], ..seen(&[]) });
    assert!(verify(&closing, &still).unwrap_err().contains("default role"));
}

#[test]
fn law_06_a_role_within_one_that_a_live_access_gives_is_not_held_for_good() {
    let (wider, asked) = (active(1, NARROW), access(2, NARROW, 0));
    let mut within = seen(&[]);
    within.through = vec![wider.request().role.to_string()];
    let narrower = Membership { role: RoleName::new("within").unwrap(), ..membership(&asked) };
    assert_eq!(standing(None, &[&wider], &within, &narrower), None);
    assert_eq!(standing(None, &[&ending(&wider)], &within, &narrower), None);
    // without an access that gives it, somebody granted it for good
    assert!(standing(None, &[], &within, &narrower).is_some());
    assert!(standing(None, &[&revoked(&ending(&wider))], &within, &narrower).is_some());
    within.through.push("team".to_owned());
    assert!(standing(None, &[&wider], &within, &narrower).is_some_and(|how| how.contains("team")));
}

#[test]
fn law_05_a_role_that_was_gone_before_its_end_is_told_apart() {
    let access = ending(&active(1, NARROW));
    let end = |access: &Access, was_held| {
        let closing = closings(&[access], at(11)).remove(0);
        let verified = verify(&closing, &RevokeReport { was_held, ..report(seen(&[])) }).unwrap().remove(0);
        let step = access.handle(Event::Ended(verified), at(12)).unwrap();
        step.audit_events[0].details.contains_key("gone_before")
    };
    assert!(end(&access, Some(false)));
    assert!(!end(&access, Some(true)));
    assert!(!end(&access, None));
    // an earlier try of ours may have removed it
    let tried = next(&access, Event::EndFailed { why: "lost".to_owned(), retry_at: at(11) }, at(11));
    assert!(!end(&tried, Some(false)));
}

#[test]
fn law_04_a_default_role_that_nobody_can_change_does_not_keep_an_end_open() {
    let ended = ending(&active(1, NARROW));
    let closing = closings(&[&ended], at(11)).remove(0);
    let role = closing.order.membership.role.as_str().to_owned();
    let mut kept = report(Seen { default_roles: vec![role.clone()], ..seen(&[]) });
    kept.default_kept = Some("its definer is gone".to_owned());
    let proof = verify(&closing, &kept).unwrap().remove(0);
    assert!(proof.evidence().default_kept.as_ref().unwrap().contains("its definer is gone"));
    // a role that is there at the next look was put back
    kept.seen.default_roles.clear();
    assert_eq!(verify(&closing, &kept).unwrap().remove(0).evidence().default_kept, None);
}
