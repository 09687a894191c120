//! Nodes over the in-process network, in a simulation; what the tests of clusters start from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use shardforge_runtime::{LocalNetwork, NodeId, Runtime};

use super::{get, key, name_shards};
use crate::{MemoryStorage, Node, NodeOptions, Shard, ShardId, Storage};

/// Numbered from zero; node `number` is called `number + 1`.
pub(super) struct Cluster {
    pub runtime: Runtime,
    pub network: LocalNetwork,
    pub storage: Vec<MemoryStorage>,
    pub nodes: Vec<Option<Arc<Node>>>,
    founders: usize,
    /// The names of shards that were given last.
    named: Arc<AtomicU64>,
}

impl Cluster {
    /// So many nodes, of which the first `founders` hold the first replicas.
    pub(super) async fn start(runtime: Runtime, size: usize, founders: usize) -> Self {
        let network = LocalNetwork::new(runtime.clone());
        network.set_delay_max(Duration::from_millis(5));
        let storage = (0..size).map(|_| MemoryStorage::new()).collect();
        let nodes = (0..size).map(|_| None).collect();
        let named = Arc::new(AtomicU64::new(2));
        let mut cluster = Self { runtime, network, storage, nodes, founders, named };
        for number in 0..size {
            cluster.open(number).await;
        }
        cluster
    }

    pub(super) fn id(number: usize) -> NodeId {
        NodeId(number as u64 + 1)
    }

    pub(super) fn ids(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<NodeId> {
        numbers.into_iter().map(Self::id).collect()
    }

    pub(super) async fn open(&mut self, number: usize) {
        let mut options = NodeOptions::new(Storage::Memory(self.storage[number].clone()));
        options.node_id = Self::id(number);
        options.voters = (0..self.founders).map(Self::id).collect();
        options.network = Some(self.network.endpoint(Self::id(number)));
        let node = Node::open(options, self.runtime.clone()).await.unwrap();
        name_shards(&node, &self.named);
        self.nodes[number] = Some(node);
    }

    pub(super) async fn crash(&mut self, number: usize) {
        self.network.remove(Self::id(number));
        let node = self.nodes[number].take().unwrap();
        node.halt().await;
        drop(node);
        self.storage[number].crash();
    }

    pub(super) fn node(&self, number: usize) -> &Arc<Node> {
        self.nodes[number].as_ref().unwrap()
    }

    /// The replica on a node that is up of the shard that holds a key.
    pub(super) fn shard(&self, number: usize, name: &str) -> Option<Arc<Shard>> {
        self.nodes[number].as_ref().and_then(|node| node.shard_for(&key(name)))
    }

    /// The node that leads the shard of a key and is in touch with a majority.
    pub(super) async fn leader(&self, name: &str) -> usize {
        loop {
            for number in 0..self.nodes.len() {
                if let Some(shard) = self.shard(number, name)
                    && shard.is_leader()
                    && shard.ensure_readable().await.is_ok()
                {
                    return number;
                }
            }
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn led(&self, name: &str) -> Arc<Shard> {
        loop {
            let number = self.leader(name).await;
            if let Some(shard) = self.shard(number, name) {
                return shard;
            }
        }
    }

    pub(super) async fn until_applied(&self, number: usize, name: &str, value: &str) {
        while self.shard(number, name).and_then(|shard| get(&shard, name)).as_deref() != Some(value) {
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every replica of a shard is there and holds the same, and returns the nodes that have one. All members of
    /// the shard are to be up.
    pub(super) async fn until_equal(&self, id: ShardId) -> Vec<usize> {
        loop {
            let (mut sums, mut members) = (Vec::new(), None);
            for (number, node) in self.nodes.iter().enumerate() {
                let shard = node.as_ref().and_then(|node| node.shards().by_id(id).cloned());
                if let Some(shard) = shard {
                    if shard.is_leader() {
                        members = Some(shard.members().list.len());
                    }
                    sums.push((number, shard.checksum().await.unwrap()));
                }
            }
            // At the same index nothing but the same content is right.
            for (number, sum) in &sums {
                for (other, of_other) in &sums {
                    assert!(
                        sum.applied_index != of_other.applied_index || sum == of_other,
                        "{id} differs: {number} has {sum:?}, {other} has {of_other:?}"
                    );
                }
            }
            // One whose leader has not spoken to it since it was made elsewhere is yet to come.
            if members == Some(sums.len()) && sums.windows(2).all(|pair| pair[0].1 == pair[1].1) {
                return sums.into_iter().map(|(number, _)| number).collect();
            }
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }
}
