//! A node: its storage, and its replicas of shards.
//!
//! ```text
//!   open:   lock the directory -> raftdb, kvdb -> log writer -> shards (elect, replay) -> maintenance
//!   close:  maintenance -> shards -> flush kvdb -> log writer
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_runtime::{Network, NodeId, Runtime, TaskHandle};

use crate::directory::DataDirectory;
use crate::engine::heads::HeadCache;
use crate::engine::rocks::{RocksOptions, block_cache, open_shared};
use crate::engine::{CompactionFilter, Engine, EngineStats, Keep, MemoryStorage, SharedFilter};
use crate::error::{ConsensusError, Result};
use crate::failure::Failure;
use crate::limits::DISK_RESERVE_BYTES;
use crate::maintenance::{Maintenance, flush_and_purge};
use crate::raft::log_writer::{LogWriter, LogWriterStats};
use crate::raft::network::{NoNetwork, Router};
use crate::shard::{ReplicaContext, Shard};
use crate::types::{DATA_START, KeyRange, SYSTEM_PREFIX, ShardId};

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
    /// The nodes that hold the first replicas of the shards; this one alone by default.
    pub voters: Vec<NodeId>,
    /// Where the data shards after the first begin, in ascending order; none by default. It has to be the same
    /// whenever the node is opened.
    pub data_splits: Vec<Bytes>,
    /// The way to the other nodes, if there are any.
    pub network: Option<Arc<dyn Network>>,
    /// Decides what compactions of `kvdb` may drop. It is asked about keys of shards only.
    pub compaction_filter: Option<SharedFilter>,
    /// The length of the suffix that tells the versions of one key apart, if all keys of data shards end with
    /// one of the same length (8, 9, 10, 12 or 16 bytes). The engine then builds bloom filters on what precedes
    /// it, and [`crate::ReadView::seek_first`] uses them: its bounds have to belong to one key's versions then.
    pub version_suffix_bytes: Option<usize>,
    /// Memory for cached blocks of both engines; taken as they are read, not at the start.
    pub block_cache_bytes: usize,
    /// Memory for the newest versions of rows that were read lately; none by default. It needs
    /// [`Self::version_suffix_bytes`].
    pub row_cache_bytes: usize,
    /// Memory for writes to `kvdb` that are not in files yet.
    pub memtable_bytes: usize,
    /// With less free space than this on its disk the node takes no more writes.
    pub disk_reserve_bytes: u64,
    /// What to do when the node has had to stop.
    pub on_fatal: FatalHook,
}

impl NodeOptions {
    /// The defaults, on some storage: one node alone, which does no more than log it when it has to stop.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            node_id: NodeId(1),
            voters: Vec::new(),
            data_splits: Vec::new(),
            network: None,
            compaction_filter: None,
            version_suffix_bytes: None,
            block_cache_bytes: 256 << 20,
            row_cache_bytes: 0,
            memtable_bytes: 32 << 20,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            on_fatal: Arc::new(|_reason| {}),
        }
    }
}

impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions")
            .field("storage", &self.storage)
            .field("node_id", &self.node_id)
            .field("voters", &self.voters)
            .finish_non_exhaustive()
    }
}

/// Keeps the node's own records out of the filter's sight.
struct ShardKeysOnly(SharedFilter);

impl CompactionFilter for ShardKeysOnly {
    fn keep(&self, key: &[u8], value: &[u8]) -> Keep {
        if key.first().is_none_or(|first| *first < SYSTEM_PREFIX) {
            return Keep::Yes;
        }
        self.0.keep(key, value)
    }
}

struct Engines {
    raft: Arc<dyn Engine>,
    kv: Arc<dyn Engine>,
    directory: Option<Arc<DataDirectory>>,
}

fn open_engines(options: &NodeOptions, runtime: &Runtime) -> Result<Engines> {
    let mut engines = open_stores(options, runtime)?;
    if let Some(suffix_bytes) = options.version_suffix_bytes
        && options.row_cache_bytes > 0
    {
        engines.kv = Arc::new(HeadCache::new(engines.kv, suffix_bytes, options.row_cache_bytes)?);
    }
    Ok(engines)
}

fn open_stores(options: &NodeOptions, runtime: &Runtime) -> Result<Engines> {
    let filter =
        options.compaction_filter.clone().map(|filter| Arc::new(ShardKeysOnly(filter)) as SharedFilter);
    match &options.storage {
        Storage::Memory(storage) => {
            storage.kv.set_filter(filter);
            Ok(Engines { raft: storage.raft.clone(), kv: storage.kv.clone(), directory: None })
        }
        Storage::RocksDb(path) => {
            let directory = DataDirectory::open(&*runtime.disk(), path, options.node_id)?;
            let cache = block_cache(options.block_cache_bytes);
            let raft = RocksOptions {
                cache: cache.clone(),
                memtable_bytes: 32 << 20,
                without_wal: false,
                filter: None,
                version_suffix_bytes: None,
            };
            let kv = RocksOptions {
                cache,
                memtable_bytes: options.memtable_bytes,
                without_wal: true,
                filter,
                version_suffix_bytes: options.version_suffix_bytes,
            };
            Ok(Engines {
                raft: open_shared(&directory.raft_path(), &raft)?,
                kv: open_shared(&directory.kv_path(), &kv)?,
                directory: Some(Arc::new(directory)),
            })
        }
    }
}

/// The shards of a cluster that has not split or merged any: the system shard, and one from each split to the
/// next.
fn shard_ranges(data_splits: &[Bytes]) -> Vec<(ShardId, KeyRange)> {
    let mut starts = vec![Bytes::from_static(&[SYSTEM_PREFIX]), Bytes::from_static(&[DATA_START])];
    starts.extend_from_slice(data_splits);
    let ends = starts.iter().skip(1).cloned().map(Some).chain([None]);
    let ids = (ShardId::SYSTEM.0..).map(ShardId);
    let ranges = starts.iter().cloned().zip(ends).map(|(start, end)| KeyRange { start, end });
    ids.zip(ranges).collect()
}

/// A running node.
pub struct Node {
    runtime: Runtime,
    shards: Vec<Arc<Shard>>,
    kv: Arc<dyn Engine>,
    writer: Arc<LogWriter>,
    router: Arc<Router>,
    failure: Arc<Failure>,
    maintenance: Mutex<Option<TaskHandle<()>>>,
    // Last, so that the lock is given back when the engines are closed.
    _directory: Option<Arc<DataDirectory>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens a node: its storage, then its shards. When it returns, the shards that this node alone holds are
    /// led by it and up to date; others follow when their voters have found each other.
    ///
    /// # Errors
    /// When the storage cannot be used: another process has it, it is not a data directory, its format is
    /// newer than this program, it is corrupt, or the disk is full.
    pub async fn open(options: NodeOptions, runtime: Runtime) -> Result<Arc<Self>> {
        let opening = {
            let (options, runtime) = (options.clone(), runtime.clone());
            runtime.clone().spawn_blocking("open engines", move || open_engines(&options, &runtime))
        };
        let engines = opening.await.map_err(|error| ConsensusError::Storage(error.to_string()))??;
        let failure = Arc::new(Failure::new(Arc::clone(&options.on_fatal)));
        let writer = LogWriter::start(Arc::clone(&engines.raft), &runtime, Arc::clone(&failure))?;
        let network = options.network.clone().unwrap_or_else(|| Arc::new(NoNetwork));
        let router = Arc::<Router>::default();
        router.serve(&*network);
        let context = ReplicaContext {
            runtime: runtime.clone(),
            raft_engine: engines.raft,
            kv_engine: Arc::clone(&engines.kv),
            writer: Arc::clone(&writer),
            network,
            router: Arc::clone(&router),
            failure: Arc::clone(&failure),
            disk_full: Arc::default(),
        };
        let voters = if options.voters.is_empty() { vec![options.node_id] } else { options.voters };
        let ranges = shard_ranges(&options.data_splits);
        let mut shards: Vec<Arc<Shard>> = Vec::with_capacity(ranges.len());
        for (id, range) in ranges {
            match Shard::start(id, range, options.node_id, &voters, &context).await {
                Ok(shard) => shards.push(shard),
                Err(error) => {
                    // The process may end at once: no thread of ours may be inside an engine then.
                    for shard in &shards {
                        shard.stop().await;
                    }
                    router.clear();
                    writer.stop(&runtime).await;
                    return Err(error);
                }
            }
        }
        let maintenance = Maintenance {
            runtime: runtime.clone(),
            kv: Arc::clone(&engines.kv),
            writer: Arc::clone(&writer),
            shards: shards.clone(),
            directory: engines.directory.clone(),
            disk_reserve_bytes: options.disk_reserve_bytes,
            disk_full: context.disk_full,
            failure: Arc::clone(&failure),
        };
        maintenance.check_disk();
        let maintenance = runtime.spawn("maintenance", maintenance.run());
        Ok(Arc::new(Self {
            runtime,
            shards,
            kv: engines.kv,
            writer,
            router,
            failure,
            maintenance: Mutex::new(Some(maintenance)),
            _directory: engines.directory,
        }))
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

    /// Makes everything applied durable in `kvdb` and purges the raft logs behind it. It happens by itself as
    /// logs grow.
    ///
    /// # Errors
    /// When the engine cannot write.
    pub async fn flush(&self) -> Result<()> {
        flush_and_purge(&self.runtime, &self.kv, &self.shards).await
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

    /// Counters of the log writer.
    #[must_use]
    pub fn log_stats(&self) -> LogWriterStats {
        self.writer.stats()
    }

    /// Why the node has stopped by itself, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.has_failed().then(|| self.failure.reason())
    }

    /// Stops the node: proposals under way end, and everything applied is flushed, so that the next open has
    /// nothing to replay. To open the storage again in the same process, drop every handle of the node first.
    ///
    /// # Errors
    /// When the engine cannot write. The node has stopped nevertheless, and nothing is lost.
    pub async fn shutdown(&self) -> Result<()> {
        self.stop_maintenance().await;
        let purged = if self.failure.has_failed() { Ok(()) } else { self.flush().await };
        self.halt().await;
        let engine = Arc::clone(&self.kv);
        let flushed = self.runtime.spawn_blocking("flush kvdb", move || engine.flush()).await;
        purged?;
        flushed.map_err(|error| ConsensusError::Storage(error.to_string()))?
    }

    /// Stops the node where it is: nothing is flushed, and the next open replays the log, as after a crash.
    pub async fn halt(&self) {
        self.stop_maintenance().await;
        for shard in &self.shards {
            shard.stop().await;
        }
        self.router.clear();
        self.writer.stop(&self.runtime).await;
    }

    async fn stop_maintenance(&self) {
        let maintenance = self.maintenance.lock().take();
        if let Some(maintenance) = maintenance {
            maintenance.abort();
            // Aborted or done, either way it holds nothing any more.
            let _ended = maintenance.await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(maintenance) = self.maintenance.lock().take() {
            maintenance.abort();
        }
    }
}
