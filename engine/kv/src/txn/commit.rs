//! Commit.
//!
//! ```text
//!   one shard      register the keys as pending -> take the commit timestamp -> (check the reads)
//!                  -> one command: versions + receipt, valid in the store's tenure
//!                  -> applied: no longer pending, locks handed over
//!
//!   several        ... -> at once, a command to each: provisional versions + a mark, valid in the store's
//!                  tenure; and in the anchor's, instead of the mark, the record: STAGING, and who takes part
//!                  -> all applied: committed, locks handed over; what is provisional is cleaned up later
//!
//!   spilled        spill the rest -> as above, without versions
//!   prepared       as for several shards, be it one; the record says PREPARED, see prepare.rs
//! ```
//!
//! The receipt says that the transaction was committed at this timestamp. When the reply to a proposal is lost,
//! it is looked for behind a barrier: either it is there, or the command will never be applied. Over several shards,
//! the mark and the record answer the same question. Without a barrier, because the store's tenure has ended, it stays
//! unknown. docs/decisions/0010-commits-over-several-shards.md tells why a
//! commit of several shards takes one round.
//!
//! A shard that was split since the transaction touched it refuses the command. The commit is then put together anew for
//! the shards that there are, as another *attempt*, at the same timestamp: marks of an earlier one do not count.
//!
//! Row locks are handed on as soon as the command has its place in the log, see
//! docs/decisions/0006-early-lock-release.md; only by a commit of one shard, because places in two logs say
//! nothing about each other.
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
use shardforge_consensus::{Applied, Command, ConsensusError, Shard, ShardId};
use smallvec::SmallVec;

use super::serializable::ReadSpans;
use super::touched::TouchedShards;
use super::{Phase, Transaction};
use crate::buffer::WriteBuffer;
use crate::encoding;
use crate::error::{KvError, Result};
use crate::gc::Abandoned;
use crate::limits::RECORD_ROWS_BYTES_MAX;
use crate::locks::{HeldLock, LockName, Owner};
use crate::moved::OwnMoves;
use crate::mutations::{Mutation, is_on};
use crate::pending::{LogPlace, PendingCommit};
use crate::record::{Holdings, Record, RecordStatus, decode_mark, encode_mark};
use crate::resolve::Resolution;
use crate::routing::writes_within;
use crate::snapshots::SnapshotSlot;
use crate::spilled::SpillStatus;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::{CommitInfo, IsolationLevel, TxnId};

/// Format version of a receipt's value.
pub(crate) const RECEIPT_FORMAT: u8 = 1;

/// A transaction's parts on the way through its commit. Dropped, it releases what it holds.
pub(super) struct Commit {
    pub(super) shared: Arc<Shared>,
    pub(super) txn: TxnId,
    pub(super) owner: Owner,
    slot: Option<SnapshotSlot>,
    pub(super) locks: Vec<HeldLock>,
    pub(super) read_ts: Timestamp,
    /// What has to hold still, of a SERIALIZABLE transaction.
    pub(super) reads: Option<ReadSpans>,
    touched: TouchedShards,
    /// The shard that has its record, if it has spilled.
    pub(super) spilled: Option<ShardId>,
    /// What its record is to hold, if it is being prepared.
    pub(super) holdings: Option<Holdings>,
    replaces: bool,
    pub(super) moves: OwnMoves,
    /// Commits under way that this one builds upon.
    depends: SmallVec<[Arc<PendingCommit>; 2]>,
}

/// Runs when a commit is durable, before anybody else can take the transaction's locks.
pub(super) type CommitHook = Box<dyn FnOnce(Timestamp) + Send>;

impl Transaction {
    /// Commits the transaction. When this returns, the commit is durable and every later snapshot shows it.
    ///
    /// # Errors
    /// When it fails the transaction is rolled back, except for [`KvError::Ambiguous`].
    pub async fn commit(&self) -> Result<CommitInfo> {
        match self.commit_reads()? {
            Some(info) => Ok(info),
            None => self.commit_and(None).await,
        }
    }

    /// Commits a transaction that has written nothing and builds upon no commit under way, which is no work;
    /// `None`, and nothing is done, for any other. It spares whoever calls this first the future of a commit.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub fn commit_reads(&self) -> Result<Option<CommitInfo>> {
        let (slot, locks, checked) = {
            let mut core = match self.active() {
                Ok(core) => core,
                Err(error) => {
                    self.abandon();
                    return Err(error);
                }
            };
            let wrote = core.spilled.is_some() || !core.buffer.is_empty();
            if wrote || !core.depends.is_empty() {
                return Ok(None);
            }
            core.phase = Phase::Ended;
            // It stands where its snapshot was taken.
            let checked = self.shared.check_watched(self.id, &core.reads, core.read_ts, core.read_ts);
            (core.slot.take(), std::mem::take(&mut core.locks), checked.map(|()| core.read_ts))
        };
        if let Some(slot) = slot {
            self.shared.snapshots.release(slot);
        }
        self.release_locks(&locks);
        checked.map(|commit_ts| Some(CommitInfo { commit_ts }))
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
    pub(super) async fn make_ready(&self) -> Result<()> {
        let (spilled, size_bytes, empty) = {
            let core = self.active()?;
            if core.depends.iter().any(|commit| commit.has_failed()) {
                return Err(KvError::LocksLost);
            }
            (core.spilled.is_some(), core.buffer.size_bytes(), core.buffer.is_empty())
        };
        if spilled || size_bytes > self.shared.options.transaction_memory_bytes_max {
            Box::pin(self.spill_all()).await
        } else if empty {
            // Nothing of it comes behind the commits that it builds upon in the log: they are waited for here.
            self.settle().await
        } else {
            Ok(())
        }
    }

    async fn commit_and(&self, on_commit: Option<CommitHook>) -> Result<CommitInfo> {
        if let Err(error) = self.make_ready().await {
            self.abandon();
            return Err(error);
        }
        let (commit, buffer) = self.take_apart()?;
        if commit.spilled.is_none() && buffer.is_empty() {
            let commit_ts = commit.read_ts;
            if let Some(reads) = &commit.reads {
                self.shared.check_watched(self.id, reads, commit_ts, commit_ts)?;
            }
            if let Some(hook) = on_commit {
                hook(commit_ts);
            }
            return Ok(CommitInfo { commit_ts });
        }
        let runtime = self.shared.runtime.clone();
        let finish = |future| runtime.spawn("commit of a closed session", future);
        ToTheEnd::new(commit.run(buffer, on_commit), finish).await
    }

    /// Ends the transaction for its session; what it was goes on as a commit.
    pub(super) fn take_apart(&self) -> Result<(Commit, WriteBuffer)> {
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
            touched: std::mem::take(&mut core.touched),
            spilled: core.spilled,
            holdings: None,
            replaces: core.replaces,
            moves: std::mem::take(&mut core.moves),
            depends: std::mem::take(&mut core.depends),
        };
        Ok((commit, std::mem::take(&mut core.buffer)))
    }
}

/// Where a commit went.
pub(super) enum Written {
    ToOneShard,
    /// The record's shard and the others.
    ToSeveral {
        anchor: ShardId,
        others: Vec<ShardId>,
    },
}

/// What became of one attempt to commit.
enum Attempt {
    Committed(Written),
    /// This shard was split meanwhile: nothing is committed yet.
    Moved(Arc<Shard>),
}

impl Commit {
    async fn run(mut self, buffer: WriteBuffer, on_commit: Option<CommitHook>) -> Result<CommitInfo> {
        let pending = PendingCommit::new(self.txn, buffer.into_final(), self.spilled.is_some());
        let shared = Arc::clone(&self.shared);
        // What a hook publishes must be there before anybody else has the locks.
        let early = shared.options.early_lock_release && self.spilled.is_none() && on_commit.is_none();
        if self.spilled.is_some() {
            shared.spilled.committing(self.txn, &pending);
        }
        shared.pending.register(&pending);
        shared.watched.overtake(&pending, &shared.clock);
        let commit_ts = shared.clock.now();
        pending.choose(commit_ts);
        let moves = std::mem::take(&mut self.moves);
        let has_moved = !moves.is_empty();
        if has_moved {
            shared.prune_moved();
            shared.moved.add(commit_ts, moves);
        }
        let outcome = self.replicate(&pending, commit_ts, early).await;
        if has_moved && outcome.is_err() {
            shared.moved.remove(commit_ts);
        }
        match &outcome {
            Ok(written) => {
                // They come earlier in the log and hold in the same term.
                let overtook = self.depends.iter().any(|commit| commit.has_failed());
                assert!(!overtook || shared.check_running().is_err(), "a commit overtook its base");
                shared.last_commit.fetch_max(commit_ts.as_u64(), Ordering::SeqCst);
                shared.counters.commits.fetch_add(1, Ordering::Relaxed);
                let resolving = self.spilled.is_none() && matches!(written, Written::ToSeveral { .. });
                let status = if resolving { SpillStatus::Resolving } else { SpillStatus::Committed };
                if resolving || self.spilled.is_some() {
                    shared.spilled.committed(self.txn, status(commit_ts));
                }
                if let Some(hook) = on_commit {
                    hook(commit_ts);
                }
            }
            Err(error) => {
                shared.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
                if error.is_ambiguous() {
                    shared.stop();
                }
            }
        }
        pending.finish(outcome.is_ok());
        shared.pending.unregister(&pending);
        match outcome? {
            Written::ToSeveral { anchor, others } => {
                let ignored = shared.spilled.ignored(self.txn);
                let versions = self.spilled.is_none().then(|| Arc::clone(&pending));
                let txn = self.txn;
                shared.resolutions.push(Resolution {
                    txn,
                    anchor,
                    others,
                    commit_ts,
                    versions_ts: commit_ts,
                    ignored,
                    versions,
                });
                if self.replaces && self.spilled.is_some() {
                    shared.garbage.superseded(&pending, commit_ts, true);
                }
            }
            Written::ToOneShard if self.replaces => {
                shared.garbage.superseded(&pending, commit_ts, self.spilled.is_some());
            }
            Written::ToOneShard => {}
        }
        Ok(CommitInfo { commit_ts })
    }

    /// Writes the commit to its shards; when this is done it is committed, or prepared.
    pub(super) async fn replicate(
        &mut self,
        pending: &Arc<PendingCommit>,
        commit_ts: Timestamp,
        early: bool,
    ) -> Result<Written> {
        let shared = Arc::clone(&self.shared);
        let mut sent_to = Vec::new();
        let outcome = self.attempts(pending, commit_ts, early, &mut sent_to).await;
        if let Err(error) = &outcome
            && !error.is_ambiguous()
            && let Some(anchor) = self.spilled.or(sent_to.first().copied())
        {
            shared.spilled.remove(self.txn);
            sent_to.retain(|shard| *shard != anchor);
            shared.garbage.abandoned(Abandoned { txn: self.txn, anchor, shards: sent_to });
        }
        outcome
    }

    /// Sends the commit out until no split comes in between. `sent_to` are the shards with provisional versions, marks
    /// or a record of it, the record's first.
    async fn attempts(
        &mut self,
        pending: &Arc<PendingCommit>,
        commit_ts: Timestamp,
        early: bool,
        sent_to: &mut Vec<ShardId>,
    ) -> Result<Written> {
        let shared = Arc::clone(&self.shared);
        if let Some(reads) = &self.reads {
            shared.validate_reads(self.txn, reads, self.read_ts, commit_ts).await?;
            // When a prepared one will be committed, nobody knows.
            let stands_at = if self.holdings.is_some() { Timestamp::MAX } else { commit_ts };
            shared.check_watched(self.txn, reads, self.read_ts, stands_at)?;
        }
        // Prepared, it has a record in any case.
        let prepares = self.holdings.is_some();
        let mut only = if prepares { None } else { self.touched.only() };
        for attempt in 0.. {
            let outcome = match only.take() {
                Some(only) => self.write_to_one(&only, pending, commit_ts, early).await?,
                None => {
                    self.wait_for_bases().await?;
                    let parts = self.touched.participants(&shared.node.shards());
                    match &parts[..] {
                        [only] if !prepares => self.write_to_one(only, pending, commit_ts, false).await?,
                        parts => self.write_to_several(parts, pending, commit_ts, attempt, sent_to).await?,
                    }
                }
            };
            match outcome {
                Attempt::Committed(written) => return Ok(written),
                Attempt::Moved(shard) => shared.node.rerouted(&shard).await?,
            }
        }
        Err(KvError::LocksLost)
    }

    /// Waits for the commits that this one builds upon: its commands may not come behind theirs in one log.
    async fn wait_for_bases(&self) -> Result<()> {
        for base in &self.depends {
            if !base.wait().await {
                self.shared.check_running()?;
                return Err(KvError::LocksLost);
            }
        }
        Ok(())
    }

    /// All that the transaction has done lies in one shard: one command.
    async fn write_to_one(
        &mut self,
        shard: &Arc<Shard>,
        pending: &PendingCommit,
        commit_ts: Timestamp,
        early: bool,
    ) -> Result<Attempt> {
        let receipt = shard.id().local_key(&encoding::receipt_key(commit_ts, self.txn));
        let push = |value: Option<&[u8]>, arena: &mut BytesMut| encoding::push_version_value(arena, value);
        let mut puts = encode_writes(pending.writes(), push, commit_ts);
        puts.push((receipt.clone(), Bytes::from_static(&[RECEIPT_FORMAT])));
        if let Some(anchor) = self.spilled {
            let ignored = self.shared.spilled.ignored(self.txn);
            let status = RecordStatus::Committed;
            let record = Record { status, commit_ts, ignored, ..Record::pending() };
            puts.push((anchor.local_key(&encoding::record_key(self.txn)), Bytes::from(record.encode())));
        }
        let mut command = Command { puts, ..Command::default() };
        let shared = Arc::clone(&self.shared);
        let submitted = if early { shared.submit(shard, &mut command)? } else { None };
        let outcome = match submitted {
            Some(submitted) => {
                pending.order(LogPlace::of(shard));
                self.release_row_locks();
                if is_on(Mutation::AcknowledgedTooEarly) {
                    return Ok(Attempt::Committed(Written::ToOneShard));
                }
                submitted.await
            }
            None => shared.propose(shard, command).await,
        };
        if is_on(Mutation::DoubledApply) && outcome.is_ok() {
            let puts = encode_writes(pending.writes(), push, self.shared.clock.now());
            shared.propose(shard, Command { puts, ..Command::default() }).await?;
        }
        match outcome {
            Ok(_) => Ok(Attempt::Committed(Written::ToOneShard)),
            Err(ConsensusError::Moved { .. }) => Ok(Attempt::Moved(Arc::clone(shard))),
            Err(ConsensusError::Ambiguous { .. }) => {
                if shared.is_there(shard, &receipt, |_| true).await? {
                    Ok(Attempt::Committed(Written::ToOneShard))
                } else {
                    Err(KvError::LocksLost)
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A command to each of several shards, all at once.
    async fn write_to_several(
        &self,
        parts: &[Arc<Shard>],
        pending: &Arc<PendingCommit>,
        commit_ts: Timestamp,
        attempt: u32,
        sent_to: &mut Vec<ShardId>,
    ) -> Result<Attempt> {
        let has_writes = |shard: &&Arc<Shard>| !writes_within(pending.writes(), shard.range()).is_empty();
        let anchor = match (self.spilled, sent_to.first()) {
            (Some(anchor), _) | (None, Some(&anchor)) => anchor,
            (None, None) => parts.iter().find(has_writes).or(parts.first()).ok_or(KvError::LocksLost)?.id(),
        };
        let others = parts.iter().map(|shard| shard.id()).filter(|id| *id != anchor);
        let others: Vec<ShardId> = others.collect();
        if sent_to.is_empty() {
            sent_to.push(anchor);
        }
        sent_to.extend(others.iter().filter(|id| !sent_to.contains(id)).copied().collect::<Vec<_>>());
        let (status, committed_at) = match self.holdings {
            Some(_) => (RecordStatus::Prepared, Timestamp::MIN),
            None => {
                // Readers ask for it as soon as they can meet its versions.
                self.shared.spilled.committing(self.txn, pending);
                (RecordStatus::Staging, commit_ts)
            }
        };
        let record = Record {
            status,
            commit_ts: committed_at,
            versions_ts: commit_ts,
            attempt,
            ignored: self.shared.spilled.ignored(self.txn),
            shards: others.clone(),
            rows: self.listed_rows(pending),
            holdings: self.holdings.clone(),
        };
        let (record, mark) = (Bytes::from(record.encode()), Bytes::from(encode_mark(attempt)));
        let answers = parts.iter().map(async |shard| {
            let is_anchor = shard.id() == anchor;
            let (evidence, value) = if is_anchor {
                (encoding::record_key(self.txn), record.clone())
            } else {
                (encoding::mark_key(self.txn), mark.clone())
            };
            let evidence = shard.id().local_key(&evidence);
            let writes = writes_within(pending.writes(), shard.range());
            let mut puts = encode_writes(
                writes,
                |value, arena| {
                    encoding::push_provisional_value(arena, self.txn, encoding::AT_COMMIT, value);
                },
                commit_ts,
            );
            puts.push((evidence.clone(), value));
            let command = Command { puts, ..Command::default() };
            match self.shared.propose(shard, command).await {
                Err(ConsensusError::Ambiguous { .. }) => {
                    let of_this_attempt = |value: &[u8]| {
                        if is_anchor {
                            value == record
                        } else {
                            decode_mark(value).is_ok_and(|mark| mark == attempt)
                        }
                    };
                    let there = self.shared.is_there(shard, &evidence, of_this_attempt).await?;
                    if there { Ok(None) } else { Err(KvError::LocksLost) }
                }
                Err(ConsensusError::Moved { .. }) => Ok(Some(Arc::clone(shard))),
                Err(error) => Err(error.into()),
                Ok(Applied { .. }) => Ok(None),
            }
        });
        // All of them: nothing is on its way when it is decided what comes next.
        let answers: Vec<Result<Option<Arc<Shard>>>> = futures::future::join_all(answers).await;
        // One that has surely failed decides; only without such a one is it unknown.
        let mut unknown = None;
        let mut moved = None;
        for answer in answers {
            match answer {
                Ok(None) => {}
                Ok(Some(shard)) => moved = Some(shard),
                Err(error) if error.is_ambiguous() => unknown = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (moved, unknown) {
            // Of this attempt, one part is missing for good.
            (Some(shard), _) => Ok(Attempt::Moved(shard)),
            (None, Some(unknown)) => Err(unknown),
            (None, None) => Ok(Attempt::Committed(Written::ToSeveral { anchor, others })),
        }
    }

    /// The rows that the record names, so that a restart can clean up behind the commit.
    pub(super) fn listed_rows(&self, pending: &PendingCommit) -> Option<Vec<Bytes>> {
        let rows = pending.writes().iter().map(|(key, _)| key);
        let bytes: usize = rows.clone().map(|row| row.len() + 4).sum();
        (self.spilled.is_none() && bytes <= RECORD_ROWS_BYTES_MAX).then(|| rows.cloned().collect())
    }
}

impl Shared {
    /// Whether a command was carried out whose reply was lost: whether what it put is there, and is the right one.
    pub(super) async fn is_there(
        &self,
        shard: &Shard,
        key: &[u8],
        right: impl Fn(&[u8]) -> bool,
    ) -> Result<bool> {
        self.tenure.barrier(shard).await.map_err(|_| KvError::Ambiguous)?;
        let found = self.read(shard, |view| Ok(view.get(key)?.is_some_and(|value| right(&value))));
        found.map_err(|_| KvError::Ambiguous)
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

/// The versions that a commit writes; `push` appends a value as it is stored. All values share one allocation, and all
/// keys another.
fn encode_writes(
    writes: &[(Bytes, Option<Bytes>)],
    push: impl Fn(Option<&[u8]>, &mut BytesMut),
    commit_ts: Timestamp,
) -> Vec<(Bytes, Bytes)> {
    let bytes = writes.iter().map(|(key, value)| {
        // Escapes make a key longer, and tags differ; a guess that is too low costs a reallocation.
        key.len() + 44 + value.as_deref().map_or(0, <[u8]>::len)
    });
    let mut arena = BytesMut::with_capacity(bytes.sum());
    let mut puts = Vec::with_capacity(writes.len() + 2);
    for (key, value) in writes {
        let mut encoded = encoding::row_prefix(key);
        encoding::push_suffix(&mut encoded, commit_ts);
        arena.extend_from_slice(&encoded);
        let key = arena.split().freeze();
        push(value.as_deref(), &mut arena);
        puts.push((key, arena.split().freeze()));
    }
    puts
}

/// Polls a future; when it is dropped before the future is done, hands the rest to `finish`.
pub(super) struct ToTheEnd<T, F, R>
where
    F: FnOnce(BoxFuture<'static, T>) -> R,
{
    future: Option<BoxFuture<'static, T>>,
    finish: Option<F>,
}

impl<T, F, R> ToTheEnd<T, F, R>
where
    F: FnOnce(BoxFuture<'static, T>) -> R,
{
    pub(super) fn new(future: impl Future<Output = T> + Send + 'static, finish: F) -> Self {
        Self { future: Some(Box::pin(future)), finish: Some(finish) }
    }
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
