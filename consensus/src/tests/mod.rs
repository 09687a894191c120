//! Tests of whole nodes: alone, after crashes, in a cluster, in a simulation and on real files.

mod chaos;
mod cluster;
mod cluster_of_nodes;
mod gossip;
mod heads;
mod members;
mod node;
mod office;
mod places;
mod replacing;
mod rocks;
mod splits;
mod tenure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;

use crate::{Command, Node, Shard, ShardId};

/// Has a node name new shards by a counter that it shares with the others of its cluster; the counter is the last name given.
fn name_shards(node: &Node, named: &Arc<AtomicU64>) {
    let named = Arc::clone(named);
    node.name_shards_with(Arc::new(move || {
        let id = ShardId(named.fetch_add(1, Ordering::SeqCst) + 1);
        async move { Ok(id) }.boxed()
    }));
}

/// A key of the data shard.
fn key(name: &str) -> Bytes {
    let mut key = vec![crate::DATA_START];
    key.extend_from_slice(name.as_bytes());
    Bytes::from(key)
}

fn put(name: &str, value: &str) -> Command {
    Command { puts: vec![(key(name), Bytes::copy_from_slice(value.as_bytes()))], ..Command::default() }
}

fn get(shard: &Shard, name: &str) -> Option<String> {
    let value = shard.read().get(&key(name)).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}
