//! Every limit of this crate, in one place.

use std::time::Duration;

/// The largest command that may be proposed, encoded.
pub const COMMAND_SIZE_MAX_BYTES: usize = 64 << 20;

/// The largest key; RocksDB and our own encodings would take more, nothing needs it.
pub const KEY_SIZE_MAX_BYTES: usize = 1 << 20;

/// A batch of commands that goes into one raft entry stops growing at this size.
pub const BATCH_SIZE_MAX_BYTES: usize = 4 << 20;

/// A batch of commands that goes into one raft entry holds no more than this many.
pub const BATCH_COMMANDS_MAX: usize = 4096;

/// Log written since the last flush of `kvdb` that makes the next one due: it bounds the time of a restart.
pub const LOG_SIZE_TO_FLUSH_BYTES: u64 = 64 << 20;

/// A leader says this often that it is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A follower that has heard nothing for a time between this and [`ELECTION_TIMEOUT_MAX`] stands for election.
pub const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(1_500);

/// See [`ELECTION_TIMEOUT_MIN`].
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(3_000);

/// A node gives its shards this long at open to elect their sole voters and replay their logs' tails.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(600);
