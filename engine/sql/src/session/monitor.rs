//! What others see of a session that waits: the store's locks in PostgreSQL's words.
//!
//! PostgreSQL keeps row locks in the rows themselves. Who waits for one first takes a lock on the *tuple*, which
//! orders the waiters, and then waits for the end of the *transaction* that holds the row. Here a row's lock is one
//! queue; its front stands for the waiter that has the tuple's lock, and those behind wait for that one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;
use shardforge_kv::{LockBlocker, LockTarget, LockWaitInfo, ObjectId, TxnId};
use shardforge_pgwire::{ConnectionInfo, ConnectionState};
use shardforge_types::Oid;

use self::lock_kind::{NOTIFYING_COMMIT, RELATION};
use super::activity::{Now, SessionActivity};
use super::prepared::virtual_transaction;
use crate::catalog::pg_catalog::{Activity, HeldLock};
use crate::catalog::{CatalogSnapshot, StorageId, TableDesc};
use crate::engine::{Engine, UNIX_TO_2000_MICROS};
use crate::storage::storage_of;

/// Kinds of the store's lockable objects, all of them within their database.
pub mod lock_kind {
    /// A table or view, by its oid.
    pub const RELATION: u16 = 0;
    /// An advisory lock with one key. What `pg_locks.objsubid` shows of it, too.
    pub const ADVISORY_BIG: u16 = 1;
    /// An advisory lock with two keys. What `pg_locks.objsubid` shows of it, too.
    pub const ADVISORY_PAIR: u16 = 2;
    /// The right to commit what notifies others.
    pub const NOTIFYING_COMMIT: u16 = 3;
}

/// The oid of pg_database.
const PG_DATABASE: u32 = 1262;

/// The process number of a session of the store; 0 for those that are no connection's.
pub(super) fn process_id(session: u64) -> i32 {
    i32::try_from(session).unwrap_or(0)
}

/// A transaction's id as `xid` shows it: the lower half, as in PostgreSQL.
fn xid(txn: TxnId) -> u32 {
    txn.0 as u32
}

/// Microseconds since 2000-01-01 00:00 UTC.
fn since_2000(time: SystemTime) -> i64 {
    let micros = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    i64::try_from(micros).unwrap_or(i64::MAX).saturating_sub(UNIX_TO_2000_MICROS)
}

/// An advisory lock's key as PostgreSQL splits it: class, object, sub-id.
pub(super) fn advisory_key(object: ObjectId) -> (u32, u32, i16) {
    ((object.id >> 32) as u32, object.id as u32, object.kind as i16)
}

/// The table (and, if it is one of its indexes, which) that stores something under an id, in whatever database.
pub(super) fn owner_of(
    engine: &Engine,
    storage: StorageId,
) -> Option<(Arc<CatalogSnapshot>, Arc<TableDesc>, Option<usize>)> {
    let cluster = engine.catalog.cluster();
    cluster.databases.keys().find_map(|database| {
        let catalog = engine.catalog.snapshot(*database)?;
        let (table, index) = catalog.tables().find_map(|table| {
            if table.storage == storage {
                return Some((table.clone(), None));
            }
            let index = table.indexes.iter().position(|index| index.storage == storage)?;
            Some((table.clone(), Some(index)))
        })?;
        Some((catalog, table, index))
    })
}

/// Whom a wait is for, as PostgreSQL counts it: who holds a conflicting lock, and who asked for one before. Of a
/// row's queue, only the front waits for the holders.
fn blockers(wait: &LockWaitInfo) -> impl Iterator<Item = &LockBlocker> {
    let queued = is_queued_for_row(wait);
    wait.blockers.iter().filter(move |blocker| blocker.ahead || !queued)
}

/// Whether it waits for a row behind others, rather than at the front.
fn is_queued_for_row(wait: &LockWaitInfo) -> bool {
    matches!(wait.target, LockTarget::Row(_)) && wait.blockers.iter().any(|blocker| blocker.ahead)
}

/// `pg_blocking_pids`.
pub(super) fn blocking_pids(waits: &[LockWaitInfo], pid: i32) -> Vec<i32> {
    let of_pid = waits.iter().filter(|wait| process_id(wait.session) == pid);
    of_pid.flat_map(blockers).map(|blocker| process_id(blocker.session)).collect()
}

/// What `pg_stat_activity` calls a wait for a lock.
fn lock_event(wait: &LockWaitInfo) -> &'static str {
    match &wait.target {
        LockTarget::Row(_) if is_queued_for_row(wait) => "tuple",
        LockTarget::Row(_) | LockTarget::Transaction(_) => "transactionid",
        LockTarget::Object(ObjectId { kind: RELATION, .. }) => "relation",
        LockTarget::Object(ObjectId { kind: NOTIFYING_COMMIT, .. }) => "object",
        LockTarget::Object(_) => "advisory",
    }
}

/// The rows of `pg_stat_activity`.
pub(super) fn activity(engine: &Engine, connections: &[ConnectionInfo]) -> Vec<Activity> {
    let waits = engine.store.lock_waits();
    let cluster = engine.catalog.cluster();
    let rows = connections.iter().map(|connection| {
        let session = engine.sessions.get(connection.process_id);
        let now = session.as_ref().map(|session| session.now()).unwrap_or_default();
        let wait = waits.iter().find(|wait| process_id(wait.session) == connection.process_id);
        let txn = now.transaction.as_ref();
        let is_idle = connection.state != ConnectionState::Active;
        let idle_since = since_2000(connection.idle_since);
        Activity {
            pid: connection.process_id,
            database: cluster.database_by_name(&connection.database).map_or(Oid(0), |d| d.oid),
            user: cluster.role_by_name(&connection.user).map_or(Oid(0), |role| role.oid),
            application_name: session
                .and_then(|session| session.settings.show("application_name"))
                .unwrap_or_default(),
            client_addr: Some(connection.peer.ip().to_string()),
            client_port: Some(i32::from(connection.peer.port())),
            backend_start: since_2000(connection.since),
            xact_start: txn.map(|(_, start)| *start),
            query_start: (now.statement_start != 0).then_some(now.statement_start),
            state_change: Some(if is_idle { idle_since } else { now.statement_start.max(idle_since) }),
            state: match connection.state {
                ConnectionState::Starting => "starting",
                ConnectionState::Active => "active",
                ConnectionState::Idle => "idle",
                ConnectionState::IdleInTransaction => "idle in transaction",
                ConnectionState::IdleInFailedTransaction => "idle in transaction (aborted)",
            },
            wait_event: match wait {
                Some(wait) => Some(("Lock", lock_event(wait))),
                None if now.sleeps => Some(("Timeout", "PgSleep")),
                None if is_idle => Some(("Client", "ClientRead")),
                None => None,
            },
            transaction: txn.filter(|(txn, _)| txn.is_assigned()).map(|(txn, _)| xid(txn.id())),
            snapshot: txn.and_then(|(txn, _)| txn.read_timestamp()).map(|at| at.as_u64() as u32),
            query: now.statement,
            index: now.index,
            lockers: wait.map_or((0, 0), |wait| {
                (blockers(wait).count(), blockers(wait).next().map_or(0, |first| process_id(first.session)))
            }),
        }
    });
    rows.collect()
}

/// The rows of `pg_locks`.
pub(super) fn locks(engine: &Engine) -> Vec<HeldLock> {
    let sessions = engine.sessions.all();
    let now: HashMap<i32, (&SessionActivity, Now)> =
        sessions.iter().map(|session| (session.pid, (&**session, session.now()))).collect();
    let prepared = engine.store.prepared();
    let owned_by = |session: u64| {
        let pid = process_id(session);
        // A prepared transaction is a session of its own.
        if let Some(prepared) = prepared.iter().find(|prepared| prepared.txn.0 == session) {
            let virtual_transaction = virtual_transaction(engine, prepared);
            return HeldLock { virtual_transaction, ..HeldLock::default() };
        }
        let transactions = now.get(&pid).map_or(0, |(_, now)| now.transactions);
        HeldLock { pid, virtual_transaction: format!("{pid}/{transactions}"), ..HeldLock::default() }
    };
    let mut locks = Vec::new();
    for session in &sessions {
        let Some((txn, _)) = now.get(&session.pid).and_then(|(_, now)| now.transaction.as_ref()) else {
            continue;
        };
        let own = HeldLock { mode: "ExclusiveLock", granted: true, ..owned_by(session.pid as u64) };
        let number = own.virtual_transaction.clone();
        locks.push(HeldLock {
            locktype: "virtualxid",
            virtualxid: Some(number),
            fastpath: true,
            ..own.clone()
        });
        if txn.is_assigned() {
            locks.push(HeldLock { locktype: "transactionid", transaction: Some(xid(txn.id())), ..own });
        }
    }
    for prepared in &prepared {
        locks.push(HeldLock {
            locktype: "transactionid",
            transaction: Some(xid(prepared.txn)),
            mode: "ExclusiveLock",
            granted: true,
            ..owned_by(prepared.txn.0)
        });
    }
    let waits = engine.store.lock_waits();
    for lock in engine.store.object_locks() {
        let LockTarget::Object(object) = lock.target else { continue };
        let since = waits
            .iter()
            .find(|wait| !lock.granted && wait.session == lock.session && wait.target == lock.target)
            .map(|wait| wait_start(wait));
        let of_object = on_object(object);
        let own = owned_by(lock.session);
        locks.push(HeldLock {
            pid: own.pid,
            virtual_transaction: own.virtual_transaction,
            mode: lock.mode,
            granted: lock.granted,
            wait_start: since,
            ..of_object
        });
    }
    mark_fast_path(&mut locks);
    for wait in &waits {
        wait_for_row(engine, wait, owned_by(wait.session), &mut locks);
    }
    locks
}

fn wait_start(wait: &LockWaitInfo) -> i64 {
    i64::try_from(wait.since_micros).unwrap_or(i64::MAX).saturating_sub(UNIX_TO_2000_MICROS)
}

fn on_object(object: ObjectId) -> HeldLock {
    let database = Some(Oid(object.class));
    match object.kind {
        RELATION => {
            let relation = Some(Oid(object.id as u32));
            HeldLock { locktype: "relation", database, relation, ..HeldLock::default() }
        }
        // As PostgreSQL shows the lock of all notifying commits.
        NOTIFYING_COMMIT => HeldLock {
            locktype: "object",
            database: Some(Oid(0)),
            object: Some((PG_DATABASE, 0, 0)),
            ..HeldLock::default()
        },
        _ => HeldLock {
            locktype: "advisory",
            database,
            object: Some(advisory_key(object)),
            ..HeldLock::default()
        },
    }
}

/// PostgreSQL takes weak locks of a relation past its lock table, while nobody wants a strong one.
fn mark_fast_path(locks: &mut [HeldLock]) {
    let is_weak =
        |lock: &HeldLock| matches!(lock.mode, "AccessShareLock" | "RowShareLock" | "RowExclusiveLock");
    let strong: Vec<Option<Oid>> = locks
        .iter()
        .filter(|lock| lock.locktype == "relation" && !is_weak(lock))
        .map(|lock| lock.relation)
        .collect();
    for lock in locks.iter_mut().filter(|lock| lock.locktype == "relation") {
        let of_session = lock.pid != 0;
        lock.fastpath = lock.granted && of_session && is_weak(lock) && !strong.contains(&lock.relation);
    }
}

/// The rows of a wait for a row, or for the end of a transaction that has spilled it.
fn wait_for_row(engine: &Engine, wait: &LockWaitInfo, own: HeldLock, locks: &mut Vec<HeldLock>) {
    let waits = HeldLock { wait_start: Some(wait_start(wait)), ..own.clone() };
    let for_end_of = |txn: TxnId| HeldLock {
        locktype: "transactionid",
        transaction: Some(xid(txn)),
        mode: "ShareLock",
        ..waits.clone()
    };
    match &wait.target {
        LockTarget::Object(_) => {}
        LockTarget::Transaction(txn) => locks.push(for_end_of(*txn)),
        LockTarget::Row(key) => {
            let tuple = on_tuple(engine, key);
            let queued = is_queued_for_row(wait);
            let holder = wait.blockers.iter().find_map(|blocker| blocker.transaction);
            let (granted, wait_start) = (!queued, if queued { waits.wait_start } else { None });
            locks.push(HeldLock {
                pid: own.pid,
                virtual_transaction: own.virtual_transaction,
                mode: wait.mode,
                granted,
                wait_start,
                ..tuple
            });
            if let Some(holder) = holder.filter(|_| !queued) {
                locks.push(for_end_of(holder));
            }
        }
    }
}

/// A row, as `pg_locks` names tuples. Rows have keys here, and no places: page and tuple are made of the key, so that
/// equal numbers stand for equal rows.
fn on_tuple(engine: &Engine, key: &[u8]) -> HeldLock {
    let owner = storage_of(key).and_then(|storage| owner_of(engine, storage));
    let relation = owner.as_ref().map(|(_, table, index)| index.map_or(table.oid, |i| table.indexes[i].oid));
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    HeldLock {
        locktype: "tuple",
        database: owner.map(|(catalog, ..)| catalog.database),
        relation,
        tuple: Some(((hash >> 33) as i32, (hash & 0x7FFF) as i16)),
        ..HeldLock::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardforge_kv::ObjectId;

    use super::*;

    fn wait(session: u64, target: LockTarget, blockers: &[(u64, bool)]) -> LockWaitInfo {
        let blocker = |&(session, ahead): &(u64, bool)| LockBlocker { session, transaction: None, ahead };
        LockWaitInfo {
            session,
            transaction: None,
            target,
            mode: "ExclusiveLock",
            since_micros: 0,
            blockers: blockers.iter().map(blocker).collect(),
        }
    }

    #[test]
    fn behind_the_front_of_a_row_only_the_queue_blocks() {
        let row = || LockTarget::Row(Bytes::from_static(b"k"));
        let table = LockTarget::Object(ObjectId { class: 5, kind: RELATION, id: 16384 });
        let waits = [
            wait(2, row(), &[(1, false)]),
            wait(3, row(), &[(1, false), (2, true)]),
            wait(4, table, &[(1, false), (2, true), (1 << 40, false)]),
        ];
        assert_eq!(blocking_pids(&waits, 2), [1]);
        assert_eq!(blocking_pids(&waits, 3), [2]);
        assert_eq!(blocking_pids(&waits, 4), [1, 2, 0]);
        assert!(blocking_pids(&waits, 1).is_empty());
    }
}
