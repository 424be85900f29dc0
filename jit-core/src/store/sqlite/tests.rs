//! Tests of what only this store promises: its file, its threads, its speed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::join_all;
use rusqlite::{Connection, ffi};

use super::error::Place;
use super::*;
use crate::clock::{SystemEntropy, after};
use crate::id::{EntryId, NodeId};
use crate::store::{Expect, Kind, NewEntry, Numbering, Schedule, Write, Writing};

/// Environment variable with the file of a test's child process.
const CHILD: &str = "JIT_TEST_STORE";

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jit.db");
    (directory, path)
}

fn put(key: &str, body: Vec<u8>) -> Change {
    let at = RecordKey::new(&TenantId::default(), Kind::Access, key);
    let what = Writing::Put { body, schedule: None, labels: BTreeMap::new() };
    Change { writes: vec![Write { at, expect: Expect::Absent, what }], ..Change::default() }
}

fn entry(body: &str) -> NewEntry {
    let id = EntryId::fresh(Time::UNIX_EPOCH, &SystemEntropy);
    NewEntry { id, tenant: TenantId::default(), subject: Some("about".to_owned()), body: body.as_bytes().to_vec() }
}

fn due(i: usize, due: Time) -> Write {
    let at = RecordKey::new(&TenantId::default(), Kind::Access, format!("access {i:08}"));
    let lane = Lane::from_stored("realm:postgres:7412345678901234567".to_owned());
    let schedule = Some(Schedule { lane, due, serial: format!("postgres:7412345678901234567/account {i}") });
    Write {
        at,
        expect: Expect::Absent,
        what: Writing::Put { body: vec![b'x'; 400], schedule, labels: BTreeMap::new() },
    }
}

/// Runs this same test once more in a separate process, which finds the file's path in its
/// environment.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("store::sqlite::tests::{test}"), "--nocapture"]).env(CHILD, path);
    command
}

fn child_path() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[tokio::test]
async fn the_log_refuses_every_change_of_what_is_in_it() {
    let (_directory, path) = directory();
    let store = SqliteStore::open(&path).unwrap();
    let (one, two) = (entry("one"), entry("two"));
    let ids = vec![one.id];
    let numbering = Some(Numbering { tenant: TenantId::default(), first: 0, entries: ids });
    store.commit(Change { entries: vec![one, two], numbering, ..Change::default() }).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    for statement in [
        "UPDATE entries SET body = x'00' WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 1",
        "INSERT OR REPLACE INTO entries (seq, id, tenant, body) VALUES (1, 'x', 'default', x'00')",
        "INSERT OR REPLACE INTO entries (id, tenant, body) SELECT id, tenant, x'00' FROM entries WHERE seq = 2",
        "UPDATE numbers SET number = 9",
        "DELETE FROM numbers",
        "INSERT OR REPLACE INTO numbers (entry, tenant, number) VALUES (1, 'default', 5)",
        "INSERT OR REPLACE INTO numbers (entry, tenant, number) VALUES (2, 'default', 0)",
    ] {
        let refused = raw.execute(statement, []).unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    let found = store.entries_about(&TenantId::default(), "about", 9).await.unwrap();
    assert_eq!(found.iter().map(|it| it.body.as_slice()).collect::<Vec<_>>(), [b"one", b"two"]);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_directory, path) = directory();
    let store = SqliteStore::open(&path).unwrap();
    store.commit(put("one", b"x".to_vec())).await.unwrap();
    drop(store);
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", sql::SCHEMA + 1).unwrap();
    drop(raw);
    let before = std::fs::read(&path).unwrap();
    match SqliteStore::open(&path) {
        Err(StoreError::Newer { found, known }) => assert_eq!((found, known), (sql::SCHEMA + 1, sql::SCHEMA)),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_a_store_is_refused_and_says_so() {
    let (directory, path) = directory();
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let said = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(said.contains("jit.db: it is not a SQLite database"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 8192]);

    let other = directory.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let said = SqliteStore::open(&other).unwrap_err().to_string();
    assert!(said.contains("a SQLite database of something else"), "{said}");

    let said = SqliteStore::open(directory.path().join("none/jit.db")).unwrap_err().to_string();
    assert!(said.contains("its directory does not exist"), "{said}");
    assert!(matches!(SqliteStore::open(directory.path()), Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_alone_when_closed() {
    let (directory, path) = directory();
    let store = SqliteStore::open(&path).unwrap();
    store.commit(put("one", b"x".to_vec())).await.unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    drop(store);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    // An empty file that somebody made before is a store like any other.
    let made = directory.path().join("made.db");
    std::fs::write(&made, b"").unwrap();
    SqliteStore::open(&made).unwrap().commit(put("one", b"x".to_vec())).await.unwrap();
}

#[tokio::test]
async fn where_nothing_can_be_written_it_says_so_and_names_the_file() {
    if let Some(path) = child_path() {
        return match SqliteStore::open(path) {
            Err(error @ StoreError::ReadOnly { .. }) => println!("said: {error}"),
            other => panic!("{other:?}"),
        };
    }
    let (directory, path) = directory();
    SqliteStore::open(&path).unwrap().commit(put("one", b"x".to_vec())).await.unwrap();
    let (of_file, of_directory) = (std::fs::Permissions::from_mode(0o444), std::fs::Permissions::from_mode(0o555));
    std::fs::set_permissions(&path, of_file).unwrap();
    // A directory that can be read, with a file that cannot be written; one that cannot be written;
    // one without the file.
    for (place, file_mode) in [(&path, 0o444), (&path, 0o666), (&directory.path().join("new.db"), 0)] {
        if place.exists() {
            std::fs::set_permissions(place, std::fs::Permissions::from_mode(file_mode)).unwrap();
        }
        std::fs::set_permissions(directory.path(), of_directory.clone()).unwrap();
        let mut command = child("where_nothing_can_be_written_it_says_so_and_names_the_file", place);
        // The administrator may write everywhere, so another user has to try.
        let copied = tempfile::tempdir().unwrap();
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::fs::set_permissions(copied.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            let copy = copied.path().join("test");
            std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
            command = {
                let mut as_other = Command::new(copy);
                as_other.args(command.get_args()).env(CHILD, place).uid(65534).gid(65534);
                as_other
            };
        }
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        let name = place.file_name().unwrap().to_str().unwrap();
        assert!(said.contains("said: the store is read-only") && said.contains(name), "{said}");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_keeps_what_was_committed_and_can_be_mended() {
    if let Some(path) = child_path() {
        let store = SqliteStore::open(path).unwrap();
        for i in 0_u32.. {
            match store.commit(put(&format!("{i:06}"), vec![b'x'; 10_000])).await {
                Ok(_) => println!("kept {i}"),
                Err(StoreError::Full { hint, .. }) => {
                    assert!(hint.contains("jit.db"), "{hint}");
                    println!("full {i}");
                    // The store can still be read, and still gives the time.
                    let first = RecordKey::new(&TenantId::default(), Kind::Access, "000000");
                    assert!(store.read(&first).await.unwrap().is_some());
                    store.now().await.unwrap();
                    return;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    let (_directory, path) = directory();
    drop(SqliteStore::open(&path).unwrap());
    let child = child("a_full_disk_is_told_keeps_what_was_committed_and_can_be_mended", &path);
    // No file may be longer than 1 MiB; the signal that says so is ignored, as services under a
    // shell's limits do.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""]).arg(child.get_program());
    let done = limited.args(child.get_args()).env(CHILD, &path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("full "), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let kept = said.lines().filter(|line| line.starts_with("kept ")).count();

    let store = SqliteStore::open(&path).unwrap();
    let all = PageQuery { tenant: TenantId::default(), kind: Kind::Access, label: None, after: None, limit: 10_000 };
    assert_eq!(store.page(&all).await.unwrap().len(), kept);
    store.commit(put("there is room again", vec![b'x'; 100_000])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_09_what_was_answered_outlives_a_kill() {
    if let Some(path) = child_path() {
        let store = Arc::new(SqliteStore::open(path).unwrap());
        let tasks = (0..8).map(|me| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for i in 0_u32.. {
                    let mut change = put(&format!("{me}/{i}"), b"x".to_vec());
                    change.entries.push(entry(&format!("{me}/{i}")));
                    store.commit(change).await.unwrap();
                    println!("kept {me}/{i}");
                }
            })
        });
        join_all(tasks).await;
    }
    let (_directory, path) = directory();
    for _ in 0..3 {
        let _ = std::fs::remove_file(&path);
        let mut child =
            child("law_09_what_was_answered_outlives_a_kill", &path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut kept = Vec::new();
        while kept.len() < 200 {
            kept.extend(lines.next().unwrap().unwrap().strip_prefix("kept ").map(str::to_owned));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kept.extend(lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ").map(str::to_owned)));

        let store = SqliteStore::open(&path).unwrap();
        let keys: Vec<_> = kept.iter().map(|key| RecordKey::new(&TenantId::default(), Kind::Access, key)).collect();
        assert!(store.read_all(&keys).await.unwrap().iter().all(Option::is_some));
        // Each record has its entry, and each entry its record.
        let bodies = store.unnumbered(&TenantId::default(), 1_000_000).await.unwrap();
        let all =
            PageQuery { tenant: TenantId::default(), kind: Kind::Access, label: None, after: None, limit: 1_000_000 };
        let mut records: Vec<_> =
            store.page(&all).await.unwrap().into_iter().map(|it| it.at.key.into_bytes()).collect();
        let mut entries: Vec<_> = bodies.into_iter().map(|it| it.body).collect();
        records.sort();
        entries.sort();
        assert_eq!(records, entries);
        drop(store);
    }
}

#[tokio::test]
async fn a_lock_that_stays_is_told_and_the_writer_goes_on_after_it() {
    let (_directory, path) = directory();
    let store = SqliteStore::open(&path).unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.commit(put("one", b"x".to_vec())).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("locked"));
    raw.execute_batch("ROLLBACK").unwrap();
    store.commit(put("one", b"x".to_vec())).await.unwrap();
}

#[test]
fn only_a_commit_whose_end_is_not_known_is_called_so() {
    let (_directory, path) = directory();
    let place = Place::new(path);
    let of = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    for (code, known) in [
        (ffi::SQLITE_FULL, true),
        (ffi::SQLITE_IOERR_WRITE, true),
        (ffi::SQLITE_BUSY, true),
        (ffi::SQLITE_READONLY, true),
        (ffi::SQLITE_IOERR_FSYNC, false),
        (ffi::SQLITE_IOERR, false),
        (ffi::SQLITE_CORRUPT, false),
    ] {
        let said = place.commit_error(of(code));
        assert_eq!(!matches!(said, StoreError::OutcomeUnknown { .. }), known, "{code}: {said:?}");
        let said = place.error(of(code));
        assert!(!matches!(said, StoreError::OutcomeUnknown { .. }), "{code}: {said:?}");
    }
    assert!(matches!(place.error(of(ffi::SQLITE_IOERR_WRITE)), StoreError::Full { .. }));
}

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let (_directory, path) = directory();
    drop(SqliteStore::open(&path).unwrap());
    let conn = Connection::open(&path).unwrap();
    for statement in [
        sql::HEAD,
        sql::UPDATE_SCHEDULE,
        sql::LABEL_DELETE,
        sql::TURN_DUE,
        sql::TURN_PUT,
        sql::TURNS_HOLD,
        sql::TURNS_FREE,
        sql::TURNS_NEXT,
        sql::TURN_RECORD,
        sql::CLAIMS_EXPIRED,
        sql::CLAIMS_EXPIRE,
        sql::LANES,
        sql::READ,
        sql::PAGE,
        sql::PAGE_FIRST,
        sql::PAGE_LABEL,
        sql::PAGE_LABEL_FIRST,
        sql::ENTRY_FIND,
        sql::ENTRIES,
        sql::UNNUMBERED,
        sql::ENTRIES_ABOUT,
    ] {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let unbound = vec![None::<i64>; plan.parameter_count()];
        let steps = plan.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(3)).unwrap();
        for step in steps {
            let step = step.unwrap();
            // The recursion itself is a table of as many rows as there are lanes.
            let sorts = step.contains("TEMP B-TREE") || (step.starts_with("SCAN") && step != "SCAN lanes");
            assert!(!sorts, "{step}\n{statement}");
        }
    }
}

/// Prints the store's times with a million scheduled records. They take a minute, so only
/// `--ignored` runs this test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and 1 GB of disk"]
async fn a_million_scheduled_records() {
    let (_directory, path) = directory();
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let now = store.now().await.unwrap();
    let lane = Lane::from_stored("realm:postgres:7412345678901234567".to_owned());
    let started = Instant::now();
    for thousand in 0..1_000 {
        let range = thousand * 1_000..(thousand + 1) * 1_000;
        let future = |i: usize| due(i, after(now, TimeDelta::seconds(600 + i64::try_from(i).unwrap())));
        store.commit(Change { writes: range.map(future).collect(), ..Change::default() }).await.unwrap();
    }
    println!("wrote 1,000,000 in {:?}", started.elapsed());
    drop(store);
    let started = Instant::now();
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    println!("opened in {:?}", started.elapsed());
    store.lanes().await.unwrap();
    println!("opened and lanes read in {:?}", started.elapsed());

    let node = NodeId::new("n1").unwrap();
    let ask = |limit| ClaimRequest::new(node.clone(), lane.clone(), limit, TimeDelta::seconds(30));
    timed("claim of nothing", 200, async || drop(store.claim(&ask(100)).await.unwrap())).await;
    timed("lanes", 200, async || drop(store.lanes().await.unwrap())).await;
    let writes = (1_000_000..1_010_000).map(|i| due(i, now)).collect();
    store.commit(Change { writes, ..Change::default() }).await.unwrap();
    timed("claim of 1 of 10,000 due", 200, async || assert_eq!(store.claim(&ask(1)).await.unwrap().len(), 1)).await;
    timed("lanes with 200 claimed", 200, async || drop(store.lanes().await.unwrap())).await;
    timed("claim of 1,000", 1, async || assert_eq!(store.claim(&ask(1_000)).await.unwrap().len(), 1_000)).await;
    let at = |i: usize| RecordKey::new(&TenantId::default(), Kind::Access, format!("access {i:08}"));
    timed("read", 2_000, async || assert!(store.read(&at(777_777)).await.unwrap().is_some())).await;
    timed("now", 2_000, async || assert!(store.now().await.unwrap() >= now)).await;
    timed("commit of a record and an entry", 500, async || {
        let mut change = put(&EntryId::fresh(now, &SystemEntropy).to_string(), vec![b'x'; 400]);
        change.entries.push(entry("x"));
        store.commit(change).await.unwrap();
    })
    .await;
    for tasks in [8, 64] {
        let started = Instant::now();
        join_all((0..tasks).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..200 {
                    let mut change = put(&EntryId::fresh(now, &SystemEntropy).to_string(), vec![b'x'; 400]);
                    change.entries.push(entry("x"));
                    store.commit(change).await.unwrap();
                }
            })
        }))
        .await;
        let each = started.elapsed() / (tasks * 200);
        println!("{tasks} tasks: {each:?} a commit, {} a second", 1_000_000 / each.as_micros());
    }
    let entries: Vec<_> =
        (0..50_000).map(|_| entry("an entry of a usual length: who, what, when, why, under which rule")).collect();
    let started = Instant::now();
    for (chunk, first) in entries.chunks(1_000).zip((0..).step_by(1_000)) {
        let numbering =
            Numbering { tenant: TenantId::default(), first, entries: chunk.iter().map(|it| it.id).collect() };
        store.commit(Change { entries: chunk.to_vec(), ..Change::default() }).await.unwrap();
        store.commit(Change { numbering: Some(numbering), ..Change::default() }).await.unwrap();
    }
    println!("50,000 entries appended and numbered in {:?}", started.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

async fn timed(what: &str, times: u32, run: impl AsyncFn()) {
    let mut all = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        run().await;
        all.push(started.elapsed());
    }
    all.sort();
    println!("{what}: p50 {:?}, p99 {:?}", all[all.len() / 2], all[all.len() * 99 / 100]);
}

/// Clock that counts how often it is read, and is far ahead of every time that was kept.
#[derive(Debug, Default)]
struct Counted {
    reads: AtomicU64,
    elapsed: AtomicU64,
}

#[async_trait::async_trait]
impl Clock for Counted {
    fn wall(&self) -> Time {
        Time::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Duration::from_secs(self.elapsed.load(Ordering::Relaxed))
    }

    async fn sleep(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}

#[tokio::test]
async fn an_idle_store_rests() {
    let (_directory, path) = directory();
    let clock = Arc::new(Counted::default());
    let store = SqliteStore::open_with(&path, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    store.commit(put("a", b"x".to_vec())).await.unwrap();
    clock.elapsed.store(60, Ordering::Relaxed);
    // wakes the writer, which finds nothing to do and nothing to keep
    let (lane, node) = (Lane::desk(), NodeId::new("idle").unwrap());
    let ask = ClaimRequest::new(node, lane, 1, TimeDelta::seconds(10));
    assert!(store.claim(&ask).await.unwrap().is_empty());
    let before = clock.reads.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let reads = clock.reads.load(Ordering::Relaxed) - before;
    assert!(reads < 20, "it read the clock {reads} times while nothing happened");
}
