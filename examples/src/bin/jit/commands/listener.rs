//! Connections from outside, limited in number and time. Whatever strangers do, the pump has the
//! descriptors that it needs.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Most connections at a time. Never more than a quarter of the descriptors that this process may
/// have.
const MOST: u64 = 256;
/// Most connections from one address.
const MOST_OF_ONE: usize = 64;
/// Longest life of a connection: the request, its body and the answer.
const LIFE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Number of descriptors that this process asks for, if the system's hard limit allows them.
const DESCRIPTORS: u64 = 65_536;

/// Listener that accepts connections within limits.
#[derive(Debug)]
pub(super) struct LimitedListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    peers: Arc<Peers>,
}

/// Number of open connections of each address.
#[derive(Debug, Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// Place in the count of an address, until it is dropped.
#[derive(Debug)]
struct Peer {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl LimitedListener {
    /// Wraps a listener, and raises the descriptors of this process as far as allowed.
    pub(super) fn new(inner: TcpListener) -> Self {
        let most = usize::try_from(MOST.min(descriptors() / 4)).unwrap_or(1).max(1);
        Self { inner, places: Arc::new(Semaphore::new(most)), peers: Arc::default() }
    }
}

/// Raises the soft limit of descriptors towards the hard one, and returns the limit then.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    let now = limit.current.unwrap_or(DESCRIPTORS);
    if now < wanted {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return wanted;
        }
    }
    now
}

impl Peers {
    /// Takes a place for one more connection of this address, if it has one left.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Peer> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.entry(address).or_default();
        if *open >= MOST_OF_ONE {
            return None;
        }
        *open = open.saturating_add(1);
        Some(Peer { peers: Arc::clone(self), address })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut all = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get_mut(&self.address).map_or(0, |open| {
            *open = open.saturating_sub(1);
            *open
        });
        if left == 0 {
            all.remove(&self.address);
        }
    }
}

/// Returns the network of an address that one party has for itself: IPv6 gives everybody 2^64
/// addresses.
fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

impl Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // nobody closes it
                std::future::pending::<()>().await;
                continue;
            };
            match self.inner.accept().await {
                Ok((stream, address)) => {
                    // a peer with too many open connections is dropped at once
                    let Some(peer) = self.peers.enter(party(address.ip())) else { continue };
                    let end = Box::pin(tokio::time::sleep(LIFE));
                    return (LimitedStream { stream, end, _place: place, _peer: peer }, address);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Connection that ends when its time is over, whatever it waits for.
#[derive(Debug)]
pub(super) struct LimitedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
    _peer: Peer,
}

impl LimitedStream {
    /// Fails once its time is over; until then it makes sure that the task is woken at that time.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let peers: Arc<Peers> = Arc::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut open: Vec<Peer> = (0..MOST_OF_ONE).map(|_| peers.enter(one).unwrap()).collect();
        assert!(peers.enter(one).is_none());
        assert!(peers.enter(other).is_some());
        open.pop();
        assert!(peers.enter(one).is_some());
        drop(open);
        assert!(peers.0.lock().unwrap().is_empty(), "who is gone is not counted");
    }

    #[test]
    fn one_network_of_ipv6_is_one_party() {
        let ip = |text: &str| party(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_ends() {
        use tokio::io::AsyncReadExt as _;
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let mut listener = LimitedListener::new(inner);
        let _silent = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        stream.end = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
