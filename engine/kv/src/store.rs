//! The store: what all transactions of a node share, and the tasks that look after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shardforge_consensus::{Node, NodeOptions, Storage, Tenure};
use shardforge_runtime::Runtime;

use crate::encoding;
use crate::error::{DeadlockReport, DeadlockWait, KvError, Result};
use crate::gc::GarbageQueue;
use crate::limits::{
    CLOCK_OFFSET_MAX, DEADLOCK_CHECK_DELAY, DEADLOCK_CHECK_SHARE, RECEIPT_RETENTION, ROW_CACHE_BYTES,
};
use crate::locks::{LockName, LockTable, WaitEdge, find_cycles, victim, waits};
use crate::moved::MovedRows;
use crate::mutations::{Mutation, is_on};
use crate::pending::PendingCommits;
use crate::prepared::PreparedTransactions;
use crate::resolve::Resolutions;
use crate::sequence::Sequences;
use crate::session::SessionLocks;
use crate::snapshots::ActiveSnapshots;
use crate::spilled::SpilledTransactions;
use crate::time::{Clock, Timestamp};
use crate::txn::Transaction;
use crate::types::{IsolationLevel, KvOptions, LockInfo, LockTarget, LockWaitInfo, TxnId, TxnOptions};
use crate::watched::WatchedTransactions;

/// MVCC, locks and transactions over the shards of a node. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What the transactions of a store share.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    /// The store serves in it and in no other. It ends it when it can serve no more.
    pub(crate) tenure: Tenure,
    pub(crate) runtime: Runtime,
    pub(crate) options: KvOptions,
    pub(crate) clock: Clock,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) pending: PendingCommits,
    pub(crate) spilled: SpilledTransactions,
    pub(crate) prepared: PreparedTransactions,
    pub(crate) watched: WatchedTransactions,
    pub(crate) moved: MovedRows,
    pub(crate) snapshots: ActiveSnapshots,
    pub(crate) garbage: GarbageQueue,
    pub(crate) resolutions: Resolutions,
    pub(crate) sequences: Sequences,
    pub(crate) counters: Counters,
    /// The newest commit known to be in the store.
    pub(crate) last_commit: AtomicU64,
    /// States of the past below it may have been taken apart by garbage collection.
    pub(crate) history_from: AtomicU64,
    /// Shards that are larger are split; zero: none are.
    pub(crate) split_beyond_bytes: AtomicU64,
}

/// What happened so far, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    pub(crate) lock_waits: AtomicU64,
    pub(crate) deadlocks: AtomicU64,
    pub(crate) spills: AtomicU64,
    pub(crate) versions_collected: AtomicU64,
}

/// Counts since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Transactions committed that had written something.
    pub commits: u64,
    /// Transactions rolled back.
    pub rollbacks: u64,
    /// Locks that had to be waited for.
    pub lock_waits: u64,
    /// Deadlocks found.
    pub deadlocks: u64,
    /// Transactions whose writes outgrew memory.
    pub spills: u64,
    /// Versions removed by garbage collection.
    pub versions_collected: u64,
    /// Requests that wait for a lock now.
    pub waiting_now: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl Store {
    /// The options a node has to be opened with for a store to work on it.
    #[must_use]
    pub fn node_options(storage: Storage) -> NodeOptions {
        let mut options = NodeOptions::new(storage);
        options.version_suffix_bytes = Some(encoding::VERSION_SUFFIX_BYTES);
        options.row_cache_bytes = ROW_CACHE_BYTES;
        options
    }

    /// Opens the store of a node that was just opened with [`Store::node_options`], and that leads all of its shards, as one
    /// alone does. It serves as long as that is so.
    ///
    /// # Errors
    /// [`KvError::ShuttingDown`] when there is no first tenure, and when what is stored cannot be read.
    pub fn open(node: Arc<Node>, runtime: Runtime, options: KvOptions) -> Result<Self> {
        let tenure = node.tenure().filter(Tenure::is_settled).ok_or(KvError::ShuttingDown)?;
        Self::start(node, tenure, Clock::new(runtime.clone()), runtime, options)
    }

    /// Opens a store that serves in a tenure of a node. Its timestamps begin above those that a store on another node has given
    /// out, and not before this node's clock has come there: where other nodes vote, that is [`CLOCK_OFFSET_MAX`] after the tenure
    /// began at the earliest.
    ///
    /// When the tenure ends, whatever waits in the store fails, and so does whatever is asked of it. It should be
    /// dropped then; who still holds it is in nobody's way. When the store can serve no more, because the outcome of a commit is
    /// unknown, it ends the tenure itself; the next one may be this node's again.
    ///
    /// # Errors
    /// When the tenure ends meanwhile, or what is stored cannot be read.
    pub async fn open_in(
        node: Arc<Node>,
        tenure: Tenure,
        runtime: Runtime,
        options: KvOptions,
    ) -> Result<Self> {
        let clock = Clock::new(runtime.clone());
        let offset_micros = u64::try_from(CLOCK_OFFSET_MAX.as_micros()).unwrap_or(u64::MAX);
        let first_micros = tenure.is_shared().then(|| tenure.began_micros().saturating_add(offset_micros));
        if let Some(first_micros) = first_micros {
            clock.forward(Timestamp::from_micros(first_micros));
        }
        tenure.settle().await?;
        let store = Self::start(node, tenure, clock, runtime.clone(), options)?;
        if let Some(first_micros) = first_micros {
            // A clock that was set back since is not waited for longer.
            let early = Duration::from_micros(first_micros.saturating_sub(runtime.wall_micros()));
            runtime.sleep(early.min(CLOCK_OFFSET_MAX)).await;
        }
        Ok(store)
    }

    fn start(
        node: Arc<Node>,
        tenure: Tenure,
        clock: Clock,
        runtime: Runtime,
        options: KvOptions,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            node,
            tenure,
            clock,
            locks: Arc::new(LockTable::new(runtime.clone())),
            runtime,
            options,
            pending: PendingCommits::new(),
            spilled: SpilledTransactions::default(),
            prepared: PreparedTransactions::default(),
            watched: WatchedTransactions::default(),
            moved: MovedRows::default(),
            snapshots: ActiveSnapshots::new(),
            garbage: GarbageQueue::default(),
            resolutions: Resolutions::default(),
            sequences: Sequences::default(),
            counters: Counters::default(),
            last_commit: AtomicU64::new(0),
            history_from: AtomicU64::new(0),
            split_beyond_bytes: AtomicU64::new(0),
        });
        crate::recovery::recover(&shared)?;
        // How far the collector had come before is not known.
        shared.history_from.store(shared.clock.now().as_u64(), Ordering::SeqCst);
        let weak = Arc::downgrade(&shared);
        let locks = Arc::clone(&shared.locks);
        shared.runtime.spawn("deadlock detector", async move {
            let mut delay = DEADLOCK_CHECK_DELAY;
            loop {
                locks.wait_began.notified().await;
                let Some(shared) = weak.upgrade() else { return };
                let sleep = shared.runtime.sleep(delay);
                drop(shared);
                sleep.await;
                let Some(shared) = weak.upgrade() else { return };
                let from = shared.runtime.now();
                if shared.break_deadlocks() {
                    // What was done about it may have made another.
                    locks.wait_began.notify_one();
                }
                let took = shared.runtime.now().saturating_duration_since(from);
                delay = DEADLOCK_CHECK_DELAY.max(took * DEADLOCK_CHECK_SHARE);
            }
        });
        crate::gc::start(&shared);
        crate::resolve::start(&shared);
        crate::splitter::start(&shared);
        let (tenure, locks) = (shared.tenure.clone(), Arc::clone(&shared.locks));
        shared.runtime.spawn("end of the store", async move {
            tenure.ended().await;
            // Those who wait for commits hear of them: what was proposed ends with the tenure, too.
            locks.abort_all();
        });
        Ok(Self { shared })
    }

    /// Whether the store serves no more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.shared.tenure.has_ended()
    }

    /// Waits until the store serves no more, and says why.
    pub async fn stopped(&self) -> String {
        self.shared.tenure.ended().await;
        self.shared.tenure.reason().unwrap_or_default().to_owned()
    }

    /// Begins a transaction. Takes no snapshot yet: the first statement does.
    #[must_use]
    pub fn begin(&self, options: TxnOptions) -> Transaction {
        Transaction::new(Arc::clone(&self.shared), options)
    }

    /// Begins a transaction that reads the state as of a timestamp in the past, all of it, and cannot write.
    ///
    /// # Errors
    /// `SnapshotTooOld` for a state that is not kept: states are for `gc_ttl` at least, and none from before the store
    /// was opened. `SnapshotInFuture` for one that is yet to come.
    pub fn begin_at(&self, options: TxnOptions, at: Timestamp) -> Result<Transaction> {
        let options = TxnOptions { isolation: IsolationLevel::RepeatableRead, read_only: true, ..options };
        Transaction::at(Arc::clone(&self.shared), options, at)
    }

    /// The locks that a session holds beyond its transactions (session-level advisory locks). `session` is the
    /// one that its transactions name in [`TxnOptions::session`].
    #[must_use]
    pub fn session_locks(&self, session: u64) -> SessionLocks {
        SessionLocks::new(Arc::clone(&self.shared), session)
    }

    /// A timestamp above all commits so far.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Whether a transaction wrote something and was committed, as far back as receipts are kept
    /// ([`crate::limits::RECEIPT_RETENTION`]).
    ///
    /// # Errors
    /// When the storage fails.
    pub fn was_committed(&self, txn: TxnId) -> Result<bool> {
        // Looked at first: who is forgotten there has a receipt.
        if self.shared.spilled.is_committed(txn) {
            return Ok(true);
        }
        for shard in self.shared.node.shards().data() {
            let id = shard.id();
            let found = self.shared.read(shard, |view| {
                // Receipts lie in the order of commits, and it was committed after it began.
                let start = id.local_key(&encoding::receipt_key(Timestamp::from_u64(txn.0), TxnId(0)));
                let mut cursor = view.local_cursor(start, id.local_key(&encoding::RECEIPTS.1))?;
                let mut more = cursor.seek_to_first()?;
                while more {
                    if encoding::receipt_txn(cursor.key())? == txn {
                        return Ok(true);
                    }
                    more = cursor.next()?;
                }
                Ok(false)
            })?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a transaction is young enough for [`Self::was_committed`] to know of its commit.
    #[must_use]
    pub fn is_remembered(&self, txn: TxnId) -> bool {
        let micros = u64::try_from(RECEIPT_RETENTION.as_micros()).unwrap_or(u64::MAX);
        let age = self.shared.clock.now().micros().saturating_sub(Timestamp::from_u64(txn.0).micros());
        age < micros
    }

    /// All locks held and waited for.
    #[must_use]
    pub fn locks(&self) -> Vec<LockInfo> {
        self.shared.locks.list(|_| true)
    }

    /// The locks on objects, held and waited for.
    #[must_use]
    pub fn object_locks(&self) -> Vec<LockInfo> {
        self.shared.locks.list(|name| matches!(name, LockName::Object(_)))
    }

    /// The sessions that hold a lock on something.
    #[must_use]
    pub fn holders(&self, target: &LockTarget) -> Vec<u64> {
        let holders = self.shared.locks.holders(&LockName::of(target));
        holders.into_iter().map(|owner| owner.session).collect()
    }

    /// The requests that wait for a lock now, oldest first, each with those in its way.
    #[must_use]
    pub fn lock_waits(&self) -> Vec<LockWaitInfo> {
        waits(self.shared.locks.wait_edges())
    }

    /// The oldest snapshot in use, if there is one.
    #[must_use]
    pub fn oldest_snapshot(&self) -> Option<Timestamp> {
        Some(self.shared.snapshots.oldest()).filter(|oldest| *oldest != Timestamp::MAX)
    }

    /// The oldest moment that a snapshot in use, or one that is still to be taken of the past, can show.
    #[must_use]
    pub fn oldest_readable(&self) -> Timestamp {
        let history = Timestamp::from_u64(self.shared.history_from.load(Ordering::SeqCst));
        history.min(self.shared.snapshots.oldest())
    }

    /// Counts since the store was opened.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let Counters { commits, rollbacks, lock_waits, deadlocks, spills, versions_collected } =
            &self.shared.counters;
        StoreStats {
            commits: commits.load(Ordering::Relaxed),
            rollbacks: rollbacks.load(Ordering::Relaxed),
            lock_waits: lock_waits.load(Ordering::Relaxed),
            deadlocks: deadlocks.load(Ordering::Relaxed),
            spills: spills.load(Ordering::Relaxed),
            versions_collected: versions_collected.load(Ordering::Relaxed),
            waiting_now: self.shared.locks.waiting() as u64,
        }
    }

    /// Removes what no snapshot can see any more, in all of the data rather than where writes are known to have
    /// left garbage. Returns how many versions went.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn collect_garbage(&self) -> Result<u64> {
        crate::gc::full_pass(&self.shared).await
    }

    /// As [`Store::collect_garbage`], for a range of keys.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn collect_garbage_in(&self, start: &[u8], end: &[u8]) -> Result<u64> {
        let (start, end) = (encoding::row_bound(start), encoding::row_bound(end));
        crate::gc::pass(&self.shared, &start, &end).await
    }
}

impl Store {
    /// Clears a range of keys that nobody will read or write any more, in the background, once no snapshot is left
    /// that might. What a crash leaves behind takes room and nothing else.
    pub fn clear_range(&self, start: &[u8], end: &[u8]) {
        let range = (
            Bytes::copy_from_slice(&encoding::row_bound(start)),
            Bytes::copy_from_slice(&encoding::row_bound(end)),
        );
        let (weak, runtime) = (Arc::downgrade(&self.shared), self.shared.runtime.clone());
        let unused_since = self.shared.clock.now();
        self.shared.runtime.spawn("clear a range", async move {
            loop {
                let Some(shared) = weak.upgrade() else { return };
                if shared.tenure.has_ended() {
                    return;
                }
                if shared.snapshots.oldest() > unused_since {
                    if let Err(error) = shared.clear(range.0, range.1).await {
                        tracing::warn!(%error, "a range that is no longer used was not cleared");
                    }
                    return;
                }
                drop(shared);
                runtime.sleep(CLEAR_RETRY_INTERVAL).await;
            }
        });
    }

    /// Makes all that is applied durable in its final place, so that a restart has little to replay.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn checkpoint(&self) -> Result<()> {
        Ok(self.shared.node.flush().await?)
    }
}

/// How often a range that waits for snapshots to end is looked at.
const CLEAR_RETRY_INTERVAL: Duration = Duration::from_millis(500);

impl Drop for Shared {
    fn drop(&mut self) {
        self.tenure.end("the store is closed");
        self.garbage.close();
        self.resolutions.close();
        self.locks.wait_began.notify_one();
    }
}

impl Shared {
    /// Whether the store may still serve. What it has read before this is asked is good if it says yes.
    #[inline]
    pub(crate) fn check_running(&self) -> Result<()> {
        if self.tenure.is_valid() || is_on(Mutation::LeaseUnchecked) {
            return Ok(());
        }
        self.tenure.end("its lease is over");
        Err(KvError::ShuttingDown)
    }

    /// A commit's fate is unknown: nothing may be read or locked here until a new store has found out.
    pub(crate) fn stop(&self) {
        if !self.tenure.has_ended() {
            tracing::error!("the outcome of a commit is unknown; the store serves no more requests");
        }
        self.tenure.end("the outcome of a commit is unknown");
    }

    /// Looks twice for circles of waits; undoes each by changing the order of a queue, or ends one of its waits. False
    /// if there were none.
    fn break_deadlocks(&self) -> bool {
        let first = find_cycles(&self.locks.wait_edges());
        if first.is_empty() {
            return false;
        }
        let again = self.locks.wait_edges();
        let still_there = |edge: &WaitEdge| {
            again.iter().any(|other| other.wait_id == edge.wait_id && other.blocker == edge.blocker)
        };
        for cycle in first.into_iter().filter(|cycle| cycle.iter().all(still_there)) {
            if cycle.iter().any(|edge| edge.ahead && self.locks.move_ahead(edge)) {
                continue;
            }
            let Some(victim) = victim(&cycle) else { continue };
            let ordered: Vec<_> = cycle[victim..].iter().chain(&cycle[..victim]).collect();
            let waits = ordered.iter().map(|edge| DeadlockWait {
                session: edge.waiter.session,
                mode: edge.mode.name(),
                target: edge.name.target(),
                blocked_by: edge.blocker.session,
                blocking_transaction: edge.blocker.txn,
            });
            let report = Arc::new(DeadlockReport { waits: waits.collect() });
            if self.locks.abort_wait(ordered[0], report) {
                self.counters.deadlocks.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }
}
