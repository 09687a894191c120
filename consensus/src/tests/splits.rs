//! Shards that are split: while commands are on their way, and over crashes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use shardforge_runtime::{LocalNetwork, Runtime, Simulation};

use super::{get, key, name_shards, put};
use crate::{Command, ConsensusError, MemoryStorage, Node, NodeOptions, Shard, ShardId, Storage};

async fn open(storage: &MemoryStorage, runtime: &Runtime) -> Arc<Node> {
    Node::open(NodeOptions::new(Storage::Memory(storage.clone())), runtime.clone()).await.unwrap()
}

async fn crash(node: Arc<Node>, storage: &MemoryStorage) {
    node.halt().await;
    drop(node);
    storage.crash();
}

fn holder(node: &Node, name: &str) -> Arc<Shard> {
    node.shard_for(&key(name)).unwrap()
}

/// Proposes to whichever shard holds the key by then.
async fn propose(node: &Node, name: &str, value: &str) {
    loop {
        let shard = holder(node, name);
        match shard.propose(put(name, value)).await {
            Err(ConsensusError::Moved { .. }) => node.rerouted(&shard).await.unwrap(),
            outcome => {
                outcome.unwrap();
                return;
            }
        }
    }
}

#[test]
fn a_split_makes_two_shards_of_one() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let node = open(&MemoryStorage::new(), &runtime).await;
        for name in ["a", "m", "z"] {
            propose(&node, name, "1").await;
        }
        let before = holder(&node, "a");
        let right = node.split(&key("m")).await.unwrap();
        let left = holder(&node, "a");
        assert_eq!((left.id(), right.id()), (before.id(), ShardId(3)));
        assert_eq!(left.range().end.as_ref(), Some(&right.range().start));
        assert_eq!(holder(&node, "z").id(), right.id());
        assert!(right.is_leader());
        let lineage = right.lineage().unwrap();
        assert_eq!(
            (lineage.parent, lineage.parent_term, lineage.term),
            (left.id(), left.term(), right.term())
        );
        assert!(left.lineage().is_none());

        // Who looked before the split reads on, and is refused, whatever the key.
        assert_eq!(get(&before, "z").as_deref(), Some("1"));
        for name in ["a", "z"] {
            assert!(matches!(before.propose(put(name, "2")).await, Err(ConsensusError::Moved { .. })));
            propose(&node, name, "2").await;
            assert_eq!(get(&holder(&node, name), name).as_deref(), Some("2"));
        }
        assert!(matches!(left.propose(put("z", "3")).await, Err(ConsensusError::OutOfRange { .. })));
        before.barrier().await.unwrap();

        // Where a shard begins already nothing is done; nor where no data may be.
        assert_eq!(node.split(&key("m")).await.unwrap().id(), right.id());
        assert_eq!(node.shards().len(), 3);
        assert!(matches!(node.split(&[1, 5]).await, Err(ConsensusError::OutOfRange { .. })));
        assert!(matches!(
            node.split(&ShardId(2).local_key(b"x")).await,
            Err(ConsensusError::OutOfRange { .. })
        ));
        node.shutdown().await.unwrap();
        assert!(matches!(node.split(&key("q")).await, Err(ConsensusError::Stopped { .. })));
    });
}

/// A node that has no replica of a shard does not know the shard's name, and must not give it to another.
#[test]
fn where_there_are_other_nodes_no_node_names_shards_by_itself() {
    let simulation = Simulation::new(3);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let mut options = NodeOptions::new(Storage::Memory(MemoryStorage::new()));
        options.network = Some(LocalNetwork::new(runtime.clone()).endpoint(options.node_id));
        let node = Node::open(options, runtime).await.unwrap();
        assert!(matches!(node.split(&key("m")).await, Err(ConsensusError::Refused(_))));
        name_shards(&node, &Arc::new(AtomicU64::new(6)));
        assert_eq!(node.split(&key("m")).await.unwrap().id(), ShardId(7));
        node.shutdown().await.unwrap();
    });
}

#[test]
fn a_name_that_is_given_twice_stops_the_node_and_overwrites_nothing() {
    let simulation = Simulation::new(4);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        let node = open(&storage, &runtime).await;
        let right = node.split(&key("m")).await.unwrap();
        propose(&node, "z", "1").await;
        name_shards(&node, &Arc::new(AtomicU64::new(right.id().0 - 1)));
        assert!(node.split(&key("c")).await.is_err());
        assert!(node.failure().unwrap().contains("another shard's name"));
        assert_eq!(get(&right, "z").as_deref(), Some("1"));
        assert_eq!(right.range().start, key("m"));
    });
}

#[test]
fn a_local_space_belongs_to_its_shard_alone() {
    let simulation = Simulation::new(2);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let node = open(&MemoryStorage::new(), &runtime).await;
        let right = node.split(&key("m")).await.unwrap();
        let left = holder(&node, "a");
        let local = |shard: &Shard, value: &str| Command {
            puts: vec![(shard.id().local_key(b"x"), Bytes::copy_from_slice(value.as_bytes()))],
            ..Command::default()
        };
        for (shard, value) in [(&left, "left"), (&right, "right")] {
            shard.propose(local(shard, value)).await.unwrap();
            let found = shard.read().get(&shard.id().local_key(b"x")).unwrap().unwrap();
            assert_eq!(&*found, value.as_bytes());
            let mut cursor =
                shard.read().local_cursor(ShardId(0).local_key(b""), ShardId(99).local_key(b"")).unwrap();
            assert!(cursor.seek_to_first().unwrap() && cursor.value() == value.as_bytes());
            assert!(!cursor.next().unwrap());
        }
        let refused = left.propose(local(&right, "x")).await;
        assert!(matches!(refused, Err(ConsensusError::OutOfRange { .. })));
        let both = Command {
            delete_ranges: vec![(left.id().local_key(b""), right.id().local_key(b"y"))],
            ..Command::default()
        };
        assert!(matches!(left.propose(both).await, Err(ConsensusError::OutOfRange { .. })));
        node.shutdown().await.unwrap();
    });
}

#[test]
fn shards_and_data_are_the_same_after_every_crash() {
    for seed in 0..30 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let storage = MemoryStorage::new();
            let mut starts = vec![];
            let mut values: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
            for round in 0..5 {
                let node = open(&storage, &runtime).await;
                let found: Vec<_> =
                    node.shards().data().iter().map(|shard| shard.range().start.clone()).collect();
                if round > 0 {
                    assert_eq!(found, starts, "seed {seed}");
                }
                for (name, value) in &values {
                    assert_eq!(get(&holder(&node, name), name).as_ref(), Some(value), "seed {seed}, {name}");
                }
                for step in 0..30 {
                    let name = format!("{:02}", runtime.next_u64() % 40);
                    match runtime.next_u64() % 8 {
                        0 => drop(node.split(&key(&name)).await.unwrap()),
                        1 => node.flush().await.unwrap(),
                        _ => {
                            let value = format!("{round}.{step}");
                            propose(&node, &name, &value).await;
                            values.insert(name, value);
                        }
                    }
                }
                let shards = node.shards();
                starts = shards.data().iter().map(|shard| shard.range().start.clone()).collect();
                assert!(
                    shards
                        .data()
                        .windows(2)
                        .all(|pair| { pair[0].range().end.as_ref() == Some(&pair[1].range().start) })
                );
                drop(shards);
                if round % 2 == 0 {
                    crash(node, &storage).await;
                } else {
                    node.shutdown().await.unwrap();
                }
            }
        });
    }
}

#[test]
fn writers_and_splits_at_the_same_time() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let storage = MemoryStorage::new();
            let node = open(&storage, &runtime).await;
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let node = Arc::clone(&node);
                    runtime.spawn("writer", async move {
                        for step in 0..20 {
                            propose(&node, &format!("{:02}.{writer}", step * 5 % 40), &format!("{step}"))
                                .await;
                        }
                    })
                })
                .collect();
            let splitters: Vec<_> = (0..2)
                .map(|_| {
                    let (node, runtime) = (Arc::clone(&node), runtime.clone());
                    runtime.clone().spawn("splitter", async move {
                        for _ in 0..5 {
                            let at = format!("{:02}", runtime.next_u64() % 40);
                            node.split(&key(&at)).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in writers.into_iter().chain(splitters) {
                task.await.unwrap();
            }
            crash(node, &storage).await;
            let node = open(&storage, &runtime).await;
            for writer in 0..8 {
                for step in 0..20 {
                    let name = format!("{:02}.{writer}", step * 5 % 40);
                    let last = (0..20).rfind(|other| other * 5 % 40 == step * 5 % 40).unwrap();
                    assert_eq!(get(&holder(&node, &name), &name), Some(last.to_string()), "seed {seed}");
                }
            }
            node.shutdown().await.unwrap();
        });
    }
}

/// A replica reports the splits that it replays from another thread than the one that opens the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_open_node_knows_all_shards_at_once() {
    let storage = MemoryStorage::new();
    let runtime = Runtime::current();
    let node = open(&storage, &runtime).await;
    // Each splits what the one before has split off.
    for place in 0..20 {
        node.split(&key(&format!("{place:02}"))).await.unwrap();
    }
    node.halt().await;
    drop(node);
    for _ in 0..20 {
        storage.crash();
        let node = open(&storage, &runtime).await;
        let shards = node.shards();
        assert_eq!(shards.data().len(), 21);
        assert!(
            shards.data().windows(2).all(|pair| pair[0].range().end.as_ref() == Some(&pair[1].range().start))
        );
        node.halt().await;
    }
}
