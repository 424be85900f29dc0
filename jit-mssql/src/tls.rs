//! Connection to the server, encrypted and verified before the driver sends its first byte.
//!
//! The driver (tiberius 0.13) would verify chain and name too. But it adds a CA file to the
//! system's roots instead of trusting it alone, and reads those roots from disk for every
//! connection.
//!
//! So this module takes the two steps that come before the login (MS-TDS 2.2.6.5): PRELOGIN, then
//! the TLS handshake inside PRELOGIN packets. The driver then speaks through the encrypted stream.
//! Its own PRELOGIN is answered with what the server said. A server that offers no encryption is
//! refused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use jit_core::internal::adapter::{ConfigError, client_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tiberius::error::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{MsSqlConfig, SERVER};

/// Length of a TDS packet's header. The header's bytes 2 and 3 are the packet's length, header
/// included.
const HEADER: usize = 8;
/// Type of PRELOGIN packets, and of the packets that carry the TLS handshake.
const PRELOGIN: u8 = 0x12;
/// Option of a PRELOGIN message that says what is encrypted, and its values.
const ENCRYPTION: u8 = 1;
const ENCRYPT_ON: u8 = 1;
const ENCRYPT_NOT_SUPPORTED: u8 = 2;
const ENCRYPT_REQUIRED: u8 = 3;
/// PRELOGIN message of ours: a version of no meaning, encryption on, no instance, no thread, no
/// multiple active result sets.
const HELLO: [u8; 47] = [
    PRELOGIN, 1, 0, 47, 0, 0, 1, 0, // header
    0, 0, 26, 0, 6, // version
    ENCRYPTION, 0, 32, 0, 1, //
    2, 0, 33, 0, 1, // instance
    3, 0, 34, 0, 4, // thread
    4, 0, 38, 0, 1,    // multiple active result sets
    0xFF, // no more options
    0, 0, 0, 0, 0, 0, // version
    ENCRYPT_ON, 0, 0, 0, 0, 0, 0,
];

/// Stream that the driver speaks through.
pub(crate) enum Wire {
    /// Readable by everybody on the network. Only the configuration's dangerous option allows it.
    Plain(TcpStream),
    /// Encrypted, and the server's identity is verified.
    Covered(Box<Covered>),
}

/// Encrypted stream whose first exchange, the driver's PRELOGIN, is answered here.
pub(crate) struct Covered {
    stream: TlsStream<Packets>,
    /// Bytes that the driver has sent of its PRELOGIN. `None` once that is whole.
    asked: Option<Vec<u8>>,
    /// Answer to the driver's PRELOGIN.
    answer: Vec<u8>,
}

impl Wire {
    /// Performs the handshakes before the login.
    ///
    /// # Errors
    /// When the server offers no encryption, or is not who it should be.
    pub(crate) async fn new(mut tcp: TcpStream, host: &str, tls: Option<&Arc<ClientConfig>>) -> Result<Self, Error> {
        let Some(tls) = tls else { return Ok(Self::Plain(tcp)) };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::Tls(error.to_string()))?;
        tcp.write_all(&HELLO).await?;
        let mut answer = packet(&mut tcp).await?;
        let level = encryption(&mut answer).ok_or_else(|| Error::Tls("the server does not speak TDS".to_owned()))?;
        if *level != ENCRYPT_ON && *level != ENCRYPT_REQUIRED {
            return Err(Error::Tls(
                "the server offers no TLS: give it a certificate, or see who stands in between".to_owned(),
            ));
        }
        *level = ENCRYPT_NOT_SUPPORTED;
        let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, Packets::new(tcp));
        let mut stream = connecting.await.map_err(|error| match error.get_ref() {
            Some(cause) if cause.is::<rustls::Error>() => Error::Tls(cause.to_string()),
            _ => Error::from(error),
        })?;
        stream.get_mut().0.framed = false;
        Ok(Self::Covered(Box::new(Covered { stream, asked: Some(Vec::new()), answer })))
    }
}

/// Reads one packet, header included. A PRELOGIN answer is a single packet.
async fn packet(tcp: &mut TcpStream) -> Result<Vec<u8>, Error> {
    let mut packet = vec![0; HEADER];
    tcp.read_exact(&mut packet).await?;
    let length = length(&packet).ok_or_else(|| Error::Tls("the server does not speak TDS".to_owned()))?;
    packet.resize(length, 0);
    tcp.read_exact(packet.get_mut(HEADER..).unwrap_or_default()).await?;
    Ok(packet)
}

/// Returns the length in a header. `None` if it is shorter than the header.
fn length(packet: &[u8]) -> Option<usize> {
    let length = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
    Some(usize::from(length)).filter(|length| *length >= HEADER)
}

/// Finds the byte of a PRELOGIN message that says what is encrypted.
fn encryption(packet: &mut [u8]) -> Option<&mut u8> {
    let body = packet.get_mut(HEADER..)?;
    let options = body.chunks_exact(5).take_while(|option| option.first() != Some(&0xFF));
    let found = options.into_iter().find(|option| option.first() == Some(&ENCRYPTION))?;
    let offset = u16::from_be_bytes([*found.get(1)?, *found.get(2)?]);
    body.get_mut(usize::from(offset))
}

/// Socket that carries the TLS handshake in packets, and afterwards the bytes as they are.
pub(crate) struct Packets {
    tcp: TcpStream,
    framed: bool,
    /// Header so far of the packet that is being read; `left` is what remains of its payload.
    header: Vec<u8>,
    left: usize,
    /// Packets that are being written.
    out: Vec<u8>,
    /// Payload that waits for its flush.
    pending: Vec<u8>,
}

impl Packets {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, framed: true, header: Vec::new(), left: 0, out: Vec::new(), pending: Vec::new() }
    }

    fn poll_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.header.len() < HEADER {
            let mut space = [0; HEADER];
            let missing = HEADER.saturating_sub(self.header.len());
            let mut buffer = ReadBuf::new(space.get_mut(..missing).unwrap_or_default());
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.header.extend_from_slice(buffer.filled());
        }
        let length = length(&self.header).filter(|_| self.header.first() == Some(&PRELOGIN));
        let Some(length) = length else {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no TLS handshake in the server's packet",
            )));
        };
        self.left = length.saturating_sub(HEADER);
        self.header.clear();
        Poll::Ready(Ok(true))
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(context, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Packets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A packet that was begun is read to its end, even after the handshake's last message was
        // written.
        if !self.framed && self.left == 0 && self.header.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(context, buffer);
        }
        while self.left == 0 {
            if !ready!(self.poll_header(context))? {
                return Poll::Ready(Ok(()));
            }
        }
        let most = self.left.min(buffer.remaining());
        let mut part = vec![0; most];
        let mut within = ReadBuf::new(&mut part);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut within))?;
        let read = within.filled().len();
        buffer.put_slice(within.filled());
        self.left = self.left.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Packets {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.framed {
            self.pending.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() {
            // A client's handshake message fits into one packet of the size that is not negotiated
            // yet.
            let pending = std::mem::take(&mut self.pending);
            for (part, last) in parts(&pending) {
                let length = u16::try_from(part.len().saturating_add(HEADER)).map_err(io::Error::other)?.to_be_bytes();
                let [high, low] = length;
                self.out.extend_from_slice(&[PRELOGIN, u8::from(last), high, low, 0, 0, 1, 0]);
                self.out.extend_from_slice(part);
            }
        }
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Cuts a payload to the packet size that every server takes, 4,096 bytes. Says of each part
/// whether it is the last.
fn parts(payload: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let most = 4_096_usize.saturating_sub(HEADER);
    let count = payload.len().div_ceil(most);
    payload.chunks(most).enumerate().map(move |(n, part)| (part, n.saturating_add(1) == count))
}

impl AsyncRead for Covered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let most = self.answer.len().min(buffer.remaining());
        let rest = self.answer.split_off(most);
        buffer.put_slice(&self.answer);
        self.answer = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Covered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(asked) = &mut self.asked else {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        let whole = if asked.len() < HEADER { HEADER } else { length(asked).unwrap_or(HEADER) };
        let taken = bytes.len().min(whole.saturating_sub(asked.len()));
        asked.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if asked.len() > HEADER && length(asked) == Some(asked.len()) {
            self.asked = None;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Covered(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Covered(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Covered(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Covered(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

/// Returns the TLS settings that verify the server. `None` if it is not verified, by the
/// configuration's dangerous option. TLS 1.2 is the latest that servers speak inside PRELOGIN
/// packets.
pub(crate) fn verifying(config: &MsSqlConfig) -> Result<Option<ClientConfig>, ConfigError> {
    client_config(&config.settings.tls, &[&rustls::version::TLS12]).map_err(|error| ConfigError::tls(SERVER, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_core::database::TlsMode;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    #[test]
    fn what_we_say_first_is_a_whole_packet_that_asks_for_encryption() {
        let mut hello = HELLO.to_vec();
        assert_eq!(length(&hello), Some(hello.len()));
        assert_eq!(encryption(&mut hello).copied(), Some(ENCRYPT_ON));
    }

    #[test]
    fn what_is_no_answer_is_told_from_one() {
        assert_eq!(length(&[PRELOGIN, 1, 0, 7, 0, 0, 0, 0]), None);
        assert_eq!(encryption(&mut [PRELOGIN, 1, 0, 9, 0, 0, 0, 0, 0xFF]), None);
        assert_eq!(encryption(&mut [PRELOGIN, 1, 0, 13, 0, 0, 0, 0, ENCRYPTION, 0, 99, 0, 1]), None);
    }

    struct Authority {
        folder: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate().unwrap();
            std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
            Self { folder, issuer: Issuer::new(params, key) }
        }

        /// Trusts only this certificate.
        fn trusted(&self) -> Arc<ClientConfig> {
            let ca = Some(self.folder.path().join("ca.pem"));
            let config = MsSqlConfig::from_url("mssql://u@h/d").unwrap().tls(TlsMode::verify_full(ca));
            Arc::new(verifying(&config).unwrap().unwrap())
        }
    }

    /// Server that says this about encryption, shakes hands if it has to, and repeats what it is
    /// told.
    async fn server(authority: &Authority, level: u8) -> u16 {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = packet(&mut tcp).await.unwrap();
            *encryption(&mut asked).unwrap() = level;
            tcp.write_all(&asked).await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(Packets::new(tcp)).await else { return };
            stream.get_mut().0.framed = false;
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(&said).await.unwrap();
            stream.flush().await.unwrap();
        });
        port
    }

    async fn wire(port: u16, host: &str, tls: &Arc<ClientConfig>) -> Result<Wire, Error> {
        Wire::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), host, Some(tls)).await
    }

    #[tokio::test]
    async fn the_driver_speaks_through_it_and_its_prelogin_is_answered_here() {
        let authority = Authority::new();
        for host in ["127.0.0.1", "localhost"] {
            let port = server(&authority, ENCRYPT_REQUIRED).await;
            let mut wire = wire(port, host, &authority.trusted()).await.unwrap();
            let (first, rest) = HELLO.split_at(3);
            wire.write_all(first).await.unwrap();
            wire.write_all(rest).await.unwrap();
            wire.write_all(b"login").await.unwrap();
            wire.flush().await.unwrap();
            let mut answer = HELLO;
            wire.read_exact(&mut answer).await.unwrap();
            assert_eq!(encryption(&mut answer).copied(), Some(ENCRYPT_NOT_SUPPORTED));
            let mut said = [0; 5];
            wire.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"login");
        }
    }

    #[tokio::test]
    async fn only_the_named_authority_is_trusted_and_only_for_the_names_in_the_certificate() {
        let (authority, other) = (Authority::new(), Authority::new());
        let refused = async |host: &str, trusted| {
            let port = server(&authority, ENCRYPT_ON).await;
            wire(port, host, &trusted).await.err().expect("it was accepted").to_string()
        };
        for host in ["127.0.0.2", "db.example"] {
            let why = refused(host, authority.trusted()).await;
            assert!(why.contains("certificate"), "{why}");
        }
        let why = refused("127.0.0.1", other.trusted()).await;
        assert!(why.contains("certificate"), "{why}");
    }

    #[tokio::test]
    async fn a_server_without_encryption_is_refused_whatever_it_says() {
        let authority = Authority::new();
        for level in [0, ENCRYPT_NOT_SUPPORTED, 77] {
            let port = server(&authority, level).await;
            let why = wire(port, "127.0.0.1", &authority.trusted()).await.err().expect("it was accepted").to_string();
            assert!(why.contains("offers no TLS"), "{why}");
        }
    }
}
