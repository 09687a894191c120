//! Nodes that find each other, and the registry that they share.

use std::time::Duration;

use bytes::Bytes;
use shardforge_runtime::{NodeId, Simulation};

use super::places::Places;
use crate::{AdmitRequest, ConsensusError, NewToken, NodeState, ReplicaChecksum, ShardId};

fn token(id: u64) -> NewToken {
    NewToken { id, record: Bytes::from(format!("secret {id}")), expires_at: u64::MAX }
}

fn request(token: u64, shown: &str) -> AdmitRequest {
    AdmitRequest {
        token,
        shown: Bytes::copy_from_slice(shown.as_bytes()),
        address: "new:7432".to_owned(),
        sql_address: "new:5432".to_owned(),
    }
}

#[test]
fn a_node_alone_becomes_the_first_of_a_cluster_and_others_join_through_any_node() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::start(runtime.clone()).await;
            places.until_known(1, 1).await;
            let first = places.cluster(1);
            assert_eq!(first.nodes().borrow()[0].address, "n1:1");
            assert_eq!(places.join(1).await, 2);
            // The second one knows the first, and passes on what is asked of it.
            places.until_known(2, 2).await;
            assert_eq!(places.join(2).await, 3);
            for node in 1..=3 {
                places.until_known(node, 3).await;
                for other in 1..=3 {
                    places.until_alive(node, other).await;
                }
            }
            let first = places.cluster(1);
            assert_eq!(first.nodes().borrow()[2].sql_address, "n3:sql");

            // A token is good once, for whoever can show that it is his.
            first.add_token(token(7)).await.unwrap();
            let refused =
                |result: crate::Result<NodeId>| assert!(matches!(result, Err(ConsensusError::Refused(_))));
            refused(first.admit(request(8, "secret 8")).await);
            refused(first.admit(request(7, "guessed")).await);
            refused(first.admit(AdmitRequest { address: "a\nb".to_owned(), ..request(7, "secret 7") }).await);
            assert_eq!(first.admit(request(7, "secret 7")).await.unwrap(), NodeId(4));
            refused(first.admit(request(7, "secret 7")).await);
            let late = NewToken { expires_at: 1, ..token(9) };
            first.add_token(late).await.unwrap();
            refused(first.admit(request(9, "secret 9")).await);
        });
    }
}

#[test]
fn what_nodes_know_survives_restarts_and_follows_changes_of_address() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::start(runtime.clone()).await;
            places.join(1).await;
            places.join(1).await;
            for node in 1..=3 {
                places.until_known(node, 3).await;
            }
            places.cluster(2).drain(NodeId(3)).await.unwrap();
            places.until(3, |nodes| nodes[2].state == NodeState::Draining).await;
            for node in 1..=3 {
                places.crash(node).await;
            }
            places.addresses[3] = "elsewhere:3".to_owned();
            for node in [3, 2, 1] {
                places.open(node).await;
                assert_eq!(places.cluster(node).nodes().borrow().len(), 3, "it remembers");
            }
            for node in 1..=3 {
                places.until(node, |nodes| nodes[2].address == "elsewhere:3").await;
            }
            // One that was away meanwhile hears of it.
            places.crash(2).await;
            places.cluster(3).resume(NodeId(3)).await.unwrap();
            places.until(1, |nodes| nodes[2].state == NodeState::Active).await;
            runtime.sleep(Duration::from_secs(5)).await;
            assert!(!places.cluster(1).is_alive(NodeId(2)));
            places.open(2).await;
            places.until(2, |nodes| nodes[2].state == NodeState::Active).await;
            places.until_alive(1, 2).await;
        });
    }
}

#[test]
fn new_shards_have_names_of_the_cluster() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let mut places = Places::start(runtime.clone()).await;
        let right = places.node(1).split(&super::key("m")).await.unwrap();
        places.join(1).await;
        places.until_known(2, 2).await;
        let mut names = vec![right.id()];
        for node in [1, 2, 1] {
            names.push(places.cluster(node).new_shard_id().await.unwrap());
        }
        names.push(places.node(1).split(&super::key("p")).await.unwrap().id());
        places.crash(1).await;
        places.open(1).await;
        names.push(places.node(1).split(&super::key("q")).await.unwrap().id());
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    });
}

#[test]
fn replicas_of_a_shard_have_one_checksum_once_they_have_applied_the_same() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let mut places = Places::start(runtime.clone()).await;
        for count in 2..=3 {
            places.join(1).await;
            for node in 1..=count {
                places.until_known(node, usize::try_from(count).unwrap()).await;
            }
        }
        let (leader, first) = (places.node(1), places.cluster(1));
        let system = leader.shards().by_id(ShardId::SYSTEM).cloned().unwrap();
        system.place(&(1..=3).map(NodeId).collect(), Duration::from_secs(60)).await.unwrap();
        let checksums = loop {
            let checksums = first.checksums(ShardId::SYSTEM).await.unwrap();
            let index = |of: &ReplicaChecksum| of.checksum.map(|checksum| checksum.applied_index);
            if checksums.len() == 3 && checksums.iter().all(|one| index(one) == index(&checksums[0])) {
                break checksums;
            }
            runtime.sleep(Duration::from_millis(100)).await;
        };
        let first_one = checksums[0].checksum.unwrap();
        assert!(first_one.pairs > 0, "{checksums:?}");
        assert!(checksums.iter().all(|one| one.checksum == Some(first_one)), "{checksums:?}");
        assert_eq!(checksums.iter().map(|one| one.node.0).collect::<Vec<_>>(), [1, 2, 3]);

        // A node that is down says nothing; a shard that is nowhere is refused.
        places.crash(3).await;
        let checksums = first.checksums(ShardId::SYSTEM).await.unwrap();
        assert_eq!(checksums[2], ReplicaChecksum { node: NodeId(3), checksum: None });
        assert!(matches!(first.checksums(ShardId(99)).await, Err(ConsensusError::Refused(_))));
    });
}
