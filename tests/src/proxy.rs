//! A TCP proxy that freezes a conversation at a moment of the test's choice: a crash "between" two steps.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: the server has not seen what is held.
    ToServer,
    /// From the server to the client: the server has done what the held bytes answer.
    ToClient,
}

/// The moment at which everything stops.
#[derive(Debug, Clone)]
struct Trap {
    way: Way,
    /// Bytes to the server that have to contain this; for [`Way::ToClient`] it is their answer that is held.
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
    /// How many conversations were caught so far.
    caught: watch::Sender<usize>,
    /// Counts up: what was held before goes on.
    thawed: watch::Sender<usize>,
}

impl Proxy {
    /// Listens on a port of its own, for the server on this port.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            trap: Mutex::default(),
            caught: watch::Sender::new(0),
            thawed: watch::Sender::new(0),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                tokio::spawn(converse(client, server, Arc::clone(&of_task)));
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on: holds the bytes to the server that contain the needle, or the answer to them. Only the first conversation that
    /// does so is caught.
    pub fn freeze(&self, way: Way, needle: &str) {
        let trap = Trap { way, needle: needle.as_bytes().to_vec() };
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    /// Waits until a conversation was caught since the last one.
    ///
    /// # Errors
    /// When none is for half a minute.
    pub async fn caught(&self) -> Result<()> {
        let mut caught = self.shared.caught.subscribe();
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, caught.wait_for(|caught| *caught > 0)).await.context("nothing was caught")??;
        self.shared.caught.send_modify(|caught| *caught = 0);
        Ok(())
    }

    /// Lets everything that is held go on, also where its client is gone.
    pub fn thaw(&self) {
        self.shared.thawed.send_modify(|times| *times = times.wrapping_add(1));
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
        let found = trap.as_ref().is_some_and(|trap| {
            bytes.windows(trap.needle.len().max(1)).any(|window| window == trap.needle.as_slice())
        });
        if found { trap.take().map(|trap| trap.way) } else { None }
    }

    async fn hold(&self) {
        let mut thawed = self.thawed.subscribe();
        thawed.mark_unchanged();
        self.caught.send_modify(|caught| *caught = caught.saturating_add(1));
        let _ = thawed.changed().await;
    }
}

async fn converse(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answer_held = watch::Sender::new(false);
    let held = answer_held.subscribe();
    let up = tokio::spawn(to_server_way(from_client, to_server, Arc::clone(&shared), answer_held));
    to_client_way(from_server, to_client, &shared, held).await;
    // what is held for the server still arrives there, whoever is gone on the other side
    let _ = up.await;
}

async fn to_server_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Arc<Shared>,
    answer_held: watch::Sender<bool>,
) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        match shared.springs(bytes) {
            Some(Way::ToServer) => shared.hold().await,
            Some(Way::ToClient) => drop(answer_held.send(true)),
            None => {}
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn to_client_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, held: watch::Receiver<bool>) {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut once = false;
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if *held.borrow() && !once {
            once = true;
            shared.hold().await;
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
