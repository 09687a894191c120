//! A shard's state machine: carries out committed commands on `kvdb`.
//!
//! ```text
//!   kvdb keys of this node's own records (never in any shard's range):
//!     00 'a' shard u64     the id of the last entry applied
//!     00 'm' shard u64     the last membership
//! ```
//!
//! `kvdb` has no log of its own. Each write carries the data of its entries and the id of the last of them, so
//! whatever point a crash goes back to is one that an entry's id names exactly, and raft replays from there.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use parking_lot::Mutex;

use super::log_store::io_error;
use super::snapshot::{SnapshotBuilder, SnapshotData};
use super::{BatchOutcome, LogId, SnapshotMeta, StoredMembership, TypeConfig, codec};
use crate::engine::{Durability, Engine, WriteBatch};
use crate::error::Result;
use crate::failure::Failure;
use crate::limits::APPLY_SIZE_BYTES;
use crate::types::{KeyRange, ShardId};

const LOCAL: u8 = 0x00;

fn local_key(kind: u8, shard: ShardId) -> Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend_from_slice(&[LOCAL, kind]);
    key.extend_from_slice(&shard.0.to_be_bytes());
    Bytes::from(key)
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
    shard: ShardId,
    range: KeyRange,
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
        shard: ShardId,
        range: KeyRange,
        engine: Arc<dyn Engine>,
        progress: Arc<Progress>,
        failure: Arc<Failure>,
    ) -> Result<Self> {
        let applied = match engine.get(&local_key(b'a', shard))? {
            Some(bytes) => Some(codec::decode(&bytes)?),
            None => None,
        };
        let membership = match engine.get(&local_key(b'm', shard))? {
            Some(bytes) => codec::decode(&bytes)?,
            None => StoredMembership::default(),
        };
        progress.applied_index.store(applied.map_or(0, |id: LogId| id.index), Ordering::Release);
        Ok(Self {
            shard,
            range,
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

    /// Writes what has been gathered, and answers those who wait for it.
    fn write(&mut self, gathered: &mut Gathered) -> Result<()> {
        let Some(last) = gathered.last.take() else { return Ok(()) };
        let mut batch = std::mem::take(&mut gathered.batch);
        batch.put(local_key(b'a', self.shard), codec::encode(&last)?);
        if let Some(membership) = gathered.membership.take() {
            batch.put(local_key(b'm', self.shard), codec::encode(&membership)?);
            self.membership = membership;
        }
        self.engine.write(batch, Durability::Buffered)?;
        self.applied = Some(last);
        self.progress.applied_index.store(last.index, Ordering::Release);
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
                    for (position, command) in (0..).zip(&commands.commands) {
                        let fits = command.apply(id.leader_id.term, &mut gathered.batch).map_err(io_error)?;
                        if !fits {
                            outcome.rejected.push(position);
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
    replies: Vec<(ApplyResponder<TypeConfig>, BatchOutcome)>,
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
            self.failure
                .report(&format!("could not apply committed entries of shard {}: {error}", self.shard));
        }
        result
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (meta, flush) = match self.flushed.take() {
            Some(mark) => (mark, None),
            None => (self.mark(), Some(Arc::clone(&self.engine))),
        };
        SnapshotBuilder {
            meta,
            data: SnapshotData::Here { engine: Arc::clone(&self.engine), range: self.range.clone() },
            flush,
            taken: Arc::clone(&self.taken),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let content = snapshot.into_content().map_err(io_error)?;
        let mut batch = WriteBatch::new();
        // A shard without an end reaches up to the last possible key.
        let end = self.range.end.clone().unwrap_or_else(|| Bytes::from_static(&[0xff; 32]));
        batch.delete_range(self.range.start.clone(), end);
        for (key, value) in content.into_pairs() {
            batch.put(key, value);
        }
        if let Some(last) = &meta.last_log_id {
            batch.put(local_key(b'a', self.shard), codec::encode(last).map_err(io_error)?);
        }
        batch.put(local_key(b'm', self.shard), codec::encode(&meta.last_membership).map_err(io_error)?);
        self.engine.write(batch, Durability::Buffered).map_err(io_error)?;
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
        Ok(meta.map(|meta| SnapshotOf::<TypeConfig, SnapshotData> {
            meta,
            snapshot: SnapshotData::Here { engine: Arc::clone(&self.engine), range: self.range.clone() },
        }))
    }
}
