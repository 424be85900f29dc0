//! Tests of a log in a store, tampered with in every way that an entry or a tile can be.

mod touched;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::touched::{Touch, Touched};
use super::head::put;
use super::*;
use crate::audit::tree::Edge;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{SystemEntropy, Time};
use crate::id::{AccessId, NodeId, TenantId};
use crate::store::{Change, Expect, MemoryStore, RecordKey, Store, StoreError, Write, Writing};
use crate::testkit::ManualClock;

/// A tenant's log in a store in memory.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenant: TenantId,
    pub(super) key: SigningKey,
    pub(super) access: AccessId,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(ManualClock::default()))),
            tenant: TenantId::default(),
            key: SigningKey::generate("jit/default", &SystemEntropy).unwrap(),
            access: AccessId::fresh(Time::UNIX_EPOCH, &SystemEntropy),
        }
    }

    /// Makes a log of so many entries, with checkpoints at 3/4 and at their end.
    pub(super) async fn with(entries: usize) -> Self {
        let log = Self::new();
        log.append(entries * 3 / 4).await;
        log.advance().await;
        log.checkpoint().await;
        log.append(entries - entries * 3 / 4).await;
        log.advance().await;
        log.checkpoint().await;
        log
    }

    pub(super) fn keys(&self) -> Vec<VerifyingKey> {
        vec![self.key.verifying_key().clone()]
    }

    pub(super) async fn append(&self, entries: usize) {
        let at = self.store.now().await.unwrap();
        let node = NodeId::new("node-1").unwrap();
        let context = EntryContext {
            tenant: &self.tenant,
            access: Some(self.access),
            actor: None,
            node: &node,
            at,
            common: BTreeMap::new(),
        };
        let audit_event = AuditEvent::new(EventKind::Revoked).with("verified", true);
        let entries = (0..entries).map(|_| context.entry(&audit_event, &SystemEntropy).to_store()).collect();
        self.store.commit(Change { entries, ..Change::default() }).await.unwrap();
    }

    pub(super) async fn advance(&self) -> usize {
        advance(&*self.store, &self.tenant, BATCH).await.unwrap().numbered
    }

    pub(super) async fn checkpoint(&self) -> Checkpoint {
        let now = self.store.now().await.unwrap();
        checkpoint(&*self.store, &self.tenant, &self.key, now).await.unwrap().unwrap()
    }

    pub(super) async fn verify(&self) -> Result<VerifiedLog, VerifyError> {
        verify(&*self.store, &self.tenant, &self.keys()).await
    }

    pub(super) async fn delete(&self, at: RecordKey) {
        let record = self.store.read(&at).await.unwrap().unwrap();
        let write = Write { at, expect: Expect::Version(record.version), what: Writing::Delete };
        self.store.commit(Change { writes: vec![write], ..Change::default() }).await.unwrap();
    }

    pub(super) async fn overwrite(&self, at: RecordKey, body: Vec<u8>) {
        let record = self.store.read(&at).await.unwrap();
        let expect = record.map_or(Expect::Absent, |record| Expect::Version(record.version));
        self.store.commit(Change { writes: vec![put(at, expect, body)], ..Change::default() }).await.unwrap();
    }

    /// Rewrites tiles and head as if entry `number` were another one.
    pub(super) async fn forge(&self, number: usize) {
        let head = LogHead::read(&*self.store, &self.tenant).await.unwrap();
        let entries = self.store.entries(&self.tenant, 0, usize::MAX).await.unwrap();
        let (mut edge, mut tiles) = (Edge::default(), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            let body = if at == number { changed(&entry.body) } else { entry.body.clone() };
            edge.push(Hash::leaf(&body), &mut tiles);
        }
        tiles.extend(edge.partial());
        for tile in tiles {
            self.overwrite(tile.id.at(&self.tenant), tile.encode()).await;
        }
        let head = LogHead { root: edge.root(), ..head };
        self.overwrite(LogHead::at(&self.tenant), serde_json::to_vec(&head).unwrap()).await;
    }

    /// Returns the finding of verification when the store returns entries touched in this way.
    async fn touched(&self, touch: Touch) -> Broken {
        let store = Touched { store: Arc::clone(&self.store), touch };
        match verify(&store, &self.tenant, &self.keys()).await {
            Err(VerifyError::Broken(broken)) => broken,
            other => panic!("not found: {other:?}"),
        }
    }

    async fn broken(&self) -> Broken {
        match self.verify().await {
            Err(VerifyError::Broken(broken)) => broken,
            other => panic!("not found: {other:?}"),
        }
    }

    async fn id(&self, number: u64) -> Option<String> {
        Some(self.store.entries(&self.tenant, number, 1).await.unwrap()[0].id.to_string())
    }
}

/// Changes an entry so that it stays canonical.
pub(super) fn changed(body: &[u8]) -> Vec<u8> {
    String::from_utf8(body.to_vec()).unwrap().replace("\"verified\":true", "\"verified\":false").into_bytes()
}

#[tokio::test]
async fn a_log_as_it_was_written_verifies() {
    for entries in [2, 4, 256, 700] {
        let log = Log::with(entries).await;
        log.append(2).await;
        let verified = log.verify().await.unwrap();
        assert_eq!((verified.size, verified.unnumbered), (entries as u64, 2));
        assert_eq!(verified.checkpoints, 2);
        assert_eq!(verified.latest.unwrap().statement().root, verified.root);
    }
    assert_eq!(Log::new().verify().await.unwrap().size, 0);
}

#[tokio::test]
async fn a_changed_entry_is_named() {
    let log = Log::with(700).await;
    for number in [0, 255, 256, 511, 699] {
        let broken = log.touched(Touch::Change(number)).await;
        assert_eq!(broken, Broken { number: Some(number), id: log.id(number).await, damage: Damage::Changed });
    }
    assert!(log.touched(Touch::Change(5)).await.to_string().starts_with("entry 5 ("));
}

#[tokio::test]
async fn a_dropped_entry_is_named() {
    let log = Log::with(700).await;
    for number in [0, 100, 255, 256, 698] {
        for touch in [Touch::Drop(number), Touch::DropAndCloseUp(number)] {
            let broken = log.touched(touch).await;
            assert_eq!(broken, Broken { number: Some(number), id: None, damage: Damage::Dropped }, "{touch:?}");
        }
    }
}

#[tokio::test]
async fn swapped_entries_are_named() {
    let log = Log::with(700).await;
    for (one, other) in [(0, 1), (3, 200), (10, 690), (255, 256)] {
        let broken = log.touched(Touch::Swap(one, other)).await;
        let wrong = Damage::Swapped { with: other };
        assert_eq!(broken, Broken { number: Some(one), id: log.id(other).await, damage: wrong });
    }
}

#[tokio::test]
async fn a_smuggled_entry_is_named() {
    let log = Log::with(700).await;
    for number in [0, 77, 256, 700] {
        let broken = log.touched(Touch::Smuggle(number)).await;
        assert_eq!((broken.number, &broken.damage), (Some(number), &Damage::Smuggled), "{broken}");
    }
}

#[tokio::test]
async fn a_truncated_log_is_noticed() {
    let log = Log::with(700).await;
    for number in [0, 256, 699] {
        let broken = log.touched(Touch::Truncate(number)).await;
        assert_eq!(broken, Broken { number: Some(number), id: None, damage: Damage::Truncated { size: 700 } });
    }
}

#[tokio::test]
async fn a_log_cut_back_together_with_its_tree_is_noticed_by_its_checkpoints() {
    let log = Log::with(700).await;
    let shorter = Log::new();
    let head = LogHead { size: 0, root: Hash::empty(), epoch: 0, checkpointed: 0 };
    log.overwrite(LogHead::at(&log.tenant), serde_json::to_vec(&head).unwrap()).await;
    let broken = log.touched(Touch::Truncate(0)).await;
    assert_eq!(broken, Broken { number: Some(0), id: None, damage: Damage::Truncated { size: 525 } });
    assert!(shorter.verify().await.is_ok());
}

#[tokio::test]
async fn a_touched_tile_is_told_from_a_touched_entry() {
    for (level, index) in [(0, 0), (0, 1)] {
        let log = Log::with(700).await;
        let id = TileId { level, index };
        let mut body = log.store.read(&id.at(&log.tenant)).await.unwrap().unwrap().body;
        body[40] ^= 1;
        log.overwrite(id.at(&log.tenant), body).await;
        let broken = log.broken().await;
        assert!(matches!(broken.damage, Damage::Tile { id: found, .. } if found == id), "{broken}");
    }
    for gone in [TileId { level: 0, index: 1 }, TileId { level: 1, index: 0 }] {
        let log = Log::with(700).await;
        log.delete(gone.at(&log.tenant)).await;
        let broken = log.broken().await;
        assert!(matches!(broken.damage, Damage::Tile { id, .. } if id == gone), "{broken}");
    }
    // at the edge, only the head's root is there to compare with
    let log = Log::with(700).await;
    let edge = TileId { level: 0, index: 2 }.at(&log.tenant);
    let mut body = log.store.read(&edge).await.unwrap().unwrap().body;
    body[0] ^= 1;
    log.overwrite(edge, body).await;
    assert!(matches!(log.broken().await.damage, Damage::Head { .. }));
}

#[tokio::test]
async fn tiles_three_levels_high_verify() {
    let log = Log::new();
    while LogHead::read(&*log.store, &log.tenant).await.unwrap().size < 65_536 + 300 {
        log.append(4096).await;
        log.advance().await;
    }
    log.checkpoint().await;
    log.verify().await.unwrap();
    let id = TileId { level: 1, index: 0 };
    let mut body = log.store.read(&id.at(&log.tenant)).await.unwrap().unwrap().body;
    body[0] ^= 1;
    log.overwrite(id.at(&log.tenant), body).await;
    let broken = log.broken().await;
    assert!(matches!(broken.damage, Damage::Tile { id: found, .. } if found == id), "{broken}");
}

#[tokio::test]
async fn entries_rewritten_together_with_the_whole_tree_contradict_a_checkpoint() {
    let log = Log::with(700).await;
    log.forge(600).await;
    let broken = log.touched(Touch::Change(600)).await;
    assert_eq!(broken, Broken { number: None, id: None, damage: Damage::Rewritten { good: 525, bad: 700 } });
}

#[tokio::test]
async fn a_checkpoint_that_is_missing_or_forged_is_noticed() {
    let log = Log::with(700).await;
    let at = super::head::checkpoint_at(&log.tenant, 700);
    let other = Log { key: SigningKey::generate("jit/default", &SystemEntropy).unwrap(), ..Log::with(700).await };
    let stated = Checkpoint::read(std::str::from_utf8(&log.store.read(&at).await.unwrap().unwrap().body).unwrap());
    let forged = Checkpoint::sign(stated.unwrap().statement().clone(), &other.key);
    log.overwrite(at.clone(), forged.note().as_bytes().to_vec()).await;
    assert!(matches!(log.broken().await.damage, Damage::Checkpoint { size: 700, .. }));
    log.delete(at).await;
    assert!(matches!(log.broken().await.damage, Damage::Checkpoint { size: 700, .. }));
}

#[tokio::test]
async fn an_entry_under_a_foreign_id_or_tenant_is_noticed() {
    let log = Log::new();
    log.append(1).await;
    let mut entries = log.store.unnumbered(&log.tenant, 1).await.unwrap();
    let entry = entries.remove(0);
    let other = TenantId::new("acme").unwrap();
    let body = entry.body;
    let id = crate::id::EntryId::fresh(Time::UNIX_EPOCH, &SystemEntropy);
    let smuggled = crate::store::NewEntry { id, tenant: other.clone(), subject: None, body };
    log.store.commit(Change { entries: vec![smuggled], ..Change::default() }).await.unwrap();
    advance(&*log.store, &other, BATCH).await.unwrap();
    let error = verify(&*log.store, &other, &log.keys()).await.unwrap_err();
    assert!(
        matches!(error, VerifyError::Broken(Broken { number: Some(0), damage: Damage::Form { .. }, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn an_export_verifies_with_the_public_key_alone() {
    let log = Log::with(300).await;
    let mut file = Vec::new();
    let checkpoint = export(&*log.store, &log.tenant, &mut file).await.unwrap();
    let exported = verify_export(file.as_slice(), &log.keys()).unwrap();
    assert_eq!((exported.size, exported.checkpoints), (300, 2));
    assert_eq!(exported.latest, checkpoint);
    let stranger = SigningKey::generate("jit/default", &SystemEntropy).unwrap();
    assert!(verify_export(file.as_slice(), &[stranger.verifying_key().clone()]).is_err());
    assert!(matches!(
        export(&*log.store, &TenantId::new("empty").unwrap(), &mut Vec::new()).await,
        Err(ExportError::NoCheckpoint { .. })
    ));
}

#[tokio::test]
async fn one_altered_byte_anywhere_in_an_export_is_found_and_its_entry_named() {
    let log = Log::with(12).await;
    let mut file = Vec::new();
    export(&*log.store, &log.tenant, &mut file).await.unwrap();
    let (mut line, mut entry) = (0, None);
    for place in 0..file.len() {
        let start = place == 0 || file[place - 1] == b'\n';
        if start && place > 0 {
            line += 1;
        }
        if start {
            let is_entry = file[place..].starts_with(b"{\"number\":");
            // one checkpoint follows entry 8
            entry = is_entry.then(|| if line > 10 { line - 2 } else { line - 1 });
        }
        let mut altered = file.clone();
        altered[place] ^= 1;
        match verify_export(altered.as_slice(), &log.keys()) {
            Err(ExportError::Broken(broken)) => {
                if let Some(entry) = entry.filter(|_| file[place] != b'\n') {
                    assert_eq!(broken.number, Some(entry), "byte {place}: {broken}");
                }
            }
            other => panic!("byte {place}: {other:?}"),
        }
    }
    for cut in [1, 100, file.len() / 2, file.len() - 1] {
        assert!(verify_export(&file[..cut], &log.keys()).is_err());
    }
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    for gone in 0..lines.len() {
        let rest: Vec<u8> =
            lines.iter().enumerate().filter(|(at, _)| *at != gone).flat_map(|(_, l)| l.to_vec()).collect();
        // a checkpoint in between is not needed, all else is
        assert_eq!(verify_export(rest.as_slice(), &log.keys()).is_ok(), gone == 10, "line {gone}");
    }
}

#[tokio::test]
async fn a_tampered_log_is_exported_as_it_is_and_the_export_names_the_entry() {
    let log = Log::with(300).await;
    let store = Touched { store: Arc::clone(&log.store), touch: Touch::Change(260) };
    let mut file = Vec::new();
    export(&store, &log.tenant, &mut file).await.unwrap();
    let Err(ExportError::Broken(broken)) = verify_export(file.as_slice(), &log.keys()) else { panic!("verified") };
    assert_eq!(broken, Broken { number: Some(260), id: log.id(260).await, damage: Damage::Changed });
}

#[tokio::test]
async fn a_proof_of_an_entry_verifies_after_a_round_trip_as_json() {
    let log = Log::with(700).await;
    for number in [0, 255, 256, 699] {
        let proof = prove(&*log.store, &log.tenant, number).await.unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        let proof: Proof = serde_json::from_str(&text).unwrap();
        assert_eq!(verify_proof(&proof, &log.keys()).unwrap().statement().size, 700);
        assert!(proof.hashes.len() <= 10);
        let mut touched = proof.clone();
        touched.entry.insert("actor".to_owned(), "mallory".into());
        assert!(verify_proof(&touched, &log.keys()).is_err());
        let touched = Proof { number: number ^ 1, ..proof.clone() };
        assert!(verify_proof(&touched, &log.keys()).is_err());
        let touched = Proof { tenant: TenantId::new("acme").unwrap(), ..proof };
        assert!(verify_proof(&touched, &log.keys()).is_err());
    }
    assert_eq!(prove_access(&*log.store, &log.tenant, log.access).await.unwrap().len(), 700);
    assert!(matches!(prove(&*log.store, &log.tenant, 700).await, Err(ProveError::NotFound { .. })));
    log.append(1).await;
    log.advance().await;
    assert!(matches!(prove(&*log.store, &log.tenant, 700).await, Err(ProveError::NotSigned)));
    let store = Touched { store: Arc::clone(&log.store), touch: Touch::Change(3) };
    assert!(matches!(prove(&store, &log.tenant, 3).await, Err(ProveError::Broken(_))));
}

#[tokio::test]
async fn law_13_the_log_of_a_tenant_says_nothing_of_another() {
    let log = Log::with(4).await;
    let other = TenantId::new("acme").unwrap();
    assert_eq!(LogHead::read(&*log.store, &other).await.unwrap().size, 0);
    assert!(matches!(prove(&*log.store, &other, 0).await, Err(ProveError::NotFound { .. })));
    assert!(matches!(log.store.read(&LogHead::at(&other)).await, Ok(None)));
    let read: Result<_, StoreError> = log.store.entries(&other, 0, 10).await;
    assert!(read.unwrap().is_empty());
}
