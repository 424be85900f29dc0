//! Cost of a stretch of work: processor time, bytes written and syncs, of this process and of the
//! database server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jit_tests::server::Cluster;
use serde::Serialize;

use crate::traced::Counts;

/// Clock ticks a second in `/proc` (USER_HZ, which is 100 on every Linux of today).
const TICKS: f64 = 100.0;
/// Time after which PostgreSQL has reported the statistics of idle sessions.
const REPORTED_AFTER: Duration = Duration::from_millis(1_500);

/// Totals at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    own_cpu: f64,
    server_cpu: f64,
    own_bytes: f64,
    server_bytes: f64,
    server_syncs: f64,
}

/// Cost of one cycle, on average.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// Round trips to the database, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<f64>,
    /// Syncs of the store, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_syncs: Option<f64>,
    /// Syncs of the server's log.
    pub server_syncs: f64,
    /// Bytes that this process wrote.
    pub store_bytes: f64,
    /// Bytes of the server's log.
    pub server_bytes: f64,
    /// Processor time of this process, milliseconds.
    pub own_cpu_ms: f64,
    /// Processor time of the server, milliseconds.
    pub server_cpu_ms: f64,
}

impl Totals {
    /// Reads the totals, once the server has reported everything.
    pub async fn read(cluster: &Cluster, admin: &tokio_postgres::Client) -> Result<Self> {
        tokio::time::sleep(REPORTED_AFTER).await;
        let row = admin.query_one("SELECT wal_bytes::float8, wal_sync::float8 FROM pg_stat_wal", &[]).await?;
        let server = cluster.process_id().context("the server does not run")?;
        let io = std::fs::read_to_string("/proc/self/io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
        Ok(Self {
            own_cpu: ticks("self", false)?,
            server_cpu: server_ticks(server)?,
            own_bytes: written.parse()?,
            server_bytes: row.get(0),
            server_syncs: row.get(1),
        })
    }

    /// Returns what each of `cycles` cycles has cost since then.
    pub fn since(self, before: Self, cycles: usize) -> Cost {
        let each = |now: f64, then: f64| (now - then) / cycles as f64;
        Cost {
            round_trips: None,
            store_syncs: None,
            server_syncs: each(self.server_syncs, before.server_syncs),
            store_bytes: each(self.own_bytes, before.own_bytes),
            server_bytes: each(self.server_bytes, before.server_bytes),
            own_cpu_ms: each(self.own_cpu, before.own_cpu) * 1e3 / TICKS,
            server_cpu_ms: each(self.server_cpu, before.server_cpu) * 1e3 / TICKS,
        }
    }
}

impl Cost {
    /// Adds what a traced engine has counted for each of `cycles` cycles.
    pub fn counted(self, before: Counts, now: Counts, cycles: usize) -> Self {
        let each = |now: f64, then: f64| Some((now - then) / cycles as f64);
        Self {
            round_trips: each(now.round_trips, before.round_trips),
            store_syncs: each(now.store_syncs, before.store_syncs),
            ..self
        }
    }
}

/// Processor time of a process, in ticks; with `reaped`, also that of its children that ended.
fn ticks(process: &str, reaped: bool) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // the second field is the name in brackets, and may contain anything
    let after = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?.1;
    let fields: Vec<f64> = after.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    Ok(fields.iter().take(if reaped { 4 } else { 2 }).sum())
}

/// Processor time of the server and of its children.
fn server_ticks(server: u32) -> Result<f64> {
    let mut total = ticks(&server.to_string(), true)?;
    for process in std::fs::read_dir("/proc")?.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, after)| after.split_whitespace().nth(1)?.parse().ok());
        if parent == Some(server) {
            // it may have ended meanwhile
            total += ticks(&name, false).unwrap_or_default();
        }
    }
    Ok(total)
}
