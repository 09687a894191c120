//! Storage engines: ordered maps from byte strings to byte strings.
//!
//! ```text
//!              Engine  (get, cursor, write, flush)
//!             /      \        \
//!     RocksEngine   MemoryEngine   HeadCache (before either of them)
//! ```
//!
//! A node has two instances, see [`crate::Node`]: `raftdb`, whose writes are durable when they return, and
//! `kvdb`, whose writes are durable only after the next [`Engine::flush`]. Which of the two a write is, its
//! [`Durability`] says.
//!
//! Invariants:
//! - A write is atomic: after a crash all of it is there, or nothing. Writes survive in order: when a later one
//!   survived, so did every earlier one.
//! - A [`Cursor`] shows the engine as it was when the cursor was made, whatever is written meanwhile.
//! - Engine calls may block on the disk for a short time. A cursor is not `Send`, so that none lives across an
//!   `.await`: it pins memory and files.

mod batch;
pub(crate) mod heads;
mod memory;
mod replacing;
pub(crate) mod rocks;
mod rocks_staging;

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

pub use batch::{Operation, WriteBatch};
pub use memory::{MemoryEngine, MemoryStorage};
pub(crate) use replacing::end_of;
pub use replacing::{Pinned, Staging};

use crate::error::Result;
use crate::types::KeyRange;

/// When a write survives a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When the write returns: the engine has synced its log.
    Synced,
    /// After the next [`Engine::flush`].
    Buffered,
}

/// A value read from an engine, in place where the engine can do that.
pub enum Value<'a> {
    /// A reference into a block or memtable that the engine keeps for us.
    Pinned(rocksdb::DBPinnableSlice<'a>),
    /// A counted reference.
    Shared(Bytes),
}

impl Value<'_> {
    /// The value as owned bytes; copies when it is pinned.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Pinned(slice) => Bytes::copy_from_slice(&slice),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pinned(slice) => slice,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&**self, f)
    }
}

/// What a cursor may see, and how it reads.
#[derive(Clone, Debug, Default)]
pub struct CursorOptions {
    /// No key before this one is seen.
    pub lower: Option<Bytes>,
    /// This key and those after it are not seen. Always set it when it is known: it spares the engine from
    /// walking over deleted keys past the end.
    pub upper: Option<Bytes>,
    /// The scan is long and read once: read ahead, and leave the block cache to others.
    pub bulk: bool,
}

impl CursorOptions {
    /// A cursor over the keys from `lower` to before `upper`.
    pub fn range(lower: impl Into<Bytes>, upper: impl Into<Bytes>) -> Self {
        Self { lower: Some(lower.into()), upper: Some(upper.into()), bulk: false }
    }
}

/// A position in an engine's keys, which moves both ways.
///
/// Each move says whether it arrived at a key. Moving on from no key stays at no key; only a seek leads back.
pub trait Cursor {
    /// Moves to the first key at or after `key`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;

    /// Moves to the last key at or before `key`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool>;

    /// Moves to the first key within bounds.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn seek_to_first(&mut self) -> Result<bool>;

    /// Moves to the last key within bounds.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn seek_to_last(&mut self) -> Result<bool>;

    /// Moves to the key after this one.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn next(&mut self) -> Result<bool>;

    /// Moves to the key before this one.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn prev(&mut self) -> Result<bool>;

    /// Whether the cursor is at a key.
    fn valid(&self) -> bool;

    /// The key it is at; empty when it is at none.
    fn key(&self) -> &[u8];

    /// The value at that key; empty when it is at none.
    fn value(&self) -> &[u8];
}

/// What [`CompactionFilter`] decides about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The key stays.
    Yes,
    /// The key may go: nobody will ask for it again.
    No,
}

/// Decides, as the engine rewrites its files, which keys are not needed any more.
///
/// The filter does not see keys in order or at once, it may see a key never, and it takes no notice of
/// cursors. A key that hides an older version of itself (a delete mark) must not be dropped by it.
pub trait CompactionFilter: Send + Sync {
    /// Whether the key is still needed.
    fn keep(&self, key: &[u8], value: &[u8]) -> Keep;
}

/// Counters of an engine, for metrics and admission control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EngineStats {
    /// Keys, estimated.
    pub keys: u64,
    /// Bytes in files.
    pub disk_bytes: u64,
    /// Bytes in memory: memtables and cached blocks.
    pub memory_bytes: u64,
    /// Whether the engine is stopping writes because compaction has fallen behind.
    pub write_stopped: bool,
    /// Bytes that compaction has yet to rewrite.
    pub compaction_pending_bytes: u64,
}

/// An ordered map on some storage; see the module's essay for what it promises.
pub trait Engine: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>>;

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>>;

    /// Calls `visit` with the first pair whose key is at or after `from` and before `to`, if there is one.
    ///
    /// The cheapest way to look at one key of a group; the engine may keep its internals between calls.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn seek_first(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;

    /// A cursor over the engine as it is now.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>>;

    /// Writes a batch, atomically.
    ///
    /// # Errors
    /// When the engine cannot write. Whether a failed [`Durability::Synced`] write survives a crash is unknown.
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()>;

    /// Makes everything durable that was written before the call.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn flush(&self) -> Result<()>;

    /// Rewrites the files of a key range, without what is deleted or what the compaction filter drops.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn compact(&self, start: &[u8], end: Option<&[u8]>) -> Result<()>;

    /// Counters; some are estimates.
    fn stats(&self) -> EngineStats;

    /// About how many bytes the keys from `start` to before `end` take with their values, on the disk if there is one:
    /// what is in memory alone does not count then.
    fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64;

    /// The engine as it is now, to be read for as long as the pin is kept.
    fn pin(self: Arc<Self>) -> Box<dyn Pinned>;

    /// Begins to gather new content for some ranges, which are disjoint and in order.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn stage(self: Arc<Self>, ranges: Vec<KeyRange>) -> Result<Box<dyn Staging>>;
}

/// A compaction filter as it is handed around.
pub type SharedFilter = Arc<dyn CompactionFilter>;
