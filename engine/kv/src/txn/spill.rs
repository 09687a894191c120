//! Writes that outgrow memory.
//!
//! The buffer's writes become provisional versions in the shard (`spilled.rs` tells what these are), in large
//! commands, several of them under way at once. A spilled row stands for its lock: the lock leaves the table,
//! and who wants the row waits for the transaction's end, by the lock that the transaction holds on itself.
//!
//! A spill that is cut off leaves the buffer as it was; what it wrote is written again by the next one, above.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use shardforge_consensus::Command;

use super::Transaction;
use crate::buffer::WriteBuffer;
use crate::encoding;
use crate::error::Result;
use crate::limits::{SPILL_ENTRIES_IN_FLIGHT_MAX, SPILL_ENTRY_BYTES_MAX};
use crate::locks::{HeldLock, LockMode, LockName};
use crate::record::{IgnoredCommands, Record, RecordStatus};
use crate::store::put;
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
        let (term, depth) = {
            let core = self.active()?;
            (core.term, core.buffer.depth())
        };
        let first_ts = self.shared.clock.reserve(depth.max(1) as u64);
        let shard = self.shared.record_shard()?;
        let mut from = Some(Bytes::new());
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < SPILL_ENTRIES_IN_FLIGHT_MAX
                && let Some(start) = from
            {
                let puts;
                (puts, from) = self.encode_spill(&self.active()?.buffer, &start, first_ts);
                let command = Command { expected_term: term, puts, ..Command::default() };
                in_flight.push(self.shared.propose(shard, command));
            }
            match in_flight.next().await {
                None => break,
                Some(outcome) => outcome?,
            }
        }
        drop(in_flight);
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

    /// Before the first spill: the record, and the lock that others wait for.
    async fn begin_spill(&self) -> Result<()> {
        let term = {
            let mut core = self.active()?;
            if core.spilled {
                return Ok(());
            }
            self.remember_term(&mut core)?;
            core.term
        };
        let name = LockName::Transaction(self.id);
        let lock = self.shared.acquire(name, LockMode::Running, self.owner, WaitPolicy::NoWait).await?;
        {
            let mut core = self.active()?;
            // At the front: rolling back to a savepoint does not release it.
            core.locks.splice(0..0, lock);
            core.spilled = true;
            self.shared.spilled.begin(self.id);
            self.shared.counters.spills.fetch_add(1, Ordering::Relaxed);
        }
        let (status, ignored) = (RecordStatus::Pending, IgnoredCommands::default());
        let record = Record { status, commit_ts: Timestamp::MIN, ignored };
        let puts = vec![put(&encoding::record_key(self.id), record.encode())];
        let shard = self.shared.record_shard()?;
        self.shared.propose(shard, Command { expected_term: term, puts, ..Command::default() }).await
    }

    /// Buffered writes from a key on as provisional versions, as many as fit into one command, and the key to go on
    /// from. Writes of one key get rising timestamps in the order of their commands.
    fn encode_spill(
        &self,
        buffer: &WriteBuffer,
        start: &[u8],
        first_ts: Timestamp,
    ) -> (Vec<(Bytes, Bytes)>, Option<Bytes>) {
        let mut puts = Vec::new();
        // One allocation for nearly all keys and values.
        let mut arena = BytesMut::with_capacity(SPILL_ENTRY_BYTES_MAX + SPILL_ENTRY_BYTES_MAX / 16);
        let mut size_bytes = 0;
        for (key, writes) in buffer.iter_from(start) {
            if size_bytes >= SPILL_ENTRY_BYTES_MAX {
                return (puts, Some(key.clone()));
            }
            let prefix = encoding::row_prefix(key);
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
        (puts, None)
    }
}
