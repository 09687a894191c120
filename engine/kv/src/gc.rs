//! Garbage collection: versions that no snapshot can see any more.
//!
//! At the *safepoint*, which is older than `gc_ttl` and than every snapshot in use, a row is what its newest
//! version at or below it says. That one stays (unless it says that the row is deleted); all below it go:
//!
//! ```text
//!   k:  ~90  ~70  ~40 ~30       safepoint 75:  ~90 and ~70 stay, ~40 and ~30 go
//! ```
//!
//! Commits that replaced rows leave the keys they wrote in a queue, so that collection looks where there is garbage. Rolled back
//! spills, spilled updates and an overflow of the queue ask for a full pass over the data instead.
//!
//! Versions are removed through the log, like everything else: replicas stay equal. The receipts of commits
//! that nobody can ask for any more go the same way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_consensus::{Command, Cursor, CursorOptions, ReadView, ShardId};
use tokio::sync::Notify;

use crate::encoding::{self, EncodedKey, StoredVersion};
use crate::error::Result;
use crate::limits::{GC_ENTRY_DELETES_MAX, GC_QUEUE_KEYS_MAX, RECEIPT_RETENTION};
use crate::mutations::{Mutation, is_on};
use crate::mvcc::is_rewritten;
use crate::pending::PendingCommit;
use crate::resolve::Resolution;
use crate::routing::row_holder;
use crate::spilled::{SpillStatus, SpilledTransactions};
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::TxnId;

/// Keys of the queue that are looked at with one cursor.
const KEYS_PER_STEP: usize = 500;

/// Where garbage is known, or suspected.
#[derive(Debug, Default)]
pub(crate) struct GarbageQueue {
    state: Mutex<QueueState>,
    filled: Arc<Notify>,
}

#[derive(Debug, Default)]
struct QueueState {
    commits: VecDeque<(Timestamp, Arc<PendingCommit>)>,
    keys: usize,
    /// A full pass is due once the safepoint has reached this.
    full_pass: Option<Timestamp>,
    /// Transactions that came to nothing and have left something.
    abandoned: Vec<Abandoned>,
    /// Commits of prepared transactions, to clean up behind when no older snapshot is left.
    resolvable: Vec<Resolution>,
}

/// A transaction that came to nothing. Its provisional versions are garbage.
#[derive(Debug)]
pub(crate) struct Abandoned {
    pub(crate) txn: TxnId,
    /// The shard that may have its record.
    pub(crate) anchor: ShardId,
    /// Those that may have marks.
    pub(crate) shards: Vec<ShardId>,
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.full_pass.is_none() && self.resolvable.is_empty()
    }

    fn want_full_pass(&mut self, at: Timestamp) {
        self.full_pass = self.full_pass.max(Some(at));
    }
}

impl GarbageQueue {
    /// A commit replaced versions.
    pub(crate) fn superseded(&self, commit: &Arc<PendingCommit>, at: Timestamp, everywhere: bool) {
        let mut state = self.state.lock();
        let was_empty = state.is_empty();
        if everywhere || state.keys > GC_QUEUE_KEYS_MAX {
            state.commits.clear();
            state.keys = 0;
            state.want_full_pass(at);
        } else if commit.writes().is_empty() {
            return;
        } else {
            state.keys += commit.writes().len();
            state.commits.push_back((at, Arc::clone(commit)));
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// A prepared transaction was committed, and is to be cleaned up behind.
    pub(crate) fn resolve_later(&self, resolution: Resolution) {
        self.state.lock().resolvable.push(resolution);
        self.filled.notify_one();
    }

    /// Those of them that no snapshot at or above the safepoint can tell from older commits.
    fn take_resolvable(&self, safepoint: Timestamp) -> Vec<Resolution> {
        let mut state = self.state.lock();
        state.resolvable.extract_if(.., |resolution| resolution.commit_ts <= safepoint).collect()
    }

    /// The store is gone: its collector may end.
    pub(crate) fn close(&self) {
        self.filled.notify_one();
    }

    /// A transaction with provisional versions was rolled back, or cut off by a crash.
    pub(crate) fn abandoned(&self, abandoned: Abandoned) {
        let mut state = self.state.lock();
        state.abandoned.push(abandoned);
        state.want_full_pass(Timestamp::MIN);
        drop(state);
        self.filled.notify_one();
    }

    /// The keys that commits at or below the safepoint wrote.
    fn take_keys(&self, safepoint: Timestamp) -> BTreeSet<Bytes> {
        let mut state = self.state.lock();
        let mut keys = BTreeSet::new();
        while let Some((_, commit)) = state.commits.pop_front_if(|(at, _)| *at <= safepoint) {
            state.keys -= commit.writes().len();
            keys.extend(commit.writes().iter().map(|(key, _)| key.clone()));
        }
        keys
    }

    /// Whether a full pass is due at this safepoint; then it counts as begun.
    fn take_full_pass(&self, safepoint: Timestamp) -> bool {
        self.state.lock().full_pass.take_if(|at| *at <= safepoint).is_some()
    }
}

/// Starts the collector's task, which ends with the store.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let filled = Arc::clone(&shared.garbage.filled);
    shared.runtime.spawn("garbage collector", async move { while step(&weak, &filled).await {} });
}

/// Waits for garbage and removes it; false when the store is gone.
async fn step(weak: &Weak<Shared>, filled: &Notify) -> bool {
    // Who waits must not keep the store alive; when it goes, it says so here.
    if weak.upgrade().is_some_and(|shared| shared.garbage.state.lock().is_empty()) {
        filled.notified().await;
    }
    let Some(shared) = weak.upgrade() else { return false };
    if shared.tenure.has_ended() {
        return false;
    }
    let sleep = shared.runtime.sleep(shared.options.gc_interval);
    drop(shared);
    sleep.await;
    let Some(shared) = weak.upgrade() else { return false };
    if let Err(error) = collect(&shared).await {
        tracing::warn!(%error, "garbage collection was cut short");
        let pause = shared.runtime.sleep(PAUSE_AFTER_ERROR);
        drop(shared);
        pause.await;
    }
    true
}

/// A pass takes turns with those who are in a hurry.
const PAUSE_BETWEEN_STEPS: Duration = Duration::from_millis(2);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(10);

/// What lies at or below it is what every snapshot sees.
fn safepoint(shared: &Shared) -> Timestamp {
    // Taken before the registry is looked at: see `snapshots.rs`.
    let ttl = u64::try_from(shared.options.gc_ttl.as_micros()).unwrap_or(u64::MAX);
    let before_ttl = shared.clock.now().minus_micros(ttl);
    // Said before the registry is looked at: who registers a state of the past looks here afterwards.
    shared.history_from.fetch_max(before_ttl.as_u64(), Ordering::SeqCst);
    if is_on(Mutation::CollectedUnderSnapshot) {
        return before_ttl;
    }
    before_ttl.min(shared.snapshots.oldest())
}

async fn collect(shared: &Shared) -> Result<()> {
    let safepoint = safepoint(shared);
    shared.prune_moved();
    for due in shared.garbage.take_resolvable(safepoint) {
        shared.watched.forget(due.txn);
        shared.resolutions.push(due);
    }
    let keys: Vec<Bytes> = shared.garbage.take_keys(safepoint).into_iter().collect();
    for keys in keys.chunks(KEYS_PER_STEP) {
        let deletes = garbage_of(shared, keys, safepoint)?;
        remove(shared, deletes).await?;
        shared.runtime.sleep(PAUSE_BETWEEN_STEPS).await;
    }
    if shared.garbage.take_full_pass(safepoint) {
        full_pass(shared).await?;
    }
    expire_receipts(shared).await
}

async fn remove(shared: &Shared, deletes: Vec<Bytes>) -> Result<()> {
    if deletes.is_empty() {
        return Ok(());
    }
    let count = deletes.len() as u64;
    shared.propose_scattered(Vec::new(), deletes).await?;
    shared.counters.versions_collected.fetch_add(count, Ordering::Relaxed);
    Ok(())
}

/// The garbage among the versions of some keys, which are sorted.
pub(crate) fn garbage_of(shared: &Shared, keys: &[Bytes], safepoint: Timestamp) -> Result<Vec<Bytes>> {
    let map = shared.node.shards();
    let (mut rest, mut deletes) = (keys, Vec::new());
    while let Some(first) = rest.first() {
        let shard = row_holder(&map, first)?;
        let here = match shard.range().end.as_ref() {
            Some(end) => rest.partition_point(|key| encoding::row_prefix(key)[..] < end[..]),
            None => rest.len(),
        };
        let (keys, behind) = rest.split_at(here);
        shared.read(shard, |view| garbage_in(&shared.spilled, view, keys, safepoint, &mut deletes))?;
        rest = behind;
    }
    Ok(deletes)
}

/// The garbage among the versions of some keys of one shard.
fn garbage_in(
    spilled: &SpilledTransactions,
    view: ReadView<'_>,
    keys: &[Bytes],
    safepoint: Timestamp,
    deletes: &mut Vec<Bytes>,
) -> Result<()> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
    let (lower, upper) = (encoding::row_prefix(first), encoding::prefix_end(&encoding::row_prefix(last)));
    let mut cursor = view.cursor(CursorOptions::range(lower.to_vec(), upper.to_vec()))?;
    for key in keys {
        let mut target = encoding::row_prefix(key);
        let prefix = target.clone();
        encoding::push_suffix(&mut target, safepoint);
        // A seek steps over all that was deleted from there on, a whole dropped table it may be: where the one before
        // came to rest beyond this key, there is nothing of it.
        let is_beyond = cursor.valid() && cursor.key() >= &*target;
        if !is_beyond && !cursor.seek(&target)? {
            break;
        }
        garbage_of_row(spilled, view, &mut *cursor, &prefix, safepoint, deletes)?;
    }
    Ok(())
}

/// Walks over the versions of the row that the cursor is at, and leaves it behind.
fn garbage_of_row(
    spilled: &SpilledTransactions,
    view: ReadView<'_>,
    cursor: &mut dyn Cursor,
    prefix: &[u8],
    safepoint: Timestamp,
    deletes: &mut Vec<Bytes>,
) -> Result<()> {
    let mut decided = false;
    // The mark of a deletion goes last: it hides what lies below it.
    let mut mark = None;
    while cursor.valid() && cursor.key().starts_with(prefix) {
        let (_, key_ts) = encoding::split_version(cursor.key())?;
        let version = encoding::decode_version(cursor.value())?;
        let (at, deleted) = match version {
            StoredVersion::Committed(data) => (Some(key_ts), data.is_none()),
            StoredVersion::Provisional { txn, command, data } => match spilled.status(txn, command) {
                Some(SpillStatus::Committed(at)) => (Some(at), data.is_none()),
                // What is about to be rewritten must not be removed before: it would come back.
                Some(
                    SpillStatus::Live
                    | SpillStatus::Prepared
                    | SpillStatus::Committing(_)
                    | SpillStatus::Resolving(_),
                ) => (Some(Timestamp::MAX), false),
                // Not known any more, for it is an ordinary version by now: the next look sees it as that.
                None if is_rewritten(view, cursor.key(), command)? => (Some(Timestamp::MAX), false),
                None => (None, false),
            },
        };
        match at {
            // What stays below a deletion (a version that is about to be rewritten) has to stay hidden.
            Some(at) if at > safepoint => mark = None,
            Some(_) if !decided => {
                decided = true;
                mark = deleted.then(|| Bytes::copy_from_slice(cursor.key()));
            }
            Some(_) | None => deletes.push(Bytes::copy_from_slice(cursor.key())),
        }
        cursor.next()?;
    }
    deletes.extend(mark);
    Ok(())
}

/// Collects the garbage of all rows, and forgets abandoned transactions afterwards.
pub(crate) async fn full_pass(shared: &Shared) -> Result<u64> {
    let abandoned = std::mem::take(&mut shared.garbage.state.lock().abandoned);
    let removed = pass(shared, &encoding::ROWS_START, &encoding::ROWS_END).await?;
    // Records before marks, so that no record is left without what it speaks of.
    let mut records: BTreeMap<ShardId, Command> = BTreeMap::new();
    let mut marks: BTreeMap<ShardId, Command> = BTreeMap::new();
    for Abandoned { txn, anchor, shards } in abandoned {
        records.entry(anchor).or_default().deletes.push(anchor.local_key(&encoding::record_key(txn)));
        for shard in shards {
            marks.entry(shard).or_default().deletes.push(shard.local_key(&encoding::mark_key(txn)));
        }
    }
    for (shard, command) in records.into_iter().chain(marks) {
        shared.propose_local(shard, command).await?;
    }
    Ok(removed)
}

/// Collects the garbage between two encoded keys, step by step: others run in between.
pub(crate) async fn pass(shared: &Shared, start: &[u8], end: &[u8]) -> Result<u64> {
    let mut removed = 0;
    let mut from = Some(EncodedKey::from_slice(start));
    while let Some(start) = from {
        let (deletes, next) = garbage_from(shared, &start, end, safepoint(shared))?;
        removed += deletes.len() as u64;
        remove(shared, deletes).await?;
        shared.runtime.sleep(PAUSE_BETWEEN_STEPS).await;
        from = next;
    }
    Ok(removed)
}

/// Garbage from a key on, and where to go on when there is enough of it for one step.
fn garbage_from(
    shared: &Shared,
    start: &[u8],
    end: &[u8],
    safepoint: Timestamp,
) -> Result<(Vec<Bytes>, Option<EncodedKey>)> {
    let shard = shared.shard_for(start)?;
    shared.read(&shard, |view| {
        let mut options = CursorOptions::range(start.to_vec(), end.to_vec());
        options.bulk = true;
        let mut cursor = view.cursor(options)?;
        cursor.seek_to_first()?;
        let mut deletes = Vec::new();
        for _ in 0..ROWS_PER_STEP {
            if !cursor.valid() || deletes.len() >= GC_ENTRY_DELETES_MAX {
                break;
            }
            let prefix = EncodedKey::from_slice(encoding::split_version(cursor.key())?.0);
            garbage_of_row(&shared.spilled, view, &mut *cursor, &prefix, safepoint, &mut deletes)?;
        }
        let next = match cursor.valid() {
            true => Some(cursor.key()),
            // On in the next shard, if this was not the last one.
            false => shard.range().end.as_deref().filter(|last| *last < end),
        };
        Ok((deletes, next.map(EncodedKey::from_slice)))
    })
}

/// Rows that a pass looks at before it lets others run: some milliseconds.
const ROWS_PER_STEP: usize = 2_000;

/// Removes receipts that nobody can ask for, but for the newest: the clock starts above it at the next open.
async fn expire_receipts(shared: &Shared) -> Result<()> {
    let retention = u64::try_from(RECEIPT_RETENTION.as_micros()).unwrap_or(u64::MAX);
    let newest = Timestamp::from_u64(shared.last_commit.load(Ordering::SeqCst));
    let floor = shared.clock.now().minus_micros(retention).min(newest);
    for shard in shared.node.shards().data() {
        let id = shard.id();
        let (start, end) = (id.local_key(&encoding::RECEIPTS.0), id.local_key(&encoding::RECEIPTS.1));
        let due = shared.read(shard, |view| {
            let mut cursor = view.local_cursor(start.clone(), end)?;
            // Not for every receipt: each removal leaves a mark behind that reads step over.
            let due_from = floor.minus_micros(retention / 4);
            Ok(cursor.seek_to_first()? && encoding::receipt_ts(cursor.key())? < due_from)
        })?;
        if due {
            let upto = id.local_key(&encoding::receipt_key(floor, TxnId(0)));
            let command = Command { delete_ranges: vec![(start, upto)], ..Command::default() };
            shared.propose_local(id, command).await?;
        }
    }
    Ok(())
}
