//! Commit.
//!
//! ```text
//!   one round    register the keys as pending -> take the commit timestamp -> (check the reads)
//!                -> one command: versions + receipt, valid in the term of the locks
//!                -> applied: no longer pending, locks handed over
//!
//!   spilled      spill the rest -> take the commit timestamp -> one command: record + receipt
//! ```
//!
//! The receipt says that the transaction was committed at this timestamp. When the reply to a proposal is lost,
//! it is looked for behind a barrier: either it is there, or the command will never be applied.
//!
//! Row locks are handed on as soon as the command has its place in the log, see
//! docs/decisions/0006-early-lock-release.md.
//!
//! A commit that has been proposed runs to its end even if the caller's future is dropped: the rest of it
//! goes on as a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use shardforge_consensus::{Command, ConsensusError};
use smallvec::SmallVec;

use super::serializable::ReadSpans;
use super::{Phase, Transaction};
use crate::buffer::WriteBuffer;
use crate::encoding;
use crate::error::{KvError, Result};
use crate::locks::{HeldLock, LockName, Owner};
use crate::mutations::{Mutation, is_on};
use crate::pending::PendingCommit;
use crate::record::{Record, RecordStatus};
use crate::snapshots::SnapshotSlot;
use crate::store::{Shared, put};
use crate::time::Timestamp;
use crate::types::{CommitInfo, IsolationLevel, TxnId};

/// Format version of a receipt's value.
const RECEIPT_FORMAT: u8 = 1;

/// A transaction's parts on the way through its commit. Dropped, it releases what it holds.
struct Commit {
    shared: Arc<Shared>,
    txn: TxnId,
    owner: Owner,
    slot: Option<SnapshotSlot>,
    locks: Vec<HeldLock>,
    read_ts: Timestamp,
    /// What has to hold still, of a SERIALIZABLE transaction.
    reads: Option<ReadSpans>,
    term: Option<u64>,
    spilled: bool,
    replaces: bool,
    /// Commits under way that this one builds upon.
    depends: SmallVec<[Arc<PendingCommit>; 2]>,
}

/// Runs when a commit is durable, before anybody else can take the transaction's locks.
type CommitHook = Box<dyn FnOnce(Timestamp) + Send>;

impl Transaction {
    /// Commits the transaction. When this returns, the commit is durable and every later snapshot shows it.
    ///
    /// # Errors
    /// When it fails the transaction is rolled back, except for [`KvError::Ambiguous`].
    pub async fn commit(&self) -> Result<CommitInfo> {
        self.commit_and(None).await
    }

    /// As [`Self::commit`]; calls `hook` with the commit's timestamp once it is durable, while all locks are still
    /// held: what the hook publishes is there for whoever gets the locks next.
    ///
    /// # Errors
    /// As for [`Self::commit`]; the hook has not been called then.
    pub async fn commit_with(&self, hook: impl FnOnce(Timestamp) + Send + 'static) -> Result<CommitInfo> {
        self.commit_and(Some(Box::new(hook))).await
    }

    /// What comes before the commit itself.
    async fn prepare(&self) -> Result<()> {
        let (spilled, size_bytes, empty) = {
            let core = self.active()?;
            if core.depends.iter().any(|commit| commit.has_failed()) {
                return Err(KvError::LocksLost);
            }
            (core.spilled, core.buffer.size_bytes(), core.buffer.is_empty())
        };
        if spilled || size_bytes > self.shared.options.transaction_memory_bytes_max {
            self.spill_all().await
        } else if empty {
            // Nothing of it comes behind the commits that it builds upon in the log: they are waited for here.
            self.settle().await
        } else {
            Ok(())
        }
    }

    async fn commit_and(&self, on_commit: Option<CommitHook>) -> Result<CommitInfo> {
        if let Err(error) = self.prepare().await {
            self.abandon();
            return Err(error);
        }
        let (commit, buffer) = {
            let mut core = self.active()?;
            core.phase = Phase::Ended;
            let reads = std::mem::take(&mut core.reads);
            let commit = Commit {
                shared: Arc::clone(&self.shared),
                txn: self.id,
                owner: self.owner,
                slot: core.slot.take(),
                locks: std::mem::take(&mut core.locks),
                read_ts: core.read_ts,
                reads: (self.isolation() == IsolationLevel::Serializable).then_some(reads),
                term: core.term,
                spilled: core.spilled,
                replaces: core.replaces,
                depends: std::mem::take(&mut core.depends),
            };
            (commit, std::mem::take(&mut core.buffer))
        };
        if !commit.spilled && buffer.is_empty() {
            let commit_ts = commit.read_ts;
            if let Some(hook) = on_commit {
                hook(commit_ts);
            }
            return Ok(CommitInfo { commit_ts });
        }
        let runtime = self.shared.runtime.clone();
        let finish = |future| runtime.spawn("commit of a closed session", future);
        ToTheEnd { future: Some(Box::pin(commit.run(buffer, on_commit))), finish: Some(finish) }.await
    }
}

impl Commit {
    async fn run(mut self, buffer: WriteBuffer, on_commit: Option<CommitHook>) -> Result<CommitInfo> {
        let pending = PendingCommit::new(self.txn, buffer.into_final());
        let shared = Arc::clone(&self.shared);
        // What a hook publishes must be there before anybody else has the locks.
        let early = shared.options.early_lock_release && !self.spilled && on_commit.is_none();
        if self.spilled {
            shared.spilled.committing(self.txn, &pending);
        }
        shared.pending.register(&pending);
        let commit_ts = shared.clock.now();
        pending.choose(commit_ts);
        let outcome = self.replicate(&pending, commit_ts, early).await;
        match &outcome {
            Ok(()) => {
                // They come earlier in the log and hold in the same term.
                let overtook = self.depends.iter().any(|commit| commit.has_failed());
                assert!(!overtook || shared.check_running().is_err(), "a commit overtook its base");
                shared.last_commit.fetch_max(commit_ts.as_u64(), Ordering::SeqCst);
                shared.counters.commits.fetch_add(1, Ordering::Relaxed);
                if self.spilled {
                    shared.spilled.committed(self.txn, commit_ts);
                }
                if let Some(hook) = on_commit {
                    hook(commit_ts);
                }
            }
            Err(error) => {
                shared.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
                if error.is_ambiguous() {
                    shared.stop();
                } else if self.spilled {
                    shared.spilled.remove(self.txn);
                    shared.garbage.abandoned(self.txn);
                }
            }
        }
        pending.finish(outcome.is_ok());
        shared.pending.unregister(&pending);
        if outcome.is_ok() && self.replaces {
            shared.garbage.superseded(&pending, commit_ts, self.spilled);
        }
        outcome.map(|()| CommitInfo { commit_ts })
    }

    async fn replicate(&mut self, pending: &PendingCommit, commit_ts: Timestamp, early: bool) -> Result<()> {
        if let Some(reads) = &self.reads {
            self.shared.validate_reads(self.txn, reads, self.read_ts, commit_ts).await?;
        }
        let receipt = Bytes::copy_from_slice(&encoding::receipt_key(commit_ts, self.txn));
        let mut puts = encode_writes(pending.writes(), commit_ts);
        puts.push((receipt.clone(), Bytes::from_static(&[RECEIPT_FORMAT])));
        if self.spilled {
            let ignored = self.shared.spilled.ignored(self.txn);
            let record = Record { status: RecordStatus::Committed, commit_ts, ignored };
            puts.push(put(&encoding::record_key(self.txn), record.encode()));
        }
        let shared = Arc::clone(&self.shared);
        let shard = shared.record_shard()?;
        let command = Command { expected_term: self.term, puts, ..Command::default() };
        let submitted = if early { shard.submit(&command)? } else { None };
        let outcome = match submitted {
            Some(submitted) => {
                pending.order(self.term.unwrap_or(0));
                self.release_row_locks();
                if is_on(Mutation::AcknowledgedTooEarly) {
                    return Ok(());
                }
                submitted.await
            }
            None => shard.propose(command).await,
        };
        if is_on(Mutation::DoubledApply) && outcome.is_ok() {
            let puts = encode_writes(pending.writes(), shared.clock.now());
            shard.propose(Command { puts, ..Command::default() }).await?;
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(ConsensusError::Ambiguous { .. }) => {
                shard.barrier().await.map_err(|_| KvError::Ambiguous)?;
                let applied = shard.read().get(&receipt).map_err(|_| KvError::Ambiguous)?.is_some();
                if applied { Ok(()) } else { Err(KvError::LocksLost) }
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Commit {
    /// Hands the row locks on while the commit is on its way. Locks of objects stay: whoever changes a table
    /// wants to find it settled.
    fn release_row_locks(&mut self) {
        let (rows, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.locks)
            .into_iter()
            .partition(|lock| matches!(lock.name, LockName::Row(_)));
        self.locks = others;
        for lock in &rows {
            self.shared.locks.release(lock, self.owner);
        }
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.snapshots.release(slot);
        }
        for lock in &self.locks {
            self.shared.locks.release(lock, self.owner);
        }
    }
}

/// The versions that a commit writes. All values share one allocation, and all keys another.
fn encode_writes(writes: &[(Bytes, Option<Bytes>)], commit_ts: Timestamp) -> Vec<(Bytes, Bytes)> {
    let bytes = writes.iter().map(|(key, value)| {
        // Escapes make a key longer; a guess that is too low costs a reallocation.
        key.len() + 32 + encoding::version_value_bytes(value.as_deref())
    });
    let mut arena = BytesMut::with_capacity(bytes.sum());
    let mut puts = Vec::with_capacity(writes.len() + 2);
    for (key, value) in writes {
        let mut encoded = encoding::row_prefix(key);
        encoding::push_suffix(&mut encoded, commit_ts);
        arena.extend_from_slice(&encoded);
        let key = arena.split().freeze();
        encoding::push_version_value(&mut arena, value.as_deref());
        puts.push((key, arena.split().freeze()));
    }
    puts
}

/// Polls a future; when it is dropped before the future is done, hands the rest to `finish`.
struct ToTheEnd<T, F, R>
where
    F: FnOnce(BoxFuture<'static, T>) -> R,
{
    future: Option<BoxFuture<'static, T>>,
    finish: Option<F>,
}

impl<T, F, R> Future for ToTheEnd<T, F, R>
where
    F: FnOnce(BoxFuture<'static, T>) -> R + Unpin,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T, F, R> Drop for ToTheEnd<T, F, R>
where
    F: FnOnce(BoxFuture<'static, T>) -> R,
{
    fn drop(&mut self) {
        if let (Some(future), Some(finish)) = (self.future.take(), self.finish.take()) {
            finish(future);
        }
    }
}
