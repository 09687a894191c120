//! Preparing a transaction, and ending one that is prepared: two-phase commit with somebody else as the coordinator.
//!
//! ```text
//!   prepare      the deciding checks of a commit -> a command to each shard that was touched, all at once: provisional
//!                versions + a mark, or the record in the anchor: PREPARED, and all that the transaction holds
//!                -> all applied: prepared. Its locks are its own from here on, not its session's
//!
//!   commit       take the commit timestamp -> one command to the anchor: the record is COMMITTED
//!                -> applied: the versions count, locks handed over
//!   roll back    one command to the anchor: the record is PENDING, as that of a transaction that died
//!                -> applied: locks handed over; what it has left is removed
//! ```
//!
//! So it is one round each time. The versions of a prepared transaction lie at the timestamp at which it was prepared, below
//! its commit; `resolve.rs` rewrites them when no snapshot is left that could tell the difference. They are found by the
//! record's list of rows. A transaction that had spilled, or has more rows than are listed, leaves its versions as they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use shardforge_consensus::{Command, ShardId};

use super::commit::{Commit, CommitHook, RECEIPT_FORMAT, ToTheEnd, Written};
use super::{ENDED, Transaction};
use crate::buffer::WriteBuffer;
use crate::encoding;
use crate::error::{KvError, Result};
use crate::gc::Abandoned;
use crate::limits::PREPARED_HOLDINGS_BYTES_MAX;
use crate::locks::LockName;
use crate::pending::PendingCommit;
use crate::prepared::{Prepared, PreparedInfo, PreparedTransaction, Reservation};
use crate::record::{Holdings, Record, RecordStatus};
use crate::resolve::Resolution;
use crate::spilled::SpillStatus;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::{CommitInfo, TxnId};
use crate::watched::Watched;

impl Transaction {
    /// Prepares the transaction: it is done, whatever happens, but for the word whether it is committed, and that
    /// [`crate::Store::claim_prepared`] lets anybody give who knows its `name`. Its locks stay; no session has them.
    /// `payload` is kept with it.
    ///
    /// # Errors
    /// `NameInUse`, `TooManyPrepared`, `TooManyLocks`, and those of [`Self::commit`]. The transaction is rolled back then.
    pub async fn prepare(&self, name: Bytes, payload: Bytes) -> Result<()> {
        let reserved = match self.before_prepare(name).await {
            Ok(reserved) => reserved,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        let (commit, buffer) = self.take_apart()?;
        let runtime = self.shared.runtime.clone();
        let finish = |future| runtime.spawn("preparing for a closed session", future);
        ToTheEnd::new(commit.prepare(buffer, reserved, payload), finish).await
    }

    async fn before_prepare(&self, name: Bytes) -> Result<Reservation> {
        drop(self.active()?);
        let reserved = Reservation::new(&self.shared, name)?;
        self.make_ready().await?;
        if self.holdings_bytes()? > PREPARED_HOLDINGS_BYTES_MAX {
            // Then what it has written stands for its locks.
            self.spill_all().await?;
            if self.holdings_bytes()? > PREPARED_HOLDINGS_BYTES_MAX {
                return Err(KvError::TooManyLocks);
            }
        }
        let mut core = self.active()?;
        if core.touched.first().is_none() {
            // Any shard will do for its record.
            self.touch(&mut core, &[])?;
        }
        drop(core);
        Ok(reserved)
    }

    /// Bytes of what a record would hold of the transaction's locks and reads, about.
    fn holdings_bytes(&self) -> Result<usize> {
        let core = self.active()?;
        let of_lock = |name: &LockName| match name {
            LockName::Row(key) => key.len() + 8,
            LockName::Object(_) | LockName::Transaction(_) => 16,
        };
        Ok(core.locks.iter().map(|lock| of_lock(&lock.name)).sum::<usize>() + core.reads.size_bytes())
    }
}

impl Commit {
    /// Writes the transaction to its shards, and leaves it there to be ended.
    async fn prepare(mut self, buffer: WriteBuffer, reserved: Reservation, payload: Bytes) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let txn = self.txn;
        let writes = PendingCommit::new(txn, buffer.into_final(), self.spilled.is_some());
        let info = PreparedInfo { txn, name: reserved.name(), payload };
        self.holdings = Some(Holdings {
            name: info.name.clone(),
            payload: info.payload.clone(),
            locks: self.locks.iter().map(|lock| (lock.name.clone(), lock.modes)).collect(),
            reads: self.reads.as_ref().map(|reads| reads.ranges().to_vec()),
        });
        // Readers ask for it as soon as they can meet its versions.
        shared.spilled.prepared(txn, self.spilled.is_some());
        shared.pending.register(&writes);
        shared.watched.overtake(&writes, &shared.clock);
        let watched = Watched {
            txn,
            reads: self.reads.as_ref().map(|reads| reads.ranges().to_vec()).unwrap_or_default(),
            writes: self.listed_rows(&writes),
            overtaken: None,
            committed: None,
        };
        shared.watched.watch(watched, self.read_ts, &shared.pending);
        let versions_ts = shared.clock.now();
        let outcome = self.replicate(&writes, versions_ts, false).await;
        writes.finish(outcome.is_ok());
        shared.pending.unregister(&writes);
        let (anchor, shards) = match outcome {
            Ok(Written::ToSeveral { anchor, others }) => (anchor, others),
            Ok(Written::ToOneShard) => {
                return Err(KvError::InvalidState("a prepared transaction has a record"));
            }
            Err(error) => {
                shared.spilled.remove(txn);
                shared.watched.forget(txn);
                shared.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
                if error.is_ambiguous() {
                    shared.stop();
                }
                return Err(error);
            }
        };
        let locks = std::mem::take(&mut self.locks);
        for lock in &locks {
            shared.locks.hand_over(lock, self.owner, Prepared::owner(txn));
        }
        let (ignored, rows) = (shared.spilled.ignored(txn), self.listed_rows(&writes));
        let record = Record { versions_ts, ignored, shards, rows, ..Record::pending() };
        let moves = std::mem::take(&mut self.moves);
        reserved.fill(Prepared { info, locks, anchor, record, moves });
        Ok(())
    }
}

impl PreparedTransaction {
    /// What is known of it.
    #[must_use]
    pub fn info(&self) -> Option<&PreparedInfo> {
        self.prepared.as_ref().map(|prepared| &prepared.info)
    }

    /// Commits it; calls `hook` as [`Transaction::commit_with`] does.
    ///
    /// # Errors
    /// When it fails the transaction is still prepared, except for [`KvError::Ambiguous`]; the hook has not been called.
    pub async fn commit_with(self, hook: impl FnOnce(Timestamp) + Send + 'static) -> Result<CommitInfo> {
        let runtime = self.shared.runtime.clone();
        let finish = |future| runtime.spawn("commit of a closed session", future);
        ToTheEnd::new(self.commit(Box::new(hook)), finish).await
    }

    async fn commit(mut self, hook: CommitHook) -> Result<CommitInfo> {
        let shared = Arc::clone(&self.shared);
        let prepared = self.prepared.as_ref().ok_or(ENDED)?;
        let (txn, anchor) = (prepared.info.txn, prepared.anchor);
        let commit = PendingCommit::new(txn, Vec::new(), false);
        // Who meets its versions from here on, and may have to see them, waits.
        shared.spilled.committing(txn, &commit);
        shared.pending.register(&commit);
        let commit_ts = shared.clock.now();
        commit.choose(commit_ts);
        let record = Record { status: RecordStatus::Committed, commit_ts, ..prepared.record.clone() };
        let receipt = anchor.local_key(&encoding::receipt_key(commit_ts, txn));
        let receipt = vec![(receipt, Bytes::from_static(&[RECEIPT_FORMAT]))];
        let has_moved = !prepared.moves.is_empty();
        if has_moved {
            shared.moved.add(commit_ts, prepared.moves.clone());
        }
        let outcome = decide(&shared, txn, anchor, &record, receipt).await;
        if has_moved && outcome.is_err() {
            shared.moved.remove(commit_ts);
        }
        match &outcome {
            Ok(()) => {
                shared.last_commit.fetch_max(commit_ts.as_u64(), Ordering::SeqCst);
                shared.counters.commits.fetch_add(1, Ordering::Relaxed);
                shared.watched.committed(txn, commit_ts);
                let is_listed = record.rows.is_some();
                let status = if is_listed { SpillStatus::Resolving } else { SpillStatus::Committed };
                shared.spilled.committed(txn, status(commit_ts));
                hook(commit_ts);
            }
            Err(error) => {
                if error.is_ambiguous() {
                    shared.stop();
                }
                shared.spilled.prepared(txn, prepared.has_spilled());
            }
        }
        commit.finish(outcome.is_ok());
        shared.pending.unregister(&commit);
        outcome?;
        self.end();
        let Record { versions_ts, ignored, shards: others, rows, .. } = record;
        if rows.is_none() {
            shared.garbage.superseded(&commit, commit_ts, true);
        }
        let versions = rows.map(|rows| {
            let writes = rows.into_iter().map(|row| (row, None)).collect();
            PendingCommit::new(txn, writes, false)
        });
        let resolution = Resolution { txn, anchor, others, commit_ts, versions_ts, ignored, versions };
        shared.garbage.resolve_later(resolution);
        Ok(CommitInfo { commit_ts })
    }

    /// Rolls it back.
    ///
    /// # Errors
    /// When it fails the transaction is still prepared.
    pub async fn rollback(self) -> Result<()> {
        let runtime = self.shared.runtime.clone();
        let finish = |future| runtime.spawn("rollback of a closed session", future);
        ToTheEnd::new(self.undo(), finish).await
    }

    async fn undo(mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let prepared = self.prepared.as_ref().ok_or(ENDED)?;
        let (txn, anchor) = (prepared.info.txn, prepared.anchor);
        let record = prepared.record.clone();
        decide(&shared, txn, anchor, &Record::pending(), Vec::new()).await?;
        shared.spilled.remove(txn);
        shared.watched.forget(txn);
        shared.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
        self.end();
        let Record { versions_ts, shards, rows, .. } = record;
        let Some(rows) = rows else {
            shared.garbage.abandoned(Abandoned { txn, anchor, shards });
            return Ok(());
        };
        let versions = rows.iter().map(|row| {
            let mut key = encoding::row_prefix(row);
            encoding::push_suffix(&mut key, versions_ts);
            Bytes::copy_from_slice(&key)
        });
        let versions = versions.collect();
        let cleaning = Arc::clone(&shared);
        shared.runtime.spawn("clean up behind a prepared transaction", async move {
            if let Err(error) = clean(&cleaning, txn, anchor, shards, versions).await {
                tracing::warn!(%error, "what a prepared transaction has left stays until the next start");
            }
        });
        Ok(())
    }

    /// It has ended: its locks and its name are free.
    fn end(&mut self) {
        let Some(prepared) = self.prepared.take() else { return };
        self.shared.prepared.remove(&prepared.info.name);
        for lock in &prepared.locks {
            self.shared.locks.release(lock, Prepared::owner(prepared.info.txn));
        }
    }
}

/// Writes down what becomes of a prepared transaction.
async fn decide(
    shared: &Shared,
    txn: TxnId,
    anchor: ShardId,
    record: &Record,
    mut puts: Vec<(Bytes, Bytes)>,
) -> Result<()> {
    let (key, value) = (anchor.local_key(&encoding::record_key(txn)), Bytes::from(record.encode()));
    puts.push((key.clone(), value.clone()));
    match shared.propose_local(anchor, Command { puts, ..Command::default() }).await {
        Err(error) if error.is_ambiguous() => {
            let shard = shared.shard(anchor)?;
            let is_decided = shared.is_there(&shard, &key, |found| found == value).await?;
            if is_decided { Ok(()) } else { Err(KvError::LocksLost) }
        }
        outcome => outcome,
    }
}

/// Removes what a transaction has left that was rolled back: the record last, but for the marks, which say nothing without
/// it.
async fn clean(
    shared: &Shared,
    txn: TxnId,
    anchor: ShardId,
    others: Vec<ShardId>,
    versions: Vec<Bytes>,
) -> Result<()> {
    shared.propose_scattered(Vec::new(), versions).await?;
    let records = std::iter::once((anchor, encoding::record_key(txn)));
    for (shard, key) in records.chain(others.into_iter().map(|shard| (shard, encoding::mark_key(txn)))) {
        let command = Command { deletes: vec![shard.local_key(&key)], ..Command::default() };
        shared.propose_local(shard, command).await?;
    }
    Ok(())
}
