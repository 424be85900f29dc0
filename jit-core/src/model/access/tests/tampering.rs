//! An altered record of an access does not load. If its role may be held, it can only end.

use serde_json::{Value, json};

use super::model::{access, at, id, plan, question, said};
use super::*;
use crate::catalog::{Identity, Membership, Seen};
use crate::model::approval::Verdict;
use crate::model::holding::{closings, judge, verify};

fn next(access: &Access, event: Event, now: Time) -> Access {
    access.handle(event, now).unwrap().access
}

fn membership(access: &Access) -> Membership {
    let request = access.request();
    Membership { account: request.account.clone(), account_id: None, role: request.role.clone(), role_id: None }
}

fn begun(access: &Access, now: Time) -> Access {
    let asked = membership(access);
    let clear = judge(access, &[], &Seen::default(), &asked, "node-1", after(now, TimeDelta::minutes(1))).unwrap();
    next(access, Event::BeginGrant(clear), now)
}

fn granted(access: &Access, now: Time) -> Access {
    let granted = Granted {
        server_time: now,
        identity: Identity {
            realm: RealmId::new("mock:1").unwrap(),
            incarnation: "boot 1".to_owned(),
            position: String::new(),
        },
    };
    next(access, Event::Granted(granted), now)
}

/// Returns an access that two of the group and then frank approved.
fn approved(number: usize) -> Access {
    let yes = |access: Access, name| next(&access, said(&access, name, Verdict::Approve, at(1)), at(1));
    ["bob", "carol", "frank"].into_iter().fold(access(number, 1, 0), yes)
}

fn active() -> Access {
    granted(&begun(&approved(1), at(2)), at(3))
}

fn stored(access: &Access) -> Value {
    serde_json::from_slice(&access.to_bytes().unwrap()).unwrap()
}

fn load(value: &Value) -> Result<Access, DamagedAccess> {
    Access::from_bytes(&serde_json::to_vec(value).unwrap(), at(10))
}

type Alteration = (&'static str, fn(&mut Value));

/// Returns every way to alter the approval behind a grant.
fn alterations() -> Vec<Alteration> {
    vec![
        ("a flipped verdict", |it| it["approval"]["decisions"][0]["verdict"] = json!("deny")),
        ("a dropped decision", |it| drop(it["approval"]["decisions"].as_array_mut().unwrap().remove(1))),
        ("a doubled decision", |it| it["approval"]["decisions"][1] = it["approval"]["decisions"][0].clone()),
        ("another decider", |it| it["approval"]["decisions"][2]["by"] = json!("eve")),
        ("the requester as decider", |it| it["approval"]["decisions"][0]["by"] = json!("alice")),
        ("the requester behind an alias", |it| it["approval"]["decisions"][0]["snapshot"]["human"] = json!("alice")),
        ("two names of one human", |it| it["approval"]["decisions"][1]["snapshot"]["human"] = json!("bob")),
        ("a group less", |it| it["approval"]["decisions"][0]["snapshot"]["groups"] = json!([])),
        ("a decider who is not known", |it| it["approval"]["unknown"] = json!(["carol"])),
        ("a higher quorum", |it| it["approval"]["plan"]["stages"][0]["people"][0]["group"]["quorum"] = json!(3)),
        ("another access's approval", |it| it["approval"]["access"] = json!(id(2))),
        ("other parties", |it| it["approval"]["parties"]["receiver"] = json!("eve")),
        ("another receiver", |it| it["request"]["receiver"] = json!("eve")),
        ("an unknown field of the access", |it| it["more"] = json!(1)),
        ("an unknown field of the approval", |it| it["approval"]["satisfied"] = json!(true)),
        ("an unknown field of the grant", |it| it["phase"]["approved"]["more"] = json!(1)),
        ("no approval", |it| it["approval"] = Value::Null),
        ("an unreadable plan", |it| it["approval"]["plan"] = json!("none")),
    ]
}

#[test]
fn law_01_an_altered_approval_does_not_load_and_its_role_can_only_go() {
    let granting = begun(&approved(1), at(2));
    let ending = next(&active(), Event::End { cause: Cause::Revoked, by: None, why: None }, at(5));
    for access in [granting, active(), ending] {
        let whole = stored(&access);
        assert_eq!(load(&whole).unwrap(), access);
        for (what, alter) in alterations() {
            let mut altered = whole.clone();
            alter(&mut altered);
            let damaged = load(&altered).expect_err(what);
            only_ends(&access, damaged, what);
        }
    }
}

/// Checks that the ending loads, asks to revoke the same membership, and ends only with
/// verification.
fn only_ends(access: &Access, damaged: DamagedAccess, what: &str) {
    let ending = damaged.ending.unwrap_or_else(|| panic!("{what}: a role that may be held would be forgotten"));
    assert_eq!(ending.audit_event.text("cause"), Some(Cause::Damaged.as_str()));
    let ending = ending.access;
    assert_eq!((ending.id(), ending.state().as_str()), (access.id(), "revoking"), "{what}");
    let unsettled = access.state() == "granting";
    assert_eq!(closings(&[&ending], at(10)).is_empty(), unsettled, "{what}: settled first");
    let settled = match unsettled {
        true => next(&ending, Event::Settled(Found::Held), at(10)),
        false => ending,
    };
    let loaded = Access::from_bytes(&settled.to_bytes().unwrap(), at(11)).unwrap();
    assert_eq!(loaded, settled, "{what}");
    assert!(loaded.effect_due().is_some() && loaded.desk_due().is_some());

    let closing = closings(&[&loaded], at(11)).remove(0);
    assert_eq!(closing.order.how, crate::database::RevokeHow::Remove);
    assert_eq!(closing.order.membership.role, access.request().role);
    let report = crate::database::RevokeReport {
        seen: Seen::default(),
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
    };
    let verified = verify(&closing, &report).unwrap().remove(0);
    let gone = next(&loaded, Event::Ended(verified), at(11));
    // a window that cannot be read is dropped
    assert_eq!(gone.state(), if loaded.window().is_some() { "revoked" } else { "failed" }, "{what}");
    assert_eq!(load(&stored(&gone)).unwrap(), gone, "{what}");
    let back = next(&gone, Event::Reappeared("it is back".to_owned()), at(12));
    assert_eq!(load(&stored(&back)).unwrap(), back, "{what}");
}

#[test]
fn law_01_an_altered_approval_does_not_load_while_nothing_was_sent() {
    let scheduled = approved(1);
    assert_eq!(scheduled.state(), "scheduled");
    for (what, alter) in alterations() {
        let mut altered = stored(&scheduled);
        if what == "an unknown field of the grant" {
            altered["phase"]["approved"]["untouched"] = json!(true);
        }
        alter(&mut altered);
        assert!(load(&altered).expect_err(what).ending.is_none(), "{what}: nothing was sent");
    }
}

#[test]
fn law_01_a_waiting_request_does_not_load_as_an_approved_one() {
    let waiting = next(&access(1, 1, 0), said(&access(1, 1, 0), "bob", Verdict::Approve, at(1)), at(1));
    let mut promoted = stored(&waiting);
    promoted["phase"] = stored(&approved(1))["phase"].clone();
    assert!(load(&promoted).is_err());

    let mut swapped = stored(&waiting);
    swapped["approval"] = stored(&approved(2))["approval"].clone();
    assert!(load(&swapped).is_err());

    let mut lowered = stored(&waiting);
    lowered["approval"]["plan"]["stages"] = json!([]);
    assert!(load(&lowered).is_err());

    let mut denied = stored(&waiting);
    denied["approval"]["decisions"][0]["verdict"] = json!("deny");
    assert!(load(&denied).is_err());

    let mut demoted = stored(&approved(1));
    demoted["phase"] = stored(&waiting)["phase"].clone();
    assert!(load(&demoted).is_err());
}

#[test]
fn law_02_a_longer_window_does_not_load() {
    let whole = stored(&active());
    let window = |it: &Value| it["phase"]["approved"]["window"].clone();
    let forge = |name: &str, value: Value| {
        let mut forged = whole.clone();
        forged["phase"]["approved"]["window"][name] = value;
        forged
    };
    let mut both = forge("end", json!(at(7_200)));
    both["phase"]["approved"]["window"]["duration"] = json!(7_200_000_000_i64);
    let mut later = forge("activated_at", json!(at(86_403)));
    later["phase"]["approved"]["window"]["end"] = json!(at(86_403 + 3_600));
    for forged in [forge("end", json!(at(3_604))), both, later] {
        let damaged = load(&forged).expect_err("a longer window");
        only_ends(&active(), damaged, "a longer window");
        assert_ne!(window(&forged), window(&whole));
    }

    let granting = begun(&approved(1), at(2));
    let mut forged = stored(&granting);
    forged["phase"]["approved"]["latest_end"] = json!(at(80_000));
    only_ends(&granting, load(&forged).expect_err("a later end"), "a later end");
}

#[test]
fn law_02_an_extension_that_nobody_decided_does_not_load() {
    let extend = |kind| {
        let by = active().request().parties.requester.clone();
        Event::Extend(Extend {
            question: question(at(5)),
            by,
            longer: TimeDelta::minutes(30),
            reason: "more".to_owned(),
            plan: plan(kind),
        })
    };
    let waiting = next(&active(), extend(1), at(5));
    assert!(waiting.extension().is_some());
    assert_eq!(load(&stored(&waiting)).unwrap(), waiting);
    let mut forged = stored(&waiting);
    forged["extension"]["approval"]["plan"]["stages"] = json!([]);
    only_ends(&active(), load(&forged).expect_err("an extension at once"), "an extension at once");

    let longer = next(&active(), extend(0), at(5));
    assert_eq!(longer.window().unwrap().end(), at(3 + 5_400));
    assert_eq!(load(&stored(&longer)).unwrap(), longer);
    let mut dropped = stored(&longer);
    dropped.as_object_mut().unwrap().remove("extended");
    only_ends(&active(), load(&dropped).expect_err("no extension"), "no extension");
    let mut undecided = stored(&longer);
    undecided["extended"][0]["approval"]["plan"]["stages"] = stored(&active())["approval"]["plan"]["stages"].clone();
    only_ends(&active(), load(&undecided).expect_err("undecided"), "undecided");
}

#[test]
fn law_05_an_end_without_evidence_does_not_load() {
    let mut forged = stored(&active());
    let active_now = forged["phase"]["approved"].clone();
    forged["phase"]["approved"] = json!({
        "is": "revoked", "at": at(5), "cause": "expired",
        "subject": active_now["subject"], "window": active_now["window"],
    });
    only_ends(&active(), load(&forged).expect_err("no evidence"), "no evidence");
}

#[test]
fn law_04_what_is_no_record_at_all_is_damaged_and_says_why() {
    for bytes in [b"".as_slice(), b"{}", b"null", b"[1,2]"] {
        let damaged = Access::from_bytes(bytes, at(0)).unwrap_err();
        assert!(damaged.ending.is_none() && !damaged.to_string().is_empty());
    }
}

#[test]
fn law_01_nobody_decides_after_it_lapsed() {
    let pending = access(1, 2, 0);
    let late = at(1_800);
    let refused = pending.handle(said(&pending, "frank", Verdict::Approve, late), late).unwrap_err();
    assert_eq!(refused.why, Refusal::Lapsed);
    let ruled = Event::RuleAgain { ruling: Ruling::Planned(plan(0)), fresh: Vec::new(), question: question(late) };
    assert_eq!(next(&pending, ruled, late), pending);
    assert_eq!(next(&pending, Event::Tick, late).state(), "lapsed");
}

#[test]
fn law_02_an_extension_that_lapsed_with_the_window_does_not_lengthen_it() {
    let by = active().request().parties.requester.clone();
    let question = question(at(5));
    let extend = Extend { question, by, longer: TimeDelta::minutes(10), reason: "more".to_owned(), plan: plan(2) };
    // the plan of the extension allows an hour in total
    assert!(active().handle(Event::Extend(extend.clone()), at(5)).is_err());
    let narrow = granted(&begun(&access(1, 0, 0), at(1)), at(1));
    let waiting = next(&narrow, Event::Extend(extend), at(5));
    let end = narrow.window().unwrap().end();
    let yes = |now| said(&waiting, "frank", Verdict::Approve, now);
    assert!(waiting.handle(yes(end), end).is_err());
    assert_eq!(next(&waiting, yes(at(6)), at(6)).window().unwrap().end(), after(end, TimeDelta::minutes(10)));
}

#[test]
fn law_04_overdue_counts_from_the_end_of_the_window_and_is_told_once_an_hour() {
    let end = active().window().unwrap().end();
    let told =
        |step: &Step| step.audit_events.iter().filter(|audit_event| audit_event.what == EventKind::Overdue).count();
    let late = after(end, TimeDelta::seconds(6));
    let step = active().handle(Event::Tick, late).unwrap();
    assert_eq!(told(&step), 1);
    assert!(step.access.is_overdue(late) && !active().is_overdue(end));
    // people know already, for any later cause or failure
    for cause in [Cause::Expired, Cause::Revoked] {
        let revoking = next(&step.access, Event::End { cause, by: None, why: None }, late);
        assert!(revoking.is_overdue(late), "it was overdue before, and still is");
        let failed = Event::EndFailed { why: "no answer".to_owned(), retry_at: after(late, TimeDelta::seconds(5)) };
        let failed = revoking.handle(failed, late).unwrap();
        assert_eq!(told(&failed), 0);
        assert!(failed.audit_events.iter().any(|audit_event| audit_event.what == EventKind::RevokeFailed));
        let hour = after(late, TimeDelta::hours(1));
        assert_eq!(told(&failed.access.handle(Event::Tick, hour).unwrap()), 1);
    }
    // one failed revoke of an open window is overdue at once
    let revoking = next(&active(), Event::End { cause: Cause::Revoked, by: None, why: None }, at(10));
    assert!(!revoking.is_overdue(at(15)));
    let failed = Event::EndFailed { why: "no answer".to_owned(), retry_at: at(12) };
    let failed = revoking.handle(failed, at(10)).unwrap();
    assert!(told(&failed) == 1 && failed.access.is_overdue(at(10)));
}

#[test]
fn law_15_after_an_unknown_outcome_only_settling_counts() {
    let unknown = next(&begun(&approved(1), at(2)), Event::GrantUnknown { why: "no answer".to_owned() }, at(3));
    let not_granted = Event::NotGranted { why: "a lock".to_owned(), retry_at: at(4) };
    let rejected = Event::GrantRejected { rejection: Rejection::Other, why: "no".to_owned() };
    assert_eq!(next(&unknown, not_granted, at(3)), unknown);
    assert_eq!(next(&unknown, rejected, at(3)), unknown);
    assert_eq!(next(&unknown, Event::Settled(Found::Absent), at(4)).state(), "scheduled");
    let held = next(&unknown, Event::Settled(Found::Held), at(4));
    assert_eq!(held.window().unwrap().activated_at(), at(2), "from the intent on, for the answer was lost");
}
