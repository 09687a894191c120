//! Where a session writes its results.
//!
//! A [`Responder`] is the connection's output: messages are appended to one buffer, which goes out when
//! the pipeline ends or when it is full. Values are written in place, behind a length that is patched:
//!
//! ```text
//!   'D' | length | n columns | length, bytes | -1 | length, bytes ...
//!         ^ patched by finish()  ^ patched by value()
//! ```
//!
//! A session that sends many rows awaits [`Responder::flush_if_full`] now and then: that is where a slow
//! client holds it back.

use std::io;

use shardforge_types::{PgError, PgResult, SqlState};

use crate::backend::{FieldDesc, Format};
use crate::cancel::CancelToken;
use crate::copy::CopyState;
use crate::encode::{self, fatal};
use crate::limits::FLUSH_BYTES;
use crate::transport::Transport;

/// See the module's documentation.
pub struct Responder {
    pub(crate) transport: Transport,
    pub(crate) cancel: CancelToken,
    pub(crate) copy: CopyState,
    /// The socket has failed: nothing more can be sent.
    pub(crate) broken: bool,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder")
            .field("buffered", &self.transport.output.len())
            .field("copy", &self.copy)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Responder {
    pub(crate) fn new(transport: Transport) -> Responder {
        Responder { transport, cancel: CancelToken::new(), copy: CopyState::None, broken: false }
    }

    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.transport.output
    }

    /// RowDescription. `formats` is as for [`crate::result_format`]: empty means that all columns are text.
    pub fn row_description(&mut self, fields: &[FieldDesc], formats: &[Format]) -> PgResult<()> {
        encode::row_description(self.output(), fields, formats)
    }

    /// NoData: what Describe answers for a statement without rows.
    pub fn no_data(&mut self) {
        encode::empty(self.output(), b'n');
    }

    /// Starts a DataRow of that many columns.
    pub fn data_row(&mut self, columns: usize) -> RowWriter<'_> {
        let output = self.output();
        let start = encode::begin(output, b'D');
        output.extend_from_slice(&(columns as u16).to_be_bytes());
        RowWriter { output, start, columns_left: columns, finished: false }
    }

    /// CommandComplete, such as `SELECT 3` or `INSERT 0 1`.
    pub fn command_complete(&mut self, tag: &str) {
        encode::command_complete(self.output(), tag);
    }

    /// PortalSuspended: `max_rows` were sent and there may be more.
    pub fn portal_suspended(&mut self) {
        encode::empty(self.output(), b's');
    }

    /// EmptyQueryResponse: the query text held no statement.
    pub fn empty_query(&mut self) {
        encode::empty(self.output(), b'I');
    }

    /// NoticeResponse. The session has already judged it by `client_min_messages`.
    pub fn notice(&mut self, notice: &PgError) {
        encode::error(self.output(), notice);
    }

    /// ParameterStatus: a reported setting has a new value.
    pub fn parameter_status(&mut self, name: &str, value: &str) {
        encode::parameter_status(self.output(), name, value);
    }

    /// Raised when the statement must stop.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Writes the buffer out if it holds more than 64 KB; waits for a client that reads slowly. Fails if the
    /// client is gone or the connection is being terminated.
    pub async fn flush_if_full(&mut self) -> PgResult<()> {
        if self.transport.output.len() < FLUSH_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Writes the buffer out. Sessions need this only before they wait for something the client must hear of.
    pub async fn flush(&mut self) -> PgResult<()> {
        if self.broken {
            return Err(connection_lost("the connection is closed"));
        }
        let interrupted = self.cancel.terminated();
        let outcome = tokio::select! {
            biased;
            outcome = self.transport.flush() => outcome.map_err(|error| send_failed(&error)),
            reason = interrupted => Err(reason.error()),
        };
        // After either error the client may have seen half a message.
        self.broken |= outcome.is_err();
        outcome
    }

    /// Reads more from the client; `Ok(false)` at the end of the stream.
    pub(crate) async fn fill(&mut self) -> PgResult<bool> {
        match self.transport.fill().await {
            Ok(bytes) => Ok(bytes > 0),
            Err(error) => {
                self.broken = true;
                Err(connection_lost(format!("could not receive data from client: {error}")))
            }
        }
    }
}

/// The client is gone; nobody will read this but the log.
pub(crate) fn connection_lost(message: impl Into<String>) -> PgError {
    fatal(SqlState::CONNECTION_FAILURE, message)
}

fn send_failed(error: &io::Error) -> PgError {
    connection_lost(format!("could not send data to client: {error}"))
}

/// Appends the columns of one DataRow. A row that is dropped before [`RowWriter::finish`] was never there.
#[derive(Debug)]
pub struct RowWriter<'a> {
    output: &'a mut Vec<u8>,
    start: usize,
    columns_left: usize,
    finished: bool,
}

impl RowWriter<'_> {
    /// A NULL.
    pub fn null(&mut self) {
        self.count();
        self.output.extend_from_slice(&(-1i32).to_be_bytes());
    }

    /// A value that is at hand as bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count();
        self.output.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.output.extend_from_slice(value);
    }

    /// A value that `write` appends to the buffer.
    pub fn value(&mut self, write: impl FnOnce(&mut Vec<u8>) -> PgResult<()>) -> PgResult<()> {
        self.count();
        let at = self.output.len();
        self.output.extend_from_slice(&[0; 4]);
        write(self.output)?;
        let length = (self.output.len() - at - 4) as u32;
        self.output[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Ends the row. Fails if the row is longer than 1 GB.
    pub fn finish(mut self) -> PgResult<()> {
        assert_eq!(self.columns_left, 0, "the row lacks columns");
        encode::end(self.output, self.start)?;
        self.finished = true;
        Ok(())
    }

    fn count(&mut self) {
        assert!(self.columns_left > 0, "the row has more columns than were announced");
        self.columns_left -= 1;
    }
}

impl Drop for RowWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.output.truncate(self.start);
        }
    }
}
