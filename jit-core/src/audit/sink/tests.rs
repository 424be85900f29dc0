use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use super::*;
use crate::audit::tests::Log;
use crate::audit::verify_export;

/// A sink that takes everything, or nothing while it is down.
#[derive(Debug, Default)]
struct Shelf {
    taken: Mutex<Vec<u64>>,
    checkpoints: Mutex<Vec<u64>>,
    down: Mutex<bool>,
}

#[async_trait]
impl AuditSink for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError> {
        if *self.down.lock().unwrap() {
            return Err(SinkError { why: "it is down".to_owned(), source: None });
        }
        self.taken.lock().unwrap().extend(batch.iter().map(|entry| entry.number));
        Ok(())
    }

    async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        self.checkpoints.lock().unwrap().push(checkpoint.statement().size);
        Ok(())
    }
}

async fn drain(log: &Log, sink: &dyn AuditSink, limit: usize) {
    while deliver_pending(&*log.store, &log.tenant, sink, limit).await.unwrap().more {}
}

#[tokio::test]
async fn a_sink_gets_every_entry_in_order_and_every_checkpoint_after_its_entries() {
    let log = Log::with(100).await;
    let shelf = Shelf::default();
    let first = deliver_pending(&*log.store, &log.tenant, &shelf, 30).await.unwrap();
    assert_eq!(first, Delivered { entries: 30, checkpoints: 0, next: 30, more: true });
    drain(&log, &shelf, 30).await;
    log.append(5).await;
    log.advance().await;
    drain(&log, &shelf, 30).await;
    assert_eq!(*shelf.taken.lock().unwrap(), (0..105).collect::<Vec<u64>>());
    assert_eq!(*shelf.checkpoints.lock().unwrap(), [75, 100]);
}

#[tokio::test]
async fn a_sink_that_fails_lags_and_loses_nothing() {
    let log = Log::with(10).await;
    let shelf = Shelf::default();
    *shelf.down.lock().unwrap() = true;
    let error = deliver_pending(&*log.store, &log.tenant, &shelf, 30).await.unwrap_err();
    assert!(matches!(error, DeliverError::Sink { .. }));
    *shelf.down.lock().unwrap() = false;
    drain(&log, &shelf, 30).await;
    assert_eq!(*shelf.taken.lock().unwrap(), (0..10).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_log_that_was_set_back_behind_its_sink_is_not_delivered_again() {
    let log = Log::with(10).await;
    let shelf = Shelf::default();
    drain(&log, &shelf, 30).await;
    log.delete(LogHead::at(&log.tenant)).await;
    let error = deliver_pending(&*log.store, &log.tenant, &shelf, 30).await.unwrap_err();
    assert!(matches!(error, DeliverError::Store(StoreError::Damaged { .. })), "{error:?}");
}

#[tokio::test]
async fn a_file_of_json_lines_with_a_header_is_an_export() {
    let log = Log::with(20).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let sink = JsonLines::append(&path).unwrap();
    drain(&log, &sink, 15).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut export = b"{\"jit_audit_export\":1,\"size\":20,\"tenant\":\"default\"}\n".to_vec();
    export.extend(fs::read(&path).unwrap());
    assert_eq!(verify_export(export.as_slice(), &log.keys()).unwrap().checkpoints, 2);
}

#[tokio::test]
async fn a_torn_last_line_is_removed_and_comes_again() {
    let log = Log::with(20).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let sink = JsonLines::append(&path).unwrap();
    drain(&log, &sink, 100).await;
    let whole = fs::read(&path).unwrap();
    for torn in [&b"{"[..], b"{\"number\":20,\"le", &[b"{\"number\":20,".as_slice(), &[b'x'; 200_000]].concat()] {
        fs::write(&path, [whole.as_slice(), torn].concat()).unwrap();
        JsonLines::append(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    fs::write(&path, b"{\"numb").unwrap();
    JsonLines::append(&path).unwrap();
    assert!(fs::read(&path).unwrap().is_empty());
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    fs::write(&path, "a line\nand another").unwrap();
    assert!(JsonLines::append(&path).unwrap_err().to_string().contains("choose another file"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "a line\nand another");
    assert!(JsonLines::append(directory.path().join("no/such/directory")).is_err());
}

#[tokio::test]
async fn law_14_who_stopped_while_he_wrote_to_a_file_holds_up_nobody() {
    let log = Log::with(3).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    JsonLines::append(&path).unwrap();
    let stopped = fs::File::open(&path).unwrap();
    stopped.lock().unwrap();
    let sink = JsonLines::append(&path).unwrap();
    let error = deliver_pending(&*log.store, &log.tenant, &sink, 30).await.unwrap_err();
    assert!(format!("{error:?}").contains("another process"), "{error:?}");
    drop(stopped);
    drain(&log, &sink, 30).await;
    assert_eq!(fs::read_to_string(&path).unwrap().matches("{\"number\":").count(), 3);
}

#[tokio::test]
async fn files_of_two_hosts_each_get_the_whole_log() {
    let log = Log::with(10).await;
    let hosts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let path = |host: usize| hosts[host].path().join("audit.jsonl");
    let numbers = |host: usize| fs::read_to_string(path(host)).unwrap().matches("{\"number\":").count();
    let first = JsonLines::append(path(0)).unwrap();
    drain(&log, &first, 30).await;
    let second = JsonLines::append(path(1)).unwrap();
    log.append(5).await;
    log.advance().await;
    drain(&log, &second, 30).await;
    drain(&log, &first, 30).await;
    assert_eq!((numbers(0), numbers(1)), (15, 15));
    // the same file again, as after a restart or a rotation, goes on where it was
    fs::rename(path(0), hosts[0].path().join("audit.jsonl.1")).unwrap();
    let again = JsonLines::append(path(0)).unwrap();
    assert_eq!(again.name(), first.name());
    log.append(2).await;
    log.advance().await;
    drain(&log, &again, 30).await;
    assert_eq!(numbers(0), 2);
    fs::write(hosts[0].path().join("audit.jsonl.place"), "nonsense").unwrap();
    let error = JsonLines::append(path(0)).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("remove it"), "{error:?}");
}
