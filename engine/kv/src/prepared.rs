//! Prepared transactions: those that wait, apart from any session, to be told whether they are committed.
//!
//! ```text
//!   reserved    being prepared: its name is taken, and it is listed nowhere
//!   idle        prepared
//!   claimed     prepared, and somebody is about to end it
//! ```
//!
//! `txn/prepare.rs` makes them and ends them. What is kept here in memory is taken from their records when a store is
//! opened: their locks are theirs again before anybody else can ask for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_consensus::ShardId;

use crate::error::{KvError, Result};
use crate::locks::{HeldLock, LockMode, LockName, Owner, Request};
use crate::moved::OwnMoves;
use crate::record::Record;
use crate::spilled::SpillStatus;
use crate::store::{Shared, Store};
use crate::types::{LockStrength, ObjectLockMode, TxnId};
use crate::watched::Watched;

/// What is known of a prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedInfo {
    /// The transaction.
    pub txn: TxnId,
    /// What it was prepared as.
    pub name: Bytes,
    /// What its owner wanted to be kept with it.
    pub payload: Bytes,
}

/// A prepared transaction that its holder may end, and nobody else. Dropped, it stays prepared.
pub struct PreparedTransaction {
    pub(crate) shared: Arc<Shared>,
    /// None when it has ended.
    pub(crate) prepared: Option<Box<Prepared>>,
}

/// A prepared transaction with all that it holds.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) info: PreparedInfo,
    pub(crate) locks: Vec<HeldLock>,
    /// The shard that has its record.
    pub(crate) anchor: ShardId,
    /// What is to be written there if it is committed, but for the timestamp.
    pub(crate) record: Record,
    /// Rows whose keys it has changed; none after a restart, when nobody waits for them.
    pub(crate) moves: OwnMoves,
}

impl Prepared {
    /// Whose its locks are. Ids lie far above the numbers of sessions.
    pub(crate) fn owner(txn: TxnId) -> Owner {
        Owner { session: txn.0, txn: Some(txn) }
    }

    /// Whether its versions are those of spills, and stand for their locks.
    pub(crate) fn has_spilled(&self) -> bool {
        self.locks.iter().any(|lock| matches!(lock.name, LockName::Transaction(_)))
    }
}

enum Slot {
    Reserved,
    Idle(Box<Prepared>),
    Claimed(PreparedInfo),
}

/// All prepared transactions, by name.
#[derive(Default)]
pub(crate) struct PreparedTransactions {
    by_name: Mutex<BTreeMap<Bytes, Slot>>,
}

impl PreparedTransactions {
    /// Gives up a name that has not become a transaction's.
    fn withdraw(&self, name: &Bytes) {
        self.by_name.lock().remove(name);
    }

    pub(crate) fn insert(&self, prepared: Box<Prepared>) {
        self.by_name.lock().insert(prepared.info.name.clone(), Slot::Idle(prepared));
    }

    /// Forgets a transaction that has ended.
    pub(crate) fn remove(&self, name: &Bytes) {
        self.by_name.lock().remove(name);
    }
}

/// A name for a transaction that is about to be prepared; given up when it is dropped.
pub(crate) struct Reservation {
    shared: Arc<Shared>,
    name: Option<Bytes>,
}

impl Reservation {
    pub(crate) fn new(shared: &Arc<Shared>, name: Bytes) -> Result<Self> {
        let max = shared.options.prepared_transactions_max;
        let mut by_name = shared.prepared.by_name.lock();
        if by_name.contains_key(&name) {
            return Err(KvError::NameInUse);
        }
        if by_name.len() >= max {
            return Err(KvError::TooManyPrepared(max));
        }
        by_name.insert(name.clone(), Slot::Reserved);
        Ok(Self { shared: Arc::clone(shared), name: Some(name) })
    }

    pub(crate) fn name(&self) -> Bytes {
        self.name.clone().unwrap_or_default()
    }

    /// The transaction is prepared.
    pub(crate) fn fill(mut self, prepared: Prepared) {
        self.name = None;
        self.shared.prepared.insert(Box::new(prepared));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.shared.prepared.withdraw(&name);
        }
    }
}

impl Store {
    /// The prepared transactions, by name.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedInfo> {
        let by_name = self.shared.prepared.by_name.lock();
        let listed = by_name.values().filter_map(|slot| match slot {
            Slot::Reserved => None,
            Slot::Idle(prepared) => Some(prepared.info.clone()),
            Slot::Claimed(info) => Some(info.clone()),
        });
        listed.collect()
    }

    /// What is known of one prepared transaction.
    #[must_use]
    pub fn prepared_as(&self, name: &[u8]) -> Option<PreparedInfo> {
        match self.shared.prepared.by_name.lock().get(name)? {
            Slot::Reserved => None,
            Slot::Idle(prepared) => Some(prepared.info.clone()),
            Slot::Claimed(info) => Some(info.clone()),
        }
    }

    /// Takes a prepared transaction to end it.
    ///
    /// # Errors
    /// `NotPrepared` when there is none of this name, `PreparedIsBusy` when somebody else has it.
    pub fn claim_prepared(&self, name: &[u8]) -> Result<PreparedTransaction> {
        let mut by_name = self.shared.prepared.by_name.lock();
        let slot = by_name.get_mut(name).ok_or(KvError::NotPrepared)?;
        let claimed = match slot {
            Slot::Reserved => return Err(KvError::NotPrepared),
            Slot::Claimed(_) => return Err(KvError::PreparedIsBusy),
            Slot::Idle(prepared) => Slot::Claimed(prepared.info.clone()),
        };
        let prepared = match std::mem::replace(slot, claimed) {
            Slot::Idle(prepared) => Some(prepared),
            Slot::Reserved | Slot::Claimed(_) => None,
        };
        Ok(PreparedTransaction { shared: Arc::clone(&self.shared), prepared })
    }
}

impl std::fmt::Debug for PreparedTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let info = self.prepared.as_ref().map(|prepared| &prepared.info);
        f.debug_struct("PreparedTransaction").field("info", &info).finish_non_exhaustive()
    }
}

impl Drop for PreparedTransaction {
    fn drop(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.shared.prepared.insert(prepared);
        }
    }
}

impl Shared {
    /// A prepared transaction was found in the store: what it holds is its own again.
    pub(crate) fn restore_prepared(&self, txn: TxnId, anchor: ShardId, mut record: Record) -> Result<()> {
        let holdings =
            record.holdings.take().ok_or(KvError::Corrupt("a prepared transaction holds nothing"))?;
        let owner = Prepared::owner(txn);
        let mut locks = Vec::new();
        for (name, modes) in holdings.locks {
            let kind = match name {
                LockName::Row(_) => LockMode::Row(LockStrength::KeyShare),
                LockName::Object(_) => LockMode::Object(ObjectLockMode::AccessShare),
                LockName::Transaction(_) => LockMode::Running,
            };
            for mode in kind.modes_of(modes) {
                match self.locks.acquire(name.clone(), mode, owner, None) {
                    Request::Granted(lock) => locks.push(lock),
                    Request::Held => {}
                    Request::Refused(_) | Request::Waiting(_) => {
                        return Err(KvError::Corrupt("two prepared transactions hold the same lock"));
                    }
                }
            }
        }
        let reads = holdings.reads.unwrap_or_default();
        self.watched.restore(Watched::restored(txn, reads, record.rows.clone()));
        let info = PreparedInfo { txn, name: holdings.name, payload: holdings.payload };
        let ignored = record.ignored.clone();
        let moves = OwnMoves::default();
        let prepared = Box::new(Prepared { info, locks, anchor, record, moves });
        let status = if prepared.has_spilled() { SpillStatus::Live } else { SpillStatus::Prepared };
        self.spilled.load(txn, status, ignored);
        self.prepared.insert(prepared);
        Ok(())
    }
}
