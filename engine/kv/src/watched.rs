//! What prepared SERIALIZABLE transactions have read, and whether somebody has overtaken one of them.
//!
//! A prepared transaction P was checked when it was prepared, and is committed later. In between others may change what it
//! has read, and commit: they are behind P in any order that explains what each of them saw, and P is *overtaken*. Who
//! reads what P replaces, without seeing that, is before P. Who is before an overtaken P fails: it may have seen what
//! overtook P, and be before itself. docs/decisions/0011-prepared-transactions.md has more of this.
//!
//! ```text
//!   prepare:   watch its reads -> is somebody on the way to them? -> take the timestamp -> check the reads
//!   commit:    register keys -> is a watched transaction overtaken? note it -> take the timestamp -> check the reads,
//!              and whether they are of rows that an overtaken transaction replaces
//! ```
//!
//! So who does not find a transaction overtaken has a lower timestamp than whoever overtakes it, and has not seen that one.
//!
//! A transaction is watched until no snapshot is left that is older than its commit.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::pending::PendingCommit;
use crate::types::TxnId;

#[derive(Debug)]
struct Watched {
    txn: TxnId,
    reads: Vec<Range<Bytes>>,
    overtaken: bool,
}

/// See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct WatchedReads {
    watched: Mutex<Vec<Watched>>,
    /// How many there are: nearly always none.
    count: AtomicUsize,
}

impl WatchedReads {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Watches what a transaction has read.
    pub(crate) fn watch(&self, txn: TxnId, reads: Vec<Range<Bytes>>, overtaken: bool) {
        let mut watched = self.watched.lock();
        watched.push(Watched { txn, reads, overtaken });
        self.count.store(watched.len(), Ordering::SeqCst);
    }

    /// Nobody can be before the transaction any more, or it was rolled back.
    pub(crate) fn forget(&self, txn: TxnId) {
        let mut watched = self.watched.lock();
        watched.retain(|other| other.txn != txn);
        self.count.store(watched.len(), Ordering::SeqCst);
    }

    /// Notes that somebody overtakes the transaction, or has done so.
    pub(crate) fn note_overtaken(&self, txn: TxnId) {
        if let Some(found) = self.watched.lock().iter_mut().find(|other| other.txn == txn) {
            found.overtaken = true;
        }
    }

    /// A SERIALIZABLE transaction is about to take its timestamp. What it writes is not known if it has spilled.
    pub(crate) fn overtake(&self, by: &PendingCommit, has_spilled: bool) {
        if self.is_empty() {
            return;
        }
        for watched in self.watched.lock().iter_mut().filter(|watched| watched.txn != by.txn()) {
            watched.overtaken |=
                has_spilled || watched.reads.iter().any(|span| by.touches(&span.start, &span.end));
        }
    }

    /// Those that have been overtaken.
    pub(crate) fn overtaken(&self) -> Vec<TxnId> {
        if self.is_empty() {
            return Vec::new();
        }
        self.watched.lock().iter().filter(|watched| watched.overtaken).map(|watched| watched.txn).collect()
    }
}
