//! One node in a simulation: proposals, terms, restarts and crashes on the memory engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardforge_runtime::{Runtime, Simulation};

use super::{get, key, put};
use crate::{
    Command, CompactionFilter, ConsensusError, CursorOptions, Keep, KeyRange, MemoryStorage, Node,
    NodeOptions, ShardId, Storage,
};

async fn open(storage: &MemoryStorage, runtime: &Runtime) -> Arc<Node> {
    let options = NodeOptions::new(Storage::Memory(storage.clone()));
    Node::open(options, runtime.clone()).await.unwrap()
}

/// Ends a node the way a crash does: its tasks are gone, and its memory is at the last sync.
async fn crash(node: Arc<Node>, storage: &MemoryStorage) {
    node.halt().await;
    drop(node);
    storage.crash();
}

#[test]
fn proposals_are_applied_and_visible_when_they_return() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let node = open(&MemoryStorage::new(), &runtime).await;
        let shard = node.shard_for(&key("a")).unwrap();
        assert!(shard.is_leader());
        assert_eq!(node.shards().len(), 2);
        assert!(node.shard_for(&[0]).is_none());
        assert_eq!(node.shard_for(&[1, 9]).unwrap().id(), ShardId::SYSTEM);

        let first = shard.propose(put("a", "1")).await.unwrap();
        let second =
            shard.propose(Command { expected_term: Some(shard.term()), ..put("b", "2") }).await.unwrap();
        assert!(second.index > first.index && second.term == shard.term());
        assert_eq!(get(&shard, "a").as_deref(), Some("1"));
        assert_eq!(shard.applied_index(), second.index);

        let erase = Command { deletes: vec![key("a")], ..Command::default() };
        shard.propose(erase).await.unwrap();
        assert_eq!(get(&shard, "a"), None);
        let clear = Command { delete_ranges: vec![(key(""), key("z"))], ..put("c", "3") };
        shard.propose(clear).await.unwrap();
        assert_eq!((get(&shard, "b"), get(&shard, "c").as_deref()), (None, Some("3")));

        let mut cursor = shard.read().cursor(CursorOptions::default()).unwrap();
        assert!(cursor.seek_to_first().unwrap());
        assert_eq!(cursor.key(), key("c"));
        assert!(!cursor.next().unwrap());
        let found = shard.read().seek_first(&key("b"), &key("d"), |key, _| key.to_vec()).unwrap();
        assert_eq!(found, Some(key("c").to_vec()));
        drop(cursor);
        node.shutdown().await.unwrap();
    });
}

#[test]
fn what_may_not_be_proposed_is_refused_unchanged() {
    let simulation = Simulation::new(2);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let node = open(&MemoryStorage::new(), &runtime).await;
        let shard = node.shard_for(&key("a")).unwrap();
        let term = shard.term();
        let stale = Command { expected_term: Some(term + 1), ..put("a", "1") };
        match shard.propose(stale).await.unwrap_err() {
            ConsensusError::Rejected { expected, current, .. } => {
                assert_eq!((expected, current), (term + 1, term));
            }
            other => panic!("{other}"),
        }
        let outside = Command { puts: vec![(Bytes::from_static(&[1]), Bytes::new())], ..Command::default() };
        assert!(matches!(shard.propose(outside).await, Err(ConsensusError::OutOfRange { .. })));
        let large = Command {
            puts: (0..80).map(|at| (key(&format!("{at}")), Bytes::from(vec![0; 1 << 20]))).collect(),
            ..Command::default()
        };
        assert!(matches!(shard.propose(large).await, Err(ConsensusError::TooLarge { .. })));
        assert_eq!(get(&shard, "a"), None);
        node.shutdown().await.unwrap();
        assert!(matches!(shard.propose(put("a", "1")).await, Err(ConsensusError::Stopped { .. })));
    });
}

#[test]
fn concurrent_proposals_share_entries_and_syncs() {
    let simulation = Simulation::new(3);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let node = open(&MemoryStorage::new(), &runtime).await;
        let shard = node.shard_for(&key("a")).unwrap();
        let before = node.log_stats();
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let shard = Arc::clone(&shard);
                // Every tenth expects a term that is not: it alone fails, not its neighbours in the entry.
                let expected_term = (number % 10 == 0).then_some(99);
                let command = Command { expected_term, ..put(&format!("{number:03}"), "x") };
                runtime.spawn("client", async move { shard.propose(command).await })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().is_err(), number % 10 == 0);
            assert_eq!(get(&shard, &format!("{number:03}")).is_none(), number % 10 == 0);
        }
        let syncs = node.log_stats().syncs - before.syncs;
        assert!(syncs < 100, "{syncs} syncs for 200 proposals");
        node.shutdown().await.unwrap();
    });
}

#[test]
fn acknowledged_proposals_survive_crashes_with_and_without_flushes() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let storage = MemoryStorage::new();
            let mut written = 0;
            let mut term = 0;
            for round in 0..6 {
                let node = open(&storage, &runtime).await;
                let shard = node.shard_for(&key("a")).unwrap();
                assert!(shard.term() > term, "a new term after each restart");
                term = shard.term();
                for number in 0..written {
                    assert_eq!(get(&shard, &format!("{number}")), Some(format!("{number}")), "seed {seed}");
                }
                for _ in 0..20 {
                    shard.propose(put(&format!("{written}"), &format!("{written}"))).await.unwrap();
                    written += 1;
                    if runtime.next_u64().is_multiple_of(8) {
                        node.flush().await.unwrap();
                    }
                }
                if round % 3 == 2 {
                    drop(shard);
                    node.shutdown().await.unwrap();
                } else {
                    drop(shard);
                    crash(node, &storage).await;
                }
            }
        });
    }
}

struct DropOdd;

impl CompactionFilter for DropOdd {
    fn keep(&self, key: &[u8], _value: &[u8]) -> Keep {
        assert_ne!(key[0], 0, "the node's own records are not for the filter");
        if key.last().is_some_and(|last| last % 2 == 1) { Keep::No } else { Keep::Yes }
    }
}

#[test]
fn compaction_asks_the_filter() {
    let simulation = Simulation::new(4);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let mut options = NodeOptions::new(Storage::Memory(MemoryStorage::new()));
        options.compaction_filter = Some(Arc::new(DropOdd));
        let node = Node::open(options, runtime).await.unwrap();
        let shard = node.shard_for(&key("1")).unwrap();
        shard.propose(put("1", "odd")).await.unwrap();
        shard.propose(put("2", "even")).await.unwrap();
        node.compact(&KeyRange::default()).unwrap();
        assert_eq!((get(&shard, "1"), get(&shard, "2").as_deref()), (None, Some("even")));
    });
}

#[test]
fn a_log_and_data_that_do_not_belong_together_are_refused() {
    let simulation = Simulation::new(7);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        let node = open(&storage, &runtime).await;
        node.shard_for(&key("a")).unwrap().propose(put("a", "1")).await.unwrap();
        node.flush().await.unwrap();
        node.shutdown().await.unwrap();
        drop(node);
        let refusal = async |raft, kv| {
            let storage = Storage::Memory(MemoryStorage { raft, kv });
            Node::open(NodeOptions::new(storage), runtime.clone()).await.unwrap_err().to_string()
        };
        let without_data = refusal(storage.raft.clone(), MemoryStorage::new().kv).await;
        assert!(without_data.contains("kvdb has lost data"), "{without_data}");
        let without_log = refusal(MemoryStorage::new().raft, storage.kv.clone()).await;
        assert!(without_log.contains("raftdb has lost entries"), "{without_log}");
        drop(open(&storage, &runtime).await);
    });
}

/// The trace of a node that takes proposals from all sides, crashes, and starts again.
fn trace(seed: u64) -> u64 {
    let simulation = Simulation::new(seed);
    simulation.slow_the_disk(Duration::from_millis(2));
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        for _ in 0..2 {
            let node = open(&storage, &runtime).await;
            let shard = node.shard_for(&key("a")).unwrap();
            let tasks: Vec<_> = (0..50)
                .map(|number| {
                    let (shard, world) = (Arc::clone(&shard), runtime.clone());
                    runtime.spawn("client", async move {
                        world.sleep(Duration::from_micros(world.next_u64() % 5_000)).await;
                        shard.propose(put(&format!("{number}"), "x")).await
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            drop(shard);
            crash(node, &storage).await;
        }
    });
    simulation.trace()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let traces: Vec<_> = (0..5).map(|seed| (trace(seed), trace(seed))).collect();
    assert!(traces.iter().all(|(first, again)| first == again), "{traces:?}");
    assert_ne!(traces[0], traces[1]);
}
