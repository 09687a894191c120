//! Writes that outgrow memory.
//!
//! The buffer's writes become provisional versions in their shards (`spilled.rs` tells what these are), in large
//! commands, several of them under way at once. A spilled row stands for its lock: the lock leaves the table,
//! and who wants the row waits for the transaction's end, by the lock that the transaction holds on itself.
//!
//! The transaction does not wait for that. What it has written is handed to a task as a *piece*, and it goes on with an
//! empty buffer; only when that is full too, or at commit, it waits for the piece:
//!
//! ```text
//!   statement   |-- fills --|-- fills --|-- fills --|wait|-- fills ...
//!   task                    |-- piece 1 --|         |
//!                                       |-- piece 2 -----|-- piece 3 ...
//! ```
//!
//! Until a piece is stored, the transaction finds its own writes there: below those in the buffer, above those in the
//! store. Its locks are held for as long. ROLLBACK TO leaves the piece on its way; the commands that it undoes do not
//! count from then on, here as in the store.
//!
//! A piece that failed, or was cut off, is as it was: who waits for it learns why, and the next who does has it written
//! again, above.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared as SharedFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use shardforge_consensus::{Command, ConsensusError, Shard, ShardMap};
use shardforge_runtime::TaskHandle;

use super::{Core, ENDED, SavepointMark, Transaction};
use crate::buffer::{BufferedWrite, WriteBuffer};
use crate::encoding;
use crate::error::{KvError, Result};
use crate::limits::{SPILL_ENTRIES_IN_FLIGHT_MAX, SPILL_ENTRY_BYTES_MAX, SPILL_PIECES};
use crate::locks::{HeldLock, LockMode, LockName, Owner};
use crate::record::Record;
use crate::routing::row_holder;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::{TxnId, WaitPolicy};

/// A piece on its way. Dropped, it goes no further.
pub(super) struct Spilling {
    piece: Arc<Piece>,
    /// Commands from this one on were undone.
    undone_from: u32,
    /// None when it has failed.
    writing: Option<Writing>,
}

/// Writes that are being spilled, and the locks of their rows in the order they were taken. Both are empty when it is
/// done.
struct Piece {
    writes: RwLock<WriteBuffer>,
    locks: Mutex<Vec<HeldLock>>,
}

/// The task that writes a piece.
struct Writing {
    task: TaskHandle<()>,
    outcome: SharedFuture<oneshot::Receiver<Result<()>>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Spilling {
    /// What commands below `command` last wrote to a row, if it is in the piece.
    pub(super) fn get(&self, key: &[u8], command: u32) -> Option<Option<Bytes>> {
        self.piece.writes.read().get(key, command.min(self.undone_from)).cloned()
    }

    /// The piece for a read of what commands below `command` wrote, and the command to read it with; none if none of
    /// them wrote anything of it.
    pub(super) fn seen_by(&self, command: u32) -> Option<(RwLockReadGuard<'_, WriteBuffer>, u32)> {
        let (writes, command) = (self.piece.writes.read(), command.min(self.undone_from));
        writes.has_before(command).then_some((writes, command))
    }

    /// Whether none of these keys is in the piece.
    pub(super) fn is_disjoint<'a>(&self, keys: impl Iterator<Item = &'a Bytes> + Clone) -> bool {
        self.piece.writes.read().is_disjoint(keys)
    }

    /// The writes of `command` and later ones do not count any more.
    pub(super) fn undo_from(&mut self, command: u32) {
        self.undone_from = self.undone_from.min(command);
    }

    /// Takes over the locks from a position on.
    pub(super) fn locks_from(&self, position: u64) -> Vec<HeldLock> {
        let mut locks = self.piece.locks.lock();
        let kept = locks.partition_point(|lock| lock.position < position);
        locks.split_off(kept)
    }
}

impl Transaction {
    /// Begins to spill the buffered writes if they have outgrown memory; costs nothing otherwise. Taking locks does the
    /// same, so only who writes much without a lock has to call it, once every few hundred writes.
    ///
    /// # Errors
    /// When the transaction has ended or the shard fails, which may be about writes of an earlier call.
    pub async fn spill_if_large(&self) -> Result<()> {
        {
            let core = self.core.lock();
            let memory_bytes = self.shared.options.transaction_memory_bytes_max;
            let pieces = if core.spilled.is_some() { SPILL_PIECES } else { 1 };
            if core.buffer.size_bytes() <= memory_bytes / pieces {
                return Ok(());
            }
        }
        Box::pin(self.spill_piece()).await
    }

    /// Begins to spill what is buffered, as soon as nothing else is on its way.
    pub(crate) async fn spill_piece(&self) -> Result<()> {
        self.finish_piece().await?;
        self.begin_spill().await?;
        self.start_piece()?;
        // A statement may run for long before it waits for something, and the task would wait for this thread as long.
        give_way().await;
        Ok(())
    }

    /// Spills all writes; when this returns, they are stored.
    pub(crate) async fn spill_all(&self) -> Result<()> {
        self.finish_piece().await?;
        self.begin_spill().await?;
        self.start_piece()?;
        self.finish_piece().await
    }

    /// Hands what is buffered to a task, if there is no piece on its way.
    fn start_piece(&self) -> Result<()> {
        let mut core = self.active()?;
        if core.spilling.is_some() || core.buffer.is_empty() {
            return Ok(());
        }
        let Core { buffer, locks, savepoints, .. } = &mut *core;
        let mut finder = buffer.finder();
        let mut of_rows = Vec::with_capacity(locks.len());
        of_rows.extend(locks.extract_if(.., |lock| {
            let LockName::Row(key) = &lock.name else { return false };
            finder.find(key).is_some_and(|writes| stands_for(writes, lock, savepoints))
        }));
        let piece = Arc::new(Piece { writes: RwLock::new(buffer.take()), locks: Mutex::new(of_rows) });
        let writing = Some(self.write_piece(&piece));
        core.spilling = Some(Spilling { piece, undone_from: u32::MAX, writing });
        Ok(())
    }

    fn write_piece(&self, piece: &Arc<Piece>) -> Writing {
        let spill = Spill {
            shared: Arc::clone(&self.shared),
            txn: self.id,
            owner: self.owner,
            piece: Arc::clone(piece),
        };
        let (sender, outcome) = oneshot::channel();
        let task = self.shared.runtime.spawn("spill", async move {
            // The transaction may have ended meanwhile.
            let _ended = sender.send(spill.run().await);
        });
        Writing { task, outcome: outcome.shared() }
    }

    /// Waits until nothing of the transaction is on its way to its shards.
    async fn finish_piece(&self) -> Result<()> {
        let (piece, outcome) = {
            let mut core = self.active()?;
            let Some(mut spilling) = core.spilling.take() else { return Ok(()) };
            let writing = spilling.writing.take().unwrap_or_else(|| self.write_piece(&spilling.piece));
            let under_way = (Arc::clone(&spilling.piece), writing.outcome.clone());
            core.spilling = Some(Spilling { writing: Some(writing), ..spilling });
            under_way
        };
        // Without an outcome: the runtime has ended.
        let outcome = outcome.await.unwrap_or(Err(KvError::ShuttingDown));
        let mut core = self.core.lock();
        if let Some(mut spilling) = core.spilling.take_if(|spilling| Arc::ptr_eq(&spilling.piece, &piece))
            && outcome.is_err()
        {
            spilling.writing = None;
            core.spilling = Some(spilling);
        }
        outcome
    }

    /// Before the first spill: the record, and the lock that others wait for.
    async fn begin_spill(&self) -> Result<()> {
        let anchor = {
            let mut core = self.active()?;
            if core.spilled.is_some() {
                return Ok(());
            }
            if core.touched.first().is_none() {
                // Nothing to spill, but it was asked for; any shard will do.
                self.touch(&mut core, &[])?;
            }
            core.touched.first().ok_or(ENDED)?.id()
        };
        let name = LockName::Transaction(self.id);
        let lock = self.shared.acquire(name, LockMode::Running, self.owner, WaitPolicy::NoWait).await?;
        {
            let mut core = self.active()?;
            // At the front: rolling back to a savepoint does not release it.
            core.locks.splice(0..0, lock);
            core.spilled = Some(anchor);
            self.shared.spilled.begin(self.id);
            self.shared.counters.spills.fetch_add(1, Ordering::Relaxed);
        }
        let key = anchor.local_key(&encoding::record_key(self.id));
        let puts = vec![(key, Bytes::from(Record::pending().encode()))];
        self.shared.propose_local(anchor, Command { puts, ..Command::default() }).await
    }
}

/// Whether a row's writes, once spilled, do what its lock does: as long as they stand, and ROLLBACK TO may undo them
/// without the lock.
fn stands_for(writes: &[BufferedWrite], lock: &HeldLock, savepoints: &[SavepointMark]) -> bool {
    let later = savepoints.partition_point(|mark| mark.lock_position <= lock.position);
    let Some(first) = writes.first() else { return false };
    savepoints.get(later).is_none_or(|mark| first.command < mark.command)
}

/// Lets the runtime's other threads have the tasks that this one has started.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the task that writes a piece works on.
struct Spill {
    shared: Arc<Shared>,
    txn: TxnId,
    owner: Owner,
    piece: Arc<Piece>,
}

impl Spill {
    async fn run(self) -> Result<()> {
        let depth = self.piece.writes.read().depth();
        let first_ts = self.shared.clock.reserve(depth.max(1) as u64);
        // What a shard refused because it was split is written again with all the rest, at the same timestamps.
        while let Some(shard) = self.write_from(first_ts).await? {
            self.shared.node.rerouted(&shard).await?;
        }
        let locks = std::mem::take(&mut *self.piece.locks.lock());
        for lock in &locks {
            self.shared.locks.release(lock, self.owner);
        }
        let written = std::mem::take(&mut *self.piece.writes.write());
        drop(written);
        Ok(())
    }

    /// Writes the piece to its shards. Returns one that was split meanwhile, if one was.
    async fn write_from(&self, first_ts: Timestamp) -> Result<Option<Arc<Shard>>> {
        let map = self.shared.node.shards();
        let mut from = Some(Bytes::new());
        let mut in_flight = FuturesUnordered::new();
        let mut moved = None;
        loop {
            while in_flight.len() < SPILL_ENTRIES_IN_FLIGHT_MAX
                && moved.is_none()
                && let Some(start) = from
            {
                let chunk = self.encode(&start, first_ts, &map)?;
                from = chunk.as_ref().and_then(|chunk| chunk.next.clone());
                if let Some(SpillChunk { shard, command, .. }) = chunk {
                    let store = &self.shared;
                    in_flight.push(async move { (store.propose(&shard, command).await, shard) });
                }
            }
            match in_flight.next().await {
                None => return Ok(moved),
                Some((Err(ConsensusError::Moved { .. }), shard)) => moved = Some(shard),
                Some((outcome, _)) => drop(outcome?),
            }
        }
    }

    /// Writes from a key on as provisional versions, as many as fit into one command for one shard, and the key to go on
    /// from. Writes of one key get rising timestamps in the order of their commands.
    fn encode(&self, start: &[u8], first_ts: Timestamp, map: &ShardMap) -> Result<Option<SpillChunk>> {
        let writes = self.piece.writes.read();
        let Some((first, _)) = writes.iter_from(start).next() else { return Ok(None) };
        let shard = Arc::clone(row_holder(map, first)?);
        let mut puts = Vec::new();
        // One allocation for nearly all keys and values.
        let mut arena = BytesMut::with_capacity(SPILL_ENTRY_BYTES_MAX + SPILL_ENTRY_BYTES_MAX / 16);
        let mut size_bytes = 0;
        let mut next = None;
        for (key, writes) in writes.iter_from(start) {
            let prefix = encoding::row_prefix(key);
            if size_bytes >= SPILL_ENTRY_BYTES_MAX || !shard.range().contains(&prefix) {
                next = Some(key.clone());
                break;
            }
            for (ts, write) in (first_ts.as_u64()..).zip(writes) {
                let mut encoded = prefix.clone();
                encoding::push_suffix(&mut encoded, Timestamp::from_u64(ts));
                arena.extend_from_slice(&encoded);
                let key = arena.split().freeze();
                encoding::push_provisional_value(&mut arena, self.txn, write.command, write.value.as_deref());
                let value = arena.split().freeze();
                size_bytes += key.len() + value.len();
                puts.push((key, value));
            }
        }
        let command = Command { puts, ..Command::default() };
        Ok(Some(SpillChunk { shard, command, next }))
    }
}

/// A part of a spill.
struct SpillChunk {
    shard: Arc<Shard>,
    command: Command,
    next: Option<Bytes>,
}

#[cfg(test)]
mod tests;
