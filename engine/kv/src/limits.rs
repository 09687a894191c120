//! Every limit of this crate, with its reason. A limit that users may change is in [`crate::KvOptions`].

use std::time::Duration;

/// Writes that a transaction keeps in memory before it spills them to its shards, in bytes of keys, values
/// and bookkeeping. Large enough that ordinary transactions commit in one round, small enough that a hundred
/// bulk loads do not exhaust the machine: the locks of as many rows take about as much again.
pub const TRANSACTION_MEMORY_BYTES_MAX: usize = 16 << 20;

/// A transaction that has begun to spill goes on in pieces of this part of what it may keep in memory: one is on its way
/// while the next one grows, and smaller ones, with the locks of their rows, stay in the processor's caches.
pub const SPILL_PIECES: usize = 4;

/// Bytes of writes in one raft entry of a spill: large, so that a bulk load is few entries; small, so that
/// neighbours' commits are not held up behind it.
pub const SPILL_ENTRY_BYTES_MAX: usize = 2 << 20;

pub use shardforge_consensus::limits::CLOCK_OFFSET_MAX;

/// Spill entries that are proposed at once, so that the log writer always has the next one at hand.
pub const SPILL_ENTRIES_IN_FLIGHT_MAX: usize = 4;

/// Bookkeeping charged for each buffered write beside its key and value, in bytes.
pub const BUFFERED_WRITE_OVERHEAD_BYTES: usize = 96;

/// Rows of one scan page when the caller names no smaller limit.
pub const SCAN_PAGE_ROWS_MAX: usize = 4_096;

/// Bytes of keys and values of one scan page when the caller names no smaller limit. A page is read without
/// yielding, so this bounds how long one scan keeps a worker thread.
pub const SCAN_PAGE_BYTES_MAX: usize = 256 << 10;

/// Superseded or foreign versions that a page steps over before it is cut short, rows or no rows.
pub const SCAN_PAGE_STEPS_MAX: usize = 65_536;

/// Steps over versions of one key before the cursor seeks past the rest.
pub const VERSION_STEPS_BEFORE_SEEK: usize = 8;

/// Memory for the newest versions of rows that were read lately, where the node's options name no other.
pub const ROW_CACHE_BYTES: usize = 128 << 20;

/// The longest key a transaction accepts, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// The time of a wait that says nothing else, see [`crate::WaitLimits::deadlock`]: PostgreSQL's default.
pub const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon after a wait began those who wait are searched for a deadlock, which no other moment can make. Long enough
/// that a busy server searches for many waits at once.
pub const DEADLOCK_CHECK_DELAY: Duration = Duration::from_millis(5);

/// Searches for deadlocks take at most one part in so many of a processor's time.
pub const DEADLOCK_CHECK_SHARE: u32 = 10;

/// Partitions of the lock table and of the snapshot registry: enough that two threads seldom meet.
pub const LOCK_TABLE_PARTITIONS: usize = 64;

/// Room for this many locks a partition of the lock table keeps for good.
pub const LOCK_PARTITION_ROOM_MIN: usize = 256;

/// Partitions of the registry of active snapshots.
pub const SNAPSHOT_PARTITIONS: usize = 16;

/// Counters of the pending-key filter: a power of two, far above the keys that are in flight at once.
pub const PENDING_FILTER_SLOTS: usize = 8_192;

/// Keys that the record of a commit over several shards names, in bytes with their lengths. With more of them a restart
/// cannot rewrite the versions of a commit that it finds half cleaned up; they stay provisional then.
pub const RECORD_ROWS_BYTES_MAX: usize = 64 << 10;

/// Bytes of locks, and of what was read, that a prepared transaction's record holds. The locks of rows that it wrote go
/// first: past this its writes are spilled, and stand for them.
pub const PREPARED_HOLDINGS_BYTES_MAX: usize = 16 << 20;

/// Versions that one command rewrites behind a commit over several shards, and bytes of them.
pub const RESOLVE_VERSIONS_MAX: usize = 1_000;

/// See [`RESOLVE_VERSIONS_MAX`].
pub const RESOLVE_BYTES_MAX: usize = 1 << 20;

/// Transactions that are cleaned up behind together.
pub const RESOLVE_TRANSACTIONS_MAX: usize = 256;

/// Rows that a SERIALIZABLE transaction has read at most for its statements to look whether they have changed; of one that
/// has read more, the commit does.
pub const EARLY_CHECK_ROWS_MAX: usize = 1_000;

/// Read spans a SERIALIZABLE transaction remembers before it merges neighbouring ones.
pub const READ_SPANS_MAX: usize = 4_096;

/// Versions of one buffered key before those that nothing can ask for are dropped.
pub const BUFFERED_VERSIONS_BEFORE_PRUNE: usize = 8;

/// How long a commit's receipt is kept: the longest time in which a lost reply may still be resolved.
pub const RECEIPT_RETENTION: Duration = Duration::from_secs(600);

/// Keys that the garbage collector remembers. Past it a full pass over the data takes the list's place.
pub const GC_QUEUE_KEYS_MAX: usize = 1_000_000;

/// The sizes of shards are looked at this often.
pub const SPLIT_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Deletions in one raft entry of the garbage collector.
pub const GC_ENTRY_DELETES_MAX: usize = 2_000;

/// Sequence values that one replicated step reserves beyond those asked for (PostgreSQL's `SEQ_LOG_VALS`).
pub const SEQUENCE_RESERVE_VALUES: u64 = 32;

/// The most of them, for a sequence whose values go fast. A step waits for the disk, as PostgreSQL's does not: with this
/// many, that is a small part of what a value costs. A crash may lose as many.
pub const SEQUENCE_RESERVE_VALUES_MAX: u64 = 8_192;

/// A sequence whose reserve was used up within this time gets twice as large a one.
pub const SEQUENCE_RESERVE_TIME: Duration = Duration::from_secs(1);

/// Rows whose keys a transaction has changed, of which it is known where they have gone: those who wait for others fail.
pub const MOVED_ROWS_OF_TRANSACTION_MAX: usize = 100_000;

/// The same of all transactions together, as long as older snapshots are in use.
pub const MOVED_ROWS_MAX: usize = 1_000_000;
