//! [`Database`]: the store and the SQL engine of a tenure.

use std::sync::Arc;

use shardforge_consensus::{NodeInfo, NodeState, Tenure};
use shardforge_kv::{KvOptions, Store};
use shardforge_runtime::Runtime;
use shardforge_sql::engine::{Engine, EngineOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Backend, Instance, OpenError, create_directory};
use crate::config::Config;
use crate::metrics::Sample;

/// An open database.
pub struct Database {
    store: Store,
    backend: Arc<Backend>,
    _sizing: Option<Task>,
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has large shards split while there is more than one node: on one node alone it would be of no use.
async fn split_while_there_are_others(
    store: Store,
    mut nodes: watch::Receiver<Arc<[NodeInfo]>>,
    beyond_bytes: u64,
) {
    loop {
        let there = nodes.borrow_and_update().iter().filter(|node| node.state != NodeState::Gone).count();
        store.split_beyond(if there > 1 { beyond_bytes } else { 0 });
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

impl Database {
    /// Opens the database that a node has the tenure of, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be read, or the tenure has ended.
    pub async fn open(config: &Config, instance: &Instance, tenure: Tenure) -> Result<Database, OpenError> {
        let runtime = Runtime::real(Handle::current());
        let options = KvOptions {
            gc_ttl: config.gc_ttl,
            prepared_transactions_max: config.max_prepared_transactions,
            ..KvOptions::default()
        };
        let store = Store::open_in(Arc::clone(instance.node()), tenure, runtime.clone(), options).await?;
        let sizing = instance.nodes().map(|nodes| {
            Task(tokio::spawn(split_while_there_are_others(store.clone(), nodes, config.shard_size_bytes)))
        });
        create_directory(&config.spill_dir)?;
        let options = EngineOptions {
            query_memory_bytes: config.query_memory_bytes,
            spill_dir: config.spill_dir.clone(),
            max_connections: u32::try_from(config.max_connections).unwrap_or(u32::MAX),
            max_prepared_transactions: u32::try_from(config.max_prepared_transactions).unwrap_or(u32::MAX),
            data_dir: config.data_dir.clone(),
            cluster: instance.control(),
        };
        let engine = Engine::open(store.clone(), runtime, options).await?;
        Ok(Database { store, _sizing: sizing, backend: Arc::new(Backend::new(engine, config.insecure)) })
    }

    /// What the frontend serves.
    pub fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.backend)
    }

    /// Reads counters while the database is open.
    pub fn observer(&self) -> StoreObserver {
        StoreObserver(self.store.clone())
    }

    /// Writes what is in memory to the disk and closes the database.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn close(self) -> Result<(), OpenError> {
        Ok(self.store.close().await?)
    }
}

/// See [`Database::observer`].
pub struct StoreObserver(Store);

impl StoreObserver {
    /// The counters of the transactions.
    pub fn samples(&self) -> Vec<Sample> {
        let stats = self.0.stats();
        vec![
            Sample::counter("commits", "Transactions committed that had written", stats.commits),
            Sample::counter("rollbacks", "Transactions rolled back", stats.rollbacks),
            Sample::counter("lock_waits", "Locks that had to be waited for", stats.lock_waits),
            Sample::gauge("lock_waiters", "Requests that wait for a lock", stats.waiting_now),
            Sample::counter("deadlocks", "Deadlocks found", stats.deadlocks),
            Sample::counter("spilled_transactions", "Transactions larger than memory", stats.spills),
            Sample::counter(
                "versions_collected",
                "Row versions removed by garbage collection",
                stats.versions_collected,
            ),
        ]
    }
}
