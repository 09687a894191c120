//! Replicas that come and go, and leaders that hand over.

use std::time::Duration;

use bytes::Bytes;
use shardforge_runtime::Simulation;

use super::cluster_of_nodes::Cluster;
use super::{get, key, put};
use crate::{Command, ConsensusError, CursorOptions, Engine, ShardId};

const LIMIT: Duration = Duration::from_secs(60);
const DATA: ShardId = ShardId(2);

#[test]
fn one_node_grows_to_three_moves_and_shrinks_again() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut cluster = Cluster::start(runtime, 4, 1).await;
            let shard = cluster.led("a").await;
            let local = shard.id().local_key(b"x");
            shard
                .propose(Command { puts: vec![(local.clone(), Bytes::from("y"))], ..put("a", "1") })
                .await
                .unwrap();
            shard.place(&Cluster::ids([0, 1, 2]), LIMIT).await.unwrap();
            assert_eq!(shard.members().voting_nodes(), Cluster::ids([0, 1, 2]));
            assert_eq!(cluster.until_equal(DATA).await, [0, 1, 2]);
            let copy = cluster.shard(2, "a").unwrap();
            assert_eq!((copy.id(), copy.range(), copy.generation()), (shard.id(), shard.range(), 0));
            assert_eq!(&*copy.read().get(&local).unwrap().unwrap(), b"y");

            // Placement survives restarts, and the loss of the first node.
            shard.propose(put("a", "2")).await.unwrap();
            for number in 0..3 {
                cluster.crash(number).await;
            }
            for number in 1..3 {
                cluster.open(number).await;
            }
            let leader = cluster.led("a").await;
            assert_eq!(get(&leader, "a").as_deref(), Some("2"));
            leader.propose(put("a", "3")).await.unwrap();

            // The lost one is replaced, and stays a member until what it had is gone.
            let placed = leader.place(&Cluster::ids(1..4), LIMIT).await;
            assert!(matches!(placed, Err(ConsensusError::Refused(_))), "node 0 cannot be told");
            assert_eq!(leader.members().voting_nodes(), Cluster::ids(1..4));
            let lost = leader.members().on(Cluster::id(0)).unwrap().replica;
            cluster.open(0).await;
            leader.place(&Cluster::ids(1..4), LIMIT).await.unwrap();
            assert_eq!(cluster.until_equal(DATA).await, [1, 2, 3]);
            let kept = cluster.storage[0].kv.cursor(&CursorOptions::default()).unwrap().seek(&key(""));
            assert!(!kept.unwrap(), "nothing is left of it");

            // Its next replica there is another one.
            let again = leader.add_learner(Cluster::id(0)).await.unwrap();
            assert_ne!(again, lost);
            leader.catch_up(again, LIMIT).await.unwrap();
            assert_eq!(cluster.until_equal(DATA).await, [0, 1, 2, 3]);
            leader.remove_learner(again).await.unwrap();
            assert!(cluster.shard(0, "a").is_none());
            let only =
                (1..4).find(|number| cluster.shard(*number, "a").is_some_and(|shard| shard.is_leader()));
            leader.place(&Cluster::ids(only), LIMIT).await.unwrap();
            assert_eq!(cluster.until_equal(DATA).await.len(), 1);
            leader.propose(put("a", "5")).await.unwrap();
        });
    }
}

#[test]
fn what_cannot_be_done_with_replicas_is_refused() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let cluster = Cluster::start(runtime, 3, 2).await;
        let leader = cluster.led("a").await;
        let other = (0..2).find(|number| !cluster.shard(*number, "a").unwrap().is_leader()).unwrap();
        let follower = cluster.shard(other, "a").unwrap();
        let refused = |result: crate::Result<()>| assert!(matches!(result, Err(ConsensusError::Refused(_))));
        assert!(matches!(
            follower.add_learner(Cluster::id(2)).await,
            Err(ConsensusError::NotLeader { leader: Some(_), .. })
        ));
        refused(leader.add_learner(Cluster::id(other)).await.map(drop));
        refused(leader.set_voters(&Cluster::ids([2])).await);
        refused(leader.set_voters(&Cluster::ids([])).await);
        refused(leader.transfer_leadership(Cluster::id(2)).await);
        refused(leader.remove_learner(leader.members().on(Cluster::id(other)).unwrap().replica).await);
        let learner = leader.add_learner(Cluster::id(2)).await.unwrap();
        refused(leader.transfer_leadership(Cluster::id(2)).await);
        leader.remove_learner(learner).await.unwrap();
        refused(leader.remove_learner(learner).await);
        refused(leader.catch_up(learner, LIMIT).await);
        leader.propose(put("a", "1")).await.unwrap();
        cluster.until_applied(other, "a", "1").await;
    });
}

#[test]
fn leaders_hand_over_and_nothing_is_lost() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let cluster = Cluster::start(runtime.clone(), 3, 3).await;
            for round in 0..6 {
                let leader = cluster.leader("a").await;
                let shard = cluster.shard(leader, "a").unwrap();
                shard.propose(put("a", &format!("{round}"))).await.unwrap();
                let to = (leader + 1 + round % 2) % 3;
                let before = runtime.now();
                shard.transfer_leadership(Cluster::id(to)).await.unwrap();
                while !cluster.shard(to, "a").unwrap().is_leader() {
                    runtime.sleep(Duration::from_millis(5)).await;
                }
                assert!(runtime.now() - before < Duration::from_millis(500), "seed {seed}");
                assert_eq!(get(&cluster.shard(to, "a").unwrap(), "a"), Some(format!("{round}")));
                assert!(cluster.shard(to, "a").unwrap().term() > shard.term() || !shard.is_leader());
            }
        });
    }
}

#[test]
fn a_replicated_shard_splits_on_all_its_nodes() {
    for seed in 0..10 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let cluster = Cluster::start(runtime.clone(), 3, 3).await;
            let leader = cluster.leader("a").await;
            for name in ["a", "m"] {
                cluster.shard(leader, name).unwrap().propose(put(name, "1")).await.unwrap();
            }
            let began = runtime.now();
            let right = cluster.node(leader).split(&key("m")).await.unwrap();
            while !right.is_leader() {
                runtime.sleep(Duration::from_millis(5)).await;
            }
            assert!(runtime.now() - began < Duration::from_millis(500), "seed {seed}");
            let left = cluster.shard(leader, "a").unwrap();
            let lineage = right.lineage().unwrap();
            assert_eq!(
                (lineage.parent, lineage.parent_term, lineage.term),
                (left.id(), left.term(), right.term())
            );
            right.propose(put("m", "2")).await.unwrap();
            left.propose(put("a", "2")).await.unwrap();
            assert_eq!(cluster.until_equal(left.id()).await, [0, 1, 2]);
            assert_eq!(cluster.until_equal(right.id()).await, [0, 1, 2]);
            assert_eq!(right.members().voting_nodes(), Cluster::ids(0..3));
        });
    }
}
