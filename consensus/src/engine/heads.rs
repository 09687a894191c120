//! The newest version of each row that was read lately, in memory, before the engine that holds them all.
//!
//! Keys that differ only in their version suffix are a *group* (one row), and the first of them, its newest
//! version, is the group's *head*. Nearly every point read wants the head:
//!
//! ```text
//!   seek_first(k ~80):   head  k ~70   at or after k ~80: it is the answer, the engine is not asked
//!                        head  k ~90   before k ~80: newer than the reader may see, so the engine is asked
//!                        no head       the engine is asked for the group's first key, which is kept
//! ```
//!
//! Invariant: a head that is kept is the first key of its group in the engine, except while a write that changes
//! the group is under way; when [`Engine::write`] returns, readers see what it wrote. Therefore
//! - a reader that goes to fetch a head leaves a placeholder. A write that touches the group removes it after the
//!   engine has written, and what the reader then brings is used once and not kept;
//! - what a range delete touches is not known by key, so it waits until nobody fetches (`fetching`).
//!
//! Each key has one writer at a time (its shard's state machine). What a compaction drops need not be taken out
//! of here: [`super::CompactionFilter`] may only drop what no reader asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{OptionsBuilder, Weighter};

use super::replacing::end_of;
use super::{
    Cursor, CursorOptions, Durability, Engine, EngineStats, Operation, Pinned, Staging, Value, WriteBatch,
};
use crate::error::{ConsensusError, Result};
use crate::types::KeyRange;

/// What a kept head takes besides the bytes of its keys and value: the entry, its links, and two allocations.
const HEAD_OVERHEAD_BYTES: u64 = 128;
/// A row of some short columns, for the cache's first guess at how many heads it will hold.
const TYPICAL_HEAD_BYTES: usize = 256;
/// Larger values are left to the engine: one of them would push out hundreds of heads.
const KEPT_PAIR_BYTES_MAX: usize = 16 << 10;

/// A key and its value, one after the other.
#[derive(Clone)]
struct Head {
    pair: Arc<[u8]>,
    key_bytes: usize,
}

impl Head {
    fn new(key: &[u8], value: &[u8]) -> Self {
        Self { pair: [key, value].concat().into(), key_bytes: key.len() }
    }

    fn key(&self) -> &[u8] {
        &self.pair[..self.key_bytes]
    }

    fn value(&self) -> &[u8] {
        &self.pair[self.key_bytes..]
    }
}

/// What is known of a group after looking for its head.
enum Looked {
    Head(Head),
    /// The group has no keys.
    Empty,
    /// The engine has to be asked.
    Unknown,
}

#[derive(Clone)]
struct HeadWeighter;

impl Weighter<Vec<u8>, Head> for HeadWeighter {
    fn weight(&self, group: &Vec<u8>, head: &Head) -> u64 {
        (group.len() + head.pair.len()) as u64 + HEAD_OVERHEAD_BYTES
    }
}

/// Where all heads that were ever kept lie, by the first bytes of their keys. Range deletes elsewhere, such as those of
/// the node's own records, then need not look at each head.
struct Span {
    first: AtomicU64,
    last: AtomicU64,
}

impl Span {
    fn empty() -> Self {
        Self { first: AtomicU64::new(u64::MAX), last: AtomicU64::new(0) }
    }

    /// A number that orders keys as their first eight bytes do.
    fn place(key: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        let length = key.len().min(8);
        bytes[..length].copy_from_slice(&key[..length]);
        u64::from_be_bytes(bytes)
    }

    fn include(&self, key: &[u8]) {
        let place = Self::place(key);
        if place < self.first.load(Ordering::Relaxed) {
            self.first.fetch_min(place, Ordering::Relaxed);
        }
        if place > self.last.load(Ordering::Relaxed) {
            self.last.fetch_max(place, Ordering::Relaxed);
        }
    }

    /// Whether a key from `start` to before `end` may have been included.
    fn may_meet(&self, start: &[u8], end: &[u8]) -> bool {
        Self::place(start) <= self.last.load(Ordering::Relaxed)
            && Self::place(end) >= self.first.load(Ordering::Relaxed)
    }
}

/// An engine behind a cache of its groups' heads; see the module's essay.
pub(crate) struct HeadCache {
    engine: Arc<dyn Engine>,
    suffix_bytes: usize,
    heads: Cache<Vec<u8>, Head, HeadWeighter>,
    /// Held shared while a head is fetched and kept, and alone while range deletes take effect here.
    fetching: RwLock<()>,
    span: Span,
}

impl HeadCache {
    /// A cache of about `capacity_bytes` before an engine whose keys have version suffixes of one length.
    pub(crate) fn new(engine: Arc<dyn Engine>, suffix_bytes: usize, capacity_bytes: usize) -> Result<Self> {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity_bytes / TYPICAL_HEAD_BYTES)
            .weight_capacity(capacity_bytes as u64)
            .build()
            .map_err(|error| {
                ConsensusError::Storage(format!("no cache of {capacity_bytes} bytes: {error}"))
            })?;
        let heads = Cache::with_options(options, HeadWeighter, Default::default(), Default::default());
        Ok(Self { engine, suffix_bytes, heads, fetching: RwLock::default(), span: Span::empty() })
    }

    /// The group that a key belongs to; `None` for keys too short to have a version.
    fn group<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.len().checked_sub(self.suffix_bytes).filter(|length| *length > 0).map(|length| &key[..length])
    }

    /// The first pair of a group in the engine.
    fn fetch(&self, group: &[u8]) -> Result<Looked> {
        let mut first = Vec::with_capacity(group.len() + self.suffix_bytes);
        first.extend_from_slice(group);
        first.resize(group.len() + self.suffix_bytes, 0);
        let mut end = group.to_vec();
        end.resize(group.len() + self.suffix_bytes + 1, 0xff);
        let mut looked = Looked::Empty;
        self.engine.seek_first(&first, &end, &mut |key, value| {
            let ours = self.group(key) == Some(group);
            looked = if ours { Looked::Head(Head::new(key, value)) } else { Looked::Unknown };
        })?;
        Ok(looked)
    }

    /// The head of a group, from here or else from the engine.
    fn look(&self, group: &[u8]) -> Result<Looked> {
        if let Some(head) = self.heads.get(group) {
            return Ok(Looked::Head(head));
        }
        let _fetching = self.fetching.read();
        match self.heads.get_value_or_guard(group, Some(Duration::ZERO)) {
            GuardResult::Value(head) => Ok(Looked::Head(head)),
            GuardResult::Guard(placeholder) => {
                let looked = self.fetch(group)?;
                if let Looked::Head(head) = &looked
                    && head.pair.len() <= KEPT_PAIR_BYTES_MAX
                {
                    self.span.include(head.key());
                    // Refused when a write came in between.
                    let _ = placeholder.insert(head.clone());
                }
                Ok(looked)
            }
            // Another reader is fetching it.
            GuardResult::Timeout => Ok(Looked::Unknown),
        }
    }

    fn has_put(&self, key: &[u8], value: &[u8]) {
        let Some(group) = self.group(key) else { return };
        match self.heads.peek(group) {
            Some(head) if head.key() < key => {}
            Some(_) if key.len() + value.len() <= KEPT_PAIR_BYTES_MAX => {
                self.heads.insert(group.to_vec(), Head::new(key, value));
            }
            Some(_) | None => {
                self.heads.remove(group);
            }
        }
    }

    fn has_deleted(&self, key: &[u8]) {
        let Some(group) = self.group(key) else { return };
        if self.heads.peek(group).is_none_or(|head| head.key() >= key) {
            self.heads.remove(group);
        }
    }

    /// Brings what is kept in line with writes that the engine has carried out.
    fn has_written(&self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Put(key, value) => self.has_put(key, value),
                Operation::Delete(key) => self.has_deleted(key),
                Operation::DeleteRange(start, end) => {
                    let _alone = self.fetching.write();
                    if self.span.may_meet(start, end) {
                        self.heads.retain(|_, head| head.key() < &start[..] || head.key() >= &end[..]);
                    }
                }
            }
        }
    }
}

impl Engine for HeadCache {
    fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.engine.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        self.engine.multi_get(keys)
    }

    fn seek_first(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let looked = self.group(from).map_or(Ok(Looked::Unknown), |group| self.look(group))?;
        match looked {
            Looked::Head(head) if head.key() >= from => {
                if head.key() < to {
                    visit(head.key(), head.value());
                }
                Ok(())
            }
            Looked::Empty => Ok(()),
            Looked::Head(_) | Looked::Unknown => self.engine.seek_first(from, to, visit),
        }
    }

    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        self.engine.cursor(options)
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        self.engine.write(batch, durability)?;
        self.has_written(batch.operations());
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.engine.flush()
    }

    fn compact(&self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        self.engine.compact(start, end)
    }

    fn stats(&self) -> EngineStats {
        let stats = self.engine.stats();
        EngineStats { memory_bytes: stats.memory_bytes + self.heads.weight(), ..stats }
    }

    fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.engine.size_bytes(start, end)
    }

    fn pin(self: Arc<Self>) -> Box<dyn Pinned> {
        Arc::clone(&self.engine).pin()
    }

    fn stage(self: Arc<Self>, ranges: Vec<KeyRange>) -> Result<Box<dyn Staging>> {
        let inner = Arc::clone(&self.engine).stage(ranges.clone())?;
        Ok(Box::new(StagedBehind { cache: self, ranges, inner }))
    }
}

/// A staging area of the engine behind the cache.
struct StagedBehind {
    cache: Arc<HeadCache>,
    ranges: Vec<KeyRange>,
    inner: Box<dyn Staging>,
}

impl Staging for StagedBehind {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.inner.put(key, value)
    }

    fn replace(self: Box<Self>, clear: &[KeyRange], records: &WriteBatch) -> Result<()> {
        self.inner.replace(clear, records)?;
        let replaced = self.ranges.iter().chain(clear);
        let gone: Vec<_> =
            replaced.map(|range| Operation::DeleteRange(range.start.clone(), end_of(range))).collect();
        self.cache.has_written(&gone);
        self.cache.has_written(records.operations());
        Ok(())
    }
}
