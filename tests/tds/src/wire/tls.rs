//! TLS inside TDS: the handshake travels in PRELOGIN packets, everything after it is plain TLS.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anyhow::{Context as _, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::Message;

/// Makes a TLS server with this certificate. It speaks TLS 1.2 only, as servers do below TDS 8.0.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain =
        CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>().context("the certificate")?;
    let key = PrivateKeyDer::from_pem_file(key).context("the key")?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // this also presents a certificate that rustls itself would reject
    let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Content type of TLS records with application data; records of the handshake have others.
const APPLICATION_DATA: u8 = 23;

/// Socket that wraps and unwraps PRELOGIN packets until the handshake is done.
#[derive(Debug)]
pub(crate) struct Wrapped {
    pub inner: TcpStream,
    pub handshake: bool,
    /// Incoming bytes are plain TLS.
    bare: bool,
    header: Vec<u8>,
    /// Number of bytes left to read of the current packet.
    left: usize,
    out: Vec<u8>,
}

impl Wrapped {
    pub(crate) fn new(inner: TcpStream) -> Self {
        Self { inner, handshake: true, bare: false, header: Vec::new(), left: 0, out: Vec::new() }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.bare && !this.header.is_empty() {
            let n = this.header.len().min(buf.remaining());
            buf.put_slice(&this.header[..n]);
            this.header.drain(..n);
            return Poll::Ready(Ok(()));
        }
        if this.bare || (!this.handshake && this.left == 0) {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        while this.left == 0 {
            let mut bytes = [0_u8; 8];
            let mut part = ReadBuf::new(&mut bytes[..8 - this.header.len()]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.extend_from_slice(part.filled());
            // a client that resumes a TLS session finishes first: its data follows at once
            if this.header[0] == APPLICATION_DATA {
                this.bare = true;
                let n = this.header.len().min(buf.remaining());
                buf.put_slice(&this.header[..n]);
                this.header.drain(..n);
                return Poll::Ready(Ok(()));
            }
            if let [kind, _, high, low, ..] = this.header[..]
                && this.header.len() == 8
            {
                if kind != Message::PRELOGIN {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                this.left = usize::from(u16::from_be_bytes([high, low])).saturating_sub(8);
                this.header.clear();
            }
        }
        let mut bytes = vec![0_u8; this.left.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        this.left -= part.filled().len();
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.handshake {
            // kept until the flush, so that a handshake flight is one packet
            self.out.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.send(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handshake && !self.out.is_empty() {
            let mut framed = Vec::new();
            let chunks: Vec<&[u8]> = self.out.chunks(4096 - 8).collect();
            for (i, chunk) in chunks.iter().enumerate() {
                framed.extend([Message::PRELOGIN, u8::from(i + 1 == chunks.len())]);
                framed.extend((chunk.len() as u16 + 8).to_be_bytes());
                framed.extend([0, 0, (i as u8).wrapping_add(1), 0]);
                framed.extend_from_slice(chunk);
            }
            self.out.clear();
            // a handshake flight is far smaller than a socket's buffer: a short write means a dead
            // peer
            match Pin::new(&mut self.inner).poll_write(cx, &framed) {
                Poll::Ready(Ok(n)) if n == framed.len() => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                _ => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            }
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
