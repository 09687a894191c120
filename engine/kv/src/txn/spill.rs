//! Writes that outgrow memory.
//!
//! The buffer's writes become provisional versions in their shards (`spilled.rs` tells what these are), in large
//! commands, several of them under way at once. A spilled row stands for its lock: the lock leaves the table,
//! and who wants the row waits for the transaction's end, by the lock that the transaction holds on itself.
//!
//! A spill that is cut off leaves the buffer as it was; what it wrote is written again by the next one, above.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use shardforge_consensus::{Command, ConsensusError, Shard, ShardMap};

use super::{ENDED, Transaction};
use crate::encoding;
use crate::error::Result;
use crate::limits::{SPILL_ENTRIES_IN_FLIGHT_MAX, SPILL_ENTRY_BYTES_MAX};
use crate::locks::{HeldLock, LockMode, LockName};
use crate::record::Record;
use crate::routing::row_holder;
use crate::time::Timestamp;
use crate::types::WaitPolicy;

impl Transaction {
    /// Spills the buffered writes if they have outgrown memory; costs nothing otherwise. Taking locks does the
    /// same, so only who writes much without a lock has to call it, once every few hundred writes.
    ///
    /// # Errors
    /// When the transaction has ended or the shard fails.
    pub async fn spill_if_large(&self) -> Result<()> {
        if self.core.lock().buffer.size_bytes() <= self.shared.options.transaction_memory_bytes_max {
            return Ok(());
        }
        self.spill_all().await
    }

    pub(crate) async fn spill_all(&self) -> Result<()> {
        self.begin_spill().await?;
        let depth = self.active()?.buffer.depth();
        let first_ts = self.shared.clock.reserve(depth.max(1) as u64);
        // What a shard refused because it was split is written again with all the rest, at the same timestamps.
        while let Some(shard) = self.spill_from(first_ts).await? {
            self.shared.node.rerouted(&shard).await?;
        }
        let released = {
            let mut core = self.active()?;
            let (released, kept): (Vec<HeldLock>, Vec<HeldLock>) =
                std::mem::take(&mut core.locks).into_iter().partition(|lock| {
                    matches!(&lock.name, LockName::Row(key) if core.buffer.get(key, u32::MAX).is_some())
                });
            core.locks = kept;
            core.buffer.clear();
            released
        };
        self.release_locks(&released);
        Ok(())
    }

    /// Writes the buffer to its shards. Returns one that was split meanwhile, if one was.
    async fn spill_from(&self, first_ts: Timestamp) -> Result<Option<Arc<Shard>>> {
        let map = self.shared.node.shards();
        let mut from = Some(Bytes::new());
        let mut in_flight = FuturesUnordered::new();
        let mut moved = None;
        loop {
            while in_flight.len() < SPILL_ENTRIES_IN_FLIGHT_MAX
                && moved.is_none()
                && let Some(start) = from
            {
                let chunk = self.encode_spill(&start, first_ts, &map)?;
                from = chunk.as_ref().and_then(|chunk| chunk.next.clone());
                if let Some(SpillChunk { shard, command, .. }) = chunk {
                    in_flight.push(async move { (shard.propose(command).await, shard) });
                }
            }
            match in_flight.next().await {
                None => return Ok(moved),
                Some((Err(ConsensusError::Moved { .. }), shard)) => moved = Some(shard),
                Some((outcome, _)) => drop(outcome?),
            }
        }
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
        // No term: it says nothing but that there is such a transaction.
        let key = anchor.local_key(&encoding::record_key(self.id));
        let puts = vec![(key, Bytes::from(Record::pending().encode()))];
        self.shared.propose_local(anchor, Command { puts, ..Command::default() }).await
    }

    /// Buffered writes from a key on as provisional versions, as many as fit into one command for one shard, and the key
    /// to go on from. Writes of one key get rising timestamps in the order of their commands.
    fn encode_spill(&self, start: &[u8], first_ts: Timestamp, map: &ShardMap) -> Result<Option<SpillChunk>> {
        let core = self.active()?;
        let Some((first, _)) = core.buffer.iter_from(start).next() else { return Ok(None) };
        let shard = Arc::clone(row_holder(map, first)?);
        let term = core.touched.term_in(&shard, map)?;
        let mut puts = Vec::new();
        // One allocation for nearly all keys and values.
        let mut arena = BytesMut::with_capacity(SPILL_ENTRY_BYTES_MAX + SPILL_ENTRY_BYTES_MAX / 16);
        let mut size_bytes = 0;
        let mut next = None;
        for (key, writes) in core.buffer.iter_from(start) {
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
                encoding::push_provisional_value(&mut arena, self.id, write.command, write.value.as_deref());
                let value = arena.split().freeze();
                size_bytes += key.len() + value.len();
                puts.push((key, value));
            }
        }
        let command = Command { expected_term: Some(term), puts, ..Command::default() };
        Ok(Some(SpillChunk { shard, command, next }))
    }
}

/// A part of a spill.
struct SpillChunk {
    shard: Arc<Shard>,
    command: Command,
    next: Option<Bytes>,
}
