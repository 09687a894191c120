//! Three nodes over the in-process network, in a simulation.

use std::time::Duration;

use shardforge_runtime::Simulation;

use super::cluster_of_nodes::Cluster;
use super::{get, key, put};
use crate::ConsensusError;

#[test]
fn three_voters_elect_replicate_and_survive_the_loss_of_their_leader() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut cluster = Cluster::start(runtime, 3, 3).await;
            let first = cluster.leader("a").await;
            cluster.shard(first, "a").unwrap().propose(put("a", "1")).await.unwrap();
            for number in 0..3 {
                cluster.until_applied(number, "a", "1").await;
            }
            let follower = (first + 1) % 3;
            match cluster.shard(follower, "a").unwrap().propose(put("a", "x")).await.unwrap_err() {
                ConsensusError::NotLeader { leader, .. } => assert_eq!(leader, Some(Cluster::id(first))),
                other => panic!("{other}"),
            }

            cluster.crash(first).await;
            let second = cluster.leader("a").await;
            assert_ne!(first, second);
            assert_eq!(get(&cluster.shard(second, "a").unwrap(), "a").as_deref(), Some("1"));
            cluster.shard(second, "a").unwrap().propose(put("a", "2")).await.unwrap();

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
        let cluster = Cluster::start(runtime.clone(), 3, 3).await;
        let old = cluster.leader("a").await;
        cluster.shard(old, "a").unwrap().propose(put("a", "1")).await.unwrap();
        for other in (0..3).filter(|other| *other != old) {
            cluster.network.cut(Cluster::id(old), Cluster::id(other));
        }
        let cut_off = cluster.shard(old, "a").unwrap();
        let proposal = runtime.spawn("proposal", async move { cut_off.propose(put("a", "lost")).await });
        runtime.sleep(Duration::from_secs(20)).await;
        assert!(cluster.shard(old, "a").unwrap().ensure_readable().await.is_err());
        let new = cluster.leader("a").await;
        assert_ne!(old, new);
        cluster.shard(new, "a").unwrap().propose(put("a", "2")).await.unwrap();
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
        let mut cluster = Cluster::start(runtime, 3, 3).await;
        let leader = cluster.leader("a").await;
        let behind = (leader + 1) % 3;
        cluster.shard(leader, "a").unwrap().propose(put("old", "x")).await.unwrap();
        cluster.until_applied(behind, "old", "x").await;
        cluster.crash(behind).await;
        let leader = cluster.leader("a").await;
        let shard = cluster.shard(leader, "a").unwrap();
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
        assert_eq!(get(&cluster.shard(behind, "a").unwrap(), "old"), None);
        cluster.led("a").await.propose(put("a", "2")).await.unwrap();
        cluster.until_applied(behind, "a", "2").await;
    });
}
