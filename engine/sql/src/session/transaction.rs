//! The session's transaction: its key-value transaction, its catalog changes, its savepoints.

use std::sync::Arc;

use parking_lot::Mutex;
use shardforge_kv::{IsolationLevel, Savepoint, Timestamp, Transaction};
use shardforge_types::PgResult;

use super::error::from_kv;
use super::listen::PendingMark;
use super::settings::SettingsMark;
use super::timeouts::TimeLimit;
use crate::catalog::{CatalogSnapshot, Change};
use crate::engine::Engine;
use crate::ri::{Deferred, DeferredMark};

/// A transaction in progress.
pub struct SessionTxn {
    /// The key-value side.
    pub txn: Arc<Transaction>,
    /// Isolation level.
    pub isolation: IsolationLevel,
    /// READ ONLY.
    pub read_only: bool,
    /// DEFERRABLE, which is shown and changes nothing: no snapshot of a SERIALIZABLE transaction has to be waited for.
    pub deferrable: bool,
    /// Opened by BEGIN rather than around a single statement (or a pipeline of them).
    pub explicit: bool,
    /// A statement has failed: only ROLLBACK (TO) is accepted.
    pub failed: bool,
    /// A statement has run: the isolation level is fixed.
    pub used: bool,
    /// AS OF SYSTEM TIME: the past that it reads.
    pub as_of: Option<Timestamp>,
    /// Start, in microseconds since 2000-01-01.
    pub started_at: i64,
    /// What DDL has changed so far.
    pub changes: Vec<Change>,
    /// Keys to delete once the transaction has committed: storage of dropped and rewritten relations.
    pub dropped_storage: Vec<crate::catalog::StorageId>,
    /// Checks that wait for the end of the transaction.
    pub deferred: Arc<Mutex<Deferred>>,
    /// Open savepoints, oldest first.
    pub savepoints: Vec<SavepointFrame>,
    /// `transaction_timeout`, running.
    pub limit: Option<TimeLimit>,
    own_catalog: Option<(u64, usize, Arc<CatalogSnapshot>)>,
}

/// An open savepoint.
pub struct SavepointFrame {
    /// Its name.
    pub name: String,
    kv: Savepoint,
    changes: usize,
    dropped_storage: usize,
    deferred: DeferredMark,
    read_only: bool,
    /// Settings as of the savepoint.
    pub settings: SettingsMark,
    /// How many portals there had been.
    pub portals: u64,
    /// What had been noted for the commit by LISTEN and NOTIFY.
    pub pending: PendingMark,
}

impl SessionTxn {
    /// Wraps a key-value transaction.
    pub fn new(
        txn: Arc<Transaction>,
        isolation: IsolationLevel,
        read_only: bool,
        explicit: bool,
        started_at: i64,
        engine: &Engine,
    ) -> SessionTxn {
        SessionTxn {
            txn,
            isolation,
            read_only,
            deferrable: false,
            explicit,
            failed: false,
            used: false,
            as_of: None,
            started_at,
            changes: Vec::new(),
            dropped_storage: Vec::new(),
            deferred: Arc::new(Mutex::new(Deferred::new(engine))),
            savepoints: Vec::new(),
            limit: None,
            own_catalog: None,
        }
    }

    /// The catalog as this transaction sees it: what is published, with its own changes on top.
    pub fn catalog(&mut self, published: Arc<CatalogSnapshot>) -> Arc<CatalogSnapshot> {
        if self.changes.is_empty() {
            return published;
        }
        if let Some((version, changes, own)) = &self.own_catalog
            && *version == published.version
            && *changes == self.changes.len()
        {
            return own.clone();
        }
        let mut own = CatalogSnapshot::clone(&published);
        self.changes.iter().for_each(|change| own.apply(change));
        let own = Arc::new(own);
        self.own_catalog = Some((published.version, self.changes.len(), own.clone()));
        own
    }

    /// Opens a savepoint.
    pub fn savepoint(&mut self, name: String, settings: SettingsMark, portals: u64, pending: PendingMark) {
        let kv = self.txn.savepoint();
        let (changes, dropped_storage) = (self.changes.len(), self.dropped_storage.len());
        let deferred = self.deferred.lock().mark();
        let frame = SavepointFrame {
            name,
            kv,
            changes,
            dropped_storage,
            deferred,
            read_only: self.read_only,
            settings,
            portals,
            pending,
        };
        self.savepoints.push(frame);
    }

    /// Position of the innermost savepoint of a name.
    pub fn find_savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|frame| frame.name == name)
    }

    /// A statement failed. What was done since the innermost savepoint, or all, is undone at once, so that nobody waits
    /// for its locks until the client has noticed; answers whether it was all.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn fail(&mut self) -> PgResult<bool> {
        self.failed = true;
        match self.savepoints.last() {
            Some(frame) => {
                self.txn.rollback_to(&frame.kv).map_err(from_kv)?;
                Ok(false)
            }
            None => {
                self.limit = None;
                self.changes.clear();
                self.dropped_storage.clear();
                self.own_catalog = None;
                self.txn.rollback().await.map_err(from_kv)?;
                Ok(true)
            }
        }
    }

    /// Undoes everything since a savepoint, which stays open; answers what it noted of the session.
    ///
    /// # Errors
    /// What the store raises.
    pub fn rollback_to(&mut self, position: usize) -> PgResult<&SavepointFrame> {
        self.savepoints.truncate(position + 1);
        let frame = &self.savepoints[position];
        self.txn.rollback_to(&frame.kv).map_err(from_kv)?;
        self.changes.truncate(frame.changes);
        self.dropped_storage.truncate(frame.dropped_storage);
        self.deferred.lock().rollback_to(&frame.deferred, self.savepoints.len());
        self.own_catalog = None;
        self.read_only = frame.read_only;
        self.txn.set_read_only(frame.read_only);
        self.failed = false;
        Ok(frame)
    }

    /// Forgets a savepoint and those inside it, keeping their effects.
    ///
    /// # Errors
    /// What the store raises.
    pub fn release(&mut self, position: usize) -> PgResult<()> {
        self.deferred.lock().release(position);
        let mut frames = self.savepoints.drain(position..);
        match frames.next() {
            Some(frame) => self.txn.release(frame.kv).map_err(from_kv),
            None => Ok(()),
        }
    }
}
