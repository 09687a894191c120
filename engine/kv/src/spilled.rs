//! Transactions with provisional versions: which of them are committed.
//!
//! A transaction whose writes outgrow its memory, or lie in several shards, puts them there as *provisional versions*:
//! ordinary versions that name their transaction. Whether one counts is looked up here, by every reader that meets it:
//!
//! ```text
//!   live        being written: nobody but the transaction itself sees it
//!   prepared    written by PREPARE TRANSACTION: nobody sees it. All locks of its rows are in the lock table
//!   committing  its record is on its way: who reads at or above its timestamp waits
//!   committed   seen by those who read at or above its commit timestamp
//!   resolving   the same, and its versions are just being rewritten as ordinary ones
//!   unknown     rolled back, or cut off by a crash: seen by nobody, garbage
//! ```
//!
//! Committing is thus one small write, however many rows there are, and rolling back is none. This works
//! because a row's lock is held from before its provisional version is placed until the commit: no other
//! version of the row can come between the two timestamps, so the order of the keys is the order of the
//! commits.
//!
//! A *spilled* transaction's versions lie at the timestamps of its spills, and are never rewritten: its entry takes some
//! dozens of bytes, stands for at least as much data as a transaction keeps in memory, and is kept for good. Those of
//! a commit over several shards lie at its commit timestamp; they are rewritten soon after (`resolve.rs`), and then the
//! entry goes. Until then the garbage collector leaves them alone.
//!
//! The registry is rebuilt at open from the records (`record.rs`).

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::RwLock;

use crate::pending::PendingCommit;
use crate::record::IgnoredCommands;
use crate::time::Timestamp;
use crate::types::TxnId;

/// How far a transaction is.
#[derive(Clone, Debug)]
pub(crate) enum SpillStatus {
    Live,
    Prepared,
    Committing(Arc<PendingCommit>),
    Committed(Timestamp),
    Resolving(Timestamp),
}

#[derive(Debug)]
struct Spilled {
    status: SpillStatus,
    ignored: IgnoredCommands,
}

/// All transactions with provisional versions that are not rolled back.
#[derive(Debug, Default)]
pub(crate) struct SpilledTransactions {
    known: RwLock<HashMap<TxnId, Spilled>>,
}

impl SpilledTransactions {
    /// A transaction starts to spill.
    pub(crate) fn begin(&self, txn: TxnId) {
        let spilled = Spilled { status: SpillStatus::Live, ignored: IgnoredCommands::default() };
        self.known.write().insert(txn, spilled);
    }

    /// The transaction is being prepared, or its commit came to nothing. One that has spilled is live all the same: its
    /// versions stand for their locks.
    pub(crate) fn prepared(&self, txn: TxnId, has_spilled: bool) {
        let status = if has_spilled { SpillStatus::Live } else { SpillStatus::Prepared };
        self.set(txn, status);
    }

    fn set(&self, txn: TxnId, status: SpillStatus) {
        match self.known.write().entry(txn) {
            Entry::Occupied(mut entry) => entry.get_mut().status = status,
            Entry::Vacant(entry) => {
                entry.insert(Spilled { status, ignored: IgnoredCommands::default() });
            }
        }
    }

    /// The transaction rolled back the commands from `from` to `to`.
    pub(crate) fn ignore(&self, txn: TxnId, from: u32, to: u32) {
        if let Some(spilled) = self.known.write().get_mut(&txn) {
            spilled.ignored.ignore(from, to);
        }
    }

    pub(crate) fn ignored(&self, txn: TxnId) -> IgnoredCommands {
        self.known.read().get(&txn).map(|spilled| spilled.ignored.clone()).unwrap_or_default()
    }

    /// The transaction's commit is about to take its timestamp, or to write its versions.
    pub(crate) fn committing(&self, txn: TxnId, commit: &Arc<PendingCommit>) {
        self.set(txn, SpillStatus::Committing(Arc::clone(commit)));
    }

    /// The transaction is committed, or its versions are about to be rewritten.
    pub(crate) fn committed(&self, txn: TxnId, status: SpillStatus) {
        if let Some(spilled) = self.known.write().get_mut(&txn) {
            spilled.status = status;
        }
    }

    /// The transaction is rolled back, or none of its versions is provisional any more.
    pub(crate) fn remove(&self, txn: TxnId) {
        self.known.write().remove(&txn);
    }

    /// A committed or prepared transaction found in the store.
    pub(crate) fn load(&self, txn: TxnId, status: SpillStatus, ignored: IgnoredCommands) {
        self.known.write().insert(txn, Spilled { status, ignored });
    }

    /// Whether the transaction is known, and committed.
    pub(crate) fn is_committed(&self, txn: TxnId) -> bool {
        let known = self.known.read();
        known.get(&txn).is_some_and(|spilled| {
            matches!(spilled.status, SpillStatus::Committed(_) | SpillStatus::Resolving(_))
        })
    }

    /// How far the transaction is, for its versions of `command`; `None` when these do not count.
    pub(crate) fn status(&self, txn: TxnId, command: u32) -> Option<SpillStatus> {
        let known = self.known.read();
        let spilled = known.get(&txn)?;
        (!spilled.ignored.contains(command)).then(|| spilled.status.clone())
    }
}
