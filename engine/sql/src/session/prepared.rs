//! PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
//!
//! The store keeps a prepared transaction: its writes, its locks, its name. With it is kept what this layer has to know
//! when it ends, in whatever session, and after whatever restart:
//!
//! ```text
//!   version:1 = 1   prepared:8   owner:4   database:4   pid:4   number:8
//!   count:4 (key  has_value:1  value)...     rows of the catalog that it changes: to publish
//!   count:4 (storage:4)...                   storage that it drops: to clear
//! ```
//!
//! Keys and values have their length, four bytes, before them. Time is in microseconds since 2000-01-01 00:00 UTC.

use bytes::{Buf, BufMut, Bytes};
use shardforge_kv::{KvError, PreparedInfo};
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::PgSession;
use super::activity::Commit;
use super::error::from_kv;
use crate::catalog::pg_catalog::PreparedXact;
use crate::catalog::{Change, StorageId};
use crate::ddl::FreshBuckets;
use crate::engine::Engine;

/// Bytes of an identifier at most: one less than PostgreSQL's GIDSIZE.
const IDENTIFIER_BYTES_MAX: usize = 199;

const FORMAT_VERSION: u8 = 1;

/// What is kept with a prepared transaction.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    prepared_at: i64,
    owner: Oid,
    database: Oid,
    /// The session that prepared it, and its number for the transaction.
    pid: i32,
    number: u64,
    catalog_rows: Vec<(Bytes, Option<Bytes>)>,
    dropped_storage: Vec<StorageId>,
}

impl Kept {
    fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT_VERSION];
        out.put_i64(self.prepared_at);
        out.put_u32(self.owner.0);
        out.put_u32(self.database.0);
        out.put_i32(self.pid);
        out.put_u64(self.number);
        out.put_u32(self.catalog_rows.len() as u32);
        for (key, value) in &self.catalog_rows {
            put_bytes(&mut out, key);
            out.put_u8(u8::from(value.is_some()));
            put_bytes(&mut out, value.as_deref().unwrap_or_default());
        }
        out.put_u32(self.dropped_storage.len() as u32);
        self.dropped_storage.iter().for_each(|storage| out.put_u32(storage.0));
        out.into()
    }

    fn decode(payload: &[u8]) -> PgResult<Kept> {
        Self::read(payload)
            .ok_or_else(|| PgError::corrupted("what is kept of a prepared transaction is damaged"))
    }

    fn read(mut rest: &[u8]) -> Option<Kept> {
        let rest = &mut rest;
        if rest.try_get_u8().ok()? != FORMAT_VERSION {
            return None;
        }
        let prepared_at = rest.try_get_i64().ok()?;
        let (owner, database) = (Oid(rest.try_get_u32().ok()?), Oid(rest.try_get_u32().ok()?));
        let (pid, number) = (rest.try_get_i32().ok()?, rest.try_get_u64().ok()?);
        let mut catalog_rows = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            let key = take_bytes(rest)?;
            let has_value = rest.try_get_u8().ok()? == 1;
            let value = take_bytes(rest)?;
            catalog_rows.push((key, has_value.then_some(value)));
        }
        let mut dropped_storage = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            dropped_storage.push(StorageId(rest.try_get_u32().ok()?));
        }
        let kept = Kept { prepared_at, owner, database, pid, number, catalog_rows, dropped_storage };
        rest.is_empty().then_some(kept)
    }

    fn changes(&self) -> PgResult<Vec<Change>> {
        self.catalog_rows.iter().map(|(key, value)| Change::of_row(key, value.as_deref())).collect()
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn take_bytes(rest: &mut &[u8]) -> Option<Bytes> {
    let length = rest.try_get_u32().ok()? as usize;
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Bytes::copy_from_slice(bytes))
}

/// The rows of `pg_prepared_xacts`.
pub(super) fn prepared_xacts(engine: &Engine) -> Vec<PreparedXact> {
    let rows = engine.store.prepared().into_iter().filter_map(|PreparedInfo { txn, name, payload }| {
        let kept = Kept::decode(&payload).ok()?;
        Some(PreparedXact {
            transaction: txn.0 as u32,
            gid: String::from_utf8_lossy(&name).into_owned(),
            prepared: kept.prepared_at,
            owner: kept.owner,
            database: kept.database,
        })
    });
    rows.collect()
}

/// What PostgreSQL calls a prepared transaction in `pg_locks.virtualtransaction`: what it was called in its session, or,
/// after a restart, by its id.
pub(super) fn virtual_transaction(engine: &Engine, prepared: &PreparedInfo) -> String {
    match Kept::decode(&prepared.payload) {
        Ok(kept) if kept.prepared_at >= engine.started_at => format!("{}/{}", kept.pid, kept.number),
        _ => format!("-1/{}", prepared.txn.0 as u32),
    }
}

/// How many transactions of a database are prepared.
pub(super) fn prepared_in(engine: &Engine, database: &str) -> usize {
    let cluster = engine.catalog.cluster();
    let Some(database) = cluster.database_by_name(database) else { return 0 };
    prepared_xacts(engine).iter().filter(|xact| xact.database == database.oid).count()
}

impl PgSession {
    /// PREPARE TRANSACTION; answers its command tag.
    ///
    /// # Errors
    /// What keeps the transaction from being prepared: it is rolled back then.
    pub(super) async fn prepare_transaction(&mut self, gid: &str) -> PgResult<&'static str> {
        let explicit = self.txn.as_ref().is_some_and(|txn| txn.explicit);
        if !explicit {
            self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        let Some(txn) = &self.txn else { return Ok("ROLLBACK") };
        if txn.failed {
            self.rollback().await;
            return Ok("ROLLBACK");
        }
        if let Err(error) = self.before_prepare(gid).await {
            self.rollback().await;
            return Err(error);
        }
        let Some(mut txn) = self.txn.take() else { return Ok("ROLLBACK") };
        self.portals.retain(|_, portal| portal.outlives_transaction());
        if !txn.changes.is_empty() {
            self.search_path = None;
        }
        let (database, number) = (self.database, self.activity.now().transactions);
        let rows = std::mem::take(&mut txn.changes).into_iter().map(|change| change.row(database));
        let kept = rows.collect::<PgResult<_>>().map(|catalog_rows| Kept {
            prepared_at: self.engine.clock_micros(),
            owner: self.user,
            database,
            pid: self.activity.pid,
            number,
            catalog_rows,
            dropped_storage: std::mem::take(&mut txn.dropped_storage),
        });
        let result = match kept {
            Ok(kept) => {
                let name = Bytes::copy_from_slice(gid.as_bytes());
                txn.txn.prepare(name, kept.encode()).await.map_err(|error| named(error, gid))
            }
            Err(error) => Err(error),
        };
        self.settings.end_transaction(result.is_ok());
        self.services.set_transaction(None);
        result.map(|()| "PREPARE TRANSACTION")
    }

    /// What may keep a transaction from being prepared, beside what keeps it from committing.
    async fn before_prepare(&mut self, gid: &str) -> PgResult<()> {
        self.check_deferred().await?;
        if self.portals.values().any(super::portal::Portal::must_be_persisted) {
            return Err(PgError::not_supported(
                "cannot PREPARE a transaction that has created a cursor WITH HOLD",
            ));
        }
        if self.services.has_exported_snapshots() {
            return Err(PgError::not_supported("cannot PREPARE a transaction that has exported snapshots"));
        }
        if gid.len() > IDENTIFIER_BYTES_MAX {
            let message = format!("transaction identifier \"{gid}\" is too long");
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        if self.engine.options.max_prepared_transactions == 0 {
            let message = "prepared transactions are disabled";
            return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .hint("Set \"max_prepared_transactions\" to a nonzero value."));
        }
        if self.services.listener.is_pending() {
            return Err(PgError::not_supported(
                "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY",
            ));
        }
        let txn = self.ensure_txn().txn.clone();
        if self.services.session_locks_any(|object| txn.holds_object(object)) {
            return Err(PgError::not_supported(
                "cannot PREPARE while holding both session-level and transaction-level locks on the same object",
            ));
        }
        Ok(())
    }

    /// COMMIT PREPARED.
    ///
    /// # Errors
    /// 42704, 42501 and their kin; if it fails, the transaction is still prepared (or, for 08007, its outcome is unknown).
    pub(super) async fn commit_prepared(&mut self, gid: &str) -> PgResult<()> {
        self.require_no_block("COMMIT PREPARED")?;
        let claimed = self.engine.store.claim_prepared(gid.as_bytes()).map_err(|error| named(error, gid))?;
        let info =
            claimed.info().cloned().ok_or_else(|| PgError::internal("a prepared transaction is gone"))?;
        let kept = self.finishable(&info)?;
        let changes = kept.changes()?;
        let (engine, database) = (self.engine.clone(), kept.database);
        let fresh = FreshBuckets::of(&engine, database, &changes);
        let publish = move |commit_ts| {
            if !changes.is_empty() {
                engine.publish(database, &changes, commit_ts);
            }
        };
        let commit = claimed.commit_with(publish).await.map_err(from_kv)?;
        let statement = self.activity.now().statement;
        let (txn, at, pid) = (info.txn, commit.commit_ts, self.activity.pid);
        self.engine.sessions.remember(Commit { txn, at, pid, statement });
        kept.dropped_storage.into_iter().for_each(|storage| self.engine.reclaim(storage));
        fresh.split(&self.engine).await;
        Ok(())
    }

    /// ROLLBACK PREPARED.
    ///
    /// # Errors
    /// As [`Self::commit_prepared`].
    pub(super) async fn rollback_prepared(&mut self, gid: &str) -> PgResult<()> {
        self.require_no_block("ROLLBACK PREPARED")?;
        let claimed = self.engine.store.claim_prepared(gid.as_bytes()).map_err(|error| named(error, gid))?;
        let info =
            claimed.info().cloned().ok_or_else(|| PgError::internal("a prepared transaction is gone"))?;
        self.finishable(&info)?;
        claimed.rollback().await.map_err(from_kv)
    }

    /// What is kept of a transaction that this session may end.
    fn finishable(&self, info: &PreparedInfo) -> PgResult<Kept> {
        let kept = Kept::decode(&info.payload)?;
        if kept.owner != self.user && !self.is_superuser() {
            let message = "permission denied to finish prepared transaction";
            return Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .hint("Must be superuser or the user that prepared the transaction."));
        }
        if kept.database != self.database {
            return Err(PgError::not_supported("prepared transaction belongs to another database")
                .hint("Connect to the database where the transaction was prepared to finish it."));
        }
        Ok(kept)
    }
}

/// An error of the store that is about the name of a prepared transaction.
fn named(error: KvError, gid: &str) -> PgError {
    let (sqlstate, message) = match error {
        KvError::NameInUse => {
            (SqlState::DUPLICATE_OBJECT, format!("transaction identifier \"{gid}\" is already in use"))
        }
        KvError::NotPrepared => (
            SqlState::UNDEFINED_OBJECT,
            format!("prepared transaction with identifier \"{gid}\" does not exist"),
        ),
        KvError::PreparedIsBusy => (
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("prepared transaction with identifier \"{gid}\" is busy"),
        ),
        KvError::TooManyPrepared(max) => {
            let message = "maximum number of prepared transactions reached";
            return PgError::new(SqlState::OUT_OF_MEMORY, message)
                .hint(format!("Increase \"max_prepared_transactions\" (currently {max})."));
        }
        other => return from_kv(other),
    };
    PgError::new(sqlstate, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_garbage_does_not() {
        let row = |text: &'static str| Bytes::from_static(text.as_bytes());
        let kept = Kept {
            prepared_at: -5,
            owner: Oid(10),
            database: Oid(5),
            pid: 7,
            number: 8,
            catalog_rows: vec![(row("a"), Some(row("value"))), (row("b"), None)],
            dropped_storage: vec![StorageId(7)],
        };
        let encoded = kept.encode();
        assert_eq!(Kept::decode(&encoded).unwrap(), kept);
        for length in 0..encoded.len() {
            assert!(Kept::decode(&encoded[..length]).is_err());
        }
        assert!(Kept::decode(&[&encoded[..], b"x"].concat()).is_err());
    }
}
