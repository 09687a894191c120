//! Copying the content of ranges from one engine to another.
//!
//! ```text
//!   engine of the sender --pin--> Pinned --cursor--> pairs ... pairs --put--> Staging --replace--> engine of the receiver
//! ```
//!
//! A pin is read for minutes while the engine goes on; a staging area takes what is read, piece by piece, beside the
//! engine, and then puts it into the place of what the ranges held, in one step that survives a crash as a whole.

use bytes::Bytes;

use super::{Cursor, CursorOptions, WriteBatch};
use crate::error::Result;
use crate::types::KeyRange;

/// An engine as it was at one moment. Keeping one keeps what has been deleted since.
pub trait Pinned: Send {
    /// A cursor over that state.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>>;

    /// The value that a key had.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut end = key.to_vec();
        end.push(0);
        let mut cursor = self.cursor(&CursorOptions::range(Bytes::copy_from_slice(key), end))?;
        Ok(cursor.seek_to_first()?.then(|| Bytes::copy_from_slice(cursor.value())))
    }
}

/// New content for ranges of an engine, gathered beside it. Dropped, it leaves nothing behind.
pub trait Staging: Send {
    /// Adds a pair. Keys lie in the ranges, and come in ascending order.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Puts what was gathered into the place of all that the ranges hold, clears other ranges, and carries out
    /// `records`: all of it or nothing, durably.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn replace(self: Box<Self>, clear: &[KeyRange], records: &WriteBatch) -> Result<()>;
}

/// The end of a range as a key; a range without an end reaches up to the last possible key.
pub(crate) fn end_of(range: &KeyRange) -> Bytes {
    range.end.clone().unwrap_or_else(|| Bytes::from_static(&[0xff; 32]))
}
