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

/// A leader says this often that it is alive, and waits as long for the answer.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// A follower whose leader's lease is over waits for a time between this and [`ELECTION_TIMEOUT_MAX`], and stands for election.
/// So long it also waits for a vote, which the voter has to write to its disk.
pub const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(400);

/// See [`ELECTION_TIMEOUT_MIN`]. It is the length of a leader's lease as well: who has heard of a leader votes for nobody else for
/// this long.
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(1_000);

/// A leader relies on a lease for this part of [`ELECTION_TIMEOUT_MAX`] less than its followers grant it: clocks of two nodes
/// may run at rates that differ by 3 %, a hundred times as much as they do.
pub const LEASE_MARGIN_SHARE: u32 = 32;

/// A new tenure waits for this many shards at the same time.
pub const BARRIERS_AT_ONCE_MAX: usize = 256;

/// A node gives its shards this long at open to elect their sole voters and replay their logs' tails.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(600);

/// A node starts this many of its replicas at the same time when it is opened.
pub const REPLICAS_STARTING_MAX: usize = 64;

/// A raft group keeps no more than this of its newest log entries in memory once they are on the disk.
pub const LOG_TAIL_SIZE_BYTES: usize = 128 << 10;

/// See [`LOG_TAIL_SIZE_BYTES`]; whichever is reached first.
pub const LOG_TAIL_ENTRIES_MAX: usize = 256;

/// The log is read back, to replay it or to send it to a follower, in pieces of this size.
pub const LOG_READ_SIZE_BYTES: usize = 1 << 20;

/// The state machine hands its writes to the engine in batches of about this size at most.
pub const APPLY_SIZE_BYTES: usize = 4 << 20;

/// Batches of one shard that may be on their way through raft at once. Two keep the disk busy: while one is
/// being synced, the next is already queued behind it.
pub const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// Proposals that may wait for their turn at one shard; more are held back at their callers.
pub const PROPOSALS_QUEUED_MAX: usize = 64 << 10;

/// With less free space than this the node takes no more writes, unless its options say otherwise: what is left
/// is for those under way, and for flushing what is in memory.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// The free space is looked at this often.
pub const DISK_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A follower's answer to entries, which it has to write to its disk, is awaited this long. It renews the leader's lease too,
/// however late it comes.
pub const APPEND_TIMEOUT: Duration = Duration::from_millis(2_000);

/// The answer to a message of a snapshot's is awaited this long.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks of a shard that is being stopped have this long to end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A replica's new content is gathered in memory up to this size, and then written to a file.
pub const STAGED_FILE_SIZE_BYTES: usize = 16 << 20;

/// A snapshot travels in messages of about this size.
pub const SNAPSHOT_CHUNK_SIZE_BYTES: usize = 256 << 10;

/// A node sends no more than this many snapshots at the same time; the others wait.
pub const SNAPSHOTS_SENT_AT_ONCE_MAX: usize = 2;

/// One snapshot is sent no faster than this, so that what clients wait for gets through.
pub const SNAPSHOT_BYTES_PER_SECOND_MAX: u32 = 64 << 20;

/// A snapshot of which nothing more has come for this long is dropped.
pub const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(60);

/// So many requests to make or remove replicas wait at most; more are refused, and raft comes again.
pub const ORDERS_WAITING_MAX: usize = 1024;

/// So many splits and new contents of replicas wait at most to be followed by the node. The node stops with more: it would
/// hold more shards than it could start.
pub const REPORTS_WAITING_MAX: usize = 64 << 10;

/// A request for a replica that a split is to make waits this long for the split to get here.
pub const SPLIT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Names of nodes are below this: names of replicas from there on are those of replicas that were added later.
pub const NODE_ID_END: u64 = 1 << 24;

/// A replica has caught up when no more than this many entries are on their way to it.
pub const CATCH_UP_ENTRIES_MAX: u64 = 64;

/// Nodes tell each other this often how they are.
pub const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// The answer to that is awaited this long.
pub const GOSSIP_LIMIT: Duration = Duration::from_secs(1);

/// A node that was heard of within this time is taken to be alive.
pub const NODE_ALIVE_WITHIN: Duration = Duration::from_secs(3);

/// A node whose wall clock differs by more than this from those of most nodes stops itself.
pub const CLOCK_OFFSET_MAX: Duration = Duration::from_millis(250);

/// What another node's clock said counts for this long.
pub const CLOCK_READING_KEPT: Duration = Duration::from_secs(5);

/// The replicas of a node that was silent for this long are replaced, unless options say otherwise.
pub const NODE_LOST_AFTER: Duration = Duration::from_secs(300);

/// A node remembers no more others than this.
pub const NODES_MAX: usize = 1024;

/// A shard has no more replicas than this: as many as there are nodes, up to it, and never an even number of them. With five,
/// any two nodes may be lost.
pub const REPLICAS_WANTED: u32 = 5;

/// A name and a port are no longer than this.
pub const ADDRESS_LENGTH_MAX: usize = 512;

/// The cluster keeps no more join tokens than this that nobody has used.
pub const TOKENS_MAX: usize = 1024;

/// A join token's record is no larger than this.
pub const TOKEN_SIZE_MAX_BYTES: usize = 4096;

/// Names for new shards are taken from the system shard so many at a time.
pub const SHARD_IDS_AT_ONCE: u64 = 64;

/// The leader of the system shard is looked for, and asked for something, for this long.
pub const ORDER_LIMIT: Duration = Duration::from_secs(15);

/// One node that may lead the system shard is given this long to answer.
pub const ORDER_TRY_LIMIT: Duration = Duration::from_secs(5);

/// The next one is tried after this time.
pub const ORDER_PAUSE: Duration = Duration::from_millis(100);

/// A node that is asked what its replica of a shard holds is given this long to read all of it.
pub const CHECKSUM_LIMIT: Duration = Duration::from_secs(60);

/// The first node in the line of succession stands for election so long after the lease of the system shard's leader is over: by
/// then it is over for the others, too, who have heard of the leader at about the same time.
pub const SUCCESSION_DELAY: Duration = Duration::from_millis(50);

/// Each further one stands so much later, if that did not succeed.
pub const SUCCESSION_STEP: Duration = Duration::from_millis(150);

/// A node that leads the system shard gathers the leadership of all others for this long, and then another one is to try.
pub const GATHER_LIMIT: Duration = Duration::from_secs(3);

/// While it does, it stands for election this often where nobody leads.
pub const GATHER_ROUND: Duration = Duration::from_millis(150);

/// While it does, it asks this often for what others lead.
pub const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// An election that a replica stands for on purpose is given this long before it stands again.
pub const ELECTION_LIMIT: Duration = Duration::from_secs(1);

/// A node that is to be stopped waits for this long until others have taken over what it leads.
pub const STAND_BACK_LIMIT: Duration = Duration::from_secs(5);

/// The primary looks this often whether replicas are where they belong.
pub const ALLOCATOR_INTERVAL: Duration = Duration::from_secs(2);

/// So many shards are moved at the same time.
pub const PLACEMENTS_AT_ONCE_MAX: usize = 4;

/// So many moves are planned before it is looked again at how things are.
pub const PLACEMENTS_PLANNED_MAX: usize = 16;

/// A shard has this long to be moved; after that, what is left of it is planned anew.
pub const PLACE_LIMIT: Duration = Duration::from_secs(300);

/// The replicas of a node that is to leave are given up when it was silent for this long.
pub const LEAVING_NODE_LOST_AFTER: Duration = Duration::from_secs(30);
