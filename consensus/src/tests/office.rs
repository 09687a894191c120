//! The primary: how a node becomes it, stays it and stops being it; and where replicas go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Simulation};

use super::places::Places;
use super::{get, key};
use crate::{Cluster, NodeState, Tenure};

#[test]
fn one_node_grows_to_three_and_every_replica_is_equal() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::start(runtime.clone()).await;
            assert_eq!(places.primary().await, 1);
            places.write("a", "1").await;
            places.node(1).split(&key("m")).await.unwrap();
            let before = places.cluster(1).tenure().borrow().clone().unwrap();
            places.join(1).await;
            places.until_known(1, 2).await;
            runtime.sleep(Duration::from_secs(10)).await;
            places.until_placed(&[1]).await;
            places.join(2).await;
            places.until_placed(&[1, 2, 3]).await;
            places.node(1).split(&key("p")).await.unwrap();
            places.until_placed(&[1, 2, 3]).await;
            places.write("z", "2").await;
            let counts = places.until_equal().await;
            assert_eq!(counts.values().copied().collect::<Vec<_>>(), [3; 4]);
            assert!(before.is_valid(), "and clients have noticed nothing");
        });
    }
}

#[test]
fn another_node_takes_the_place_of_a_primary_that_has_crashed() {
    let mut times = Vec::new();
    for seed in 0..10 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        times.push(simulation.block_on(async move {
            let mut places = Places::of_size(runtime.clone(), 3).await;
            places.node(1).split(&key("m")).await.unwrap();
            places.until_placed(&[1, 2, 3]).await;
            places.write("a", "1").await;
            runtime.sleep(Duration::from_secs(5)).await;
            let first = places.primary().await;
            places.cluster(first).serving(true);
            places.crash(first).await;
            let began = runtime.now();
            let second = places.primary().await;
            let time = runtime.now() - began;
            places.cluster(second).serving(true);
            places.write("a", "2").await;
            places.open(first).await;
            let mut known = places.cluster(first).primary();
            known.wait_for(|primary| *primary == Some(NodeId(second))).await.unwrap();
            places.until_equal().await;
            let shard = places.node(first).shard_for(&key("a")).unwrap();
            assert_eq!(get(&shard, "a").as_deref(), Some("2"));
            time
        }));
    }
    times.sort();
    assert!(*times.last().unwrap() < Duration::from_secs(9), "{times:?}");
}

#[test]
fn five_nodes_go_on_without_any_two_of_them_and_three_stay_when_two_leave() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::of_size(runtime.clone(), 5).await;
            places.node(1).split(&key("m")).await.unwrap();
            places.until_placed(&[1, 2, 3, 4, 5]).await;
            for round in 0..3 {
                places.write("a", &format!("{round}")).await;
                let first = places.primary().await;
                let other = (first + runtime.next_u64() % 4) % 5 + 1;
                places.crash(first).await;
                places.crash(other).await;
                places.write("z", &format!("{round}")).await;
                let second = places.primary().await;
                let shard = places.node(second).shard_for(&key("a")).unwrap();
                assert_eq!(get(&shard, "a"), Some(format!("{round}")), "seed {seed}");
                places.open(first).await;
                places.open(other).await;
                assert!(places.until_equal().await.values().all(|count| *count == 5));
            }
            let first = places.primary().await;
            let other = first % 5 + 1;
            for leaving in [first, other] {
                places.cluster(leaving).decommission(NodeId(leaving)).await.unwrap();
            }
            let staying: Vec<_> = (1..=5).filter(|number| ![first, other].contains(number)).collect();
            places.until_placed(&staying).await;
            places.write("a", "last").await;
            assert!(places.until_equal().await.values().all(|count| *count == 3));
        });
    }
}

#[test]
fn a_primary_that_stands_back_is_replaced_at_once() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::of_size(runtime.clone(), 3).await;
            for round in 0..3 {
                places.write("a", &format!("{round}")).await;
                runtime.sleep(Duration::from_secs(5)).await;
                let first = places.primary().await;
                let began = runtime.now();
                places.cluster(first).stand_back().await;
                places.crash(first).await;
                let second = places.primary().await;
                assert!(
                    runtime.now() - began < Duration::from_secs(1),
                    "seed {seed}: {:?}",
                    runtime.now() - began
                );
                assert_ne!(first, second);
                places.open(first).await;
                places.until_equal().await;
            }
            // Drained, it stays what it is until it is told otherwise.
            let first = places.primary().await;
            places.cluster(first % 3 + 1).drain(NodeId(first)).await.unwrap();
            while places.primary().await == first {
                runtime.sleep(Duration::from_millis(50)).await;
            }
            let second = places.primary().await;
            let third = 6 - first - second;
            places.cluster(first).drain(NodeId(third)).await.unwrap();
            places
                .until(second, |nodes| {
                    nodes.iter().filter(|node| node.state == NodeState::Draining).count() == 2
                })
                .await;
            runtime.sleep(Duration::from_secs(10)).await;
            assert_eq!(places.primary().await, second, "nobody else may be it");
            places.cluster(first).resume(NodeId(first)).await.unwrap();
            places.cluster(first).drain(NodeId(second)).await.unwrap();
            while places.primary().await != first {
                runtime.sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

#[test]
fn a_primary_that_cannot_serve_lets_the_others_try_in_turn() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let places = Places::of_size(runtime.clone(), 3).await;
            places.write("a", "1").await;
            runtime.sleep(Duration::from_secs(5)).await;
            let mut primary = places.primary().await;
            let mut tried = Vec::new();
            for _ in 0..4 {
                tried.push(primary);
                let tenure = places.cluster(primary).tenure().borrow().clone().unwrap();
                let began = runtime.now();
                places.cluster(primary).pass_on(&tenure, "a test");
                assert!(!tenure.is_valid());
                while places.primary().await == primary {
                    runtime.sleep(Duration::from_millis(10)).await;
                }
                assert!(runtime.now() - began < Duration::from_secs(2), "seed {seed}");
                primary = places.primary().await;
            }
            assert_eq!(tried[0], tried[3], "seed {seed}: {tried:?}");
            assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), 3, "seed {seed}: {tried:?}");
            // Who serves stays it, whatever was before.
            places.cluster(primary).serving(true);
            runtime.sleep(Duration::from_secs(10)).await;
            assert_eq!(places.primary().await, primary);
            places.write("a", "2").await;
        });
    }
}

#[test]
fn all_nodes_start_again_at_once() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::of_size(runtime.clone(), 3).await;
            places.write("a", "1").await;
            for number in 1..=3 {
                places.crash(number).await;
            }
            for number in 1..=3 {
                places.open(number).await;
            }
            let began = runtime.now();
            let primary = places.primary().await;
            assert!(runtime.now() - began < Duration::from_secs(15), "seed {seed}");
            let shard = places.node(primary).shard_for(&key("a")).unwrap();
            assert_eq!(get(&shard, "a").as_deref(), Some("1"));
            places.write("a", "2").await;
        });
    }
}

#[test]
fn a_node_is_decommissioned_and_one_that_is_lost_is_replaced() {
    for seed in 0..5 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::start(runtime.clone()).await;
            places.replaced_after = Duration::from_secs(30);
            for number in 2..=4 {
                places.join(number - 1).await;
            }
            places.until_all(|members| members.voting_nodes().len() == 3 && members.list.len() == 3).await;
            places.write("a", "1").await;
            // The primary itself: another one takes its place first.
            let first = places.primary().await;
            places.cluster(first).decommission(NodeId(first)).await.unwrap();
            let is_gone = |nodes: &[crate::NodeInfo]| {
                nodes.iter().any(|node| node.id == NodeId(first) && node.state == NodeState::Gone)
            };
            for number in 1..=4 {
                places.until(number, is_gone).await;
            }
            assert!(places.node(first).shards().is_empty(), "seed {seed}: nothing is left on it");
            assert!(places.cluster(2).resume(NodeId(first)).await.is_err());
            places.crash(first).await;
            places.write("a", "2").await;
            assert!(places.until_equal().await.values().all(|count| *count == 3));

            // One that is silent for long is replaced, if another node is there.
            let fifth = places.join(places.primary().await).await;
            runtime.sleep(Duration::from_secs(10)).await;
            let lost = [2, 3, 4, 5]
                .into_iter()
                .find(|number| *number != fifth && !places.in_office().contains(number));
            let lost = lost.unwrap();
            places.crash(lost).await;
            places.until_all(|members| members.on(NodeId(lost)).is_none() && members.list.len() == 3).await;
            assert!(places.until_equal().await.values().all(|count| *count == 3));
            places.write("a", "3").await;
        });
    }
}

/// Looks at all times who has a tenure.
struct Watchman {
    clusters: Arc<Mutex<BTreeMap<u64, Arc<Cluster>>>>,
}

impl Watchman {
    fn look(&self) -> Vec<u64> {
        let valid = |cluster: &Cluster| cluster.tenure().borrow().as_ref().is_some_and(Tenure::is_valid);
        self.clusters.lock().iter().filter(|(_, cluster)| valid(cluster)).map(|(number, _)| *number).collect()
    }
}

#[test]
fn there_are_never_two_primaries() {
    let seeds = std::env::var("SHARDFORGE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10);
    for seed in 0..seeds {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let mut places = Places::of_size(runtime.clone(), 3).await;
            places.node(1).split(&key("m")).await.unwrap();
            places.until_placed(&[1, 2, 3]).await;
            let clusters = (1..=3).map(|number| (number, places.cluster(number))).collect();
            let watchman = Arc::new(Watchman { clusters: Arc::new(Mutex::new(clusters)) });
            let watching = Arc::clone(&watchman);
            let watch = runtime.spawn("watchman", {
                let runtime = runtime.clone();
                async move {
                    loop {
                        let valid = watching.look();
                        assert!(valid.len() < 2, "seed {seed}: {valid:?} at {:?}", runtime.now());
                        runtime.sleep(Duration::from_millis(1)).await;
                    }
                }
            });
            for _ in 0..15 {
                let below = |end: u64| runtime.next_u64() % end;
                let number = below(3) + 1;
                match below(6) {
                    0 | 1 => places.network.cut(NodeId(number), NodeId(below(3) + 1)),
                    2 => {
                        for other in 1..=3 {
                            places.network.cut(NodeId(number), NodeId(other));
                        }
                    }
                    3 => places.network.heal(),
                    4 => {
                        watchman.clusters.lock().remove(&number);
                        places.crash(number).await;
                        runtime.sleep(Duration::from_millis(below(3_000))).await;
                        places.open(number).await;
                        watchman.clusters.lock().insert(number, places.cluster(number));
                    }
                    _ => places.network.set_delay_max(Duration::from_millis(
                        [1, 5, 100, 400][usize::try_from(below(4)).unwrap()],
                    )),
                }
                runtime.sleep(Duration::from_millis(below(6_000))).await;
            }
            places.network.heal();
            places.network.set_delay_max(Duration::from_millis(5));
            let began = runtime.now();
            places.primary().await;
            assert!(
                runtime.now() - began < Duration::from_secs(20),
                "seed {seed}: {:?}",
                runtime.now() - began
            );
            places.write("a", "1").await;
            places.until_equal().await;
            watch.abort();
        });
    }
}
