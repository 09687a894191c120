//! What the virtual tables ask of the session that reads them, and through it of the server.

use std::sync::Arc;

use shardforge_types::Oid;

use crate::exec::env::EvalEnv;

/// Who asks, and what is going on around.
///
/// The methods with a body have an answer for where nobody keeps count, such as in tests.
pub trait SessionView: Send + Sync {
    /// The current role.
    fn user(&self) -> Oid;

    /// The oids of the schemas in which names are looked up, in order, `pg_catalog` among them.
    fn search_path(&self) -> Vec<Oid>;

    /// The present value of a setting, as SHOW prints it; `None` if it has its default.
    fn setting(&self, _name: &str) -> Option<String> {
        None
    }

    /// The settings that are not PostgreSQL's: names with a dot in them, and values.
    fn custom_settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// What RESET would set a setting to; `None` for its default.
    fn reset_value(&self, _name: &str) -> Option<String> {
        None
    }

    /// The microseconds since 2000-01-01 00:00 UTC at the start of the transaction.
    fn now(&self) -> i64 {
        0
    }

    /// The process number of this session.
    fn pid(&self) -> i32 {
        0
    }

    /// All sessions.
    fn activity(&self) -> Vec<Activity> {
        Vec::new()
    }

    /// The locks that are held or waited for.
    fn locks(&self) -> Vec<HeldLock> {
        Vec::new()
    }

    /// The prepared transactions.
    fn prepared_transactions(&self) -> Vec<PreparedXact> {
        Vec::new()
    }

    /// This session's prepared statements.
    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        Vec::new()
    }

    /// This session's open cursors.
    fn cursors(&self) -> Vec<Cursor> {
        Vec::new()
    }

    /// What a sequence handed out last, if it has handed out anything.
    fn sequence_last_value(&self, _sequence: Oid) -> Option<i64> {
        None
    }

    /// What was counted of a table.
    fn table_activity(&self, _table: Oid) -> TableActivity {
        TableActivity::default()
    }

    /// How many bytes a relation takes on disk, about.
    fn relation_size(&self, _relation: Oid) -> i64 {
        0
    }
}

/// What a statement's environment knows.
impl SessionView for EvalEnv {
    fn user(&self) -> Oid {
        self.user
    }

    fn search_path(&self) -> Vec<Oid> {
        self.search_path.to_vec()
    }

    fn setting(&self, name: &str) -> Option<String> {
        EvalEnv::setting(self, name)
    }

    fn now(&self) -> i64 {
        self.transaction_timestamp
    }

    fn pid(&self) -> i32 {
        self.session.backend_pid
    }

    fn activity(&self) -> Vec<Activity> {
        self.session.host.activity()
    }

    fn locks(&self) -> Vec<HeldLock> {
        self.session.host.locks()
    }

    fn prepared_transactions(&self) -> Vec<PreparedXact> {
        self.session.host.prepared_transactions()
    }

    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        self.session.host.prepared_statements()
    }

    fn cursors(&self) -> Vec<Cursor> {
        self.session.host.cursors()
    }

    fn sequence_last_value(&self, sequence: Oid) -> Option<i64> {
        self.session.sequences.last_value(sequence).ok().flatten()
    }

    fn relation_size(&self, relation: Oid) -> i64 {
        self.session.host.relation_bytes(relation).unwrap_or(0)
    }
}

/// A session, for pg_stat_activity. Times are microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Process number.
    pub pid: i32,
    /// Database.
    pub database: Oid,
    /// Role.
    pub user: Oid,
    /// `application_name`.
    pub application_name: String,
    /// The client's address without its port, unless it is a local socket.
    pub client_addr: Option<String>,
    /// The client's port.
    pub client_port: Option<i32>,
    /// When the session began.
    pub backend_start: i64,
    /// When its transaction began.
    pub xact_start: Option<i64>,
    /// When its last statement began.
    pub query_start: Option<i64>,
    /// When `state` changed.
    pub state_change: Option<i64>,
    /// `active`, `idle`, `idle in transaction`, ...
    pub state: &'static str,
    /// What it waits for: type and name.
    pub wait_event: Option<(&'static str, &'static str)>,
    /// The transaction's id, once others may know it.
    pub transaction: Option<u32>,
    /// The snapshot that it keeps alive.
    pub snapshot: Option<u32>,
    /// The running statement, or the last one.
    pub query: Arc<str>,
    /// The index that it makes.
    pub index: Option<IndexProgress>,
    /// How many it waits for, and one of them.
    pub lockers: (usize, i32),
}

/// How far the making of an index has come.
#[derive(Clone, Copy, Debug)]
pub struct IndexProgress {
    /// Its table.
    pub table: Oid,
    /// The index.
    pub index: Oid,
    /// `CREATE INDEX CONCURRENTLY` or its like.
    pub command: &'static str,
    /// What is done now, in PostgreSQL's words.
    pub phase: &'static str,
    /// Rows of the table that have been read.
    pub rows: u64,
}

/// A lock, for pg_locks.
#[derive(Clone, Debug, Default)]
pub struct HeldLock {
    /// `relation`, `tuple`, `transactionid`, `advisory`, ...
    pub locktype: &'static str,
    /// The database of what is locked.
    pub database: Option<Oid>,
    /// The relation locked.
    pub relation: Option<Oid>,
    /// The page, and the tuple in it.
    pub tuple: Option<(i32, i16)>,
    /// The session's number of a transaction.
    pub virtualxid: Option<String>,
    /// A transaction's id.
    pub transaction: Option<u32>,
    /// The session's number of the transaction that holds it or waits.
    pub virtual_transaction: String,
    /// Another object: its catalog, oid and column; or the key of an advisory lock as PostgreSQL splits it.
    pub object: Option<(u32, u32, i16)>,
    /// The process that holds it or waits.
    pub pid: i32,
    /// `AccessShareLock`, ...
    pub mode: &'static str,
    /// Held, rather than waited for.
    pub granted: bool,
    /// Taken past the lock table.
    pub fastpath: bool,
    /// Since when it waits.
    pub wait_start: Option<i64>,
}

/// A prepared transaction, for pg_prepared_xacts.
#[derive(Clone, Debug, Default)]
pub struct PreparedXact {
    /// Its id.
    pub transaction: u32,
    /// What it was prepared as.
    pub gid: String,
    /// When, in microseconds since 2000-01-01 00:00 UTC.
    pub prepared: i64,
    /// Who prepared it.
    pub owner: Oid,
    /// In which database.
    pub database: Oid,
}

/// A prepared statement, for pg_prepared_statements.
#[derive(Clone, Debug, Default)]
pub struct PreparedStatement {
    /// Its name.
    pub name: String,
    /// The text that prepared it.
    pub statement: String,
    /// When.
    pub prepare_time: i64,
    /// The types of its parameters.
    pub parameter_types: Vec<Oid>,
    /// The types of its result's columns, if it has one.
    pub result_types: Option<Vec<Oid>>,
    /// Made by PREPARE rather than by the protocol.
    pub from_sql: bool,
    /// How many generic plans were run.
    pub generic_plans: i64,
    /// How many custom plans were run.
    pub custom_plans: i64,
}

/// An open cursor, for pg_cursors.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Its name.
    pub name: String,
    /// The text that declared it.
    pub statement: String,
    /// WITH HOLD.
    pub is_holdable: bool,
    /// BINARY.
    pub is_binary: bool,
    /// SCROLL.
    pub is_scrollable: bool,
    /// When.
    pub creation_time: i64,
}

/// What was counted of a table, for pg_stat_user_tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableActivity {
    /// Sequential scans.
    pub seq_scan: i64,
    /// Rows they read.
    pub seq_tup_read: i64,
    /// Index scans.
    pub idx_scan: i64,
    /// Rows they fetched.
    pub idx_tup_fetch: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows deleted.
    pub deleted: i64,
    /// When ANALYZE last ran.
    pub last_analyze: Option<i64>,
    /// How often.
    pub analyze_count: i64,
}
