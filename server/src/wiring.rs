//! Where the layers meet: a node (consensus), a store on it (kv), the SQL engine on that, and a backend for
//! the protocol. Nothing else in this crate names a layer below the frontend.
//!
//! ```text
//!   Config -> Node -> Store -> Engine -> SqlBackend -> Frontend
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use shardforge_consensus::{ConsensusError, MemoryStorage, Node, Storage};
use shardforge_kv::{KvError, KvOptions, Store};
use shardforge_runtime::Runtime;
use shardforge_sql::engine::{Engine, EngineOptions};
pub use shardforge_sql::session::SqlBackend as Backend;
use shardforge_types::PgError;
use tokio::sync::watch;

use crate::config::{Config, EngineKind};
use crate::metrics::Sample;

/// Why the database cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made.
    #[error("cannot create directory {}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The node's storage.
    #[error(transparent)]
    Node(#[from] ConsensusError),
    /// The store.
    #[error("cannot open the database: {0}")]
    Store(#[from] KvError),
    /// The catalog.
    #[error("cannot open the database: {0}")]
    Engine(#[from] PgError),
}

/// An open database.
pub struct Database {
    node: Arc<Node>,
    store: Store,
    backend: Arc<Backend>,
    /// Says why when the node's storage has failed.
    failure: watch::Receiver<Option<String>>,
}

impl Database {
    /// Opens the database that `config` names, and makes it if it is not there.
    pub async fn open(config: &Config) -> Result<Database, OpenError> {
        let runtime = Runtime::real(tokio::runtime::Handle::current());
        let storage = match config.engine {
            EngineKind::RocksDb => {
                create_directory(&config.data_dir)?;
                Storage::RocksDb(config.data_dir.clone())
            }
            EngineKind::Memory => Storage::Memory(MemoryStorage::default()),
        };
        let (failed, failure) = watch::channel(None);
        let mut options = Store::node_options(storage);
        options.block_cache_bytes = config.block_cache_bytes;
        options.row_cache_bytes = config.row_cache_bytes;
        options.disk_reserve_bytes = config.disk_reserve_bytes;
        options.on_fatal = Arc::new(move |reason: &str| {
            failed.send_replace(Some(reason.to_owned()));
        });
        let node = Node::open(options, runtime.clone()).await?;
        let kv_options = KvOptions {
            gc_ttl: config.gc_ttl,
            prepared_transactions_max: config.max_prepared_transactions,
            ..KvOptions::default()
        };
        let store = Store::open(Arc::clone(&node), runtime.clone(), kv_options)?;
        create_directory(&config.spill_dir)?;
        let options = EngineOptions {
            query_memory_bytes: config.query_memory_bytes,
            spill_dir: config.spill_dir.clone(),
            max_connections: u32::try_from(config.max_connections).unwrap_or(u32::MAX),
            max_prepared_transactions: u32::try_from(config.max_prepared_transactions).unwrap_or(u32::MAX),
            data_dir: config.data_dir.clone(),
            cluster: None,
        };
        let engine = Engine::open(store.clone(), runtime, options).await?;
        let backend = Arc::new(Backend::new(engine, config.insecure));
        Ok(Database { node, store, backend, failure })
    }

    /// What the frontend serves.
    pub fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.backend)
    }

    /// Waits until the storage fails, and says why.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The node is gone, and so is whoever could say that it has failed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Reads counters while the database is open.
    pub fn observer(&self) -> Observer {
        Observer { node: Arc::clone(&self.node), store: self.store.clone() }
    }

    /// Writes what is in memory to the disk and closes the database.
    pub async fn close(self) -> Result<(), OpenError> {
        self.store.close().await?;
        self.node.shutdown().await?;
        Ok(())
    }
}

fn create_directory(path: &std::path::Path) -> Result<(), OpenError> {
    std::fs::create_dir_all(path).map_err(|error| OpenError::Directory { path: path.to_owned(), error })
}

/// See [`Database::observer`].
pub struct Observer {
    node: Arc<Node>,
    store: Store,
}

impl Observer {
    /// The counters of the layers below the frontend.
    pub fn samples(&self) -> Vec<Sample> {
        let (transactions, log, engine) = (self.store.stats(), self.node.log_stats(), self.node.kv_stats());
        vec![
            Sample::counter("commits", "Transactions committed that had written", transactions.commits),
            Sample::counter("rollbacks", "Transactions rolled back", transactions.rollbacks),
            Sample::counter("lock_waits", "Locks that had to be waited for", transactions.lock_waits),
            Sample::gauge("lock_waiters", "Requests that wait for a lock", transactions.waiting_now),
            Sample::counter("deadlocks", "Deadlocks found", transactions.deadlocks),
            Sample::counter("spilled_transactions", "Transactions larger than memory", transactions.spills),
            Sample::counter(
                "versions_collected",
                "Row versions removed by garbage collection",
                transactions.versions_collected,
            ),
            Sample::counter("log_syncs", "Synced writes of the log", log.syncs),
            Sample::counter("log_requests", "Requests that the syncs made durable", log.requests),
            Sample::counter("log_bytes", "Bytes written to the log", log.bytes),
            Sample::gauge("storage_keys", "Keys stored, estimated", engine.keys),
            Sample::gauge("storage_disk_bytes", "Bytes in data files", engine.disk_bytes),
            Sample::gauge("storage_memory_bytes", "Memory of the storage engine", engine.memory_bytes),
            Sample::gauge(
                "compaction_pending_bytes",
                "Bytes that compaction has yet to rewrite",
                engine.compaction_pending_bytes,
            ),
            Sample::gauge(
                "writes_stopped",
                "1 while writes wait for compaction",
                u64::from(engine.write_stopped),
            ),
        ]
    }
}
