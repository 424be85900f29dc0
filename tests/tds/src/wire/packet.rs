//! Packets (2.2.3) and the messages that they carry.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Kinds of messages, as the packet header names them.
pub(crate) mod kind {
    pub(crate) const BATCH: u8 = 1;
    pub(crate) const RPC: u8 = 3;
    pub(crate) const RESPONSE: u8 = 4;
    pub(crate) const ATTENTION: u8 = 6;
    pub(crate) const TRANSACTION: u8 = 14;
    pub(crate) const LOGIN: u8 = 16;
    pub(crate) const PRELOGIN: u8 = 18;
}

/// Whole message, assembled from its packets.
#[derive(Debug)]
pub(crate) struct Message {
    pub kind: u8,
    /// Client asks for sp_reset_connection before the message.
    pub reset: bool,
    /// Client gave up sending the message.
    pub ignore: bool,
    pub body: Vec<u8>,
}

impl Message {
    pub(crate) const BATCH: u8 = kind::BATCH;
    pub(crate) const RPC: u8 = kind::RPC;
    pub(crate) const RESPONSE: u8 = kind::RESPONSE;
    pub(crate) const ATTENTION: u8 = kind::ATTENTION;
    pub(crate) const TRANSACTION: u8 = kind::TRANSACTION;
    pub(crate) const LOGIN: u8 = kind::LOGIN;
    pub(crate) const PRELOGIN: u8 = kind::PRELOGIN;
}

pub(crate) async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Message> {
    let (mut body, mut reset) = (Vec::new(), false);
    loop {
        let mut header = [0_u8; 8];
        stream.read_exact(&mut header).await?;
        let [kind, status, high, low, ..] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(rest) = length.checked_sub(8) else { return Err(io::ErrorKind::InvalidData.into()) };
        let from = body.len();
        body.resize(from + rest, 0);
        stream.read_exact(&mut body[from..]).await?;
        reset |= status & 0x18 != 0;
        if status & 1 != 0 {
            return Ok(Message { kind, reset, ignore: status & 2 != 0, body });
        }
    }
}

pub(crate) async fn write_message<S: AsyncWrite + Unpin>(
    stream: &mut S,
    kind: u8,
    spid: i32,
    body: &[u8],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(body.len() + 64);
    let chunks: Vec<&[u8]> = if body.is_empty() { vec![&[]] } else { body.chunks(4096 - 8).collect() };
    for (i, chunk) in chunks.iter().enumerate() {
        let last = u8::from(i + 1 == chunks.len());
        bytes.extend([kind, last]);
        bytes.extend((chunk.len() as u16 + 8).to_be_bytes());
        bytes.extend((spid as u16).to_be_bytes());
        bytes.extend([(i as u8).wrapping_add(1), 0]);
        bytes.extend_from_slice(chunk);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_of_several_packets_is_put_together() {
        let body: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let (mut a, mut b) = tokio::io::duplex(64 * 1024);
        write_message(&mut a, kind::BATCH, 51, &body).await.unwrap();
        let message = read_message(&mut b).await.unwrap();
        assert_eq!((message.kind, message.body), (kind::BATCH, body));
    }
}
