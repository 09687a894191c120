//! The words that a caller of this crate uses: options, requests, outcomes.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Timestamp;

/// What [`crate::Store::open`] is told.
#[derive(Clone, Debug)]
pub struct KvOptions {
    /// How long superseded versions are kept at least (`gc.ttl`). Snapshots in use keep theirs anyway.
    pub gc_ttl: Duration,
    /// How often the garbage collector looks for work.
    pub gc_interval: Duration,
    /// Buffered writes of one transaction beyond which they are spilled, in bytes.
    pub transaction_memory_bytes_max: usize,
    /// Whether a commit's locks pass to the next transaction once its place in the log is fixed, rather
    /// than when it is durable (docs/decisions/0006-early-lock-release.md).
    pub early_lock_release: bool,
    /// How many transactions may be prepared at once.
    pub prepared_transactions_max: usize,
}

impl Default for KvOptions {
    fn default() -> Self {
        Self {
            gc_ttl: Duration::from_secs(5),
            gc_interval: Duration::from_secs(1),
            transaction_memory_bytes_max: crate::limits::TRANSACTION_MEMORY_BYTES_MAX,
            early_lock_release: true,
            prepared_transactions_max: 64,
        }
    }
}

/// Identifies a transaction. Later transactions have greater ids, across restarts too; an id is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId(pub u64);

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// PostgreSQL's isolation levels (READ UNCOMMITTED is READ COMMITTED there, and here).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IsolationLevel {
    /// Each statement has a snapshot of its own.
    #[default]
    ReadCommitted = 0,
    /// One snapshot for the transaction; 40001 when a row to be locked has changed since.
    RepeatableRead = 1,
    /// As if transactions ran one after the other: commit checks that nothing read has changed.
    Serializable = 2,
}

/// What [`crate::Store::begin`] is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct TxnOptions {
    /// The isolation level.
    pub isolation: IsolationLevel,
    /// Whether writing is an error of the caller.
    pub read_only: bool,
    /// The session (the backend's process id, to a client) that the transaction belongs to. Locks of one
    /// session never conflict with each other, and deadlock reports name sessions. 0: a session of its own.
    pub session: u64,
}

/// Which writes a read sees, beside the snapshot's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visibility {
    /// The statement's snapshot and what earlier statements of the transaction wrote.
    Statement,
    /// The statement's snapshot and all that the transaction wrote, this statement's writes included.
    Current,
    /// What is committed at this moment, whatever the snapshot, and all that the transaction wrote. For
    /// catalog reads under a table lock.
    Latest,
    /// As an earlier statement saw it; see [`crate::Transaction::hold_snapshot`].
    At(Snapshot),
}

/// What a statement sees: commits up to a timestamp, own writes up to a command sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Commits at or below it are visible.
    pub read_ts: Timestamp,
    /// Own writes of commands below it are visible.
    pub command: u32,
}

/// A scan of a key range, a page at a time.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Keys from `start` (inclusive) to `end` (exclusive).
    pub range: Range<Bytes>,
    /// From the end of the range to its start.
    pub reverse: bool,
    /// Rows wanted at most; 0 leaves it to [`crate::limits::SCAN_PAGE_ROWS_MAX`].
    pub limit_rows: usize,
    /// Bytes of keys and values after which the page ends; 0 leaves it to
    /// [`crate::limits::SCAN_PAGE_BYTES_MAX`].
    pub limit_bytes: usize,
    /// Which writes are seen.
    pub visibility: Visibility,
}

impl ScanRequest {
    /// A forward scan of `range` without limits, as the statement sees it.
    #[must_use]
    pub fn new(range: Range<Bytes>) -> Self {
        Self { range, reverse: false, limit_rows: 0, limit_bytes: 0, visibility: Visibility::Statement }
    }

    /// The request for what follows a page that ended with `resume`.
    #[must_use]
    pub fn resumed(mut self, resume: Bytes) -> Self {
        if self.reverse {
            self.range.end = resume;
        } else {
            self.range.start = resume;
        }
        self
    }
}

/// One page of a scan.
#[derive(Clone, Debug, Default)]
pub struct ScanPage {
    /// Keys and values, in the order of the scan. May be empty though more follows.
    pub rows: Vec<(Bytes, Bytes)>,
    /// When there may be more: the new start (or, in reverse, the new end) of the range. See
    /// [`ScanRequest::resumed`].
    pub resume: Option<Bytes>,
}

/// PostgreSQL's row lock strengths, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LockStrength {
    /// FOR KEY SHARE.
    KeyShare = 0,
    /// FOR SHARE.
    Share = 1,
    /// FOR NO KEY UPDATE; an UPDATE that leaves the keys alone.
    NoKeyUpdate = 2,
    /// FOR UPDATE; DELETE and an UPDATE of keys.
    Update = 3,
}

/// PostgreSQL's table lock modes, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectLockMode {
    /// SELECT.
    AccessShare = 0,
    /// SELECT FOR UPDATE and its like.
    RowShare = 1,
    /// INSERT, UPDATE, DELETE.
    RowExclusive = 2,
    /// VACUUM, ANALYZE, CREATE INDEX CONCURRENTLY.
    ShareUpdateExclusive = 3,
    /// CREATE INDEX; a shared advisory lock.
    Share = 4,
    /// CREATE TRIGGER.
    ShareRowExclusive = 5,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY; an exclusive advisory lock.
    Exclusive = 6,
    /// DROP, TRUNCATE, most of ALTER TABLE.
    AccessExclusive = 7,
}

impl ObjectLockMode {
    /// PostgreSQL's name of the mode, as in `pg_locks.mode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessShare => "AccessShareLock",
            Self::RowShare => "RowShareLock",
            Self::RowExclusive => "RowExclusiveLock",
            Self::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            Self::Share => "ShareLock",
            Self::ShareRowExclusive => "ShareRowExclusiveLock",
            Self::Exclusive => "ExclusiveLock",
            Self::AccessExclusive => "AccessExclusiveLock",
        }
    }
}

/// A thing that is locked as a whole: a table, a schema, an advisory key. What the numbers mean is the
/// caller's affair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId {
    /// Where it belongs, such as its database.
    pub class: u32,
    /// The kind of thing.
    pub kind: u16,
    /// Which one.
    pub id: u64,
}

/// How long a wait for a lock may take, and how it stands among those of a deadlock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitLimits {
    /// Fail with [`crate::KvError::LockTimeout`] after this time (`lock_timeout`); `None` waits without a limit.
    pub timeout: Option<Duration>,
    /// Of the waits in a deadlock, the one fails whose time, counted from its begin, is over first after the circle
    /// has closed (`deadlock_timeout`). Circles are found sooner than that.
    pub deadlock: Duration,
}

impl WaitLimits {
    /// No limit, and PostgreSQL's default for deadlocks.
    pub const NONE: Self = Self { timeout: None, deadlock: crate::limits::DEADLOCK_TIMEOUT };
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self::NONE
    }
}

/// What to do when a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitPolicy {
    /// Wait for it.
    Wait(WaitLimits),
    /// Fail at once with [`crate::KvError::LockNotAvailable`].
    NoWait,
    /// As `NoWait`: the caller takes [`crate::KvError::LockNotAvailable`] to mean that the row is skipped.
    SkipLocked,
}

/// What [`crate::Transaction::lock`] found under the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOutcome {
    /// The row as it is now: the transaction's own newest write, else the newest committed value.
    pub current: Option<Bytes>,
    /// Whether another transaction committed a change that the statement's snapshot does not show: the
    /// caller must check again whether `current` still qualifies.
    pub changed: bool,
    /// Whether `current` is the transaction's own uncommitted write.
    pub own: bool,
}

/// What is known of a committed transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitInfo {
    /// Where the commit stands among all commits. Of a transaction that wrote nothing: its snapshot.
    pub commit_ts: Timestamp,
}

/// A lock that is held or waited for, as `pg_locks` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// The session.
    pub session: u64,
    /// The transaction; `None` for a lock that the session holds beyond transactions.
    pub transaction: Option<TxnId>,
    /// What is locked.
    pub target: LockTarget,
    /// PostgreSQL's name of the mode.
    pub mode: &'static str,
    /// Held, or waited for.
    pub granted: bool,
}

/// A request that waits for a lock, and who is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaitInfo {
    /// The session that waits.
    pub session: u64,
    /// Its transaction; `None` for a lock that it wants beyond transactions.
    pub transaction: Option<TxnId>,
    /// What it wants to lock.
    pub target: LockTarget,
    /// PostgreSQL's name of the mode.
    pub mode: &'static str,
    /// Since when, by the wall clock: microseconds since 1970-01-01 00:00 UTC.
    pub since_micros: u64,
    /// Those whose locks or earlier requests conflict with it.
    pub blockers: Vec<LockBlocker>,
}

/// Who is in the way of a request for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockBlocker {
    /// The session.
    pub session: u64,
    /// Its transaction; `None` when the session itself is in the way.
    pub transaction: Option<TxnId>,
    /// It waits itself, ahead in the queue, rather than holding the lock.
    pub ahead: bool,
}

/// What a lock is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockTarget {
    /// A row, by its key.
    Row(Bytes),
    /// A table, an advisory key.
    Object(ObjectId),
    /// The end of a transaction whose row locks are no longer in memory.
    Transaction(TxnId),
}
