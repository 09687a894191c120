//! Stores that end with their tenure: what waits is woken, what is asked fails, and another store goes on.

use std::sync::Arc;
use std::time::Duration;

use shardforge_consensus::MemoryStorage;
use shardforge_runtime::{Runtime, Simulation};

use super::{bytes, open};
use crate::{
    KvError, KvOptions, LockStrength, ScanRequest, SequenceOptions, Store, TxnOptions, Visibility,
    WaitLimits, WaitPolicy,
};

const WAIT: WaitPolicy = WaitPolicy::Wait(WaitLimits::NONE);
const NUMBERS: SequenceOptions =
    SequenceOptions { start: 1, increment: 1, min: 1, max: i64::MAX, cycle: false };

/// A store, and what opens the next one on the same node.
async fn opened(runtime: &Runtime) -> (Arc<shardforge_consensus::Node>, Store) {
    let (node, store) = open(&MemoryStorage::new(), runtime, KvOptions::default()).await;
    let txn = store.begin(TxnOptions::default());
    txn.put(bytes("k"), bytes("old"));
    txn.commit().await.unwrap();
    (node, store)
}

async fn next(node: &Arc<shardforge_consensus::Node>, runtime: &Runtime) -> Store {
    let tenure = node.tenure().unwrap();
    Store::open_in(Arc::clone(node), tenure, runtime.clone(), KvOptions::default()).await.unwrap()
}

#[test]
fn whatever_is_asked_of_a_store_that_has_stopped_fails_at_once() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (node, store) = opened(&runtime).await;
        let holder = store.begin(TxnOptions::default());
        holder.lock(b"k", LockStrength::Update, WAIT).await.unwrap();
        holder.put(bytes("k"), bytes("lost"));
        store.next_sequence_values(1, &NUMBERS, 1).await.unwrap();
        let waiter = {
            let txn = store.begin(TxnOptions::default());
            runtime.spawn("waiter", async move { txn.lock(b"k", LockStrength::Update, WAIT).await })
        };
        runtime.sleep(Duration::from_millis(20)).await;
        assert_eq!(store.stats().waiting_now, 1);
        store.shared.tenure.end("the test says so");
        assert!(store.has_stopped() && store.stopped().await == "the test says so");
        assert!(matches!(waiter.await.unwrap(), Err(KvError::ShuttingDown)));

        let ended = |error: KvError| assert!(matches!(error, KvError::ShuttingDown), "{error}");
        let reader = store.begin(TxnOptions::default());
        ended(reader.get(b"k", Visibility::Statement).await.unwrap_err());
        ended(reader.scan(ScanRequest::new(bytes("a")..bytes("z"))).await.unwrap_err());
        ended(reader.lock(b"other", LockStrength::Share, WAIT).await.unwrap_err());
        ended(reader.lock(b"k", LockStrength::Share, WAIT).await.unwrap_err());
        ended(store.was_committed(holder.id()).unwrap_err());
        ended(store.sequence_state(2).await.unwrap_err());
        ended(store.next_sequence_values_at_once(1, &NUMBERS, 1).unwrap_err());
        assert!(store.next_sequence_values(3, &NUMBERS, 1).await.is_err());
        assert!(store.collect_garbage().await.is_err());
        // It is known that this did not happen.
        assert!(matches!(holder.commit().await, Err(KvError::LocksLost)));

        let again = next(&node, &runtime).await;
        let reader = again.begin(TxnOptions::default());
        assert_eq!(reader.get(b"k", Visibility::Statement).await.unwrap(), Some(bytes("old")));
        assert!(again.next_sequence_values(1, &NUMBERS, 1).await.unwrap().first > 1);
    });
}

#[test]
fn nothing_keeps_a_store_alive_that_nobody_holds() {
    let simulation = Simulation::new(2);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (node, store) = opened(&runtime).await;
        let txn = store.begin(TxnOptions::default());
        txn.lock(b"k", LockStrength::Update, WAIT).await.unwrap();
        txn.put(bytes("k"), bytes("new"));
        txn.commit().await.unwrap();
        store.clear_range(b"x", b"y");
        let weak = Arc::downgrade(&store.shared);
        store.shared.tenure.end("the test says so");
        drop((txn, store));
        runtime.sleep(Duration::from_secs(60)).await;
        assert_eq!(weak.strong_count(), 0);
        assert!(!next(&node, &runtime).await.has_stopped());
    });
}

/// Commits that are under way when one store ends and the next one begins.
#[test]
fn what_a_store_had_under_way_is_settled_before_the_next_one_opens() {
    for seed in 0..40 {
        let simulation = Simulation::new(seed);
        simulation.slow_the_disk(Duration::from_micros(200));
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let (node, store) = opened(&runtime).await;
            let commits: Vec<_> = (0..10)
                .map(|number| {
                    let (store, runtime2) = (store.clone(), runtime.clone());
                    runtime.spawn("commit", async move {
                        runtime2.sleep(Duration::from_micros(runtime2.next_u64() % 300)).await;
                        let txn = store.begin(TxnOptions::default());
                        txn.put(bytes(&format!("row {number}")), bytes("x"));
                        txn.commit().await
                    })
                })
                .collect();
            runtime.sleep(Duration::from_micros(runtime.next_u64() % 300)).await;
            store.shared.tenure.end("the test says so");
            let again = next(&node, &runtime).await;
            let look = async |number: usize| {
                let reader = again.begin(TxnOptions::default());
                reader.get(format!("row {number}").as_bytes(), Visibility::Statement).await.unwrap().is_some()
            };
            let mut first = Vec::new();
            for number in 0..10 {
                first.push(look(number).await);
            }
            for (number, commit) in commits.into_iter().enumerate() {
                match commit.await.unwrap() {
                    Ok(_) => assert!(first[number]),
                    Err(KvError::Ambiguous) => {}
                    Err(error) => assert!(!first[number], "{error}"),
                }
                assert_eq!(look(number).await, first[number], "seed {seed}");
            }
        });
    }
}
