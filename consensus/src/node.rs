//! A node: its storage, and its replicas of shards.
//!
//! ```text
//!   open:   lock the directory -> raftdb, kvdb -> log writer -> replicas (elect, replay) -> host, maintenance
//!   close:  maintenance -> host -> replicas -> flush kvdb -> log writer
//! ```
//!
//! Which replicas there are, `kvdb` says (`extent.rs`), and `raftdb` of those that have no data yet (`records.rs`). A split
//! that they do not know of yet is replayed from the left shard's log, and only then the right one's replica is started:
//! all that the left one wrote to those keys is there.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc::{Sender, channel};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use shardforge_runtime::{Network, NodeId, Runtime, TaskHandle};
use tokio::sync::{Semaphore, watch};

use crate::directory::DataDirectory;
use crate::engine::heads::HeadCache;
use crate::engine::rocks::{RocksOptions, block_cache, open_shared};
use crate::engine::{
    CompactionFilter, Durability, Engine, EngineStats, Keep, MemoryStorage, SharedFilter, WriteBatch,
};
use crate::error::{ConsensusError, Result};
use crate::extent::{Extent, first_extents};
use crate::failure::Failure;
use crate::host::{Host, Order, Replicas};
use crate::limits::{
    DISK_RESERVE_BYTES, NODE_ID_END, ORDERS_WAITING_MAX, REPORTS_WAITING_MAX, SNAPSHOTS_SENT_AT_ONCE_MAX,
};
use crate::maintenance::{Maintenance, flush_and_purge};
use crate::raft::log_writer::{LogWriter, LogWriterStats};
use crate::raft::network::{NoNetwork, Router};
use crate::raft::state_machine::{Report, first_members, found};
use crate::raft::transfer::Incoming;
use crate::records::{Claims, Records};
use crate::replica::ReplicaContext;
use crate::routing::{Routing, ShardMap};
use crate::shard::Shard;
use crate::tenure::{Tenure, Tenures};
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
    /// The node's name in its cluster, below [`crate::limits::NODE_ID_END`].
    pub node_id: NodeId,
    /// The nodes that hold the first replicas of a new cluster's shards, the same on all of them; this one alone by
    /// default. A node that is not one of them joins a cluster: it has no replicas before it is given some.
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
}

fn open_engines(options: &NodeOptions, runtime: &Runtime) -> Result<Engines> {
    let mut engines = open_stores(options, runtime)?;
    if let Some(suffix_bytes) = options.version_suffix_bytes
        && options.row_cache_bytes > 0
    {
        engines.kv = Arc::new(HeadCache::new(engines.kv, suffix_bytes, options.row_cache_bytes)?);
    }
    found_shards(&*engines.kv, options)?;
    Ok(engines)
}

/// A node's own record that it has been opened before.
const FOUNDED: &[u8] = &[0x00, b'f'];

/// Writes down the first shards of a new node, if it has a part in them.
fn found_shards(kv: &dyn Engine, options: &NodeOptions) -> Result<()> {
    if kv.get(FOUNDED)?.is_some() || !Extent::load_all(kv)?.is_empty() {
        return Ok(());
    }
    let alone = [options.node_id];
    let voters = if options.voters.is_empty() { &alone[..] } else { &options.voters[..] };
    let mut batch = WriteBatch::new();
    batch.put(FOUNDED, Bytes::new());
    if voters.contains(&options.node_id) {
        for extent in first_extents(&options.data_splits) {
            extent.store(&mut batch)?;
            found(extent.shard, first_members(voters, &[])?, &mut batch)?;
        }
    }
    kv.write(&batch, Durability::Buffered)?;
    // No log repeats it.
    kv.flush()
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

/// Gives names to new shards, each once in a cluster.
pub(crate) type ShardNamer = Arc<dyn Fn() -> BoxFuture<'static, Result<ShardId>> + Send + Sync>;

/// A running node.
pub struct Node {
    runtime: Runtime,
    routing: Arc<Routing>,
    tenures: Arc<Tenures>,
    /// Closed when nothing is hosted any more.
    reports: Mutex<Sender<Report>>,
    orders: Mutex<Sender<Order>>,
    host: Mutex<Option<TaskHandle<()>>>,
    replicas: Replicas,
    records: Arc<Records>,
    /// Who names new shards; a node that is in no cluster counts them.
    namer: Mutex<Option<ShardNamer>>,
    is_networked: bool,
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
        if options.node_id.0 >= NODE_ID_END {
            let reason = format!("{} is no node's name: it is not below {NODE_ID_END}", options.node_id);
            return Err(ConsensusError::Refused(reason));
        }
        let opening = {
            let (options, runtime) = (options.clone(), runtime.clone());
            runtime.clone().spawn_blocking("open engines", move || open_engines(&options, &runtime))
        };
        let engines = opening.await.map_err(|error| ConsensusError::Storage(error.to_string()))??;
        let failure = Arc::new(Failure::new(Arc::clone(&options.on_fatal)));
        let writer = LogWriter::start(Arc::clone(&engines.raft), &runtime, Arc::clone(&failure))?;
        let network = options.network.clone().unwrap_or_else(|| Arc::new(NoNetwork));
        let claims = Arc::<Claims>::default();
        let incoming = Incoming::new(runtime.clone(), Arc::clone(&engines.kv), Arc::clone(&claims));
        let router = Arc::new(Router::new(runtime.clone(), options.node_id, incoming));
        let records = Records::open(options.node_id, &*engines.raft, Arc::clone(&writer))?;
        let (reports, mut reported) = channel(REPORTS_WAITING_MAX);
        let (orders, ordered) = channel(ORDERS_WAITING_MAX);
        let tenures = Arc::<Tenures>::default();
        let routing = Arc::new(Routing::new(Arc::clone(&failure), Arc::clone(&tenures)));
        let host = Host {
            context: ReplicaContext {
                runtime: runtime.clone(),
                raft_engine: engines.raft,
                kv_engine: Arc::clone(&engines.kv),
                writer: Arc::clone(&writer),
                network: Arc::clone(&network),
                router: Arc::clone(&router),
                sending: Arc::new(Semaphore::new(SNAPSHOTS_SENT_AT_ONCE_MAX)),
                failure: Arc::clone(&failure),
                disk_full: Arc::default(),
                records: Arc::new(records),
                claims,
                filter: options.compaction_filter.clone(),
                reports: reports.clone(),
                tenures: Arc::clone(&tenures),
            },
            routing: Arc::clone(&routing),
            replicas: Replicas::default(),
        };
        router.serve(&*network);
        if let Err(error) = host.start_all(&mut reported).await {
            // The process may end at once: no thread of ours may be inside an engine then.
            host.stop_all().await;
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
            disk_full: Arc::clone(&host.context.disk_full),
            failure: Arc::clone(&failure),
        };
        maintenance.check_disk();
        let maintenance = runtime.spawn("maintenance", maintenance.run());
        let (replicas, records) = (Arc::clone(&host.replicas), Arc::clone(&host.context.records));
        let host = runtime.spawn("host", host.run(reported, ordered));
        router.host_with(orders.clone());
        Ok(Arc::new(Self {
            runtime,
            routing,
            tenures,
            reports: Mutex::new(reports),
            orders: Mutex::new(orders),
            host: Mutex::new(Some(host)),
            replicas,
            records,
            namer: Mutex::default(),
            is_networked: options.network.is_some(),
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

    /// The time in which this node may serve what all shards hold, if that is now: it leads the system shard and all data
    /// shards, which are all here, and has applied all that was committed in them before. As long as it lasts this returns
    /// the same.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        self.tenures.tenure(&self.runtime, &self.routing)
    }

    /// Counts what may make [`Node::tenure`] begin or end: who leads, and which shards are here.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.tenures.changes()
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
    /// [`ConsensusError::OutOfRange`] when no data shard here may hold the key, [`ConsensusError::Refused`] when nobody can
    /// name the new shard, and those of [`Shard::propose`].
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
            // One that was just split off may have no leader yet.
            if let Some(tenure) = self.tenure() {
                tenure.term_in(left).await?;
            }
            match left.propose_split(&at, self.new_shard_id().await?).await {
                // Another split may have come first, and this one is tried again.
                Ok(_) | Err(ConsensusError::Moved { .. }) => self.routing.rerouted(left).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// A name that no shard has had, on any node: a node that has no replica of a shard does not know that shard's name.
    async fn new_shard_id(&self) -> Result<ShardId> {
        let namer = self.namer.lock().clone();
        match namer {
            Some(namer) => namer().await,
            None if self.is_networked => {
                Err(ConsensusError::Refused("nobody names new shards here yet".to_owned()))
            }
            None => Ok(self.routing.new_id()),
        }
    }

    /// Has somebody else name new shards from now on. A node that has no other to talk to counts them itself.
    pub(crate) fn name_shards_with(&self, namer: ShardNamer) {
        *self.namer.lock() = Some(namer);
    }

    /// All shards here have names below this one.
    pub(crate) fn shards_end(&self) -> u64 {
        self.routing.ids_end()
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Stops the node for good: it cannot be relied on.
    pub(crate) fn stop_because(&self, reason: &str) {
        self.failure.report(reason);
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
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
        self.reports.lock().close_channel();
        self.orders.lock().close_channel();
        let host = self.host.lock().take();
        if let Some(host) = host
            && host.await.is_err()
        {
            tracing::error!("the task that hosts replicas ended by a panic");
        }
        let replicas = std::mem::take(&mut *self.replicas.lock());
        for replica in replicas.into_values() {
            replica.stop().await;
        }
        self.tenures.close();
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
        self.tenures.close();
        self.reports.lock().close_channel();
        self.orders.lock().close_channel();
        if let Some(maintenance) = self.maintenance.lock().take() {
            maintenance.abort();
        }
    }
}
