//! COPY between a session and its client.
//!
//! `COPY ... FROM STDIN`: the session calls [`Responder::copy_in`], then [`Responder::copy_data_in`] until it
//! answers `None`. The pieces have nothing to do with rows: clients cut where they like, and small pieces
//! that have arrived together are joined. `COPY ... TO STDOUT`: [`Responder::copy_out_begin`], any number of
//! [`Responder::copy_out_data`], [`Responder::copy_out_done`].
//!
//! As in PostgreSQL, Flush and Sync are ignored while data is awaited, and data that arrives after the
//! COPY has failed is skipped by the connection loop.

use bytes::{Bytes, BytesMut};
use shardforge_types::{PgError, PgResult, SqlState};

use crate::backend::Format;
use crate::encode;
use crate::limits::COPY_CHUNK_BYTES;
use crate::message::{Cursor, protocol_violation};
use crate::responder::{Responder, connection_lost};

/// Which way data flows at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyState {
    None,
    In,
    Out,
}

impl Responder {
    /// Asks the client for data (CopyInResponse), all columns in one format.
    pub async fn copy_in(&mut self, format: Format, columns: usize) -> PgResult<()> {
        encode::copy_response(self.output(), b'G', format, columns);
        self.copy = CopyState::In;
        self.flush().await
    }

    /// The next piece of data, `None` at its end. Fails if the client gives up (57014), sends something
    /// else (08P01), disappears (08006), or if the statement is canceled.
    pub async fn copy_data_in(&mut self) -> PgResult<Option<Bytes>> {
        if self.copy != CopyState::In {
            return Err(PgError::internal("COPY data is read outside COPY FROM STDIN"));
        }
        let mut chunk = BytesMut::new();
        loop {
            self.cancel.check()?;
            while let Some(frame) = self.transport.frame()? {
                match frame.kind {
                    b'd' => {
                        chunk.extend_from_slice(self.transport.body(frame));
                        self.transport.consume(frame.bytes);
                        if chunk.len() >= COPY_CHUNK_BYTES {
                            return Ok(Some(chunk.freeze()));
                        }
                    }
                    b'c' if !chunk.is_empty() => return Ok(Some(chunk.freeze())),
                    b'c' => {
                        self.transport.consume(frame.bytes);
                        self.copy = CopyState::None;
                        return Ok(None);
                    }
                    b'f' => {
                        let reason = Cursor::new(self.transport.body(frame)).string().map(str::to_owned);
                        self.transport.consume(frame.bytes);
                        self.copy = CopyState::None;
                        return Err(PgError::new(
                            SqlState::QUERY_CANCELED,
                            format!("COPY from stdin failed: {}", reason?),
                        ));
                    }
                    b'H' | b'S' => self.transport.consume(frame.bytes),
                    other => {
                        self.copy = CopyState::None;
                        return Err(protocol_violation(format!(
                            "unexpected message type 0x{other:02X} during COPY from stdin"
                        )));
                    }
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk.freeze()));
            }
            let cancel = self.cancel.clone();
            let more = tokio::select! {
                biased;
                more = self.fill() => more?,
                reason = cancel.canceled() => return Err(reason.error()),
            };
            if !more {
                self.broken = true;
                return Err(connection_lost("unexpected EOF on client connection with an open transaction"));
            }
        }
    }

    /// Announces data (CopyOutResponse), all columns in one format.
    pub fn copy_out_begin(&mut self, format: Format, columns: usize) {
        encode::copy_response(self.output(), b'H', format, columns);
        self.copy = CopyState::Out;
    }

    /// Sends one piece of data; clients expect one row a piece.
    pub fn copy_out_data(&mut self, data: &[u8]) -> PgResult<()> {
        self.copy_out_row(|output| {
            output.extend_from_slice(data);
            Ok(())
        })
    }

    /// Sends one piece of data that `write` appends to the buffer; nothing of it if `write` fails.
    pub fn copy_out_row(&mut self, write: impl FnOnce(&mut Vec<u8>) -> PgResult<()>) -> PgResult<()> {
        let output = self.output();
        let start = encode::begin(output, b'd');
        if let Err(error) = write(output) {
            output.truncate(start);
            return Err(error);
        }
        encode::end(output, start)
    }

    /// Ends the data (CopyDone).
    pub fn copy_out_done(&mut self) {
        encode::empty(self.output(), b'c');
        self.copy = CopyState::None;
    }
}
