//! A man in the middle who claims that the server speaks no TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Proxy before a server. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Stripper {
    port: u16,
    listening: JoinHandle<()>,
}

impl Stripper {
    pub(super) async fn before(server: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(strip(client, server));
            }
        });
        Ok(Self { port, listening })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Stripper {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn strip(mut client: TcpStream, server: u16) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    let mut header = [0; 4];
    server.read_exact(&mut header).await?;
    let [low, middle, high, _] = header;
    let mut greeting = vec![0; u32::from_le_bytes([low, middle, high, 0]).try_into().unwrap_or_default()];
    server.read_exact(&mut greeting).await?;
    without_tls(&mut greeting);
    client.write_all(&header).await?;
    client.write_all(&greeting).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Clears CLIENT_SSL (bit 11) in a greeting. Its fields are protocol, version up to a NUL, 4 bytes
/// of thread, 8 of salt, a filler, capabilities.
fn without_tls(greeting: &mut [u8]) {
    let version = greeting.iter().skip(1).position(|byte| *byte == 0).unwrap_or_default();
    let second_byte = 1 + version + 1 + 4 + 8 + 1 + 1;
    if let Some(capabilities) = greeting.get_mut(second_byte) {
        *capabilities &= !0x08;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bit_of_tls_is_taken() {
        let mut greeting = b"\x0a9.7\0tttt12345678\0\xff\xff\x21".to_vec();
        without_tls(&mut greeting);
        assert_eq!(greeting, b"\x0a9.7\0tttt12345678\0\xff\xf7\x21");
    }
}
