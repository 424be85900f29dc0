//! Relay to a server whose certificate is not for its host's name.
//!
//! The driver (mysql_async 0.37) verifies a name only if DNS could have it, and does not accept a
//! stream that is already encrypted. So for such a server it connects to a socket of ours, and
//! believes that it needs no TLS. The socket is in a folder that only our user may enter.
//!
//! The relay carries the driver's packets over an encrypted and verified connection. It inserts the
//! request for TLS before the driver's first answer. Until the end of the login it shifts the
//! packet numbers by that one packet. Before the server is verified, only the capabilities in that
//! request leave the driver.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mysql_async::{DriverError, Error};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Name of the socket in its folder.
const SOCKET: &str = "socket";
/// CLIENT_SSL flag, in the second byte of the capabilities.
const TLS: u8 = 0x08;
/// Length of the TLS request within a client's first answer: capabilities, longest packet,
/// character set, and filler.
const REQUEST: usize = 32;
/// First bytes of a packet that ends the login.
const OK: u8 = 0x00;
const ERROR: u8 = 0xFF;
/// First bytes of a server's packet after which it goes on by itself: it knew the password
/// (`caching_sha2_password`).
const GOES_ON: [u8; 2] = [0x01, 0x03];

/// Relay of one connection. It ends if it is dropped before [`Self::keep`].
pub(crate) struct Relay {
    folder: TempDir,
    task: JoinSet<Result<(), Error>>,
}

impl Relay {
    /// Waits for the driver at a socket, to connect it with the server.
    ///
    /// # Errors
    /// Fails if there can be no such socket.
    pub(crate) fn to(host: &str, port: u16, tls: &Arc<ClientConfig>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("jit-mysql-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join(SOCKET))?;
        let (host, tls) = (host.to_owned(), Arc::clone(tls));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (driver, _) = listener.accept().await?;
            drop(listener);
            if let Some((driver, server)) = shake_hands(driver, &host, port, tls).await? {
                // the other side notices the end of either
                let _ = converse(driver, server).await;
            }
            Ok(())
        });
        Ok(Self { folder, task })
    }

    /// Returns the path of the socket where it waits.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Lets it go on until one of the two sides ends: the driver has logged in.
    pub(crate) fn keep(mut self) {
        self.task.detach_all();
    }

    /// Returns the relay's error for a driver that failed with this error, or that error itself.
    pub(crate) async fn why(mut self, error: Error) -> Error {
        match self.task.join_next().await {
            Some(Ok(Err(ours))) => ours,
            _ => error,
        }
    }
}

/// Encrypts the connection and verifies the server, and forwards the driver's first answer. Returns
/// nothing if the server only reported an error.
async fn shake_hands(
    mut driver: UnixStream,
    host: &str,
    port: u16,
    tls: Arc<ClientConfig>,
) -> Result<Option<(UnixStream, TlsStream<TcpStream>)>, Error> {
    let mut server = TcpStream::connect((host, port)).await?;
    server.set_nodelay(true)?;
    let mut greeting = Packet::read(&mut server).await?;
    if greeting.begins_with(ERROR) {
        greeting.write(&mut driver).await?;
        return Ok(None);
    }
    match capabilities(&mut greeting.payload) {
        Some(second) if *second & TLS != 0 => *second &= !TLS,
        _ => return Err(DriverError::NoClientSslFlagFromServer.into()),
    }
    greeting.write(&mut driver).await?;
    let mut answer = Packet::read(&mut driver).await?;
    let Some(second) = answer.payload.get_mut(1) else { return Err(short().into()) };
    *second |= TLS;
    let request = answer.payload.get(..REQUEST).ok_or_else(short)?.to_vec();
    Packet { number: answer.number, payload: request }.write(&mut server).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut server = TlsConnector::from(tls).connect(name, server).await?;
    answer.moved(1).write(&mut server).await?;
    Ok(Some((driver, server)))
}

/// Carries the login, and then whatever comes.
async fn converse(mut driver: UnixStream, mut server: TlsStream<TcpStream>) -> io::Result<()> {
    loop {
        let said = Packet::read(&mut server).await?;
        let (ends, goes_on) = (said.begins_with(OK) || said.begins_with(ERROR), said.payload.starts_with(&GOES_ON));
        said.moved(u8::MAX).write(&mut driver).await?;
        if ends {
            break;
        }
        if !goes_on {
            Packet::read(&mut driver).await?.moved(1).write(&mut server).await?;
        }
    }
    let (mut from_driver, mut to_driver) = driver.into_split();
    let (mut from_server, mut to_server) = split(server);
    tokio::select! {
        ended = copy(&mut from_driver, &mut to_server) => ended,
        ended = copy(&mut from_server, &mut to_driver) => ended,
    }
    .map(drop)
}

/// Finds the second byte of the capabilities in a greeting. Layout: protocol, version up to a NUL,
/// 4 bytes of thread, 8 of salt, a filler, capabilities.
fn capabilities(greeting: &mut [u8]) -> Option<&mut u8> {
    let after_version = greeting.get_mut(1..)?.splitn_mut(2, |byte| *byte == 0).nth(1)?;
    after_version.get_mut(4 + 8 + 1 + 1)
}

fn short() -> io::Error {
    io::Error::other("a packet of the login is shorter than it has to be")
}

/// Packet of the login: three bytes of length, a number, the payload.
struct Packet {
    number: u8,
    payload: Vec<u8>,
}

impl Packet {
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let [low, middle, high, number] = {
            let mut header = [0; 4];
            from.read_exact(&mut header).await?;
            header
        };
        let length = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).map_err(io::Error::other)?;
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        Ok(Self { number, payload })
    }

    async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let length = u32::try_from(self.payload.len()).map_err(io::Error::other)?;
        let [low, middle, high, _] = length.to_le_bytes();
        let mut bytes = vec![low, middle, high, self.number];
        bytes.extend_from_slice(&self.payload);
        to.write_all(&bytes).await?;
        to.flush().await
    }

    /// Shifts the packet's number: numbers are counted modulo 256.
    fn moved(self, by: u8) -> Self {
        Self { number: self.number.wrapping_add(by), ..self }
    }

    fn begins_with(&self, byte: u8) -> bool {
        self.payload.first() == Some(&byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_found_behind_the_version() {
        let mut greeting = b"\x0a9.7\0tttt12345678\0\xff\xf7\x21".to_vec();
        assert_eq!(capabilities(&mut greeting).copied(), Some(0xF7));
        for cut in 0..=19 {
            assert_eq!(capabilities(greeting.get_mut(..cut).unwrap()), None, "{cut}");
        }
    }
}
