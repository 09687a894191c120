//! The RocksDB engine, and a node on real files.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use shardforge_runtime::Runtime;

use super::{get, key, put};
use crate::engine::rocks::{RocksEngine, RocksOptions, block_cache};
use crate::{
    Command, ConsensusError, CursorOptions, Durability, Engine, MemoryEngine, Node, NodeOptions, Storage,
    WriteBatch,
};

fn engine(path: &Path, version_suffix_bytes: Option<usize>) -> RocksEngine {
    let options = RocksOptions {
        cache: block_cache(1 << 20),
        memtable_bytes: 1 << 20,
        without_wal: true,
        filter: None,
        version_suffix_bytes,
    };
    RocksEngine::open(path, &options).unwrap()
}

/// Everything a cursor can see, forwards and then backwards.
fn walk(engine: &dyn Engine, options: &CursorOptions) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut cursor = engine.cursor(options).unwrap();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        seen.push((cursor.key().to_vec(), cursor.value().to_vec()));
        more = cursor.next().unwrap();
    }
    let mut more = cursor.seek_to_last().unwrap();
    while more {
        seen.push((cursor.key().to_vec(), cursor.value().to_vec()));
        more = cursor.prev().unwrap();
    }
    seen
}

#[test]
fn sizes_are_those_of_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let engines: [Arc<dyn Engine>; 2] =
        [Arc::new(engine(directory.path(), None)), Arc::new(MemoryEngine::default())];
    for engine in engines {
        let mut batch = WriteBatch::new();
        for number in 0..2_000_u32 {
            // Text that does not compress to nothing.
            let noise: String =
                (0..20).map(|part| format!("{:x}", (number * 977 + part * 31_337) % 65_537)).collect();
            batch.put(format!("{number:04}"), noise);
        }
        engine.write(&batch, Durability::Buffered).unwrap();
        engine.flush().unwrap();
        let (all, part) = (engine.size_bytes(b"", b"9"), engine.size_bytes(b"1000", b"1500"));
        assert!(all > 2_000 * 20, "{all}");
        assert!((all / 6..all / 3).contains(&part), "{part} of {all}");
        assert_eq!((engine.size_bytes(b"5", b"9"), engine.size_bytes(b"2", b"1")), (0, 0));
    }
}

#[test]
fn both_engines_agree() {
    let directory = tempfile::tempdir().unwrap();
    let rocks = engine(directory.path(), None);
    let memory = MemoryEngine::default();
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..200 {
        let mut batch = WriteBatch::new();
        for _ in 0..next(8) {
            let name = format!("{:03}", next(300));
            match next(10) {
                0..7 => batch.put(name, format!("{round}")),
                7..9 => batch.delete(name),
                _ => batch.delete_range(name, format!("{:03}", next(300))),
            }
        }
        rocks.write(&batch, Durability::Buffered).unwrap();
        memory.write(&batch, Durability::Buffered).unwrap();
        if round % 50 == 7 {
            rocks.flush().unwrap();
        }
        let (lower, upper) = (format!("{:03}", next(300)), format!("{:03}", next(300)));
        let options = CursorOptions::range(lower.clone(), upper.clone());
        assert_eq!(walk(&rocks, &options), walk(&memory, &options), "round {round}, {lower}..{upper}");
        let probe = format!("{:03}", next(300));
        assert_eq!(
            rocks.get(probe.as_bytes()).unwrap().map(|value| value.to_vec()),
            memory.get(probe.as_bytes()).unwrap().map(|value| value.to_vec())
        );
        let first = |engine: &dyn Engine| {
            let mut found = None;
            engine
                .seek_first(lower.as_bytes(), upper.as_bytes(), &mut |key, value| {
                    found = Some((key.to_vec(), value.to_vec()));
                })
                .unwrap();
            found
        };
        assert_eq!(first(&rocks), first(&memory));
        for forwards in [true, false] {
            let at = |engine: &dyn Engine| {
                let mut cursor = engine.cursor(&options).unwrap();
                let found = if forwards {
                    cursor.seek(probe.as_bytes()).unwrap()
                } else {
                    cursor.seek_for_prev(probe.as_bytes()).unwrap()
                };
                (found, cursor.key().to_vec())
            };
            assert_eq!(at(&rocks), at(&memory), "round {round}, {lower}..{upper} at {probe}");
        }
    }
}

#[test]
fn the_newest_version_is_found_through_the_filter_on_what_precedes_the_suffix() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), Some(8));
    let versioned = |name: &str, version: u64| {
        let mut key = name.as_bytes().to_vec();
        key.extend_from_slice(&(!version).to_be_bytes());
        key
    };
    for round in 0..3_u64 {
        let mut batch = WriteBatch::new();
        for number in 0..500 {
            batch.put(versioned(&format!("k{number:04}"), 10 + round), format!("{round}"));
        }
        engine.write(&batch, Durability::Buffered).unwrap();
        if round < 2 {
            engine.flush().unwrap();
        }
        let read = |name: &str, at: u64| {
            let mut found = None;
            let (from, to) = (versioned(name, at), versioned(name, 0));
            engine.seek_first(&from, &to, &mut |_, value| found = Some(value.to_vec())).unwrap();
            found
        };
        assert_eq!(read("k0123", u64::MAX), Some(round.to_string().into_bytes()));
        assert_eq!(read("k0123", 10), Some(b"0".to_vec()));
        assert_eq!(read("k0123", 9), None);
        assert_eq!(read("k9999", u64::MAX), None);
        // Cursors see all keys in order, whatever the filter groups.
        assert_eq!(
            walk(&engine, &CursorOptions::default()).len(),
            2 * 500 * (usize::try_from(round).unwrap() + 1)
        );
    }
}

async fn open(path: &Path) -> crate::Result<Arc<Node>> {
    Node::open(NodeOptions::new(Storage::RocksDb(path.to_owned())), Runtime::current()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_data_and_its_directory_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    for round in 0..3 {
        let node = open(&path).await.unwrap();
        let shard = node.shard_for(&key("a")).unwrap();
        for earlier in 0..round {
            assert_eq!(get(&shard, &format!("{earlier}")).as_deref(), Some("x"));
        }
        shard.propose(put(&format!("{round}"), "x")).await.unwrap();
        let second = open(&path).await.unwrap_err();
        assert!(second.to_string().contains("another shardforge process"), "{second}");
        // The second round ends without a flush: the third finds its data in the log.
        if round == 1 {
            node.halt().await;
        } else {
            node.shutdown().await.unwrap();
        }
        drop(shard);
        drop(node);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_purged_behind_flushes() {
    let directory = tempfile::tempdir().unwrap();
    let node = open(directory.path()).await.unwrap();
    let shard = node.shard_for(&key("a")).unwrap();
    for round in 0..3 {
        for number in 0..50 {
            shard.propose(put(&format!("{number}"), &format!("{round}"))).await.unwrap();
        }
        let applied = shard.applied_index();
        node.flush().await.unwrap();
        while shard.purged_index() < applied {
            tokio::task::yield_now().await;
        }
    }
    drop(shard);
    node.shutdown().await.unwrap();
    drop(node);
    let node = open(directory.path()).await.unwrap();
    let shard = node.shard_for(&key("a")).unwrap();
    assert_eq!(get(&shard, "49").as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_databases_are_refused_with_their_path() {
    let directory = tempfile::tempdir().unwrap();
    let node = open(directory.path()).await.unwrap();
    let shard = node.shard_for(&key("a")).unwrap();
    shard.propose(put("a", "1")).await.unwrap();
    node.shutdown().await.unwrap();
    drop(node);
    std::fs::write(directory.path().join("kvdb/CURRENT"), "nonsense").unwrap();
    match open(directory.path()).await.unwrap_err() {
        ConsensusError::Directory { path, .. } => assert!(path.ends_with("kvdb")),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_command_goes_through() {
    let directory = tempfile::tempdir().unwrap();
    let node = open(directory.path()).await.unwrap();
    let shard = node.shard_for(&key("a")).unwrap();
    let command = Command {
        puts: (0..20).map(|number| (key(&format!("{number}")), Bytes::from(vec![7; 1 << 20]))).collect(),
        ..Command::default()
    };
    shard.propose(command).await.unwrap();
    assert_eq!(shard.read().get(&key("19")).unwrap().unwrap().len(), 1 << 20);
    node.shutdown().await.unwrap();
}
