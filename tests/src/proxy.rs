//! A TCP proxy that freezes a conversation at a moment that the test chooses, to simulate a crash
//! between two steps.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Direction in which bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Direction from the client to the server: the server has not seen the held bytes.
    ToServer,
    /// Direction from the server to the client: the server has done the work that the held bytes
    /// answer.
    ToClient,
}

/// Moment at which everything stops.
#[derive(Debug, Clone)]
struct Trap {
    way: Way,
    /// Bytes that spring the trap on their way to the server. For [`Way::ToClient`] the answer to
    /// them is held.
    needle: Vec<u8>,
}

/// A proxy for one server on 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    /// True from the moment that the trap is sprung until `thaw`.
    frozen: watch::Sender<bool>,
    /// True while nobody gets through.
    cut: watch::Sender<bool>,
    /// Port of the server that it leads to.
    server: watch::Sender<u16>,
    /// Number of times that a client spoke after the server had.
    round_trips: AtomicU64,
}

impl Proxy {
    /// Listens on a port of its own, for the server on this port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            trap: Mutex::default(),
            frozen: watch::Sender::new(false),
            cut: watch::Sender::new(false),
            server: watch::Sender::new(server),
            round_trips: AtomicU64::new(0),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = of_task.cut.subscribe();
                if *cut.borrow_and_update() {
                    continue;
                }
                let mut moved = of_task.server.subscribe();
                let port = *moved.borrow_and_update();
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let conversation = converse(client, server, Arc::clone(&of_task));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = conversation => {}
                        _ = cut.wait_for(|cut| *cut) => {}
                        _ = moved.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Returns its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets a trap for the first bytes to the server that contain the needle. It holds them, or the
    /// answer to them. It also holds whatever all conversations send to the server after that.
    pub fn freeze(&self, way: Way, needle: &str) {
        let trap = Trap { way, needle: needle.as_bytes().to_vec() };
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    /// Waits until the trap is sprung.
    ///
    /// # Errors
    /// When that does not happen within half a minute.
    pub async fn caught(&self) -> Result<()> {
        let mut frozen = self.shared.frozen.subscribe();
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, frozen.wait_for(|frozen| *frozen)).await.context("nothing was caught")??;
        Ok(())
    }

    /// Ends all conversations, and lets nobody through.
    pub fn cut(&self) {
        self.shared.cut.send_replace(true);
    }

    /// Lets everybody through again.
    pub fn mend(&self) {
        self.shared.cut.send_replace(false);
    }

    /// Ends all conversations, and leads to another server of this machine from now on.
    pub fn lead_to(&self, server: u16) {
        self.shared.server.send_replace(server);
    }

    /// Returns the number of round trips so far: how often a client waited for the server.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::Relaxed)
    }

    /// Lets everything that is held go on, even if its client is gone.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Takes the trap if these bytes spring it.
    fn springs(&self, bytes: &[u8]) -> Option<Way> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let found = trap
            .as_ref()
            .is_some_and(|trap| bytes.windows(trap.needle.len().max(1)).any(|window| window == trap.needle.as_slice()));
        if !found {
            return None;
        }
        let way = trap.take().map(|trap| trap.way);
        self.frozen.send_replace(true);
        way
    }

    /// Waits while everything is frozen.
    async fn hold(&self) {
        let _ = self.frozen.subscribe().wait_for(|frozen| !*frozen).await;
    }
}

async fn converse(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (holds_answer, answer_held) = watch::channel(false);
    let spoken = Arc::new(AtomicBool::new(true));
    let up =
        tokio::spawn(to_server_way(from_client, to_server, Arc::clone(&shared), holds_answer, Arc::clone(&spoken)));
    to_client_way(from_server, to_client, &shared, answer_held, &spoken).await;
    // the bytes held for the server still arrive there, even if the client is gone
    let _ = up.await;
}

async fn to_server_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Arc<Shared>,
    holds_answer: watch::Sender<bool>,
    spoken: Arc<AtomicBool>,
) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if spoken.swap(false, Ordering::Relaxed) {
            shared.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        if shared.springs(bytes) == Some(Way::ToClient) {
            // these bytes go on, later ones wait
            let _ = holds_answer.send(true);
        } else {
            shared.hold().await;
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn to_client_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    held: watch::Receiver<bool>,
    spoken: &AtomicBool,
) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        spoken.store(true, Ordering::Relaxed);
        if *held.borrow() {
            shared.hold().await;
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
