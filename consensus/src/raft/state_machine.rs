//! A shard's state machine: carries out committed commands on `kvdb`.
//!
//! ```text
//!   kvdb keys of this node's own records (never in any shard's range):
//!     00 'a' shard u64     the id of the last entry applied
//!     00 'm' shard u64     the last membership
//!     00 'd' shard u64     the extent, see extent.rs
//! ```
//!
//! `kvdb` has no log of its own. Each write carries the data of its entries and the id of the last of them, so
//! whatever point a crash goes back to is one that an entry's id names exactly, and raft replays from there.
//!
//! A split changes what the shard is: from its place in the log on, the shard ends earlier, and the shard right of it
//! exists. The write that says so is reported to the node, which starts the new shard's replica; nothing of that one's
//! log can come before, so no write of the left log comes after it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use parking_lot::Mutex;

use super::batch::Effect;
use super::log_store::io_error;
use super::snapshot::{SnapshotBuilder, SnapshotData};
use super::{BatchOutcome, LogId, SnapshotMeta, StoredMembership, TypeConfig, codec};
use crate::engine::{Durability, Engine, WriteBatch};
use crate::error::Result;
use crate::extent::{Extent, node_key};
use crate::failure::Failure;
use crate::limits::APPLY_SIZE_BYTES;
use crate::types::KeyRange;

const APPLIED: u8 = b'a';
const MEMBERSHIP: u8 = b'm';

/// A replica has applied a split.
#[derive(Debug)]
pub(crate) struct SplitReport {
    /// What is left of the shard.
    pub left: Extent,
    /// The shard that has come to be.
    pub right: Extent,
    /// The term of the split's entry.
    pub term: u64,
}

/// How far a replica has come; read by everyone without locks.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The index of the last entry applied.
    pub applied_index: AtomicU64,
    /// The term of the last blank entry applied: a leader begins its term with one.
    pub opened_term: AtomicU64,
    /// Woken when either moves past a leader's first entry.
    pub opened: tokio::sync::Notify,
}

/// See the module's essay.
pub(crate) struct StateMachine {
    extent: Extent,
    splits: UnboundedSender<SplitReport>,
    engine: Arc<dyn Engine>,
    applied: Option<LogId>,
    membership: StoredMembership,
    progress: Arc<Progress>,
    failure: Arc<Failure>,
    /// What was applied when `kvdb` was last flushed for all shards together, if a snapshot is to be made of it.
    flushed: Option<SnapshotMeta>,
    taken: Arc<Mutex<Option<SnapshotMeta>>>,
    /// Lives as long as this does.
    alive: Arc<()>,
}

impl StateMachine {
    /// Reads how far the replica had come.
    pub(crate) fn open(
        extent: Extent,
        splits: UnboundedSender<SplitReport>,
        engine: Arc<dyn Engine>,
        progress: Arc<Progress>,
        failure: Arc<Failure>,
    ) -> Result<Self> {
        let applied = match engine.get(&node_key(APPLIED, extent.shard))? {
            Some(bytes) => Some(codec::decode(&bytes)?),
            None => None,
        };
        let membership = match engine.get(&node_key(MEMBERSHIP, extent.shard))? {
            Some(bytes) => codec::decode(&bytes)?,
            None => StoredMembership::default(),
        };
        progress.applied_index.store(applied.map_or(0, |id: LogId| id.index), Ordering::Release);
        Ok(Self {
            extent,
            splits,
            engine,
            applied,
            membership,
            progress,
            failure,
            flushed: None,
            taken: Arc::default(),
            alive: Arc::default(),
        })
    }

    /// Cannot be upgraded once the state machine is gone.
    pub(crate) fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }

    /// What has been applied, as a snapshot's mark.
    pub(crate) fn mark(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    /// Says that `kvdb` has been flushed since it was at `mark`: the next snapshot is made of that, and does not
    /// flush again.
    pub(crate) fn set_flushed(&mut self, mark: SnapshotMeta) {
        self.flushed = Some(mark);
    }

    /// All that the shard holds: its local space and its range.
    fn ranges(&self) -> [KeyRange; 2] {
        [self.extent.shard.local_space(), self.extent.range.clone()]
    }

    fn data(&self) -> SnapshotData {
        SnapshotData::Here { engine: Arc::clone(&self.engine), ranges: self.ranges() }
    }

    /// Writes what has been gathered, and answers those who wait for it.
    fn write(&mut self, gathered: &mut Gathered) -> Result<()> {
        let Some(last) = gathered.last.take() else { return Ok(()) };
        let mut batch = std::mem::take(&mut gathered.batch);
        batch.put(node_key(APPLIED, self.extent.shard), codec::encode(&last)?);
        if let Some(membership) = gathered.membership.take() {
            batch.put(node_key(MEMBERSHIP, self.extent.shard), codec::encode(&membership)?);
            self.membership = membership;
        }
        self.engine.write(&batch, Durability::Buffered)?;
        self.applied = Some(last);
        self.progress.applied_index.store(last.index, Ordering::Release);
        // Before it counts as opened: who opens the node then finds all splits that were replayed.
        for report in gathered.splits.drain(..) {
            // Nobody takes it when the node is stopping; the next open finds the extents.
            let _stopping = self.splits.unbounded_send(report);
        }
        if let Some(term) = gathered.opened_term.take() {
            self.progress.opened_term.store(term, Ordering::Release);
            self.progress.opened.notify_waiters();
        }
        for (responder, outcome) in gathered.replies.drain(..) {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn apply_all<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut gathered = Gathered::default();
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id;
            gathered.last = Some(id);
            let mut outcome = BatchOutcome::default();
            match entry.payload {
                EntryPayload::Blank => gathered.opened_term = Some(id.leader_id.term),
                EntryPayload::Membership(membership) => {
                    gathered.membership = Some(StoredMembership::new(Some(id), membership));
                }
                EntryPayload::Normal(commands) => {
                    let term = id.leader_id.term;
                    for (position, command) in (0..).zip(&commands.commands) {
                        let effect = command.apply(term, self.extent.generation, &mut gathered.batch);
                        match effect.map_err(io_error)? {
                            Effect::Written => {}
                            Effect::OtherTerm => outcome.rejected.push(position),
                            Effect::OtherGeneration => outcome.moved.push(position),
                            Effect::Split { at, right } => match self.extent.split(&at, right) {
                                Some(right) => gathered.split(&self.extent, right, term).map_err(io_error)?,
                                None => outcome.moved.push(position),
                            },
                        }
                    }
                }
            }
            if let Some(responder) = responder {
                gathered.replies.push((responder, outcome));
            }
            if gathered.batch.size_bytes() >= APPLY_SIZE_BYTES {
                self.write(&mut gathered).map_err(io_error)?;
            }
        }
        self.write(&mut gathered).map_err(io_error)
    }
}

/// Entries that will be one write.
#[derive(Default)]
struct Gathered {
    batch: WriteBatch,
    last: Option<LogId>,
    membership: Option<StoredMembership>,
    opened_term: Option<u64>,
    splits: Vec<SplitReport>,
    replies: Vec<(ApplyResponder<TypeConfig>, BatchOutcome)>,
}

impl Gathered {
    /// The shard has become two.
    fn split(&mut self, left: &Extent, right: Extent, term: u64) -> Result<()> {
        left.store(&mut self.batch)?;
        right.store(&mut self.batch)?;
        self.splits.push(SplitReport { left: left.clone(), right, term });
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let result = self.apply_all(entries).await;
        if let Err(error) = &result {
            self.failure.report(&format!(
                "could not apply committed entries of shard {}: {error}",
                self.extent.shard
            ));
        }
        result
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (meta, flush) = match self.flushed.take() {
            Some(mark) => (mark, None),
            None => (self.mark(), Some(Arc::clone(&self.engine))),
        };
        SnapshotBuilder { meta, data: self.data(), flush, taken: Arc::clone(&self.taken) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let content = snapshot.into_content().map_err(io_error)?;
        let mut batch = WriteBatch::new();
        for KeyRange { start, end } in self.ranges() {
            // A shard without an end reaches up to the last possible key.
            batch.delete_range(start, end.unwrap_or_else(|| Bytes::from_static(&[0xff; 32])));
        }
        for (key, value) in content.into_pairs() {
            batch.put(key, value);
        }
        if let Some(last) = &meta.last_log_id {
            batch.put(node_key(APPLIED, self.extent.shard), codec::encode(last).map_err(io_error)?);
        }
        let membership = codec::encode(&meta.last_membership).map_err(io_error)?;
        batch.put(node_key(MEMBERSHIP, self.extent.shard), membership);
        self.engine.write(&batch, Durability::Buffered).map_err(io_error)?;
        // The log that would lead here is gone, so this must not be lost.
        self.engine.flush().map_err(io_error)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.progress.applied_index.store(meta.last_log_id.map_or(0, |id| id.index), Ordering::Release);
        *self.taken.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        let meta = self.taken.lock().clone();
        Ok(meta.map(|meta| SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot: self.data() }))
    }
}
