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

/// What a connection may run over: a TCP socket, and a pipe in tests.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

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
