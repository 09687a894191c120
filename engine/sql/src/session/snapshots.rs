//! Snapshots that one transaction exports and others import: `pg_export_snapshot`, SET TRANSACTION SNAPSHOT.
//!
//! An exported snapshot is held for as long as its transaction is open. An importer takes it over while it is held, and
//! keeps it by itself from then on.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{HeldSnapshot, IsolationLevel, Transaction};
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::PgSession;
use super::error::from_kv;

/// The exported snapshots of a server, by their identifiers.
#[derive(Default)]
pub struct ExportedSnapshots {
    by_id: Mutex<HashMap<String, Exported>>,
}

/// An exported snapshot, and what importers must know of its transaction.
struct Exported {
    held: HeldSnapshot,
    database: Oid,
    isolation: IsolationLevel,
    read_only: bool,
}

/// Keeps a snapshot exported.
pub struct Export {
    snapshots: Arc<ExportedSnapshots>,
    id: String,
}

impl Drop for Export {
    fn drop(&mut self) {
        self.snapshots.by_id.lock().remove(&self.id);
    }
}

impl Export {
    /// Exports what a transaction's current statement sees.
    ///
    /// # Errors
    /// 25001 within a savepoint.
    pub fn new(
        snapshots: &Arc<ExportedSnapshots>,
        txn: &Transaction,
        database: Oid,
        id: String,
    ) -> PgResult<Export> {
        if txn.in_savepoint() {
            let message = "cannot export a snapshot from a subtransaction";
            return Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let options = txn.options();
        let exported = Exported {
            held: txn.hold_snapshot(),
            database,
            isolation: options.isolation,
            read_only: options.read_only,
        };
        snapshots.by_id.lock().insert(id.clone(), exported);
        Ok(Export { snapshots: snapshots.clone(), id })
    }

    /// What importers name it by.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl PgSession {
    /// SET TRANSACTION SNAPSHOT.
    ///
    /// # Errors
    /// 25001 if a query has run, 22023 and 42704 for identifiers that are none, 0A000 where the two transactions do
    /// not go together.
    pub(super) fn import_snapshot(&mut self, id: &str) -> PgResult<()> {
        let (engine, database) = (self.engine.clone(), self.database);
        let txn = self.ensure_txn();
        if txn.used || !txn.savepoints.is_empty() || txn.txn.is_assigned() {
            let message = "SET TRANSACTION SNAPSHOT must be called before any query";
            return Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        if txn.isolation == IsolationLevel::ReadCommitted {
            return Err(PgError::not_supported(
                "a snapshot-importing transaction must have isolation level SERIALIZABLE or REPEATABLE READ",
            ));
        }
        if id.is_empty() || !id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F' | b'-')) {
            let message = format!("invalid snapshot identifier: \"{id}\"");
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let by_id = engine.exported.by_id.lock();
        let exported = by_id.get(id).ok_or_else(|| {
            PgError::new(SqlState::UNDEFINED_OBJECT, format!("snapshot \"{id}\" does not exist"))
        })?;
        if exported.database != database {
            return Err(PgError::not_supported("cannot import a snapshot from a different database"));
        }
        if txn.isolation == IsolationLevel::Serializable {
            if exported.isolation != IsolationLevel::Serializable {
                return Err(PgError::not_supported(
                    "a serializable transaction cannot import a snapshot from a non-serializable transaction",
                ));
            }
            if exported.read_only && !txn.read_only {
                return Err(PgError::not_supported(
                    "a non-read-only serializable transaction cannot import a snapshot from a read-only transaction",
                ));
            }
        }
        txn.txn.adopt_snapshot(&exported.held).map_err(from_kv)?;
        txn.used = true;
        Ok(())
    }
}
