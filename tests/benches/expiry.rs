//! Many windows that end at one moment, on two servers, and an unrelated grant meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use jit_core::clock::after;
use jit_core::database::Database as _;
use jit_core::engine::{AccessRequest, Filter, Jit};
use jit_core::id::{AccessId, TargetName};
use jit_core::store::{SqliteStore, Store as _};
use jit_tests::server::Cluster;

use crate::bed::{builder, ids, names, user};
use crate::ending::lag;
use crate::records::{Live, membership, write};
use crate::server::{Server as _, prepared};
use crate::table::{Row, Spread, Table, millis, size};

/// Number of windows that end. `JIT_BENCH_EXPIRY` lowers it.
const ALL: usize = 100_000;
const ROLES: usize = 5;
/// Unrelated grants before the moment.
const BEFORE: usize = 300;
/// Accounts for unrelated grants.
const UNRELATED: usize = 10_000;
/// Time after which everything has to be over, also for an unrelated grant that has to wait.
const LIMIT: Duration = Duration::from_secs(600);

/// The grants are made by SQL and written into the store. The engine would need minutes for them,
/// and their windows would not end at one moment.
pub async fn rows(table: &mut Table) -> Result<()> {
    let each = size("JIT_BENCH_EXPIRY", ALL) / 2;
    let (first, second) = (prepared(each + UNRELATED).await?, prepared(each).await?);
    let servers = [("pg", &first), ("second", &second)];
    for (_, server) in servers {
        grant(server, each).await?;
    }
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("jit.db"))?;
    // enough time to write everything and for the unrelated grants before
    let (began, lead) =
        (Instant::now(), Duration::from_secs(15) + Duration::from_micros(500) * u32::try_from(each * 2)?);
    let since = after(store.now().await?, -TimeDelta::hours(2));
    let duration = TimeDelta::hours(2) + TimeDelta::from_std(lead)?;
    for (name, server) in servers {
        let (target, realm) = (TargetName::new(name)?, server.adapter()?.identify().await?.realm);
        let ids = ids(&server.admin().await?).await?;
        let live = |number: usize| {
            let membership = membership(&ids, &format!("u{number}"), &format!("mass{}", number % ROLES))?;
            Ok(Live { target: &target, realm: &realm, membership, since, duration })
        };
        write(&store, (0..each).map(live)).await?;
    }
    let jit = builder(store)?.database("pg", first.adapter()?).database("second", second.adapter()?);
    let jit = jit.build().await?;
    let pump = jit.start();
    let mut next = each..each + UNRELATED;
    let mut before = Vec::new();
    for number in next.by_ref().take(BEFORE) {
        before.push(unrelated(&jit, number).await?);
    }
    let left = lead.checked_sub(began.elapsed()).context("the windows ended before all was ready")?;
    tokio::time::sleep(left).await;
    let (moment, mut during, mut looked) = (Instant::now(), Vec::new(), Instant::now());
    loop {
        during.push(unrelated(&jit, next.next().context("too few accounts")?).await?);
        if looked.elapsed() > Duration::from_millis(200) {
            looked = Instant::now();
            // the list begins with the oldest request
            let oldest = jit.list(&Filter::open(), None, 1).await?;
            if oldest.first().is_none_or(|view| view.role.as_str() == "free") {
                break;
            }
        }
        ensure!(moment.elapsed() < LIMIT, "not everything has ended after {}", millis(LIMIT));
    }
    let (before, during) = (Spread::of(before), Spread::of(during));
    let lags = Spread::of(lags(&jit, each * 2).await?);
    pump.stop().await;
    let what =
        format!("{} windows of {ROLES} roles on two servers end at one moment, until all are verified", each * 2);
    table.row(&what, format!("{} ({})", millis(lags.at(100)), lags.said()), "-".to_owned(), "20 s");
    let row = Row::new("an unrelated grant meanwhile, request to active", "p99 at most 2 x the one before");
    let mut row = row.spread(&during, &before, "before it");
    let slower = during.at(99).as_secs_f64() / before.at(99).as_secs_f64();
    row.measured += &format!(", p99 {slower:.1} x the one before");
    table.add(row);
    Ok(())
}

/// Makes the roles, and grants each account one of them as the broker.
async fn grant(server: &Cluster, accounts: usize) -> Result<()> {
    let admin = server.admin().await?;
    for role in 0..ROLES {
        let options = "ADMIN OPTION, INHERIT FALSE, SET FALSE";
        admin.batch_execute(&format!("CREATE ROLE mass{role}; GRANT mass{role} TO jit_broker WITH {options}")).await?;
    }
    for start in (0..accounts).step_by(1_000 * ROLES) {
        for role in 0..ROLES {
            let members = (start..accounts.min(start + 1_000 * ROLES)).skip(role).step_by(ROLES);
            let members = names('u', members);
            if !members.is_empty() {
                admin.batch_execute(&format!("GRANT mass{role} TO {members} GRANTED BY jit_broker")).await?;
            }
        }
    }
    Ok(())
}

/// Measures a grant of another role to another account, from request to active.
async fn unrelated(jit: &Jit, number: usize) -> Result<Duration> {
    let started = Instant::now();
    let ask = AccessRequest::new("pg", "free", TimeDelta::hours(1)).because("bench");
    let access = jit.request(&user(number), ask).await?;
    jit.until_active(access.id(), LIMIT).await?;
    Ok(started.elapsed())
}

/// Reads how late each window was verified.
async fn lags(jit: &Jit, count: usize) -> Result<Vec<Duration>> {
    let (mut lags, mut after): (Vec<Duration>, Option<AccessId>) = (Vec::new(), None);
    while lags.len() < count {
        let page = jit.list(&Filter::default(), after, 1_000).await?;
        after = Some(page.last().context("some accesses are missing")?.id());
        for view in page.iter().filter(|view| view.role.as_str() != "free") {
            ensure!(view.state == "revoked", "{} is {}", view.id(), view.state);
            lags.push(lag(view).context("it ended before its window did")?);
        }
    }
    Ok(lags)
}
