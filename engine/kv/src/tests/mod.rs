//! Tests of whole stores, on the memory engine in a simulated world: the same seed, the same run.
//!
//! ```text
//!   script.rs       golden scripts (scripts/*.txt): several transactions step by step
//!   model.rs        random transactions against a naive model of MVCC
//!   batch.rs        many row locks at once find what single ones find
//!   garbage.rs      what a commit left is found by its keys as by looking everywhere
//!   handover.rs     locks that are handed on before a commit is durable
//!   moved.rs        rows whose keys change while somebody waits for them
//!   past.rs         states of the past, as far as they are kept
//!   invariants.rs   concurrent transfers, lost updates, write skew, crashes
//!   prepared.rs     prepared transactions, and power failures
//!   shards.rs       commits over several shards, cut off at each point
//!   splitter.rs     shards that grow too large
//!   tenure.rs       stores that end, and those that come after them
//! ```

mod batch;
mod garbage;
mod handover;
mod invariants;
mod model;
mod moved;
mod past;
mod prepared;
mod script;
mod shards;
mod splitter;
mod tenure;

use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::{MemoryStorage, Node, Storage};
use shardforge_runtime::Runtime;

use crate::{KvOptions, Store};

/// Opens a store on some memory.
pub(crate) async fn open(
    storage: &MemoryStorage,
    runtime: &Runtime,
    options: KvOptions,
) -> (Arc<Node>, Store) {
    let node =
        Node::open(Store::node_options(Storage::Memory(storage.clone())), runtime.clone()).await.unwrap();
    let store = Store::open(Arc::clone(&node), runtime.clone(), options).unwrap();
    (node, store)
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
