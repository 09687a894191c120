//! openraft's own tests of storage, run against ours on both engines.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use shardforge_runtime::Runtime;

use super::TypeConfig;
use super::log_store::{GroupLog, LogStore};
use super::log_writer::LogWriter;
use super::state_machine::StateMachine;
use crate::engine::rocks::{RocksOptions, block_cache, open_shared};
use crate::engine::{Durability, Engine, MemoryEngine, WriteBatch};
use crate::extent::Extent;
use crate::failure::Failure;
use crate::records::Records;
use crate::types::{DATA_START, KeyRange, NodeId, ShardId};

fn stores(raft: Arc<dyn Engine>, kv: Arc<dyn Engine>) -> (LogStore, StateMachine) {
    let failure = Arc::new(Failure::new(Arc::new(|_| {})));
    let writer = LogWriter::start(Arc::clone(&raft), &Runtime::current(), Arc::clone(&failure)).unwrap();
    let log = GroupLog::open(ShardId(7), Arc::clone(&raft), Arc::clone(&writer)).unwrap();
    let mut batch = WriteBatch::new();
    Extent::new(ShardId(7), KeyRange::from(vec![DATA_START])).store(&mut batch).unwrap();
    kv.write(&batch, Durability::Buffered).unwrap();
    let (reports, _reported) = futures::channel::mpsc::channel(1);
    let records = Arc::new(Records::open(NodeId(1), &*raft, writer).unwrap());
    let machine = StateMachine::open(ShardId(7), reports, records, kv, Arc::default(), failure).unwrap();
    (LogStore::new(log), machine)
}

struct Memory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for Memory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let (log, machine) = stores(Arc::new(MemoryEngine::default()), Arc::new(MemoryEngine::default()));
        Ok(((), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_engine_passes_openrafts_suite() {
    Suite::test_all(Memory).await.unwrap();
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let cache = block_cache(1 << 20);
        let open = |name: &str, without_wal| {
            let options = RocksOptions {
                cache: cache.clone(),
                memtable_bytes: 1 << 20,
                without_wal,
                filter: None,
                version_suffix_bytes: None,
            };
            open_shared(&directory.path().join(name), &options).unwrap()
        };
        let (log, machine) = stores(open("raftdb", false), open("kvdb", true));
        Ok((directory, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rocksdb_passes_openrafts_suite() {
    Suite::test_all(OnDisk).await.unwrap();
}
