//! A node: its storage, and its replicas of shards.
//!
//! ```text
//!   open:   lock the directory -> raftdb, kvdb -> extents -> log writer -> replicas (elect, replay) -> maintenance
//!   close:  maintenance -> replicas -> flush kvdb -> log writer
//! ```
//!
//! Which shards there are, `kvdb` says (`extent.rs`). A split that it does not know of yet is replayed from the left
//! shard's log, and only then the right one's replica is started: all that the left one wrote to those keys is there.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use shardforge_runtime::{Network, NodeId, Runtime, TaskHandle};

use crate::directory::DataDirectory;
use crate::engine::heads::HeadCache;
use crate::engine::rocks::{RocksOptions, block_cache, open_shared};
use crate::engine::{
    CompactionFilter, Durability, Engine, EngineStats, Keep, MemoryStorage, SharedFilter, WriteBatch,
};
use crate::error::{ConsensusError, Result};
use crate::extent::{Extent, first_extents};
use crate::failure::Failure;
use crate::limits::{DISK_RESERVE_BYTES, REPLICAS_STARTING_MAX};
use crate::maintenance::{Maintenance, flush_and_purge};
use crate::raft::log_writer::{LogWriter, LogWriterStats};
use crate::raft::network::{NoNetwork, Router};
use crate::raft::state_machine::SplitReport;
use crate::replica::{Replica, ReplicaContext};
use crate::routing::{Routing, ShardMap};
use crate::shard::{Lineage, Shard};
use crate::types::{KeyRange, SYSTEM_PREFIX, ShardId};

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
    /// Where the data shards of a new node begin, after the first; none by default. A node that has been opened before
    /// has the shards that it had.
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
    extents: Vec<Extent>,
}

fn open_engines(options: &NodeOptions, runtime: &Runtime) -> Result<Engines> {
    let mut engines = open_stores(options, runtime)?;
    if let Some(suffix_bytes) = options.version_suffix_bytes
        && options.row_cache_bytes > 0
    {
        engines.kv = Arc::new(HeadCache::new(engines.kv, suffix_bytes, options.row_cache_bytes)?);
    }
    engines.extents = Extent::load_all(&*engines.kv)?;
    if engines.extents.is_empty() {
        engines.extents = first_extents(&options.data_splits);
        let mut batch = WriteBatch::new();
        for extent in &engines.extents {
            extent.store(&mut batch)?;
        }
        engines.kv.write(&batch, Durability::Buffered)?;
        // No log repeats it.
        engines.kv.flush()?;
    }
    Ok(engines)
}

fn open_stores(options: &NodeOptions, runtime: &Runtime) -> Result<Engines> {
    let filter =
        options.compaction_filter.clone().map(|filter| Arc::new(ShardKeysOnly(filter)) as SharedFilter);
    match &options.storage {
        Storage::Memory(storage) => {
            storage.kv.set_filter(filter);
            Ok(Engines {
                raft: storage.raft.clone(),
                kv: storage.kv.clone(),
                directory: None,
                extents: Vec::new(),
            })
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
                extents: Vec::new(),
            })
        }
    }
}

/// A running node.
pub struct Node {
    runtime: Runtime,
    routing: Arc<Routing>,
    /// Closed when no split is followed any more.
    splits: UnboundedSender<SplitReport>,
    splitter: Mutex<Option<TaskHandle<()>>>,
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
        f.debug_struct("Node").field("shards", &self.routing.map()).finish_non_exhaustive()
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
        let voters = if options.voters.is_empty() { vec![options.node_id] } else { options.voters };
        let (splits, mut reports) = unbounded();
        let context = ReplicaContext {
            runtime: runtime.clone(),
            raft_engine: engines.raft,
            kv_engine: Arc::clone(&engines.kv),
            writer: Arc::clone(&writer),
            network,
            router: Arc::clone(&router),
            failure: Arc::clone(&failure),
            disk_full: Arc::default(),
            node: options.node_id,
            voters,
            splits: splits.clone(),
        };
        let routing = Arc::new(Routing::new(Arc::clone(&failure)));
        if let Err(error) = start_replicas(engines.extents, &context, &routing, &mut reports).await {
            // The process may end at once: no thread of ours may be inside an engine then.
            for shard in routing.map().iter() {
                shard.replica().stop().await;
            }
            router.clear();
            writer.stop(&runtime).await;
            return Err(error);
        }
        let maintenance = Maintenance {
            runtime: runtime.clone(),
            kv: Arc::clone(&engines.kv),
            writer: Arc::clone(&writer),
            routing: Arc::clone(&routing),
            directory: engines.directory.clone(),
            disk_reserve_bytes: options.disk_reserve_bytes,
            disk_full: Arc::clone(&context.disk_full),
            failure: Arc::clone(&failure),
        };
        maintenance.check_disk();
        let maintenance = runtime.spawn("maintenance", maintenance.run());
        let splitter = runtime.spawn("splitter", follow_splits(reports, context, Arc::clone(&routing)));
        Ok(Arc::new(Self {
            runtime,
            routing,
            splits,
            splitter: Mutex::new(Some(splitter)),
            kv: engines.kv,
            writer,
            router,
            failure,
            maintenance: Mutex::new(Some(maintenance)),
            _directory: engines.directory,
        }))
    }

    /// The shard that holds a key; `None` for keys that lie in no shard's range (see [`crate::SYSTEM_PREFIX`]).
    #[must_use]
    pub fn shard_for(&self, key: &[u8]) -> Option<Arc<Shard>> {
        self.routing.holder(key)
    }

    /// All shards with a replica here, in the order of their keys; the system shard is the first.
    #[must_use]
    pub fn shards(&self) -> Arc<ShardMap> {
        self.routing.map()
    }

    /// Waits until a shard that answered [`ConsensusError::Moved`] has been replaced in [`Node::shards`].
    ///
    /// # Errors
    /// [`ConsensusError::Stopped`].
    pub async fn rerouted(&self, shard: &Shard) -> Result<()> {
        self.routing.rerouted(shard).await
    }

    /// Splits the shard that holds a key in two, of which the right one begins with that key; returns the right one.
    /// Nothing is done when a shard begins there already.
    ///
    /// # Errors
    /// [`ConsensusError::OutOfRange`] when no data shard may hold the key, [`ConsensusError::Unsupported`] when other
    /// nodes have replicas of the shard; those of [`Shard::propose`].
    pub async fn split(&self, at: &[u8]) -> Result<Arc<Shard>> {
        let at = Bytes::copy_from_slice(at);
        loop {
            let map = self.routing.map();
            let Some(left) = map.data().iter().find(|shard| shard.range().contains(&at)) else {
                return Err(ConsensusError::OutOfRange { shard: ShardId::SYSTEM });
            };
            if left.range().start == at {
                return Ok(Arc::clone(left));
            }
            match left.propose_split(&at, self.routing.new_id()).await {
                // Another split may have come first, and this one is tried again.
                Ok(_) | Err(ConsensusError::Moved { .. }) => self.routing.rerouted(left).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes everything applied durable in `kvdb` and purges the raft logs behind it. It happens by itself as
    /// logs grow.
    ///
    /// # Errors
    /// When the engine cannot write.
    pub async fn flush(&self) -> Result<()> {
        flush_and_purge(&self.runtime, &self.kv, &self.routing).await
    }

    /// Rewrites the files of a range of `kvdb`, which shows its keys to the compaction filter. It blocks.
    ///
    /// # Errors
    /// When the engine cannot write.
    pub fn compact(&self, range: &KeyRange) -> Result<()> {
        self.kv.compact(&range.start, range.end.as_deref())
    }

    /// About how many bytes the keys from `start` to before `end` take in the files of `kvdb`.
    #[must_use]
    pub fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.kv.size_bytes(start, end)
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
        self.routing.close();
        self.splits.close_channel();
        let splitter = self.splitter.lock().take();
        if let Some(splitter) = splitter
            && splitter.await.is_err()
        {
            tracing::error!("the task that follows splits ended by a panic");
        }
        for shard in self.routing.map().iter() {
            shard.replica().stop().await;
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
        self.routing.close();
        self.splits.close_channel();
        if let Some(maintenance) = self.maintenance.lock().take() {
            maintenance.abort();
        }
    }
}

/// Starts the replicas of the shards that `kvdb` knows, and of those that come to light as their logs are replayed.
/// Starts the replicas of all shards that `kvdb` knows, and then those that their logs have split off since.
async fn start_replicas(
    extents: Vec<Extent>,
    context: &ReplicaContext,
    routing: &Routing,
    reports: &mut UnboundedReceiver<SplitReport>,
) -> Result<()> {
    // Their elections share syncs of the log.
    let starts = extents.into_iter().map(|extent| start_known(extent, context));
    let mut starting = stream::iter(starts).buffer_unordered(REPLICAS_STARTING_MAX);
    let mut outcome: Result<()> = Ok(());
    while let Some(started) = starting.next().await {
        match started {
            // What is running is known, whatever became of the others: it has to be stopped then.
            Ok(shard) => routing.add(shard, None),
            Err(error) => outcome = Err(error),
        }
    }
    outcome?;
    // A replica has replayed all of its log when it has started, and has reported every split in it.
    while let Ok(report) = reports.try_recv() {
        start_right(report, context, routing).await?;
    }
    Ok(())
}

/// Starts the replica of a shard that `kvdb` knows.
async fn start_known(extent: Extent, context: &ReplicaContext) -> Result<Arc<Shard>> {
    let replica = Replica::start(extent.clone(), context).await?;
    Ok(Arc::new(Shard::new(replica, extent, None)))
}

/// Starts the right one of two shards that were one, and makes both known.
async fn start_right(report: SplitReport, context: &ReplicaContext, routing: &Routing) -> Result<()> {
    let SplitReport { left, right, term } = report;
    let replica = Replica::start(right.clone(), context).await?;
    let lineage = Lineage { parent: left.shard, parent_term: term, term: replica.term() };
    routing.add(Arc::new(Shard::new(replica, right, Some(lineage))), Some(left));
    Ok(())
}

/// Follows the splits that replicas apply, until the node stops.
async fn follow_splits(
    mut reports: UnboundedReceiver<SplitReport>,
    context: ReplicaContext,
    routing: Arc<Routing>,
) {
    while let Some(report) = reports.next().await {
        if routing.is_closed() {
            return;
        }
        let right = report.right.shard;
        if let Err(error) = start_right(report, &context, &routing).await {
            // Its keys would be nobody's; a restart finds the split in `kvdb` or in the log.
            context.failure.report(&format!("could not start shard {right} after a split: {error}"));
            routing.close();
            return;
        }
    }
}
