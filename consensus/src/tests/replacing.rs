//! The content of ranges, copied from one engine to another: the same on all engines.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use shardforge_runtime::{LocalNetwork, NodeId, Runtime};

use super::{get, key, name_shards, put};
use crate::engine::heads::HeadCache;
use crate::engine::rocks::{RocksOptions, block_cache, open_shared};
use crate::{
    CursorOptions, Durability, Engine, KeyRange, MemoryEngine, Node, NodeOptions, Pinned, Storage, WriteBatch,
};

fn open(path: &Path) -> Arc<dyn Engine> {
    let options = RocksOptions {
        cache: block_cache(1 << 20),
        memtable_bytes: 1 << 20,
        without_wal: true,
        filter: None,
        version_suffix_bytes: None,
    };
    open_shared(path, &options).unwrap()
}

fn keys(pin: &dyn Pinned) -> String {
    let mut cursor = pin.cursor(&CursorOptions::default()).unwrap();
    let mut found = String::new();
    let mut more = cursor.seek_to_first().unwrap();
    while more {
        found.push_str(std::str::from_utf8(cursor.key()).unwrap());
        found.push(char::from(cursor.value()[0]));
        found.push(' ');
        more = cursor.next().unwrap();
    }
    found
}

fn check(engine: &Arc<dyn Engine>) {
    let mut batch = WriteBatch::new();
    for letter in "abcdefgxyz".chars() {
        batch.put(letter.to_string(), "1");
    }
    engine.write(&batch, Durability::Buffered).unwrap();
    engine.flush().unwrap();
    let mut batch = WriteBatch::new();
    batch.put("c5", "1");
    batch.delete("g");
    engine.write(&batch, Durability::Buffered).unwrap();
    let before = Arc::clone(engine).pin();
    let reader = || engine.seek_first(b"c", b"d", &mut |_, _| {});
    reader().unwrap();

    let ranges = vec![KeyRange::new("b", "d"), KeyRange::new("f", "h")];
    let dropped = Arc::clone(engine).stage(ranges.clone()).unwrap();
    drop(dropped);
    let mut staging = Arc::clone(engine).stage(ranges).unwrap();
    for name in ["bb", "c", "fa", "fb"] {
        staging.put(name.as_bytes(), b"2").unwrap();
    }
    let mut records = WriteBatch::new();
    records.put("w", "2");
    records.put("a", "2");
    records.delete("z");
    staging.replace(&[KeyRange::new("x", "y")], &records).unwrap();
    assert_eq!(keys(&*before), "a1 b1 c1 c51 d1 e1 f1 x1 y1 z1 ");
    assert_eq!(keys(&*Arc::clone(engine).pin()), "a2 bb2 c2 d1 e1 fa2 fb2 w2 y1 ");
    let mut found = Vec::new();
    engine.seek_first(b"c", b"d", &mut |_, value| found = value.to_vec()).unwrap();
    assert_eq!(found, b"2");
}

#[test]
fn all_engines_replace_ranges_in_one_durable_step() {
    let memory = Arc::new(MemoryEngine::default());
    check(&(memory.clone() as Arc<dyn Engine>));
    memory.crash();
    assert_eq!(keys(&*memory.pin()), "a2 bb2 c2 d1 e1 fa2 fb2 w2 y1 ");
    check(
        &(Arc::new(HeadCache::new(Arc::new(MemoryEngine::default()), 1, 1 << 20).unwrap())
            as Arc<dyn Engine>),
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kvdb");
    check(&open(&path));
    let engine = open(&path);
    assert_eq!(keys(&*Arc::clone(&engine).pin()), "a2 bb2 c2 d1 e1 fa2 fb2 w2 y1 ");
    // A range of several files, over what is in the memtable.
    let mut batch = WriteBatch::new();
    batch.put("m0500", "1");
    engine.write(&batch, Durability::Buffered).unwrap();
    let mut staging = Arc::clone(&engine).stage(vec![KeyRange::from("m")]).unwrap();
    let value = vec![b'3'; 100 << 10];
    for number in (0..400).filter(|number| *number != 250) {
        staging.put(format!("m{number:04}").as_bytes(), &value).unwrap();
    }
    assert!(staging.put(b"c", b"x").is_err(), "it is in none of the ranges");
    drop(staging);
    let mut staging = Arc::clone(&engine).stage(vec![KeyRange::from("m")]).unwrap();
    for number in (0..400).filter(|number| *number != 250) {
        staging.put(format!("m{number:04}").as_bytes(), &value).unwrap();
    }
    staging.replace(&[], &WriteBatch::new()).unwrap();
    let found = keys(&*Arc::clone(&engine).pin());
    assert_eq!(found.matches('m').count(), 399);
    assert!(found.starts_with("a2 bb2 c2 d1 e1 fa2 fb2 m00003 ") && found.ends_with("m03993 "));
    assert_eq!(std::fs::read_dir(path.with_extension("incoming")).unwrap().count(), 0);
}

async fn open_node(path: &Path, node_id: NodeId, network: &LocalNetwork) -> Arc<Node> {
    let mut options = NodeOptions::new(Storage::RocksDb(path.to_owned()));
    options.node_id = node_id;
    options.voters = vec![NodeId(1)];
    options.network = Some(network.endpoint(node_id));
    options.version_suffix_bytes = Some(8);
    options.row_cache_bytes = 1 << 20;
    Node::open(options, Runtime::current()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_from_one_data_directory_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let network = LocalNetwork::new(Runtime::current());
    let (one, two) = (directory.path().join("1"), directory.path().join("2"));
    let limit = std::time::Duration::from_secs(60);
    let first = open_node(&one, NodeId(1), &network).await;
    let second = open_node(&two, NodeId(2), &network).await;
    assert!(second.shards().is_empty());
    let shard = first.shard_for(&key("a")).unwrap();
    let value = "v".repeat(64 << 10);
    for number in 0..40 {
        shard.propose(put(&format!("{number:03}.version"), &value)).await.unwrap();
    }
    name_shards(&first, &Arc::new(AtomicU64::new(2)));
    let right = first.split(&key("020")).await.unwrap();
    right.place(&[NodeId(1), NodeId(2)].into(), limit).await.unwrap();
    right.propose(put("020.version", "new")).await.unwrap();
    let copy = second.shard_for(&key("020")).unwrap();
    while copy.checksum().await.unwrap() != right.checksum().await.unwrap() {
        Runtime::current().sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(copy.checksum().await.unwrap().pairs, 20);
    assert_eq!(get(&copy, "020.version").as_deref(), Some("new"));

    right.transfer_leadership(NodeId(2)).await.unwrap();
    while !copy.is_leader() {
        Runtime::current().sleep(std::time::Duration::from_millis(5)).await;
    }
    copy.place(&[NodeId(2)].into(), limit).await.unwrap();
    assert_eq!(first.shards().data().len(), 1);
    drop((copy, right, shard));
    for (node, path, id) in [(first, &one, NodeId(1)), (second, &two, NodeId(2))] {
        network.remove(id);
        node.shutdown().await.unwrap();
        drop(node);
        let node = open_node(path, id, &network).await;
        let (found, expected) = match id {
            NodeId(1) => (node.shard_for(&key("000")), "000.version"),
            _ => (node.shard_for(&key("020")), "039.version"),
        };
        let shard = found.unwrap();
        assert!(shard.is_leader() && node.shards().data().len() == 1, "{id}");
        assert_eq!(get(&shard, expected).map(|value| value.len()), Some(64 << 10));
        drop(shard);
        node.shutdown().await.unwrap();
    }
}
