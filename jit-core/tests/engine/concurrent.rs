//! Tests with many calls, tasks and processes at once.

use jit_core::AccessState;
use std::sync::Arc;

use futures_util::future::join_all;
use jit_core::engine::Scope;
use jit_core::store::{SqliteStore, Store};

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_and_two_processes_on_one_file_have_one_outcome_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let server = server(17);
    let open = || Arc::new(SqliteStore::open(&path).unwrap()) as Arc<dyn Store>;
    let first = engine_on(open(), server.database()).await;
    let second = engine_on(open(), server.database()).await;
    let (one, two) = (first.start(), second.start());
    for round in 0..6 {
        let access = first.request(&actor("alice"), ask("writer", 3_600_000)).await.unwrap();
        let tasks = (0..24).map(|number| {
            let jit = if number % 2 == 0 { first.clone() } else { second.clone() };
            let id = access.id();
            tokio::spawn(async move {
                let done = match number % 4 {
                    0 => jit.approve(&actor("bob"), id, "").await,
                    1 => jit.approve(&actor("carol"), id, "").await,
                    2 => jit.deny(&actor("carol"), id, "no").await,
                    _ => jit.cancel(&actor("alice"), id, "").await,
                };
                done.map_err(|error| error.kind())
            })
        });
        let answers: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(*error, "refused", "round {round}");
        }
        let view = second.access(access.id()).await.unwrap();
        if !view.is_final() {
            second.until_active(access.id(), PATIENCE).await.ok();
            let releases = join_all((0..8).map(|number| {
                let jit = if number % 2 == 0 { first.clone() } else { second.clone() };
                let id = access.id();
                async move { jit.release(&actor("alice"), id).await.map(drop) }
            }));
            releases.await;
            second.until_ended(access.id(), PATIENCE).await.unwrap();
        }
        let ended = first.access(access.id()).await.unwrap();
        assert!(ended.is_final(), "{}", ended.state);
        let ends = told(&first, &ended).await;
        let finals = ["revoked", "denied", "cancelled", "withdrawn", "failed"];
        let count = ends.iter().filter(|what| finals.contains(&what.as_str())).count();
        assert_eq!(count, 1, "round {round}: {ends:?}");
        assert_eq!(held(&server, "writer"), 0);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_14_many_cycles_in_parallel_all_end_and_leave_nothing() {
    let server = server(17);
    for number in 0..64 {
        server.create_account(&format!("u{number}")).unwrap();
    }
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let cycles = (0..64).map(|number| {
        let jit = jit.clone();
        async move {
            let who = actor(&format!("u{number}"));
            let access = usable(&jit, &format!("u{number}"), "reader", 3_600_000).await;
            jit.release(&who, access.id()).await.unwrap();
            jit.until_ended(access.id(), PATIENCE).await.unwrap().state
        }
    });
    let states = join_all(cycles).await;
    assert!(states.iter().all(|state| *state == "revoked"), "{states:?}");
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_races_with_a_stop_never_slips_through() {
    let server = server(17);
    for number in 0..60 {
        server.create_account(&format!("u{number}")).unwrap();
    }
    let jit = engine(server.database()).await;
    let pump = jit.start();
    for number in 0..60 {
        let asked = jit.clone();
        let asked = tokio::spawn(async move {
            asked.request(&actor(&format!("u{number}")), ask("reader", 3_600_000)).await.map(|view| view.id())
        });
        jit.stop(&actor("frank"), Scope::All, "a drill").await.unwrap();
        if let Ok(id) = asked.await.unwrap() {
            jit.until_ended(id, PATIENCE).await.unwrap();
        }
        jit.resume(&actor("frank"), Scope::All).await.unwrap();
        assert_eq!(held(&server, "reader"), 0);
    }
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_dropped_at_any_await_is_whole_or_absent() {
    let server = server(17);
    let jit = engine(server.database()).await;
    for polls in 0..40 {
        let access = jit.request(&actor("alice"), ask("writer", 3_600_000)).await.unwrap();
        {
            let bob = actor("bob");
            let mut approve = Box::pin(jit.approve(&bob, access.id(), ""));
            for _ in 0..polls {
                let polled = std::future::poll_fn(|context| std::task::Poll::Ready(approve.as_mut().poll(context)));
                if polled.await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // a change that was sent to the store goes on without its caller, and may arrive between
        // the two reads
        let (view, told) = loop {
            let view = jit.access(access.id()).await.unwrap();
            let told = told(&jit, &view).await;
            if jit.access(access.id()).await.unwrap().state == view.state {
                break (view, told);
            }
        };
        match view.state {
            AccessState::Pending => assert!(!told.contains(&"approved".to_owned())),
            AccessState::Scheduled => assert!(told.contains(&"approved".to_owned())),
            other => panic!("{other}"),
        }
        jit.cancel(&actor("alice"), access.id(), "").await.unwrap();
    }
}
