//! Spilled transactions: which of them are committed.
//!
//! A transaction whose writes outgrow its memory puts them into its shard as *provisional versions*: ordinary
//! versions, at timestamps taken at the spill, that name their transaction. Whether one counts is looked up
//! here, by every reader that meets it:
//!
//! ```text
//!   live        being written: nobody but the transaction itself sees it
//!   committing  its record is on its way: who reads at or above its timestamp waits
//!   committed   seen by those who read at or above its commit timestamp
//!   unknown     rolled back, or cut off by a crash: seen by nobody, garbage
//! ```
//!
//! Committing is thus one small write, rolling back is none, and no version is ever rewritten. This works
//! because a row's lock is held from before its provisional version is placed until the commit: no other
//! version of the row can come between the two timestamps, so the order of the keys is the order of the
//! commits.
//!
//! The registry is rebuilt at open from the records (`record.rs`). An entry takes some dozens of bytes and
//! stands for at least as much data as a transaction keeps in memory, so entries are kept for good.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::pending::PendingCommit;
use crate::record::IgnoredCommands;
use crate::time::Timestamp;
use crate::types::TxnId;

/// How far a spilled transaction is.
#[derive(Clone, Debug)]
pub(crate) enum SpillStatus {
    Live,
    Committing(Arc<PendingCommit>),
    Committed(Timestamp),
}

#[derive(Debug)]
struct Spilled {
    status: SpillStatus,
    ignored: IgnoredCommands,
}

/// All spilled transactions that are not rolled back.
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

    /// The transaction rolled back the commands from `from` to `to`.
    pub(crate) fn ignore(&self, txn: TxnId, from: u32, to: u32) {
        if let Some(spilled) = self.known.write().get_mut(&txn) {
            spilled.ignored.ignore(from, to);
        }
    }

    pub(crate) fn ignored(&self, txn: TxnId) -> IgnoredCommands {
        self.known.read().get(&txn).map(|spilled| spilled.ignored.clone()).unwrap_or_default()
    }

    /// The transaction's commit is about to take its timestamp.
    pub(crate) fn committing(&self, txn: TxnId, commit: &Arc<PendingCommit>) {
        if let Some(spilled) = self.known.write().get_mut(&txn) {
            spilled.status = SpillStatus::Committing(Arc::clone(commit));
        }
    }

    /// The transaction is committed.
    pub(crate) fn committed(&self, txn: TxnId, ts: Timestamp) {
        if let Some(spilled) = self.known.write().get_mut(&txn) {
            spilled.status = SpillStatus::Committed(ts);
        }
    }

    /// The transaction is rolled back.
    pub(crate) fn remove(&self, txn: TxnId) {
        self.known.write().remove(&txn);
    }

    /// A committed transaction found in the store.
    pub(crate) fn load(&self, txn: TxnId, ts: Timestamp, ignored: IgnoredCommands) {
        self.known.write().insert(txn, Spilled { status: SpillStatus::Committed(ts), ignored });
    }

    /// How far the transaction is, for its versions of `command`; `None` when these do not count.
    pub(crate) fn status(&self, txn: TxnId, command: u32) -> Option<SpillStatus> {
        let known = self.known.read();
        let spilled = known.get(&txn)?;
        (!spilled.ignored.contains(command)).then(|| spilled.status.clone())
    }
}
