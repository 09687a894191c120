//! Commits that have a timestamp, or are about to take one, and are not applied yet.
//!
//! A snapshot must not change under its reader. So a commit says which keys it writes *before* it takes its
//! timestamp, and takes that back only when its versions can be read:
//!
//! ```text
//!   commit:   register keys -> take timestamp -> propose ... applied -> unregister
//!   reader:   take timestamp ... look here -> read the engine
//! ```
//!
//! A reader that finds nothing here either looked after the commit was applied, and reads it, or looked before
//! the commit registered: then the commit's timestamp, taken later still, lies above the reader's. A reader
//! that finds a commit at or below its timestamp waits, at most for one round of the log.
//!
//! Nearly always there is nothing to find. Counters by hash of the key answer that with one load and no lock;
//! only when a counter is not zero is the list looked at.
//!
//! With early lock release (docs/decisions/0006-early-lock-release.md) the list also answers what the newest
//! version of a key will be: [`PendingCommits::newest`].

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_consensus::{Shard, ShardId};
use tokio::sync::Notify;

use crate::limits::PENDING_FILTER_SLOTS;
use crate::mutations::{Mutation, is_on};
use crate::mvcc::SeenVersion;
use crate::time::Timestamp;
use crate::types::TxnId;

const RUNNING: u8 = 0;
const APPLIED: u8 = 1;
const FAILED: u8 = 2;

/// The part of a log in which commands are carried out in order, and none after one that is refused: a shard's, in the
/// store's tenure, between two splits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogPlace {
    pub(crate) shard: ShardId,
    pub(crate) generation: u64,
}

impl LogPlace {
    /// Where commands go of who has looked this shard up.
    pub(crate) fn of(shard: &Shard) -> Self {
        Self { shard: shard.id(), generation: shard.generation() }
    }
}

/// A commit under way.
#[derive(Debug)]
pub(crate) struct PendingCommit {
    txn: TxnId,
    /// What it writes, in the order of the keys.
    writes: Vec<(Bytes, Option<Bytes>)>,
    /// Whether it has written more than that, as provisional versions.
    has_spilled: bool,
    /// 0 until it is chosen.
    ts: AtomicU64,
    /// Its place in a log, once it has one.
    place: OnceLock<LogPlace>,
    state: AtomicU8,
    finished: Notify,
}

impl PendingCommit {
    pub(crate) fn new(txn: TxnId, writes: Vec<(Bytes, Option<Bytes>)>, has_spilled: bool) -> Arc<Self> {
        Arc::new(Self {
            txn,
            writes,
            has_spilled,
            ts: AtomicU64::new(0),
            place: OnceLock::new(),
            state: AtomicU8::new(RUNNING),
            finished: Notify::new(),
        })
    }

    pub(crate) fn txn(&self) -> TxnId {
        self.txn
    }

    pub(crate) fn writes(&self) -> &[(Bytes, Option<Bytes>)] {
        &self.writes
    }

    /// Its timestamp, once it is chosen.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        match self.ts.load(Ordering::SeqCst) {
            0 => None,
            ts => Some(Timestamp::from_u64(ts)),
        }
    }

    /// Sets the timestamp. The caller has registered the commit first.
    pub(crate) fn choose(&self, ts: Timestamp) {
        self.ts.store(ts.as_u64(), Ordering::SeqCst);
    }

    /// Whether a reader at `ts` has to wait for this commit. One without a timestamp will get a later one.
    pub(crate) fn is_at_or_below(&self, ts: Timestamp) -> bool {
        self.timestamp().is_some_and(|own| own <= ts)
    }

    /// Says how the commit ended, and wakes those who wait for it.
    pub(crate) fn finish(&self, applied: bool) {
        self.state.store(if applied { APPLIED } else { FAILED }, Ordering::SeqCst);
        self.finished.notify_waiters();
    }

    pub(crate) fn is_applied(&self) -> bool {
        self.state.load(Ordering::SeqCst) == APPLIED
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == FAILED
    }

    /// The commit has its place in a shard's log.
    pub(crate) fn order(&self, place: LogPlace) {
        // The first place is the one that others have built upon; who gets another one later, after a split, is waited
        // for.
        let _first = self.place.set(place);
    }

    /// Where a command has to be proposed to be applied after this commit, or not at all.
    pub(crate) fn place(&self) -> Option<LogPlace> {
        self.place.get().copied()
    }

    /// Waits until the commit has ended; true when it took effect.
    pub(crate) async fn wait(&self) -> bool {
        loop {
            let finished = self.finished.notified();
            let mut finished = std::pin::pin!(finished);
            finished.as_mut().enable();
            match self.state.load(Ordering::SeqCst) {
                RUNNING => finished.await,
                state => return state == APPLIED,
            }
        }
    }

    fn write(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        let found = self.writes.binary_search_by(|(written, _)| written[..].cmp(key)).ok()?;
        Some(&self.writes[found].1)
    }

    /// Whether it writes a key from `start` to before `end`, as far as that is known.
    pub(crate) fn may_touch(&self, start: &[u8], end: &[u8]) -> bool {
        self.has_spilled || self.touches(start, end)
    }

    /// Whether one of its listed writes is to a key from `start` to before `end`.
    fn touches(&self, start: &[u8], end: &[u8]) -> bool {
        let first = self.writes.partition_point(|(key, _)| key[..] < *start);
        self.writes.get(first).is_some_and(|(key, _)| key[..] < *end)
    }
}

/// All commits under way.
pub(crate) struct PendingCommits {
    filter: Box<[AtomicU32]>,
    hasher: foldhash::fast::FixedState,
    /// One mutex for all: held for a push, or a walk over at most as many commits as there are clients.
    list: Mutex<Vec<Arc<PendingCommit>>>,
}

impl PendingCommits {
    pub(crate) fn new() -> Self {
        Self {
            filter: (0..PENDING_FILTER_SLOTS).map(|_| AtomicU32::new(0)).collect(),
            hasher: foldhash::fast::FixedState::default(),
            list: Mutex::new(Vec::new()),
        }
    }

    fn counter(&self, key: &[u8]) -> &AtomicU32 {
        // The filter's length is a power of two.
        &self.filter[self.hasher.hash_one(key) as usize & (self.filter.len() - 1)]
    }

    /// Makes a commit known. Its timestamp is chosen afterwards.
    pub(crate) fn register(&self, commit: &Arc<PendingCommit>) {
        self.list.lock().push(Arc::clone(commit));
        for (key, _) in &commit.writes {
            self.counter(key).fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Forgets a commit that has ended.
    pub(crate) fn unregister(&self, commit: &Arc<PendingCommit>) {
        for (key, _) in &commit.writes {
            if is_on(Mutation::PendingCommitsCollide) {
                self.counter(key).store(0, Ordering::SeqCst);
            } else {
                self.counter(key).fetch_sub(1, Ordering::SeqCst);
            }
        }
        let mut list = self.list.lock();
        if let Some(index) = list.iter().position(|other| Arc::ptr_eq(other, commit)) {
            list.swap_remove(index);
        }
    }

    /// A commit that a read of `key` at `ts` has to wait for.
    pub(crate) fn blocking(&self, key: &[u8], ts: Timestamp) -> Option<Arc<PendingCommit>> {
        if self.counter(key).load(Ordering::SeqCst) == 0 {
            return None;
        }
        let list = self.list.lock();
        let found = list.iter().find(|commit| commit.is_at_or_below(ts) && commit.write(key).is_some());
        found.cloned()
    }

    /// A commit that a scan of the keys from `start` to before `end` at `ts` has to wait for.
    pub(crate) fn blocking_range(
        &self,
        start: &[u8],
        end: &[u8],
        ts: Timestamp,
    ) -> Option<Arc<PendingCommit>> {
        let list = self.list.lock();
        list.iter().find(|commit| commit.is_at_or_below(ts) && commit.touches(start, end)).cloned()
    }

    /// Whether another transaction's commit may be on its way to a key from `start` to before `end`, with a timestamp or
    /// not.
    pub(crate) fn may_touch(&self, txn: TxnId, start: &[u8], end: &[u8]) -> bool {
        self.list.lock().iter().any(|commit| commit.txn != txn && commit.may_touch(start, end))
    }

    /// The newest commit in the list that writes `key`, and the version that it writes. Its timestamp is chosen
    /// when its lock on the key has been passed on, which the caller holds.
    ///
    /// Commits leave the list in any order: what is stored may be newer.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<(Arc<PendingCommit>, SeenVersion)> {
        if self.counter(key).load(Ordering::SeqCst) == 0 {
            return None;
        }
        let list = self.list.lock();
        let of_key = list.iter().filter_map(|commit| Some((commit, commit.timestamp()?, commit.write(key)?)));
        let (commit, commit_ts, value) = of_key.max_by_key(|(_, ts, _)| *ts)?;
        Some((Arc::clone(commit), SeenVersion { commit_ts, value: value.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardforge_runtime::Simulation;

    use super::{PendingCommit, PendingCommits};
    use crate::time::Timestamp;
    use crate::types::TxnId;

    fn commit(id: u64, keys: &[&'static str]) -> std::sync::Arc<PendingCommit> {
        let writes =
            keys.iter().map(|key| (Bytes::from_static(key.as_bytes()), Some(Bytes::from(id.to_string()))));
        PendingCommit::new(TxnId(id), writes.collect(), false)
    }

    #[test]
    fn readers_wait_for_what_lies_at_or_below_them_only() {
        let pending = PendingCommits::new();
        let commit = commit(1, &["b", "d"]);
        pending.register(&commit);
        let ts = Timestamp::from_u64(10);
        assert!(pending.blocking(b"b", Timestamp::MAX).is_none(), "no timestamp yet");
        commit.choose(ts);
        assert!(pending.blocking(b"b", ts).is_some() && pending.blocking(b"b", ts.before()).is_none());
        assert!(pending.blocking(b"c", ts).is_none());
        assert!(pending.blocking_range(b"a", b"b", ts).is_none());
        assert!(pending.blocking_range(b"a", b"b\0", ts).is_some());
        assert!(pending.blocking_range(b"c", b"z", ts).is_some());
        assert!(pending.blocking_range(b"e", b"z", ts).is_none());
        pending.unregister(&commit);
        assert!(pending.blocking(b"b", ts).is_none());
    }

    #[test]
    fn the_newest_commit_of_a_key_is_the_one_with_the_highest_timestamp() {
        let pending = PendingCommits::new();
        let (first, second) = (commit(1, &["k"]), commit(2, &["k"]));
        for (commit, ts) in [(&first, 20), (&second, 30)] {
            pending.register(commit);
            commit.choose(Timestamp::from_u64(ts));
        }
        let (newest, version) = pending.newest(b"k").unwrap();
        assert_eq!((newest.txn(), version.commit_ts), (TxnId(2), Timestamp::from_u64(30)));
        assert_eq!(version.value.as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn waiters_learn_how_it_ended() {
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            for applied in [true, false] {
                let commit = commit(1, &["k"]);
                let waiting = commit.clone();
                let waiter = runtime.spawn("waiter", async move { waiting.wait().await });
                runtime.sleep(std::time::Duration::from_millis(1)).await;
                commit.finish(applied);
                assert_eq!(waiter.await, Ok(applied));
                assert_eq!(commit.wait().await, applied);
            }
        });
    }
}
