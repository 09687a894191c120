//! The raft log of one group, in `raftdb`, with its newest entries in memory as well.
//!
//! ```text
//!   raftdb keys:  group u64 | 0                 the vote
//!                 group u64 | 1                 the id of the last purged entry
//!                 group u64 | 2 | index u64     an entry               (numbers big-endian)
//!
//!   entries:  purged |--- only in raftdb ---|--- in raftdb and memory ---|--- in memory, on their way ---|
//!                                           ^ tail begins                ^ durable                     last
//! ```
//!
//! An appended entry can be read at once, from the tail; it leaves the tail when it is durable and the tail has
//! grown past its limit. A leader reads each entry once to apply it, moments after it was appended, so in
//! steady state nothing is ever read back from `raftdb` or decoded.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use super::log_writer::{Completion, LogWriter};
use super::{Entry, LogId, TypeConfig, Vote, codec};
use crate::engine::{CursorOptions, Engine, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::limits::{LOG_READ_SIZE_BYTES, LOG_TAIL_ENTRIES_MAX, LOG_TAIL_SIZE_BYTES};
use crate::types::ShardId;

const VOTE: u8 = 0;
const PURGED: u8 = 1;
const ENTRY: u8 = 2;

fn record_key(group: ShardId, kind: u8) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.extend_from_slice(&group.0.to_be_bytes());
    key.push(kind);
    Bytes::from(key)
}

fn entry_key(group: ShardId, index: u64) -> Bytes {
    let mut key = Vec::with_capacity(17);
    key.extend_from_slice(&group.0.to_be_bytes());
    key.push(ENTRY);
    key.extend_from_slice(&index.to_be_bytes());
    Bytes::from(key)
}

/// The first key past a group's entries.
fn entries_end(group: ShardId) -> Bytes {
    record_key(group, ENTRY + 1)
}

/// One group's log. Shared by openraft's handles and by the log writer's completions.
pub(crate) struct GroupLog {
    group: ShardId,
    engine: Arc<dyn Engine>,
    writer: Arc<LogWriter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    tail: VecDeque<TailEntry>,
    tail_bytes: usize,
    /// Every entry up to this index is on the disk.
    durable_index: u64,
}

struct TailEntry {
    entry: Entry,
    size_bytes: usize,
}

impl State {
    fn tail_start(&self) -> Option<u64> {
        self.tail.front().map(|first| first.entry.log_id.index)
    }

    fn shrink_tail(&mut self) {
        while self.tail_bytes > LOG_TAIL_SIZE_BYTES || self.tail.len() > LOG_TAIL_ENTRIES_MAX {
            let Some(first) = self.tail.front() else { return };
            if first.entry.log_id.index > self.durable_index {
                return;
            }
            self.tail_bytes -= first.size_bytes;
            self.tail.pop_front();
        }
    }

    fn drop_tail(&mut self, mut keep: impl FnMut(u64) -> bool) {
        self.tail.retain(|tail| keep(tail.entry.log_id.index));
        self.tail_bytes = self.tail.iter().map(|tail| tail.size_bytes).sum();
    }
}

/// A range of indexes as first and last-plus-one.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl GroupLog {
    /// Reads where a group's log begins and ends.
    pub(crate) fn open(group: ShardId, engine: Arc<dyn Engine>, writer: Arc<LogWriter>) -> Result<Arc<Self>> {
        let mut state = State::default();
        if let Some(vote) = engine.get(&record_key(group, VOTE))? {
            state.vote = Some(codec::decode(&vote)?);
        }
        if let Some(purged) = engine.get(&record_key(group, PURGED))? {
            state.purged = Some(codec::decode(&purged)?);
        }
        state.last = state.purged;
        let mut cursor = engine.cursor(&CursorOptions::range(entry_key(group, 0), entries_end(group)))?;
        if cursor.seek_to_last()? {
            let last: Entry = codec::decode(cursor.value())?;
            state.last = state.last.max(Some(last.log_id));
        }
        drop(cursor);
        state.durable_index = state.last.map_or(0, |last| last.index);
        Ok(Arc::new(Self { group, engine, writer, state: Mutex::new(state) }))
    }

    /// Adds the removal of a group's log and vote to a batch.
    pub(crate) fn erase(group: ShardId, batch: &mut WriteBatch) {
        batch.delete_range(record_key(group, VOTE), entries_end(group));
    }

    /// Whether the replica has ever voted, or followed a leader.
    pub(crate) fn has_voted(&self) -> bool {
        self.state.lock().vote.is_some()
    }

    /// Whether nothing was ever appended.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().last.is_none()
    }

    /// The indexes of the last purged entry and of the last entry; zero when there is none.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.purged.map_or(0, |id| id.index), state.last.map_or(0, |id| id.index))
    }

    /// Every entry up to `index` is on the disk now.
    pub(crate) fn durable_up_to(&self, index: u64) {
        let mut state = self.state.lock();
        state.durable_index = state.durable_index.max(index);
        state.shrink_tail();
    }

    /// The entries of `[start, end)`, as many as fit into `size_max_bytes`, but one at least.
    fn read(&self, start: u64, end: u64, size_max_bytes: usize) -> Result<Vec<Entry>> {
        let mut size_bytes = 0;
        let (tail_start, mut from_tail) = {
            let state = self.state.lock();
            let end = end.min(state.last.map_or(0, |last| last.index + 1));
            let tail_start = state.tail_start().unwrap_or(u64::MAX).min(end);
            let mut entries = Vec::new();
            if start >= tail_start && start < end {
                let skipped = usize::try_from(start - tail_start).unwrap_or(usize::MAX);
                for tail in state.tail.iter().skip(skipped) {
                    if tail.entry.log_id.index >= end || (size_bytes > 0 && size_bytes >= size_max_bytes) {
                        break;
                    }
                    size_bytes += tail.size_bytes;
                    entries.push(tail.entry.clone());
                }
            }
            (tail_start, entries)
        };
        if start >= tail_start {
            return Ok(from_tail);
        }
        // What has left the tail is durable, so the engine has it.
        let mut entries = Vec::new();
        let options =
            CursorOptions::range(entry_key(self.group, start), entry_key(self.group, tail_start.min(end)));
        let mut cursor = self.engine.cursor(&options)?;
        let mut more = cursor.seek_to_first()?;
        while more && (size_bytes == 0 || size_bytes < size_max_bytes) {
            size_bytes += cursor.value().len();
            entries.push(codec::decode(cursor.value())?);
            more = cursor.next()?;
        }
        if !more && size_bytes < size_max_bytes && end > tail_start {
            drop(cursor);
            from_tail = self.read(tail_start, end, size_max_bytes - size_bytes)?;
            entries.append(&mut from_tail);
        }
        Ok(entries)
    }
}

/// A handle to a group's log, as openraft wants it.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<GroupLog>);

impl LogStore {
    pub(crate) fn new(log: Arc<GroupLog>) -> Self {
        Self(log)
    }
}

pub(super) fn io_error(error: ConsensusError) -> io::Error {
    match error {
        ConsensusError::DiskFull => io::Error::new(io::ErrorKind::StorageFull, ConsensusError::DiskFull),
        other => io::Error::other(other),
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = bounds(&range);
        self.0.read(start, end, usize::MAX).map_err(io_error)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.read(start, end, LOG_READ_SIZE_BYTES).map_err(io_error)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // In pieces, so that the replay of a long log does not hold all of it in memory.
        let (start, end) = bounds(&range);
        let log = Arc::clone(&self.0);
        futures::stream::unfold((Vec::new().into_iter(), start, false), move |(mut piece, next, failed)| {
            let log = Arc::clone(&log);
            async move {
                if failed {
                    return None;
                }
                if let Some(entry) = Iterator::next(&mut piece) {
                    return Some((Ok(entry), (piece, next, false)));
                }
                if next >= end {
                    return None;
                }
                match log.read(next, end, LOG_READ_SIZE_BYTES) {
                    Ok(entries) => {
                        let mut piece = entries.into_iter();
                        let entry: Entry = Iterator::next(&mut piece)?;
                        let next = piece.as_slice().last().unwrap_or(&entry).log_id.index + 1;
                        Some((Ok(entry), (piece, next, false)))
                    }
                    Err(error) => Some((Err(io_error(error)), (piece, next, true))),
                }
            }
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.state.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.0.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(record_key(self.0.group, VOTE), codec::encode(vote).map_err(io_error)?);
        self.0.writer.write(batch).await?;
        self.0.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::new();
        let mut appended = Vec::new();
        for entry in entries {
            let bytes = codec::encode(&entry).map_err(io_error)?;
            let size_bytes = match &entry.payload {
                EntryPayload::Normal(commands) => commands.size_bytes() + 64,
                EntryPayload::Blank | EntryPayload::Membership(_) => 64,
            };
            batch.put(entry_key(self.0.group, entry.log_id.index), bytes);
            appended.push(TailEntry { entry, size_bytes });
        }
        let Some(last) = appended.last().map(|last| last.entry.log_id()) else {
            flushed.io_completed(Ok(()));
            return Ok(());
        };
        {
            let mut state = self.0.state.lock();
            state.tail_bytes += appended.iter().map(|tail| tail.size_bytes).sum::<usize>();
            state.tail.extend(appended);
            state.last = Some(last);
        }
        let completion = Completion::Append { log: Arc::clone(&self.0), last_index: last.index, flushed };
        self.0.writer.submit(batch, completion);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep_below = last_log_id.map_or(0, |last| last.index + 1);
        let mut batch = WriteBatch::new();
        batch.delete_range(entry_key(self.0.group, keep_below), entries_end(self.0.group));
        {
            let mut state = self.0.state.lock();
            state.drop_tail(|index| index < keep_below);
            if state.last > last_log_id {
                state.last = last_log_id.max(state.purged);
            }
        }
        self.0.writer.write(batch).await?;
        // Only now: until this write, completions of the entries that went could still come in.
        let mut state = self.0.state.lock();
        state.durable_index = state.durable_index.min(keep_below.saturating_sub(1));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(record_key(self.0.group, PURGED), codec::encode(&log_id).map_err(io_error)?);
        batch.delete_range(entry_key(self.0.group, 0), entry_key(self.0.group, log_id.index + 1));
        {
            let mut state = self.0.state.lock();
            state.drop_tail(|index| index > log_id.index);
            state.purged = state.purged.max(Some(log_id));
            state.last = state.last.max(Some(log_id));
            state.durable_index = state.durable_index.max(log_id.index);
        }
        self.0.writer.write(batch).await
    }
}
