//! A cycle while an endpoint of notices fails, beside a cycle while it accepts everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::http::StatusCode;
use jit_core::http::{HttpClient, HttpConfig, Plaintext};
use jit_core::notify::WebhookNotifier;
use jit_core::store::SqliteStore;
use tokio::net::TcpListener;

use crate::bed::{Bed, builder};
use crate::cycle::once;
use crate::server::Server as _;
use crate::table::{Spread, Table};

const ROUNDS: usize = 400;

pub async fn rows(table: &mut Table) -> Result<()> {
    let bed = Bed::make(ROUNDS * 2).await?;
    let folder = tempfile::tempdir()?;
    let (well, ill) =
        (Receiver::listens(StatusCode::OK).await?, Receiver::listens(StatusCode::SERVICE_UNAVAILABLE).await?);
    let mut engines = Vec::new();
    for notifier_name in [&well, &ill] {
        let store = SqliteStore::open(folder.path().join(format!("{}.db", notifier_name.port)))?;
        let http = HttpClient::new(HttpConfig::default().plaintext(Plaintext::DangerousAllowed))?;
        let url = format!("http://127.0.0.1:{}/", notifier_name.port).into();
        let notifier = WebhookNotifier::new(http, url, vec!["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz".parse()?]);
        let jit = builder(store)?.database("pg", bed.server.adapter()?).notifier("siem", notifier).build().await?;
        let pump = jit.start();
        engines.push((jit, pump));
    }
    let mut taken = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        // both engines take turns, so that they see the same machine
        for (place, ((jit, _), taken)) in engines.iter().zip(&mut taken).enumerate() {
            let started = Instant::now();
            once(jit, place * ROUNDS + round).await?;
            taken.push(started.elapsed());
        }
    }
    for (_, pump) in engines {
        pump.stop().await;
    }
    let (asked_well, asked_ill) = (well.asked.load(Ordering::Relaxed), ill.asked.load(Ordering::Relaxed));
    anyhow::ensure!(
        asked_well >= ROUNDS && asked_ill > 0,
        "the receivers were asked {asked_well} and {asked_ill} times"
    );
    let [well, ill] = taken.map(|mut taken| Spread::of(taken.split_off(20)));
    let ratio = ill.at(50).as_secs_f64() / well.at(50).max(Duration::from_nanos(1)).as_secs_f64();
    table.row(
        "request to revoked while a receiver of notices answers 503",
        format!("{}, {ratio:.2} x the floor", ill.said()),
        format!("while it takes everything {}", well.said()),
        "no longer",
    );
    Ok(())
}

/// Endpoint that answers every request alike.
struct Receiver {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Receiver {
    async fn listens(status: StatusCode) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let answers = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(status)
        };
        let answering = axum::serve(listener, axum::Router::new().fallback(answers));
        tokio::spawn(async move { answering.await.expect("it serves") });
        Ok(Self { port, asked })
    }
}
