//! Prepared transactions among SERIALIZABLE ones: what they read and write, and whether somebody has overtaken one of them.
//!
//! A prepared transaction P was checked when it was prepared, and is committed later. In between others may change what it
//! has read, and commit: they are behind P in any order that explains what each of them saw, and P is *overtaken*. Who
//! reads what P replaces, without seeing that, is before P. Who is before an overtaken P fails: it may have seen what
//! overtook P, and be before itself. docs/decisions/0011-prepared-transactions.md has more of this.
//!
//! ```text
//!   prepare:   register keys -> overtake others -> be watched from here on -> take the timestamp -> check the reads
//!   commit:    register keys -> overtake others -> take the timestamp -> check the reads
//!
//!   each check: of the versions, and of the watched transactions: is it before an overtaken one?
//! ```
//!
//! Who is overtaken is noted before the one that overtakes has its timestamp. So a check that does not find it belongs to a
//! lower timestamp, and to somebody who has not seen that one. Of two that are about to be prepared, each before the other
//! or before what the other overtakes, the second to be watched finds the first.
//!
//! A transaction is watched until no snapshot is left that is older than its commit.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::mutations::{Mutation, is_on};
use crate::pending::{PendingCommit, PendingCommits};
use crate::time::{Clock, Timestamp};
use crate::types::TxnId;

/// A prepared transaction.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) txn: TxnId,
    /// What has to hold still for it; nothing unless it is SERIALIZABLE.
    pub(crate) reads: Vec<Range<Bytes>>,
    /// The rows that it replaces, in the order of their keys; unknown if they are too many.
    pub(crate) writes: Option<Vec<Bytes>>,
    /// No later than the commit of the first one that has overtaken it.
    pub(crate) overtaken: Option<Timestamp>,
    /// When it was committed.
    pub(crate) committed: Option<Timestamp>,
}

impl Watched {
    /// One that was found in the store. It may have been overtaken before the restart.
    pub(crate) fn restored(txn: TxnId, reads: Vec<Range<Bytes>>, writes: Option<Vec<Bytes>>) -> Self {
        Self { txn, reads, writes, overtaken: Some(Timestamp::MIN), committed: None }
    }

    /// A row that a transaction has read at `read_ts`, and this one replaces for those that come later.
    fn replaces<'a>(&'a self, reads: &'a [Range<Bytes>], read_ts: Timestamp) -> Option<&'a Bytes> {
        if self.committed.is_some_and(|committed| committed <= read_ts) {
            return None;
        }
        let Some(writes) = &self.writes else { return reads.first().map(|span| &span.start) };
        reads.iter().find_map(|span| {
            let first = writes.partition_point(|key| *key < span.start);
            writes.get(first).filter(|key| **key < span.end)
        })
    }
}

/// See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct WatchedTransactions {
    watched: Mutex<Vec<Watched>>,
    /// How many there are: nearly always none.
    count: AtomicUsize,
}

impl WatchedTransactions {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Watched>) -> T) -> T {
        let mut watched = self.watched.lock();
        let result = change(&mut watched);
        self.count.store(watched.len(), Ordering::SeqCst);
        result
    }

    /// A transaction that has registered its commit is about to take its timestamp.
    pub(crate) fn overtake(&self, by: &PendingCommit, clock: &Clock) {
        if self.is_empty() || is_on(Mutation::PreparedReadsUnwatched) {
            return;
        }
        let now = clock.now();
        let mut watched = self.watched.lock();
        let others = watched.iter_mut().filter(|watched| watched.txn != by.txn());
        for watched in others.filter(|watched| watched.committed.is_none()) {
            if watched.reads.iter().any(|span| by.may_touch(&span.start, &span.end)) {
                watched.overtaken.get_or_insert(now);
            }
        }
    }

    /// Watches a transaction that is about to be prepared and has read at `read_ts`; it has overtaken the others. Some may
    /// have overtaken it that are prepared, or on their way.
    pub(crate) fn watch(&self, mut preparing: Watched, read_ts: Timestamp, under_way: &PendingCommits) {
        self.change(|watched| {
            let is_behind = |other: &Watched| other.replaces(&preparing.reads, read_ts).is_some();
            let mut reads = preparing.reads.iter();
            if watched.iter().any(is_behind)
                || reads.any(|span| under_way.may_touch(preparing.txn, &span.start, &span.end))
            {
                preparing.overtaken = Some(Timestamp::MIN);
            }
            watched.push(preparing);
        });
    }

    /// Watches a transaction that was found in the store.
    pub(crate) fn restore(&self, restored: Watched) {
        self.change(|watched| watched.push(restored));
    }

    /// The transaction is committed: who comes now comes later.
    pub(crate) fn committed(&self, txn: TxnId, commit_ts: Timestamp) {
        self.change(|watched| {
            if let Some(found) = watched.iter_mut().find(|watched| watched.txn == txn) {
                found.committed = Some(commit_ts);
            }
        });
    }

    /// Nobody can be before the transaction any more, or it was rolled back.
    pub(crate) fn forget(&self, txn: TxnId) {
        self.change(|watched| watched.retain(|other| other.txn != txn));
    }

    /// A row that puts a SERIALIZABLE transaction before one that was overtaken at or before `stands_at`, where the
    /// former is to stand among all others.
    pub(crate) fn conflict(
        &self,
        txn: TxnId,
        reads: &[Range<Bytes>],
        read_ts: Timestamp,
        stands_at: Timestamp,
    ) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        let watched = self.watched.lock();
        let others = watched.iter().filter(|watched| watched.txn != txn);
        let overtaken = others.filter(|other| other.overtaken.is_some_and(|at| at <= stands_at));
        overtaken.filter_map(|other| other.replaces(reads, read_ts)).next().cloned()
    }
}
