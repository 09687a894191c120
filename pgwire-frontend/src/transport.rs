//! One socket with its two buffers.
//!
//! Input is read in pieces into one growing buffer from which messages are read in place. The buffer
//! grows with what has arrived, never with what a length word announces. Output gathers in one buffer
//! and goes out in one write.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use shardforge_types::PgResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::{BUFFER_KEEP_BYTES, READ_BYTES, READ_GROW_BYTES_MAX};
use crate::message::{Frame, HEADER_BYTES};
use crate::metrics::Metrics;

/// What a connection may run over: a TCP socket, a tunnel between nodes, a pipe in tests.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(crate) struct Transport {
    stream: Box<dyn Stream>,
    input: BytesMut,
    pub(crate) output: Vec<u8>,
    /// How much of `output` has been written already by a write that was interrupted.
    written: usize,
    metrics: Arc<Metrics>,
}

impl Transport {
    pub(crate) fn new(stream: Box<dyn Stream>, metrics: Arc<Metrics>) -> Transport {
        Transport { stream, input: BytesMut::new(), output: Vec::new(), written: 0, metrics }
    }

    /// What has arrived and was not consumed.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// The first message, if it has arrived in full.
    pub(crate) fn frame(&self) -> PgResult<Option<Frame>> {
        Ok(Frame::peek(&self.input)?.filter(|frame| frame.bytes <= self.input.len()))
    }

    /// The body of the first message, which [`Transport::frame`] has found.
    pub(crate) fn body(&self, frame: Frame) -> &[u8] {
        &self.input[HEADER_BYTES..frame.bytes]
    }

    /// Forgets the first bytes of the input.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.input.advance(bytes);
        if self.input.is_empty() && self.input.capacity() > BUFFER_KEEP_BYTES {
            self.input = BytesMut::new();
        }
    }

    /// Reads once; 0 at the end of the stream. May be dropped while it waits without losing anything.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(self.input.len().clamp(READ_BYTES, READ_GROW_BYTES_MAX));
        }
        let bytes = self.stream.read_buf(&mut self.input).await?;
        self.metrics.received(bytes);
        Ok(bytes)
    }

    /// Writes all output. May be dropped while it waits and called again.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            let bytes = self.stream.write(&self.output[self.written..]).await?;
            if bytes == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += bytes;
            self.metrics.sent(bytes);
        }
        // A stream that encrypts may hold some of it back.
        self.stream.flush().await?;
        self.written = 0;
        self.output.clear();
        if self.output.capacity() > BUFFER_KEEP_BYTES {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Tells the client that nothing more comes.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;

    #[tokio::test]
    async fn an_announced_length_allocates_nothing() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut transport = Transport::new(Box::new(server), Arc::default());
        client.write_all(&[b'Q', 0x3f, 0xff, 0xff, 0xff, b's']).await.expect("a pipe takes bytes");
        transport.fill().await.expect("bytes");
        assert_eq!(transport.frame().expect("a header that may be"), None);
        client.write_all(b"elect").await.expect("a pipe takes bytes");
        transport.fill().await.expect("bytes");
        assert!(transport.input.capacity() <= 2 * READ_BYTES, "{}", transport.input.capacity());
    }

    #[tokio::test]
    async fn a_long_message_arrives_whole_and_its_buffer_is_given_back() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut transport = Transport::new(Box::new(server), Arc::default());
        let length = 3_000_000;
        let sending = tokio::spawn(async move {
            let mut bytes = vec![b'Q'];
            bytes.extend((length as u32 + 4).to_be_bytes());
            bytes.resize(message::HEADER_BYTES + length, b'x');
            client.write_all(&bytes).await.expect("a pipe takes bytes");
            client
        });
        let frame = loop {
            if let Some(frame) = transport.frame().expect("a message") {
                break frame;
            }
            assert!(transport.fill().await.expect("bytes") > 0);
        };
        assert_eq!(transport.body(frame).len(), length);
        transport.consume(frame.bytes);
        assert_eq!(transport.input.capacity(), 0);
        sending.await.expect("all is sent");
    }
}
