//! States of the past can be read for as long as they are kept, and no longer.

use std::time::Duration;

use shardforge_consensus::MemoryStorage;
use shardforge_runtime::Simulation;

use super::{bytes, open, text};
use crate::{KvError, KvOptions, Store, Timestamp, TxnOptions, Visibility};

async fn put(store: &Store, value: &str) {
    let txn = store.begin(TxnOptions::default());
    txn.lock(b"k", crate::LockStrength::Update, crate::WaitPolicy::NoWait).await.unwrap();
    txn.put(bytes("k"), bytes(value));
    txn.commit().await.unwrap();
}

async fn value_at(store: &Store, at: Timestamp) -> Result<String, KvError> {
    let txn = store.begin_at(TxnOptions::default(), at)?;
    let first = txn.get(b"k", Visibility::Statement).await?;
    txn.begin_statement();
    assert_eq!(txn.get(b"k", Visibility::Statement).await?, first, "a state does not change");
    Ok(first.map_or("nothing".to_owned(), |value| text(&value)))
}

#[test]
fn states_are_read_until_they_are_collected() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let options = KvOptions {
            gc_ttl: Duration::from_secs(10),
            gc_interval: Duration::from_secs(3_600),
            ..KvOptions::default()
        };
        let (_node, store) = open(&MemoryStorage::new(), &runtime, options).await;
        let opened = store.now();
        put(&store, "a").await;
        let a = store.now();
        runtime.sleep(Duration::from_secs(5)).await;
        put(&store, "b").await;
        let b = store.now();
        assert_eq!(value_at(&store, opened).await.unwrap(), "nothing");
        assert_eq!(value_at(&store, a).await.unwrap(), "a");
        assert_eq!(value_at(&store, b).await.unwrap(), "b");
        let ahead = Timestamp::from_micros(store.now().micros() + 1_000_000);
        assert!(matches!(value_at(&store, ahead).await, Err(KvError::SnapshotInFuture)));
        assert!(matches!(value_at(&store, Timestamp::MIN).await, Err(KvError::SnapshotTooOld { .. })));
        let writer = store.begin_at(TxnOptions::default(), a).unwrap();
        writer.put(bytes("k"), bytes("c"));
        assert!(writer.commit().await.is_err(), "the past cannot be written");

        // Whoever reads a state keeps it.
        let reader = store.begin_at(TxnOptions::default(), a).unwrap();
        runtime.sleep(Duration::from_secs(12)).await;
        assert_eq!(store.collect_garbage().await.unwrap(), 0);
        assert_eq!(reader.get(b"k", Visibility::Statement).await.unwrap(), Some(bytes("a")));
        drop(reader);
        assert_eq!(store.collect_garbage().await.unwrap(), 1);
        let Err(KvError::SnapshotTooOld { oldest }) = value_at(&store, a).await else {
            panic!("a state that is collected was read");
        };
        assert!(oldest > b);
        assert_eq!(value_at(&store, oldest).await.unwrap(), "b");
    });
}

#[test]
fn nothing_is_known_of_the_time_before_a_restart() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        let (node, store) = open(&storage, &runtime, KvOptions::default()).await;
        put(&store, "a").await;
        let a = store.now();
        drop(store);
        node.shutdown().await.unwrap();
        let (_node, store) = open(&storage, &runtime, KvOptions::default()).await;
        assert!(matches!(value_at(&store, a).await, Err(KvError::SnapshotTooOld { .. })));
        assert_eq!(value_at(&store, store.now()).await.unwrap(), "a");
    });
}
