//! What a function may see and do beside its arguments.
//!
//! PostgreSQL's functions reach for globals: the session's settings, the clock, the catalogs, sequences. Here they
//! get one value, [`EvalEnv`], that the session makes for each statement. It is a handful of `Arc`s, so that a copy
//! costs nothing and an operator of a DataFusion plan can keep one. What has effects goes through three traits that
//! the session implements: [`Settings`], [`Sequences`] and [`Host`].

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use shardforge_types::io::snapshot::Snapshot;
use shardforge_types::{IoEnv, Oid, PgError, PgResult, SqlState};

use crate::catalog::CatalogSnapshot;
use crate::catalog::pg_catalog::{Activity, Cursor, HeldLock, PreparedStatement, PreparedXact};
use crate::func::random::Random;

/// The environment of a statement's expressions.
#[derive(Clone)]
pub struct EvalEnv {
    /// The settings that text forms depend on.
    pub io: Arc<IoEnv>,
    /// The catalog as the statement sees it.
    pub catalog: Arc<CatalogSnapshot>,
    /// The schemas that unqualified names are looked up in, in order, `pg_catalog` in its (possibly implicit) place.
    pub search_path: Arc<[Oid]>,
    /// What lasts longer than a statement.
    pub session: Arc<SessionEnv>,
    /// The current role (`SET ROLE` changes it).
    pub user: Oid,
    /// Start of the transaction: microseconds since 2000-01-01 00:00 UTC. This is what `now()` answers.
    pub transaction_timestamp: i64,
    /// Start of the statement: microseconds since 2000-01-01 00:00 UTC.
    pub statement_timestamp: i64,
}

/// The part of the environment that belongs to the session.
pub struct SessionEnv {
    /// The role that logged in (or was set by SET SESSION AUTHORIZATION).
    pub session_user: Oid,
    /// The session's number, as BackendKeyData announced it.
    pub backend_pid: i32,
    /// The schema of the session's temporary tables, once it has one.
    pub temp_schema: Option<Oid>,
    /// The client's address and port; None for connections that have none.
    pub client: Option<(String, u16)>,
    /// The server's address and port; None for connections that have none.
    pub server: Option<(String, u16)>,
    /// Settings by name.
    pub settings: Arc<dyn Settings>,
    /// Counters.
    pub sequences: Arc<dyn Sequences>,
    /// Clock, transaction ids, locks and other sessions.
    pub host: Arc<dyn Host>,
    /// What `random()` draws from; `setseed` changes it.
    pub random: Mutex<Random>,
}

/// The session's settings (GUCs).
pub trait Settings: Send + Sync {
    /// The value in the form that SHOW prints; None if there is no such setting.
    fn get(&self, name: &str) -> Option<String>;

    /// Sets it, for the transaction only if `local`, and answers the new value in SHOW's form.
    fn set(&self, name: &str, value: &str, local: bool) -> PgResult<String>;
}

/// Sequence counters. The caller has checked that the oid is a sequence's.
pub trait Sequences: Send + Sync {
    /// Advances the sequence and answers the new value.
    fn nextval(&self, sequence: Oid) -> PgResult<i64>;

    /// What this session's last `nextval` of the sequence answered.
    fn currval(&self, sequence: Oid) -> PgResult<i64>;

    /// What this session's last `nextval` of any sequence answered.
    fn lastval(&self) -> PgResult<i64>;

    /// Sets the counter; the next `nextval` answers `value` itself unless `is_called`.
    fn setval(&self, sequence: Oid, value: i64, is_called: bool) -> PgResult<i64>;

    /// What reading the sequence shows: its last value, and whether that was handed out.
    fn state(&self, sequence: Oid) -> PgResult<(i64, bool)>;

    /// The counter's last value and whether it was handed out, for `pg_sequence_last_value`; None before first use.
    fn last_value(&self, sequence: Oid) -> PgResult<Option<i64>>;
}

/// What the server around the session offers. The default of each service is to answer that it is not offered.
pub trait Host: Send + Sync {
    /// Wall clock: microseconds since 2000-01-01 00:00 UTC.
    fn clock_micros(&self) -> i64;

    /// When the server started, on the same clock.
    fn start_micros(&self) -> i64 {
        self.clock_micros()
    }

    /// 64 random bits from the cryptographic source.
    fn random_u64(&self) -> u64;

    /// Fails if the statement has been cancelled or timed out. Long-running kernels call it now and then.
    fn check_canceled(&self) -> PgResult<()> {
        Ok(())
    }

    /// Blocks the statement for so long, or until it is cancelled.
    fn sleep(&self, _duration: Duration) -> PgResult<()> {
        Err(unavailable("pg_sleep"))
    }

    /// Sends a notice to the client.
    fn notice(&self, _notice: PgError) {}

    /// The value of a setting that is the transaction's: `transaction_isolation` and its kin; `None` for others.
    fn transaction_setting(&self, _name: &str) -> Option<String> {
        None
    }

    /// The transaction's number, assigned now if it has none and `assign` is set.
    fn transaction_id(&self, _assign: bool) -> PgResult<Option<u64>> {
        Err(unavailable("txid_current"))
    }

    /// Which transactions had ended when the statement took its snapshot.
    fn current_snapshot(&self) -> PgResult<Snapshot> {
        Err(unavailable("pg_current_snapshot"))
    }

    /// `in progress`, `committed` or `aborted`; None if the transaction is too old to know.
    fn transaction_outcome(&self, _id: u64) -> PgResult<Option<&'static str>> {
        Err(unavailable("pg_xact_status"))
    }

    /// Exports the statement's snapshot for as long as the transaction is open.
    fn export_snapshot(&self) -> PgResult<String> {
        Err(unavailable("pg_export_snapshot"))
    }

    /// Takes an advisory lock; false if `wait` is unset and another session holds it.
    fn advisory_lock(&self, _key: AdvisoryKey, _mode: AdvisoryMode, _wait: bool) -> PgResult<bool> {
        Err(unavailable("advisory locks"))
    }

    /// Gives up one hold of a session-level advisory lock; false (and a warning) if there was none.
    fn advisory_unlock(&self, _key: AdvisoryKey, _shared: bool) -> PgResult<bool> {
        Err(unavailable("advisory locks"))
    }

    /// Gives up all session-level advisory locks.
    fn advisory_unlock_all(&self) -> PgResult<()> {
        Err(unavailable("advisory locks"))
    }

    /// Notifies a channel when the transaction commits.
    fn notify(&self, _channel: &str, _payload: &str) -> PgResult<()> {
        Err(unavailable("pg_notify"))
    }

    /// The channels that the session listens to.
    fn listening_channels(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// How full the queue of notifications is: from 0 to 1.
    fn notification_queue_usage(&self) -> f64 {
        0.0
    }

    /// Cancels another session's statement, or ends the session if `terminate`; false if there is no such session.
    fn signal_backend(&self, _pid: i32, _terminate: bool) -> PgResult<bool> {
        Err(unavailable("pg_cancel_backend"))
    }

    /// All sessions, for `pg_stat_activity`.
    fn activity(&self) -> Vec<Activity> {
        Vec::new()
    }

    /// The locks held and waited for, for `pg_locks`.
    fn locks(&self) -> Vec<HeldLock> {
        Vec::new()
    }

    /// The sessions that keep a session waiting for a lock, each as often as it is in its way; 0 stands for what is
    /// no session's (a prepared transaction).
    fn blocking_pids(&self, _pid: i32) -> Vec<i32> {
        Vec::new()
    }

    /// The prepared transactions, for `pg_prepared_xacts`.
    fn prepared_transactions(&self) -> Vec<PreparedXact> {
        Vec::new()
    }

    /// This session's prepared statements, for `pg_prepared_statements`.
    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        Vec::new()
    }

    /// This session's open cursors, for `pg_cursors`.
    fn cursors(&self) -> Vec<Cursor> {
        Vec::new()
    }

    /// The bytes that a relation's storage takes.
    fn relation_bytes(&self, _relation: Oid) -> PgResult<i64> {
        Ok(0)
    }
}

/// What an advisory lock is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisoryKey {
    /// One bigint.
    Big(i64),
    /// Two integers.
    Pair(i32, i32),
}

/// How an advisory lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdvisoryMode {
    /// Shared rather than exclusive.
    pub shared: bool,
    /// Held until the transaction ends rather than the session.
    pub transaction: bool,
}

fn unavailable(what: &str) -> PgError {
    PgError::not_supported(format!("{what} is not available here"))
        .hint("The statement runs outside a session.")
}

impl EvalEnv {
    /// The value of a setting in the form that SHOW prints, those of the transaction and the role included; `None` if
    /// there is no such setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        if name.eq_ignore_ascii_case("role") {
            let role =
                self.catalog.cluster.roles.get(&self.user).filter(|_| self.user != self.session.session_user);
            return Some(role.map_or_else(|| "none".to_owned(), |role| role.name.clone()));
        }
        self.transaction_setting(name).or_else(|| self.session.settings.get(name))
    }

    /// The value of a setting that is the transaction's; `None` for others.
    pub fn transaction_setting(&self, name: &str) -> Option<String> {
        self.session.host.transaction_setting(&name.to_ascii_lowercase())
    }

    /// An environment without session, objects and clock: what immutable expressions are folded in.
    pub fn detached() -> &'static EvalEnv {
        static DETACHED: LazyLock<EvalEnv> = LazyLock::new(|| EvalEnv {
            io: Arc::new(IoEnv::default()),
            catalog: Arc::new(CatalogSnapshot::default()),
            search_path: Arc::new([Oid(11)]),
            session: Arc::new(SessionEnv {
                session_user: Oid(10),
                backend_pid: 0,
                temp_schema: None,
                client: None,
                server: None,
                settings: Arc::new(Detached),
                sequences: Arc::new(Detached),
                host: Arc::new(Detached),
                random: Mutex::new(Random::from_seed(0)),
            }),
            user: Oid(10),
            transaction_timestamp: 0,
            statement_timestamp: 0,
        });
        &DETACHED
    }

    /// The name of a role, or its oid in digits if it is gone.
    pub fn role_name(&self, role: Oid) -> String {
        match self.catalog.cluster.roles.get(&role) {
            Some(role) => role.name.clone(),
            None => crate::catalog::info::role_name(&self.catalog, role),
        }
    }
}

/// The services of an environment without a session.
struct Detached;

impl Settings for Detached {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn set(&self, name: &str, _value: &str, _local: bool) -> PgResult<String> {
        Err(PgError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        ))
    }
}

impl Sequences for Detached {
    fn nextval(&self, _sequence: Oid) -> PgResult<i64> {
        Err(unavailable("nextval"))
    }

    fn currval(&self, _sequence: Oid) -> PgResult<i64> {
        Err(unavailable("currval"))
    }

    fn lastval(&self) -> PgResult<i64> {
        Err(unavailable("lastval"))
    }

    fn setval(&self, _sequence: Oid, _value: i64, _is_called: bool) -> PgResult<i64> {
        Err(unavailable("setval"))
    }

    fn state(&self, _sequence: Oid) -> PgResult<(i64, bool)> {
        Err(unavailable("pg_get_sequence_data"))
    }

    fn last_value(&self, _sequence: Oid) -> PgResult<Option<i64>> {
        Ok(None)
    }
}

impl Host for Detached {
    fn clock_micros(&self) -> i64 {
        0
    }

    fn random_u64(&self) -> u64 {
        0
    }
}
