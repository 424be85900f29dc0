use std::sync::Arc;

use super::*;
use crate::audit::{TileId, latest_checkpoint, tests::Log};
use crate::store::{Kind, RecordKey};

#[tokio::test]
async fn entries_are_numbered_in_the_order_of_their_commits() {
    let log = Log::new();
    log.append(5).await;
    let advanced = advance(&*log.store, &log.tenant, 3).await.unwrap();
    assert_eq!(advanced, Advanced { size: 3, numbered: 3, more: true });
    let advanced = advance(&*log.store, &log.tenant, 3).await.unwrap();
    assert_eq!(advanced, Advanced { size: 5, numbered: 2, more: false });
    let advanced = advance(&*log.store, &log.tenant, 3).await.unwrap();
    assert_eq!(advanced, Advanced { size: 5, numbered: 0, more: false });
    let entries = log.store.entries(&log.tenant, 0, 10).await.unwrap();
    assert!(entries.iter().zip(0..).all(|(entry, number)| entry.number == Some(number)));
    assert_eq!(entries.len(), 5);
}

#[tokio::test]
async fn whatever_the_batches_the_tree_is_the_same() {
    let log = Log::new();
    let mut edge = Edge::default();
    let mut appended = 0;
    for batch in [1, 2, 253, 1, 300, 1000, 7, 256, 180] {
        log.append(batch).await;
        appended += batch as u64;
        log.advance().await;
        let head = LogHead::read(&*log.store, &log.tenant).await.unwrap();
        assert_eq!(head.size, appended);
        for entry in log.store.entries(&log.tenant, edge.size(), 5000).await.unwrap() {
            edge.push(Hash::leaf(&entry.body), &mut Vec::new());
        }
        assert_eq!(head.root, edge.root());
    }
}

#[tokio::test]
async fn many_sequencers_at_once_number_each_entry_once() {
    let log = Arc::new(Log::new());
    log.append(400).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut numbered = 0;
                while {
                    let advanced = advance(&*log.store, &log.tenant, 17).await.unwrap();
                    numbered += advanced.numbered;
                    advanced.more
                } {}
                numbered
            })
        })
        .collect();
    let mut numbered = 0;
    for task in tasks {
        numbered += task.await.unwrap();
    }
    numbered += log.advance().await;
    assert_eq!(numbered, 400);
    log.verify().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_is_made_when_the_log_grew() {
    let log = Log::new();
    let now = log.store.now().await.unwrap();
    assert_eq!(checkpoint(&*log.store, &log.tenant, &log.key, now).await.unwrap(), None);
    for size in [3, 300] {
        log.append(size).await;
        log.advance().await;
        let made = checkpoint(&*log.store, &log.tenant, &log.key, now).await.unwrap().unwrap();
        assert_eq!(latest_checkpoint(&*log.store, &log.tenant).await.unwrap(), Some(made.clone()));
        made.verify(&log.tenant, &log.keys()).unwrap();
        assert_eq!(checkpoint(&*log.store, &log.tenant, &log.key, now).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_log_whose_past_was_rewritten_is_not_signed() {
    let log = Log::new();
    let now = log.store.now().await.unwrap();
    log.append(300).await;
    log.advance().await;
    checkpoint(&*log.store, &log.tenant, &log.key, now).await.unwrap();
    log.append(1).await;
    log.advance().await;
    // a full tile, the one above it and the head: consistent in themselves, but not with what was
    // signed
    log.forge(7).await;
    let error = checkpoint(&*log.store, &log.tenant, &log.key, now).await.unwrap_err();
    assert!(error.to_string().contains("does not continue"), "{error}");
}

#[tokio::test]
async fn a_head_that_was_set_back_stops_the_log() {
    let log = Log::new();
    log.append(10).await;
    log.advance().await;
    log.append(1).await;
    log.delete(LogHead::at(&log.tenant)).await;
    let error = advance(&*log.store, &log.tenant, BATCH).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let tile = TileId { level: 0, index: 0 };
    assert_eq!(tile.at(&log.tenant), RecordKey::new(&log.tenant, Kind::LogTile, "00/00000000000000000000"));
}
