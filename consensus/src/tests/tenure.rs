//! Tenures: when they begin, what ends them, and what is still done of one that has ended.

use std::sync::Arc;
use std::time::Duration;

use shardforge_runtime::{Runtime, Simulation};

use super::cluster_of_nodes::Cluster;
use super::{get, key, put};
use crate::limits::ELECTION_TIMEOUT_MAX;
use crate::{ConsensusError, Node, Shard, ShardId, Tenure};

const LIMIT: Duration = Duration::from_secs(60);

fn simulate<F: Future<Output = ()> + Send + 'static>(seed: u64, run: impl FnOnce(Runtime) -> F) {
    let simulation = Simulation::new(seed);
    simulation.block_on(run(simulation.runtime()));
}

/// Gathers all leaderships at the node that leads the system shard, and returns it with its tenure.
async fn serving(cluster: &Cluster) -> (usize, Tenure) {
    loop {
        for (number, node) in cluster.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            if let Some(tenure) = node.tenure() {
                return (number, tenure);
            }
            let leads = node.shards().by_id(ShardId::SYSTEM).is_some_and(|shard| shard.is_leader());
            if leads {
                hand_all_to(cluster, number).await;
            }
        }
        cluster.runtime.sleep(Duration::from_millis(50)).await;
    }
}

async fn hand_all_to(cluster: &Cluster, number: usize) {
    for node in cluster.nodes.iter().flatten() {
        for shard in node.shards().iter().filter(|shard| shard.is_leader()) {
            // It may have been lost since, or be here already.
            let _either = shard.transfer_leadership(Cluster::id(number)).await;
        }
    }
}

fn data(node: &Node) -> Arc<Shard> {
    node.shard_for(&key("a")).unwrap()
}

#[test]
fn a_node_alone_has_one_from_open_to_close() {
    simulate(1, |runtime| async move {
        let mut cluster = Cluster::start(runtime.clone(), 1, 1).await;
        let node = Arc::clone(cluster.node(0));
        let tenure = node.tenure().unwrap();
        runtime.sleep(Duration::from_secs(100)).await;
        assert!(tenure.is_valid() && node.tenure().unwrap().is_valid());
        tenure.propose(&data(&node), put("a", "1")).await.unwrap();
        let right = node.split(&key("m")).await.unwrap();
        tenure.propose(&right, put("x", "2")).await.unwrap();
        assert_eq!(tenure.term_of(right.id()), Some(right.term()));
        assert!(tenure.is_valid());
        drop((right, node));
        cluster.crash(0).await;
        assert!(!tenure.is_valid() && tenure.has_ended());
        tenure.ended().await;
    });
}

#[test]
fn it_ends_with_the_lease_before_another_node_leads() {
    for seed in 0..10 {
        simulate(seed, |runtime| async move {
            let cluster = Cluster::start(runtime.clone(), 3, 3).await;
            let (first, tenure) = serving(&cluster).await;
            runtime.sleep(Duration::from_secs(30)).await;
            assert!(tenure.is_valid(), "nothing ends it as long as all is well");
            let node = cluster.node(first);
            tenure.propose(&data(node), put("a", "1")).await.unwrap();
            for other in (0..3).filter(|other| *other != first) {
                cluster.network.cut(Cluster::id(first), Cluster::id(other));
            }
            let cut_at = runtime.now();
            let waiting = {
                let (tenure, shard) = (tenure.clone(), data(node));
                runtime.spawn("proposal", async move { tenure.propose(&shard, put("a", "2")).await })
            };
            let other_leads = || {
                (0..3).filter(|other| *other != first).any(|other| {
                    cluster.node(other).shards().by_id(ShardId::SYSTEM).is_some_and(|shard| shard.is_leader())
                })
            };
            while !other_leads() {
                runtime.sleep(Duration::from_millis(1)).await;
                assert!(!(tenure.is_valid() && other_leads()), "two serve");
            }
            assert!(!tenure.is_valid());
            tenure.ended().await;
            assert!(runtime.now() - cut_at < 4 * ELECTION_TIMEOUT_MAX);
            // Whoever waits is not kept waiting until the network is whole again.
            assert!(waiting.await.unwrap().unwrap_err().is_ambiguous());
            let refused = tenure.propose(&data(node), put("a", "3")).await.unwrap_err();
            assert!(matches!(refused, ConsensusError::NotLeader { .. }), "{refused}");
            assert!(node.tenure().is_none());
            cluster.network.heal();
            let (_, again) = serving(&cluster).await;
            assert!(again.is_valid());
        });
    }
}

#[test]
fn whoever_hands_a_shard_over_serves_no_more() {
    for shard in [ShardId::SYSTEM, ShardId(2)] {
        for seed in 0..5 {
            simulate(seed, move |runtime| async move {
                let cluster = Cluster::start(runtime, 3, 3).await;
                let (first, tenure) = serving(&cluster).await;
                let node = cluster.node(first);
                let shard = node.shards().by_id(shard).cloned().unwrap();
                shard.transfer_leadership(Cluster::id((first + 1) % 3)).await.unwrap();
                assert!(!tenure.is_valid() && tenure.has_ended() && !shard.is_leader());
                assert!(node.tenure().is_none(), "the same term cannot be taken again");
                let (_, again) = serving(&cluster).await;
                assert!(again.is_valid());
            });
        }
    }
}

#[test]
fn a_shard_that_is_split_goes_on_in_it() {
    for seed in 0..10 {
        simulate(seed, |runtime| async move {
            let cluster = Cluster::start(runtime.clone(), 3, 3).await;
            let (first, tenure) = serving(&cluster).await;
            let node = cluster.node(first);
            let right = node.split(&key("m")).await.unwrap();
            match tenure.propose(&right, put("x", "1")).await {
                Ok(applied) => {
                    assert_eq!(tenure.term_of(right.id()), Some(applied.term));
                    let third = node.split(&key("t")).await.unwrap();
                    let _either = tenure.propose(&third, put("x", "2")).await;
                }
                // Another one was the first to lead it.
                Err(_) => tenure.ended().await,
            }
            let (number, again) = serving(&cluster).await;
            let shard = cluster.shard(number, "x").unwrap();
            again.propose(&shard, put("x", "3")).await.unwrap();
            assert_eq!(get(&shard, "x").as_deref(), Some("3"));
        });
    }
}

#[test]
fn one_node_that_becomes_three_and_one_again_keeps_its_tenure() {
    for seed in 0..5 {
        simulate(seed, |runtime| async move {
            let cluster = Cluster::start(runtime.clone(), 3, 1).await;
            let node = cluster.node(0);
            let tenure = node.tenure().unwrap();
            for nodes in [0..3, 0..1] {
                for shard in node.shards().iter() {
                    shard.place(&Cluster::ids(nodes.clone()), LIMIT).await.unwrap();
                    assert!(tenure.is_valid(), "{:?}", tenure.reason());
                }
                runtime.sleep(Duration::from_secs(20)).await;
                assert!(tenure.is_valid(), "{:?}", tenure.reason());
            }
            tenure.propose(&data(node), put("a", "1")).await.unwrap();
        });
    }
}

#[test]
fn none_begins_with_a_shard_whose_leader_has_been_replaced_without_hearing_of_it() {
    for seed in 0..20 {
        simulate(seed, |runtime| async move {
            let cluster = Cluster::start(runtime.clone(), 3, 3).await;
            let old = cluster.leader("a").await;
            cluster.led("a").await.propose(put("a", "1")).await.unwrap();
            let others: Vec<_> = (0..3).filter(|other| *other != old).collect();
            for other in &others {
                cluster.network.cut(Cluster::id(old), Cluster::id(*other));
            }
            let behind = cluster.shard(old, "a").unwrap();
            let led_elsewhere = async |shard: ShardId| loop {
                let replicas =
                    others.iter().map(|node| cluster.node(*node).shards().by_id(shard).cloned().unwrap());
                if let Some(leader) = replicas.into_iter().find(|shard| shard.is_leader()) {
                    return leader;
                }
                runtime.sleep(Duration::from_millis(1)).await;
            };
            led_elsewhere(behind.id()).await.propose(put("a", "2")).await.unwrap();
            let system = led_elsewhere(ShardId::SYSTEM).await;
            assert!(behind.is_leader(), "nobody has told it");
            cluster.network.heal();
            // The system shard comes to the node as soon as it can; of the other one it may hear later.
            let here = cluster.node(old).shards().by_id(ShardId::SYSTEM).cloned().unwrap();
            while here.replica().applied_index() < system.replica().applied_index() {
                runtime.sleep(Duration::from_millis(1)).await;
            }
            system.transfer_leadership(Cluster::id(old)).await.unwrap();
            for _ in 0..1_000 {
                runtime.sleep(Duration::from_millis(1)).await;
                let begins = cluster.node(old).tenure().is_some();
                assert!(!begins || get(&behind, "a").as_deref() == Some("2"), "seed {seed}");
            }
        });
    }
}

#[test]
fn what_an_ended_tenure_proposes_comes_before_the_next_one_or_not_at_all() {
    for seed in 0..20 {
        simulate(seed, |runtime| async move {
            let cluster = Cluster::start(runtime.clone(), 1, 1).await;
            let node = Arc::clone(cluster.node(0));
            let old = node.tenure().unwrap();
            let stragglers: Vec<_> = (0..20)
                .map(|number| {
                    let (old, shard, runtime2) = (old.clone(), data(&node), runtime.clone());
                    runtime.spawn("straggler", async move {
                        runtime2.sleep(Duration::from_nanos(runtime2.next_u64() % 1_000)).await;
                        old.propose(&shard, put("a", &format!("old {number}"))).await.map(drop)
                    })
                })
                .collect();
            runtime.sleep(Duration::from_nanos(500)).await;
            old.end("the test says so");
            let new = node.tenure().unwrap();
            assert!(new.is_valid() && !old.is_valid());
            new.settle().await.unwrap();
            let settled = get(&data(&node), "a");
            for straggler in stragglers {
                let _either = straggler.await.unwrap();
            }
            assert_eq!(get(&data(&node), "a"), settled);
            new.propose(&data(&node), put("a", "new")).await.unwrap();
        });
    }
}
