//! Reading a shard's applied state.

use bytes::Bytes;

use crate::engine::{Cursor, CursorOptions, Engine, Value};
use crate::error::Result;
use crate::types::{KeyRange, ShardId};

/// A shard's applied state, read in place: making one costs nothing.
///
/// It is no snapshot: each call sees what is applied at that moment (a cursor stays at the state it was made
/// in). Callers that need one state across calls keep versions in their keys.
#[derive(Clone, Copy)]
pub struct ReadView<'a> {
    engine: &'a dyn Engine,
    shard: ShardId,
    range: &'a KeyRange,
}

impl std::fmt::Debug for ReadView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadView").field("range", self.range).finish_non_exhaustive()
    }
}

impl<'a> ReadView<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, shard: ShardId, range: &'a KeyRange) -> Self {
        Self { engine, shard, range }
    }

    /// The value of a key of the range or of the local space.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value<'a>>> {
        debug_assert!(self.range.contains(key) || self.shard.local_space().contains(key));
        self.engine.get(key)
    }

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'a>>>> {
        self.engine.multi_get(keys)
    }

    /// Calls `visit` with the first pair whose key is at or after `from` and before `to`, and returns what it
    /// returns; `None` when there is no such pair. The cheapest way to find the newest version of one key.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn seek_first<R>(
        &self,
        from: &[u8],
        to: &[u8],
        visit: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        let mut visit = Some(visit);
        let mut result = None;
        self.engine.seek_first(from, to, &mut |key, value| {
            result = visit.take().map(|visit| visit(key, value));
        })?;
        Ok(result)
    }

    /// A cursor over the state as it is now, within the shard's range and the bounds given.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn cursor(&self, mut options: CursorOptions) -> Result<Box<dyn Cursor + 'a>> {
        if options.lower.as_ref().is_none_or(|lower| *lower < self.range.start) {
            options.lower = Some(self.range.start.clone());
        }
        if let Some(end) = &self.range.end
            && options.upper.as_ref().is_none_or(|upper| upper > end)
        {
            options.upper = Some(end.clone());
        }
        self.engine.cursor(&options)
    }

    /// A cursor over the state as it is now, within the shard's local space and from one key of it to before another.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn local_cursor(&self, lower: Bytes, upper: Bytes) -> Result<Box<dyn Cursor + 'a>> {
        let space = self.shard.local_space();
        let lower = lower.max(space.start);
        let upper = space.end.map_or(upper.clone(), |end| end.min(upper));
        self.engine.cursor(&CursorOptions::range(lower, upper))
    }
}
