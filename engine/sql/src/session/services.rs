//! What functions may ask of the session: sequences, clock, locks, other sessions, notices.
//!
//! These calls come from expressions, which are not async. What they wait for (a new range of a sequence, a
//! lock) is waited for with the worker thread handed over, so that other sessions go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{
    IsolationLevel, KvError, ObjectId, ObjectLockMode, SessionLocks, Transaction, TxnId, WaitLimits,
    WaitPolicy,
};
use shardforge_pgwire::{CancelToken, ConnectionRegistry, FieldDesc};
use shardforge_types::io::snapshot::Snapshot as XidSnapshot;
use shardforge_types::{Oid, PgError, PgResult, Severity, SqlState};

use super::activity::SessionActivity;
use super::error::from_kv;
use super::listen::Listener;
use super::monitor::{self, lock_kind};
use super::prepared::prepared_xacts;
use super::snapshots::Export;
use super::statement::Prepared;
use crate::catalog::pg_catalog::{Activity, Cursor, HeldLock, PreparedStatement, PreparedXact};
use crate::catalog::{CatalogSnapshot, Relation, SequenceDesc};
use crate::engine::Engine;
use crate::exec::env::{AdvisoryKey, AdvisoryMode, Host, Sequences};

/// The services of one session.
pub struct SessionServices {
    engine: Arc<Engine>,
    activity: Arc<SessionActivity>,
    process_id: i32,
    cancel: CancelToken,
    registry: Arc<ConnectionRegistry>,
    /// LISTEN and NOTIFY.
    pub listener: Arc<Listener>,
    /// Whether there are notices: asked after every message.
    has_notices: AtomicBool,
    state: Mutex<State>,
    /// Statements with a name, for `pg_prepared_statements`.
    prepared: Mutex<BTreeMap<String, PreparedStatement>>,
    /// Open cursors by the numbers of their portals, for `pg_cursors`.
    cursors: Mutex<BTreeMap<u64, Cursor>>,
}

/// Lists a cursor for as long as it is kept.
pub struct ListedCursor {
    services: Arc<SessionServices>,
    number: u64,
}

impl Drop for ListedCursor {
    fn drop(&mut self) {
        self.services.cursors.lock().remove(&self.number);
    }
}

struct State {
    catalog: Arc<CatalogSnapshot>,
    notices: Vec<PgError>,
    sequences: HashMap<(Oid, u32), CachedSequence>,
    last_sequence: Option<(Oid, u32)>,
    /// The transaction of the running statement.
    txn: Option<Arc<Transaction>>,
    /// DEFERRABLE, if the transaction's BEGIN or SET TRANSACTION says so or not.
    deferrable: Option<bool>,
    /// Holds this session's advisory locks that outlive transactions.
    session_locks: Option<Arc<SessionLocks>>,
    /// The snapshots that the transaction has exported.
    exports: Vec<Export>,
}

/// What the session knows of a sequence.
struct CachedSequence {
    last: Option<i64>,
    /// Values handed out by the store and not used yet: next, how many.
    next: i64,
    left: u64,
}

impl SessionServices {
    /// Services for a connection.
    pub fn new(
        engine: Arc<Engine>,
        activity: Arc<SessionActivity>,
        cancel: CancelToken,
        registry: Arc<ConnectionRegistry>,
        catalog: Arc<CatalogSnapshot>,
    ) -> SessionServices {
        let state = State {
            catalog,
            notices: Vec::new(),
            sequences: HashMap::new(),
            last_sequence: None,
            txn: None,
            deferrable: None,
            session_locks: None,
            exports: Vec::new(),
        };
        let listener = Arc::new(Listener::new(engine.hub.clone(), activity.database, activity.pid));
        SessionServices {
            engine,
            process_id: activity.pid,
            activity,
            cancel,
            registry,
            listener,
            has_notices: AtomicBool::new(false),
            state: Mutex::new(state),
            prepared: Mutex::new(BTreeMap::new()),
            cursors: Mutex::new(BTreeMap::new()),
        }
    }

    /// Lists the cursor of the portal of a number.
    pub fn list_cursor(self: &Arc<Self>, number: u64, cursor: Cursor) -> ListedCursor {
        let cursor = Cursor { creation_time: self.engine.clock_micros(), ..cursor };
        self.cursors.lock().insert(number, cursor);
        ListedCursor { services: self.clone(), number }
    }

    /// Notes a statement that has a name.
    pub fn remember_statement(&self, name: &str, prepared: &Prepared, from_sql: bool) {
        let types = |fields: &[FieldDesc]| fields.iter().map(|field| field.type_oid).collect();
        let statement = PreparedStatement {
            name: name.to_owned(),
            statement: prepared.sql.to_string(),
            prepare_time: self.engine.clock_micros(),
            parameter_types: prepared.params.iter().map(|ty| ty.oid).collect(),
            result_types: prepared.fields.as_deref().map(types),
            from_sql,
            ..PreparedStatement::default()
        };
        self.prepared.lock().insert(name.to_owned(), statement);
    }

    /// Forgets one statement with a name, or all.
    pub fn forget_statements(&self, name: Option<&str>) {
        let mut prepared = self.prepared.lock();
        match name {
            Some(name) => drop(prepared.remove(name)),
            None => prepared.clear(),
        }
    }

    /// The catalog that sequence functions look their sequences up in.
    pub fn set_catalog(&self, catalog: Arc<CatalogSnapshot>) {
        self.state.lock().catalog = catalog;
    }

    /// The transaction that transaction-level functions act on, and when it began. Without one, what the last one
    /// noted for its commit is forgotten.
    pub fn set_transaction(&self, transaction: Option<(Arc<Transaction>, i64)>) {
        if transaction.is_none() {
            drop(self.listener.take_pending());
        }
        let exports = {
            let mut state = self.state.lock();
            state.txn = transaction.as_ref().map(|(txn, _)| txn.clone());
            state.deferrable = None;
            std::mem::take(&mut state.exports)
        };
        drop(exports);
        self.activity.set_transaction(transaction);
    }

    /// Says whether the open transaction is DEFERRABLE.
    pub fn set_deferrable(&self, deferrable: bool) {
        self.state.lock().deferrable = Some(deferrable);
    }

    /// How long this session waits for locks.
    pub fn lock_wait(&self) -> WaitPolicy {
        WaitPolicy::Wait(self.lock_limits())
    }

    /// The limits of such a wait.
    pub fn lock_limits(&self) -> WaitLimits {
        self.activity
            .settings
            .parsed(|parsed| WaitLimits { timeout: parsed.lock_timeout, deadlock: parsed.deadlock_timeout })
    }

    /// Notices raised since the last call.
    pub fn take_notices(&self) -> Vec<PgError> {
        if !self.has_notices.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.has_notices.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.state.lock().notices)
    }

    /// DISCARD SEQUENCES.
    pub fn forget_sequences(&self) {
        let mut state = self.state.lock();
        state.sequences.clear();
        state.last_sequence = None;
    }

    /// Whether the transaction has exported a snapshot.
    pub fn has_exported_snapshots(&self) -> bool {
        !self.state.lock().exports.is_empty()
    }

    /// Whether a session-level advisory lock is on an object like this.
    pub fn session_locks_any(&self, wanted: impl Fn(ObjectId) -> bool) -> bool {
        let locks = self.state.lock().session_locks.clone();
        locks.is_some_and(|locks| locks.objects().into_iter().any(wanted))
    }

    /// Releases session-level advisory locks.
    pub fn release_session_locks(&self) {
        let locks = self.state.lock().session_locks.take();
        if let Some(locks) = locks {
            locks.unlock_all();
        }
    }

    /// Process ids of the other sessions that are connected to a database.
    pub fn connected_to(&self, database: &str) -> Vec<i32> {
        let others = self.registry.list().into_iter();
        others
            .filter(|c| c.database == database && c.process_id != self.process_id)
            .map(|c| c.process_id)
            .collect()
    }

    /// Ends another session.
    pub fn terminate(&self, process_id: i32) {
        self.registry.terminate(process_id);
    }

    fn advisory_object(&self, key: AdvisoryKey) -> ObjectId {
        let class = self.activity.database.0;
        match key {
            AdvisoryKey::Big(key) => ObjectId { class, kind: lock_kind::ADVISORY_BIG, id: key as u64 },
            AdvisoryKey::Pair(a, b) => {
                let id = (u64::from(a as u32) << 32) | u64::from(b as u32);
                ObjectId { class, kind: lock_kind::ADVISORY_PAIR, id }
            }
        }
    }

    /// 25006 for a function that writes, in a read-only transaction.
    fn check_may_write(&self, function: &str) -> PgResult<()> {
        match &self.state.lock().txn {
            Some(txn) if txn.is_read_only() => Err(PgError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {function} in a read-only transaction"),
            )),
            _ => Ok(()),
        }
    }

    /// Keeps a sequence's definition as it is until the transaction ends; answers its newest one.
    fn lock_sequence(&self, oid: Oid) -> PgResult<Arc<SequenceDesc>> {
        let known = self.sequence(oid)?;
        let (txn, version) = {
            let state = self.state.lock();
            (state.txn.clone(), state.catalog.version)
        };
        let Some(txn) = txn else { return Ok(known) };
        let object =
            ObjectId { class: self.activity.database.0, kind: lock_kind::RELATION, id: u64::from(oid.0) };
        let mode = ObjectLockMode::RowExclusive;
        if !txn.try_lock_object(object, mode).map_err(from_kv)? {
            let lock = txn.lock_object(object, mode, self.lock_wait());
            self.wait_for_lock(lock)?.map_err(from_kv)?;
        }
        if self.engine.catalog.version() == version {
            return Ok(known);
        }
        // Whoever held the lock may have changed it; the transaction's own changes are newer still.
        let published = self.engine.catalog.snapshot(self.activity.database);
        match published.as_ref().and_then(|catalog| catalog.relation(oid)) {
            Some(Relation::Sequence(now)) if now.version > known.version => Ok(now.clone()),
            _ => Ok(known),
        }
    }

    /// Waits for a lock from synchronous code, until it is there or the statement is cancelled.
    fn wait_for_lock<T>(&self, lock: impl Future<Output = T>) -> PgResult<T> {
        let cancel = self.cancel.clone();
        wait_for(async move {
            tokio::select! {
                biased;
                reason = cancel.canceled() => Err(reason.error()),
                result = lock => Ok(result),
            }
        })
    }

    fn sequence(&self, oid: Oid) -> PgResult<Arc<SequenceDesc>> {
        match self.state.lock().catalog.relation(oid) {
            Some(Relation::Sequence(sequence)) => Ok(sequence.clone()),
            Some(other) => Err(PgError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("cannot open relation \"{}\"", other.name()),
            )
            .detail("This operation is not supported for tables.")),
            None => Err(PgError::new(
                SqlState::UNDEFINED_TABLE,
                format!("could not open relation with OID {}", oid.0),
            )),
        }
    }
}

/// Waits for a future from synchronous code on a runtime's worker thread.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

impl Sequences for SessionServices {
    fn nextval(&self, oid: Oid) -> PgResult<i64> {
        let desc = self.lock_sequence(oid)?;
        self.check_may_write("nextval()")?;
        let key = (oid, desc.generation);
        {
            let mut state = self.state.lock();
            if let Some(cached) = state.sequences.get_mut(&key)
                && cached.left > 0
            {
                let value = cached.next;
                cached.left -= 1;
                cached.next = value.wrapping_add(desc.increment);
                cached.last = Some(value);
                state.last_sequence = Some(key);
                return Ok(value);
            }
        }
        let wanted = u64::try_from(desc.cache).unwrap_or(1).max(1);
        let (store, counter, options) = (&self.engine.store, desc.counter(), sequence_options(&desc));
        let range = match store.next_sequence_values_at_once(counter, &options, wanted).transpose() {
            Some(taken) => taken,
            None => wait_for(store.next_sequence_values(counter, &options, wanted)),
        };
        let range = range.map_err(|error| sequence_error(error, &desc))?;
        let mut state = self.state.lock();
        let cached = CachedSequence {
            last: Some(range.first),
            next: range.first.wrapping_add(desc.increment),
            left: range.count - 1,
        };
        state.sequences.insert(key, cached);
        state.last_sequence = Some(key);
        Ok(range.first)
    }

    fn currval(&self, oid: Oid) -> PgResult<i64> {
        let desc = self.sequence(oid)?;
        let state = self.state.lock();
        state.sequences.get(&(oid, desc.generation)).and_then(|cached| cached.last).ok_or_else(|| {
            PgError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("currval of sequence \"{}\" is not yet defined in this session", desc.name),
            )
        })
    }

    fn lastval(&self) -> PgResult<i64> {
        let state = self.state.lock();
        state
            .last_sequence
            .filter(|(oid, _)| state.catalog.relation(*oid).is_some())
            .and_then(|key| state.sequences.get(&key)?.last)
            .ok_or_else(|| {
                PgError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "lastval is not yet defined in this session",
                )
            })
    }

    fn setval(&self, oid: Oid, value: i64, is_called: bool) -> PgResult<i64> {
        let desc = self.lock_sequence(oid)?;
        self.check_may_write("setval()")?;
        if value < desc.min || value > desc.max {
            return Err(PgError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!(
                    "setval: value {value} is out of bounds for sequence \"{}\" ({}..{})",
                    desc.name, desc.min, desc.max
                ),
            ));
        }
        wait_for(self.engine.store.set_sequence(desc.counter(), value, is_called)).map_err(from_kv)?;
        let mut state = self.state.lock();
        let cached = state.sequences.entry((oid, desc.generation)).or_insert(CachedSequence {
            last: None,
            next: 0,
            left: 0,
        });
        cached.left = 0;
        if is_called {
            cached.last = Some(value);
        }
        Ok(value)
    }

    fn state(&self, oid: Oid) -> PgResult<(i64, bool)> {
        let desc = self.sequence(oid)?;
        let state = wait_for(self.engine.store.sequence_state(desc.counter())).map_err(from_kv)?;
        Ok(state.map_or((desc.start, false), |state| (state.last, state.is_called)))
    }

    fn last_value(&self, oid: Oid) -> PgResult<Option<i64>> {
        self.state(oid).map(|(last, is_called)| is_called.then_some(last))
    }
}

/// How a sequence advances, for the store.
pub fn sequence_options(desc: &SequenceDesc) -> shardforge_kv::SequenceOptions {
    shardforge_kv::SequenceOptions {
        start: desc.start,
        increment: desc.increment,
        min: desc.min,
        max: desc.max,
        cycle: desc.cycle,
    }
}

fn sequence_error(error: KvError, desc: &SequenceDesc) -> PgError {
    match error {
        KvError::SequenceExhausted { ascending } => PgError::new(
            SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED,
            format!(
                "nextval: reached {} value of sequence \"{}\" ({})",
                if ascending { "maximum" } else { "minimum" },
                desc.name,
                if ascending { desc.max } else { desc.min }
            ),
        ),
        other => from_kv(other),
    }
}

impl Host for SessionServices {
    fn clock_micros(&self) -> i64 {
        self.engine.clock_micros()
    }

    fn start_micros(&self) -> i64 {
        self.engine.started_at
    }

    fn random_u64(&self) -> u64 {
        self.engine.runtime.next_u64()
    }

    fn check_canceled(&self) -> PgResult<()> {
        self.cancel.check()
    }

    fn sleep(&self, duration: Duration) -> PgResult<()> {
        let (runtime, cancel) = (self.engine.runtime.clone(), self.cancel.clone());
        self.activity.sleeps(true);
        let slept = wait_for(async move {
            tokio::select! {
                biased;
                reason = cancel.canceled() => Err(reason.error()),
                () = runtime.sleep(duration) => Ok(()),
            }
        });
        self.activity.sleeps(false);
        slept
    }

    fn notice(&self, notice: PgError) {
        let mut state = self.state.lock();
        if state.notices.len() < NOTICES_MAX {
            state.notices.push(notice);
            self.has_notices.store(true, Ordering::Relaxed);
        }
    }

    fn transaction_setting(&self, name: &str) -> Option<String> {
        let (txn, deferrable) = {
            let state = self.state.lock();
            (state.txn.clone(), state.deferrable)
        };
        let settings = &self.activity.settings;
        let on = |flag: bool| Some(if flag { "on" } else { "off" }.to_owned());
        match name {
            "transaction_isolation" => {
                let open = txn.map(|txn| txn.isolation());
                let level = open.unwrap_or_else(|| settings.parsed(|parsed| parsed.default_isolation));
                let level = match level {
                    IsolationLevel::ReadCommitted => "read committed",
                    IsolationLevel::RepeatableRead => "repeatable read",
                    IsolationLevel::Serializable => "serializable",
                };
                Some(level.to_owned())
            }
            "transaction_read_only" => {
                let open = txn.map(|txn| txn.is_read_only());
                on(open.unwrap_or_else(|| settings.parsed(|parsed| parsed.default_read_only)))
            }
            "transaction_deferrable" => on(deferrable.unwrap_or_else(|| {
                settings.show("default_transaction_deferrable").is_some_and(|value| value == "on")
            })),
            _ => None,
        }
    }

    fn transaction_id(&self, assign: bool) -> PgResult<Option<u64>> {
        let txn = self.state.lock().txn.clone();
        Ok(txn
            .filter(|txn| {
                if assign {
                    txn.assign();
                }
                txn.is_assigned()
            })
            .map(|txn| txn.id().0))
    }

    fn current_snapshot(&self) -> PgResult<XidSnapshot> {
        let Some(txn) = self.state.lock().txn.clone() else {
            return Err(PgError::internal("no transaction for a snapshot"));
        };
        let at = txn.snapshot().read_ts;
        let first_unknown = at.as_u64() + 1;
        let prepared = self.engine.store.prepared();
        let Some(mut unseen) = self.engine.sessions.unseen_by(at) else {
            // What has been forgotten may not be taken for seen.
            return Ok(XidSnapshot { xmin: 1, xmax: 1, running: Vec::new() });
        };
        unseen.extend(prepared.iter().map(|prepared| prepared.txn));
        let mut running: Vec<u64> =
            unseen.into_iter().map(|txn| txn.0).filter(|txn| *txn < first_unknown).collect();
        running.sort_unstable();
        running.dedup();
        let xmin = running.first().copied().unwrap_or(first_unknown);
        // A transaction without an id holds the oldest place, and is not shown as running.
        if !txn.is_assigned() {
            running.retain(|other| *other != txn.id().0);
        }
        Ok(XidSnapshot { xmin, xmax: first_unknown, running })
    }

    fn transaction_outcome(&self, id: u64) -> PgResult<Option<&'static str>> {
        let store = &self.engine.store;
        let now = store.now().as_u64();
        if id > now {
            let message = format!("transaction ID {id} is in the future");
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let is_open = |session: &Arc<SessionActivity>| {
            session.now().transaction.is_some_and(|(txn, _)| txn.id().0 == id)
        };
        let is_prepared = store.prepared().iter().any(|prepared| prepared.txn.0 == id);
        if is_prepared || self.engine.sessions.all().iter().any(is_open) {
            return Ok(Some("in progress"));
        }
        let txn = TxnId(id);
        if self.engine.sessions.is_committed(txn) || store.was_committed(txn).map_err(from_kv)? {
            return Ok(Some("committed"));
        }
        let is_known = store.is_remembered(txn);
        Ok(is_known.then_some("aborted"))
    }

    fn export_snapshot(&self) -> PgResult<String> {
        let mut state = self.state.lock();
        let Some(txn) = state.txn.clone() else {
            return Err(PgError::internal("no transaction for a snapshot"));
        };
        let number = self.activity.now().transactions;
        let id = format!("{:08X}-{number:08X}-{}", self.process_id, state.exports.len() + 1);
        let export = Export::new(&self.engine.exported, &txn, self.activity.database, id)?;
        let id = export.id().to_owned();
        state.exports.push(export);
        Ok(id)
    }

    fn advisory_lock(&self, key: AdvisoryKey, mode: AdvisoryMode, wait: bool) -> PgResult<bool> {
        let object = self.advisory_object(key);
        let lock_mode = if mode.shared { ObjectLockMode::Share } else { ObjectLockMode::Exclusive };
        let (txn, locks) = {
            let mut state = self.state.lock();
            if mode.transaction {
                let txn = state
                    .txn
                    .clone()
                    .ok_or_else(|| PgError::internal("no transaction for an advisory lock"))?;
                (Some(txn), None)
            } else {
                let make = || Arc::new(self.engine.store.session_locks(self.process_id as u64));
                (None, Some(state.session_locks.get_or_insert_with(make).clone()))
            }
        };
        let policy = if wait { self.lock_wait() } else { WaitPolicy::NoWait };
        let lock = async move {
            match (txn, locks) {
                (Some(txn), _) => txn.lock_object(object, lock_mode, policy).await,
                (None, Some(locks)) => locks.lock(object, lock_mode, policy).await,
                (None, None) => Ok(()),
            }
        };
        match self.wait_for_lock(lock)? {
            Ok(()) => Ok(true),
            Err(KvError::LockNotAvailable(_)) => Ok(false),
            Err(error) => Err(from_kv(error)),
        }
    }

    fn advisory_unlock(&self, key: AdvisoryKey, shared: bool) -> PgResult<bool> {
        let mode = if shared { ObjectLockMode::Share } else { ObjectLockMode::Exclusive };
        let locks = self.state.lock().session_locks.clone();
        let held = locks.is_some_and(|locks| locks.unlock(self.advisory_object(key), mode));
        if !held {
            let mode = if shared { "ShareLock" } else { "ExclusiveLock" };
            let message = format!("you don't own a lock of type {mode}");
            self.notice(PgError::with_severity(Severity::Warning, SqlState::WARNING, message));
        }
        Ok(held)
    }

    fn advisory_unlock_all(&self) -> PgResult<()> {
        self.release_session_locks();
        Ok(())
    }

    fn notify(&self, channel: &str, payload: &str) -> PgResult<()> {
        self.listener.notify(channel, payload)
    }

    fn listening_channels(&self) -> Vec<Arc<str>> {
        self.listener.channels()
    }

    fn notification_queue_usage(&self) -> f64 {
        self.listener.queue_usage()
    }

    fn signal_backend(&self, pid: i32, terminate: bool) -> PgResult<bool> {
        Ok(if terminate { self.registry.terminate(pid) } else { self.registry.cancel(pid) })
    }

    fn blocking_pids(&self, pid: i32) -> Vec<i32> {
        monitor::blocking_pids(&self.engine.store.lock_waits(), pid)
    }

    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        self.prepared.lock().values().cloned().collect()
    }

    fn cursors(&self) -> Vec<Cursor> {
        self.cursors.lock().values().cloned().collect()
    }

    fn locks(&self) -> Vec<HeldLock> {
        monitor::locks(&self.engine)
    }

    fn prepared_transactions(&self) -> Vec<PreparedXact> {
        prepared_xacts(&self.engine)
    }

    fn activity(&self) -> Vec<Activity> {
        monitor::activity(&self.engine, &self.registry.list())
    }

    fn relation_bytes(&self, relation: Oid) -> PgResult<i64> {
        let state = self.state.lock();
        Ok(state.catalog.stats.get(&relation).map_or(0, |stats| stats.bytes as i64))
    }
}

/// Notices kept for one statement; more are dropped.
const NOTICES_MAX: usize = 10_000;
