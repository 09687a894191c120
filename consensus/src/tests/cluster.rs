//! Three nodes over the in-process network, in a simulation.

use std::sync::Arc;
use std::time::Duration;

use shardforge_runtime::{LocalNetwork, NodeId, Runtime, Simulation};

use super::{get, key, put};
use crate::{ConsensusError, MemoryStorage, Node, NodeOptions, Shard, Storage};

struct Cluster {
    runtime: Runtime,
    network: LocalNetwork,
    storage: Vec<MemoryStorage>,
    nodes: Vec<Option<Arc<Node>>>,
}

impl Cluster {
    async fn start(runtime: Runtime) -> Self {
        let network = LocalNetwork::new(runtime.clone());
        network.set_delay_max(Duration::from_millis(5));
        let storage = vec![MemoryStorage::new(), MemoryStorage::new(), MemoryStorage::new()];
        let mut cluster = Self { runtime, network, storage, nodes: vec![None, None, None] };
        for number in 0..3 {
            cluster.open(number).await;
        }
        cluster
    }

    fn id(number: usize) -> NodeId {
        NodeId(number as u64 + 1)
    }

    async fn open(&mut self, number: usize) {
        let mut options = NodeOptions::new(Storage::Memory(self.storage[number].clone()));
        options.node_id = Self::id(number);
        options.voters = (0..3).map(Self::id).collect();
        options.network = Some(self.network.endpoint(Self::id(number)));
        self.nodes[number] = Some(Node::open(options, self.runtime.clone()).await.unwrap());
    }

    async fn crash(&mut self, number: usize) {
        self.network.remove(Self::id(number));
        let node = self.nodes[number].take().unwrap();
        node.halt().await;
        drop(node);
        self.storage[number].crash();
    }

    fn shard(&self, number: usize) -> Option<Arc<Shard>> {
        self.nodes[number].as_ref().and_then(|node| node.shard_for(&key("a")))
    }

    /// The node that leads the data shard and is in touch with a majority.
    async fn leader(&self) -> usize {
        loop {
            for number in 0..3 {
                if let Some(shard) = self.shard(number)
                    && shard.is_leader()
                    && shard.ensure_readable().await.is_ok()
                {
                    return number;
                }
            }
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_applied(&self, number: usize, name: &str, value: &str) {
        while get(&self.shard(number).unwrap(), name).as_deref() != Some(value) {
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }
}

#[test]
fn three_voters_elect_replicate_and_survive_the_loss_of_their_leader() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut cluster = Cluster::start(runtime).await;
            let first = cluster.leader().await;
            cluster.shard(first).unwrap().propose(put("a", "1")).await.unwrap();
            for number in 0..3 {
                cluster.until_applied(number, "a", "1").await;
            }
            let follower = (first + 1) % 3;
            match cluster.shard(follower).unwrap().propose(put("a", "x")).await.unwrap_err() {
                ConsensusError::NotLeader { leader, .. } => assert_eq!(leader, Some(Cluster::id(first))),
                other => panic!("{other}"),
            }

            cluster.crash(first).await;
            let second = cluster.leader().await;
            assert_ne!(first, second);
            assert_eq!(get(&cluster.shard(second).unwrap(), "a").as_deref(), Some("1"));
            cluster.shard(second).unwrap().propose(put("a", "2")).await.unwrap();

            cluster.open(first).await;
            cluster.until_applied(first, "a", "2").await;
        });
    }
}

#[test]
fn a_leader_that_is_cut_off_serves_no_reads_and_its_writes_are_not_lost_twice() {
    let simulation = Simulation::new(11);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let cluster = Cluster::start(runtime.clone()).await;
        let old = cluster.leader().await;
        cluster.shard(old).unwrap().propose(put("a", "1")).await.unwrap();
        for other in (0..3).filter(|other| *other != old) {
            cluster.network.cut(Cluster::id(old), Cluster::id(other));
        }
        let cut_off = cluster.shard(old).unwrap();
        let proposal = runtime.spawn("proposal", async move { cut_off.propose(put("a", "lost")).await });
        runtime.sleep(Duration::from_secs(20)).await;
        assert!(cluster.shard(old).unwrap().ensure_readable().await.is_err());
        let new = cluster.leader().await;
        assert_ne!(old, new);
        cluster.shard(new).unwrap().propose(put("a", "2")).await.unwrap();
        cluster.network.heal();
        cluster.until_applied(old, "a", "2").await;
        let fate = proposal.await.unwrap().unwrap_err();
        assert!(fate.is_ambiguous() || fate.is_retryable(), "{fate}");
    });
}

#[test]
fn a_replica_that_is_too_far_behind_gets_a_snapshot() {
    let simulation = Simulation::new(12);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let mut cluster = Cluster::start(runtime).await;
        let leader = cluster.leader().await;
        let behind = (leader + 1) % 3;
        cluster.shard(leader).unwrap().propose(put("old", "x")).await.unwrap();
        cluster.until_applied(behind, "old", "x").await;
        cluster.crash(behind).await;
        let leader = cluster.leader().await;
        let shard = cluster.shard(leader).unwrap();
        shard.propose(crate::Command { deletes: vec![key("old")], ..put("a", "1") }).await.unwrap();
        for number in 0..200 {
            shard.propose(put(&format!("{number}"), "x")).await.unwrap();
        }
        // Its log is gone on the others now.
        for number in (0..3).filter(|number| *number != behind) {
            cluster.nodes[number].as_ref().unwrap().flush().await.unwrap();
        }
        cluster.open(behind).await;
        cluster.until_applied(behind, "199", "x").await;
        assert_eq!(get(&cluster.shard(behind).unwrap(), "old"), None);
        cluster.shard(cluster.leader().await).unwrap().propose(put("a", "2")).await.unwrap();
        cluster.until_applied(behind, "a", "2").await;
    });
}
