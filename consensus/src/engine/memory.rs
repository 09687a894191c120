//! The memory engine: for tests, simulations and throw-away clusters.
//!
//! It keeps versions, so that a cursor costs nothing to make and sees nothing that comes after it:
//!
//! ```text
//!   key -> [(sequence 3, put), (sequence 8, deleted), ...]        oldest first
//!   pinned: sequences that someone can still look at: {5: 2 cursors, 7: the durable state}
//! ```
//!
//! A version is kept while it is the newest one, or the newest one at some pinned sequence. The state as of the
//! last sync or flush is pinned like a cursor's, and that is what [`MemoryEngine::crash`] goes back to: what
//! was neither synced nor flushed is lost, just as the real engine loses it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::replacing::end_of;
use super::{
    Cursor, CursorOptions, Durability, Engine, EngineStats, Keep, Operation, Pinned, SharedFilter, Staging,
    Value, WriteBatch,
};
use crate::error::{ConsensusError, Result};
use crate::types::KeyRange;

/// The two engines of a node in memory. Keep a clone of it to open the node again after it is gone.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    pub(crate) raft: Arc<MemoryEngine>,
    pub(crate) kv: Arc<MemoryEngine>,
}

impl MemoryStorage {
    /// Empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what a power failure would lose now. The node on it must be gone.
    pub fn crash(&self) {
        // A failure that is still to come was to be one of the node that is gone.
        *self.raft.failing_sync.lock() = None;
        self.raft.crash();
        self.kv.crash();
    }

    /// Lets the next sync of the log fail, as a disk does: `kept` says whether what it was to sync survives a crash
    /// nevertheless, which nobody can tell before.
    pub fn fail_next_sync(&self, kept: bool) {
        *self.raft.failing_sync.lock() = Some(kept);
    }
}

/// An ordered map in memory; see the module's essay.
#[derive(Default)]
pub struct MemoryEngine {
    state: RwLock<State>,
    filter: Mutex<Option<SharedFilter>>,
    /// Whether the next synced write fails, and whether it survives a crash nevertheless.
    failing_sync: Mutex<Option<bool>>,
}

impl std::fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryEngine")
    }
}

#[derive(Default)]
struct State {
    keys: BTreeMap<Bytes, Versions>,
    /// The sequence of the newest write.
    sequence: u64,
    /// What a crash goes back to. Pinned.
    durable: u64,
    /// Sequences that may still be looked at, and by how many.
    pinned: BTreeMap<u64, usize>,
    /// Counts the crashes: what was pinned before one is pinned no more.
    crashes: u64,
    /// Keys that hold more than their newest version, or a delete mark; looked at again when a pin goes.
    untidy: Vec<Bytes>,
}

/// The versions of one key, oldest first; no value means deleted.
type Versions = Vec<(u64, Option<Bytes>)>;

fn visible(versions: &Versions, sequence: u64) -> Option<&Bytes> {
    versions.iter().rev().find(|(written, _)| *written <= sequence).and_then(|(_, value)| value.as_ref())
}

impl State {
    fn set(&mut self, key: &Bytes, value: Option<Bytes>) {
        if value.is_none() && !self.keys.contains_key(key) {
            return;
        }
        let sequence = self.sequence;
        let versions = self.keys.entry(key.clone()).or_default();
        if versions.last().is_some_and(|(written, _)| *written == sequence) {
            versions.pop();
        }
        versions.push((sequence, value));
        self.tidy(key);
    }

    /// Drops the versions of a key that nobody can look at.
    fn tidy(&mut self, key: &Bytes) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let mut index = 0;
        while index + 1 < versions.len() {
            let needed = self.pinned.range(versions[index].0..versions[index + 1].0).next().is_some();
            if needed {
                index += 1;
            } else {
                versions.remove(index);
            }
        }
        if versions.len() == 1 && versions[0].1.is_none() {
            self.keys.remove(key);
        } else if versions.len() > 1 {
            self.untidy.push(key.clone());
        }
    }

    fn pin(&mut self, sequence: u64) {
        *self.pinned.entry(sequence).or_default() += 1;
    }

    /// Gives back what was pinned before the crash of that number.
    fn unpin_since(&mut self, crashes: u64, sequence: u64) {
        if self.crashes == crashes {
            self.unpin(sequence);
        }
    }

    fn unpin(&mut self, sequence: u64) {
        let Some(count) = self.pinned.get_mut(&sequence) else { return };
        *count -= 1;
        if *count == 0 {
            self.pinned.remove(&sequence);
            for key in std::mem::take(&mut self.untidy) {
                self.tidy(&key);
            }
        }
    }

    fn make_durable(&mut self) {
        let (before, now) = (self.durable, self.sequence);
        if before != now {
            self.pin(now);
            self.durable = now;
            self.unpin(before);
        }
    }

    fn first(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, sequence: u64) -> Option<(Bytes, Bytes)> {
        if is_empty(lower, upper) {
            return None;
        }
        self.keys
            .range::<[u8], _>((lower, upper))
            .find_map(|(key, versions)| visible(versions, sequence).map(|value| (key.clone(), value.clone())))
    }

    fn last(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, sequence: u64) -> Option<(Bytes, Bytes)> {
        if is_empty(lower, upper) {
            return None;
        }
        self.keys
            .range::<[u8], _>((lower, upper))
            .rev()
            .find_map(|(key, versions)| visible(versions, sequence).map(|value| (key.clone(), value.clone())))
    }
}

/// Whether no key can lie between the bounds; `BTreeMap::range` would panic on some of those.
fn is_empty(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

impl MemoryEngine {
    /// Goes back to the state that was last synced or flushed.
    pub fn crash(&self) {
        let mut state = self.state.write();
        let durable = state.durable;
        state.crashes += 1;
        state.pinned.clear();
        state.pin(durable);
        state.untidy.clear();
        state.sequence = durable;
        state.keys.retain(|_, versions| {
            versions.retain(|(written, _)| *written <= durable);
            versions.last().is_some_and(|(_, value)| value.is_some())
        });
    }

    pub(crate) fn set_filter(&self, filter: Option<SharedFilter>) {
        *self.filter.lock() = filter;
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        let state = self.state.read();
        let newest = state.keys.get(key).and_then(|versions| visible(versions, u64::MAX));
        Ok(newest.cloned().map(Value::Shared))
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn seek_first(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let found = self.state.read().first(Bound::Included(from), Bound::Excluded(to), u64::MAX);
        if let Some((key, value)) = found {
            visit(&key, &value);
        }
        Ok(())
    }

    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        let mut state = self.state.write();
        let (sequence, crashes) = (state.sequence, state.crashes);
        state.pin(sequence);
        Ok(Box::new(MemoryCursor { engine: self, sequence, crashes, options: options.clone(), at: None }))
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        let mut state = self.state.write();
        state.sequence += 1;
        for operation in batch.operations() {
            match operation {
                Operation::Put(key, value) => state.set(key, Some(value.clone())),
                Operation::Delete(key) => state.set(key, None),
                Operation::DeleteRange(start, end) => {
                    let range = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
                    if !is_empty(range.0, range.1) {
                        let keys: Vec<_> =
                            state.keys.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect();
                        for key in keys {
                            state.set(&key, None);
                        }
                    }
                }
            }
        }
        if durability == Durability::Synced {
            let failing = self.failing_sync.lock().take();
            if failing != Some(false) {
                state.make_durable();
            }
            if failing.is_some() {
                return Err(ConsensusError::Storage("a sync failed, as it was told to".to_owned()));
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.state.write().make_durable();
        Ok(())
    }

    fn compact(&self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        let Some(filter) = self.filter.lock().clone() else { return Ok(()) };
        let range = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        if is_empty(range.0, range.1) {
            return Ok(());
        }
        let mut state = self.state.write();
        let dropped: Vec<Bytes> = state
            .keys
            .range::<[u8], _>(range)
            .filter(|(key, versions)| {
                visible(versions, u64::MAX).is_some_and(|value| filter.keep(key, value) == Keep::No)
            })
            .map(|(key, _)| key.clone())
            .collect();
        state.sequence += 1;
        for key in dropped {
            state.set(&key, None);
        }
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        let state = self.state.read();
        EngineStats { keys: state.keys.len() as u64, ..EngineStats::default() }
    }

    fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        let range = (Bound::Included(start), Bound::Excluded(end));
        if is_empty(range.0, range.1) {
            return 0;
        }
        let state = self.state.read();
        let pairs = state.keys.range::<[u8], _>(range);
        let sizes = pairs.filter_map(|(key, versions)| Some(key.len() + visible(versions, u64::MAX)?.len()));
        sizes.sum::<usize>() as u64
    }

    fn pin(self: Arc<Self>) -> Box<dyn Pinned> {
        let mut state = self.state.write();
        let (sequence, crashes) = (state.sequence, state.crashes);
        state.pin(sequence);
        drop(state);
        Box::new(MemoryPin { engine: self, sequence, crashes })
    }

    fn stage(self: Arc<Self>, ranges: Vec<KeyRange>) -> Result<Box<dyn Staging>> {
        Ok(Box::new(MemoryStaging { engine: self, ranges, content: WriteBatch::new() }))
    }
}

struct MemoryPin {
    engine: Arc<MemoryEngine>,
    sequence: u64,
    crashes: u64,
}

impl Pinned for MemoryPin {
    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        let mut state = self.engine.state.write();
        if state.crashes != self.crashes {
            return Err(ConsensusError::Storage("a pin does not outlive a crash".to_owned()));
        }
        state.pin(self.sequence);
        let (sequence, crashes) = (self.sequence, self.crashes);
        let options = options.clone();
        Ok(Box::new(MemoryCursor { engine: &self.engine, sequence, crashes, options, at: None }))
    }
}

impl Drop for MemoryPin {
    fn drop(&mut self) {
        self.engine.state.write().unpin_since(self.crashes, self.sequence);
    }
}

struct MemoryStaging {
    engine: Arc<MemoryEngine>,
    ranges: Vec<KeyRange>,
    content: WriteBatch,
}

impl Staging for MemoryStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.content.put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn replace(self: Box<Self>, clear: &[KeyRange], records: &WriteBatch) -> Result<()> {
        let mut batch = WriteBatch::new();
        for range in self.ranges.iter().chain(clear) {
            batch.delete_range(range.start.clone(), end_of(range));
        }
        batch.append(self.content);
        batch.append(records.clone());
        self.engine.write(&batch, Durability::Buffered)?;
        self.engine.flush()
    }
}

struct MemoryCursor<'a> {
    engine: &'a MemoryEngine,
    sequence: u64,
    crashes: u64,
    options: CursorOptions,
    at: Option<(Bytes, Bytes)>,
}

impl MemoryCursor<'_> {
    fn lower(&self) -> Bound<&[u8]> {
        self.options.lower.as_deref().map_or(Bound::Unbounded, Bound::Included)
    }

    fn upper(&self) -> Bound<&[u8]> {
        self.options.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
    }

    fn arrive_first(&mut self, lower: Bound<&[u8]>) -> bool {
        let found = self.engine.state.read().first(lower, self.upper(), self.sequence);
        self.at = found;
        self.at.is_some()
    }

    fn arrive_last(&mut self, upper: Bound<&[u8]>) -> bool {
        let found = self.engine.state.read().last(self.lower(), upper, self.sequence);
        self.at = found;
        self.at.is_some()
    }
}

impl Cursor for MemoryCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        match &self.options.lower {
            Some(lower) if key < &lower[..] => self.seek_to_first(),
            _ => Ok(self.arrive_first(Bound::Included(key))),
        }
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        match &self.options.upper {
            Some(upper) if key >= &upper[..] => self.seek_to_last(),
            _ => Ok(self.arrive_last(Bound::Included(key))),
        }
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        let lower = self.options.lower.clone();
        Ok(self.arrive_first(lower.as_deref().map_or(Bound::Unbounded, Bound::Included)))
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        let upper = self.options.upper.clone();
        Ok(self.arrive_last(upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded)))
    }

    fn next(&mut self) -> Result<bool> {
        let Some((key, _)) = self.at.take() else { return Ok(false) };
        Ok(self.arrive_first(Bound::Excluded(&key)))
    }

    fn prev(&mut self) -> Result<bool> {
        let Some((key, _)) = self.at.take() else { return Ok(false) };
        Ok(self.arrive_last(Bound::Excluded(&key)))
    }

    fn valid(&self) -> bool {
        self.at.is_some()
    }

    fn key(&self) -> &[u8] {
        self.at.as_ref().map_or(&[], |(key, _)| key)
    }

    fn value(&self) -> &[u8] {
        self.at.as_ref().map_or(&[], |(_, value)| value)
    }
}

impl Drop for MemoryCursor<'_> {
    fn drop(&mut self) {
        self.engine.state.write().unpin_since(self.crashes, self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(engine: &MemoryEngine, key: &'static str, value: &'static str, durability: Durability) {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        engine.write(&batch, durability).unwrap();
    }

    #[test]
    fn a_cursor_keeps_its_state_and_old_versions_go_with_it() {
        let engine = MemoryEngine::default();
        put(&engine, "a", "1", Durability::Synced);
        put(&engine, "b", "1", Durability::Synced);
        let mut cursor = engine.cursor(&CursorOptions::default()).unwrap();
        put(&engine, "a", "2", Durability::Synced);
        let mut batch = WriteBatch::new();
        batch.delete("b");
        engine.write(&batch, Durability::Synced).unwrap();

        assert!(cursor.seek(b"a").unwrap());
        assert_eq!(cursor.value(), b"1");
        assert!(cursor.next().unwrap());
        assert_eq!(cursor.key(), b"b");
        assert!(!cursor.next().unwrap() && !cursor.valid());
        drop(cursor);
        assert!(engine.get(b"b").unwrap().is_none());
        let state = engine.state.read();
        assert_eq!(state.keys.len(), 1);
        assert_eq!(state.keys.values().map(Vec::len).sum::<usize>(), 1);
        assert!(state.untidy.is_empty());
    }

    #[test]
    fn a_failed_sync_keeps_what_it_was_told_to_and_the_next_one_works() {
        for kept in [false, true] {
            let storage = MemoryStorage::new();
            put(&storage.raft, "a", "1", Durability::Synced);
            storage.fail_next_sync(kept);
            let mut batch = WriteBatch::new();
            batch.put("a", "2");
            assert!(storage.raft.write(&batch, Durability::Synced).is_err());
            storage.crash();
            assert_eq!(&*storage.raft.get(b"a").unwrap().unwrap(), if kept { b"2" } else { b"1" });
            put(&storage.raft, "a", "3", Durability::Synced);
        }
    }

    #[test]
    fn a_crash_loses_what_was_not_flushed() {
        let engine = MemoryEngine::default();
        put(&engine, "a", "1", Durability::Buffered);
        engine.flush().unwrap();
        put(&engine, "a", "2", Durability::Buffered);
        put(&engine, "b", "2", Durability::Buffered);
        engine.crash();
        assert_eq!(&*engine.get(b"a").unwrap().unwrap(), b"1");
        assert!(engine.get(b"b").unwrap().is_none());
        put(&engine, "b", "3", Durability::Synced);
        engine.crash();
        assert_eq!(&*engine.get(b"b").unwrap().unwrap(), b"3");
    }
}
