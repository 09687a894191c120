//! Prepared transactions: what a power failure leaves of them, and what stays when they have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_consensus::MemoryStorage;
use shardforge_runtime::{Runtime, Simulation};

use super::shards::{options, records_and_marks, rows, versions, with_two_shards};
use super::{bytes, open};
use crate::{KvError, KvOptions, LockStrength, Store, TxnOptions, WaitPolicy};

/// Prepares a transaction that writes the rows "a..." and "z..." of a name.
async fn prepare(store: &Store, name: &str) -> Result<(), KvError> {
    let txn = store.begin(TxnOptions::default());
    for key in keys(name) {
        txn.lock(key.as_bytes(), LockStrength::Update, WaitPolicy::NoWait).await?;
        txn.put(bytes(&key), bytes("new"));
    }
    txn.prepare(bytes(name), Bytes::new()).await
}

fn keys(name: &str) -> [String; 2] {
    ["a", "z"].map(|shard| format!("{shard}{name}"))
}

async fn commit(store: &Store, name: &str) -> Result<(), KvError> {
    store.claim_prepared(name.as_bytes())?.commit_with(|_| ()).await.map(drop)
}

#[test]
fn nothing_is_left_of_prepared_transactions_but_their_rows() {
    with_two_shards(|runtime, _storage, store| async move {
        for name in ["one", "two", "three"] {
            prepare(&store, name).await.unwrap();
        }
        assert_eq!((records_and_marks(&store), versions(&store)), (6, vec![false; 6]));
        commit(&store, "one").await.unwrap();
        store.claim_prepared(b"two").unwrap().rollback().await.unwrap();
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(rows(&store).await.len(), 2);
        assert_eq!((records_and_marks(&store), versions(&store)), (2, vec![true, false, true, false]));
        commit(&store, "three").await.unwrap();
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!((records_and_marks(&store), versions(&store)), (0, vec![true; 4]));
    });
}

#[test]
fn an_old_snapshot_keeps_versions_from_being_rewritten() {
    with_two_shards(|runtime, _storage, store| async move {
        prepare(&store, "p").await.unwrap();
        let reader = store.begin(TxnOptions::default());
        reader.begin_statement();
        commit(&store, "p").await.unwrap();
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(versions(&store), [false, false]);
        assert_eq!(reader.get(b"ap", crate::Visibility::Statement).await.unwrap(), None);
        drop(reader);
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(versions(&store), [true, true]);
    });
}

#[test]
fn one_at_a_time_may_end_it_and_names_are_given_back() {
    with_two_shards(|_runtime, _storage, store| async move {
        prepare(&store, "p").await.unwrap();
        let claimed = store.claim_prepared(b"p").unwrap();
        assert!(matches!(commit(&store, "p").await, Err(KvError::PreparedIsBusy)));
        assert_eq!(store.prepared().len(), 1);
        drop(claimed);
        assert!(matches!(prepare(&store, "p").await, Err(KvError::LockNotAvailable(_))));
        commit(&store, "p").await.unwrap();
        assert!(store.prepared().is_empty());
        prepare(&store, "p").await.unwrap();
    });
}

#[test]
fn no_more_are_prepared_than_may_be() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let options = KvOptions { prepared_transactions_max: 1, ..options() };
        let (_, store) = open(&MemoryStorage::new(), &runtime, options).await;
        prepare(&store, "one").await.unwrap();
        assert!(matches!(prepare(&store, "two").await, Err(KvError::TooManyPrepared(1))));
        // Nothing is left of the one that was refused.
        commit(&store, "one").await.unwrap();
        prepare(&store, "two").await.unwrap();
    });
}

/// How far a client has come with its transaction, as it knows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Known {
    Preparing,
    Prepared,
    Committing,
    Committed,
    RollingBack,
    RolledBack,
}

type Ledger = Arc<Mutex<BTreeMap<String, Known>>>;

/// Prepares transactions, and ends them, until the power fails.
async fn client(store: Store, runtime: Runtime, number: u64, ledger: Ledger) {
    for step in 0.. {
        let name = format!("{number}.{step}");
        let note = |known| ledger.lock().insert(name.clone(), known);
        note(Known::Preparing);
        if prepare(&store, &name).await.is_err() {
            return;
        }
        note(Known::Prepared);
        let claimed = store.claim_prepared(name.as_bytes()).unwrap();
        if runtime.next_u64().is_multiple_of(3) {
            note(Known::RollingBack);
            if claimed.rollback().await.is_err() {
                return;
            }
            note(Known::RolledBack);
        } else {
            note(Known::Committing);
            if claimed.commit_with(|_| ()).await.is_err() {
                return;
            }
            note(Known::Committed);
        }
    }
}

/// Runs clients until the power fails at a random moment; answers how many transactions were found prepared.
fn power_failure(seed: u64) -> usize {
    let (storage, ledger) = (MemoryStorage::new(), Ledger::default());
    {
        let simulation = Simulation::new(seed);
        let (runtime, storage, ledger) = (simulation.runtime(), storage.clone(), Arc::clone(&ledger));
        simulation.block_on(async move {
            let (_, store) = open(&storage, &runtime, options()).await;
            store.split(b"m").await.unwrap();
            for number in 0..4 {
                let client = client(store.clone(), runtime.clone(), number, Arc::clone(&ledger));
                runtime.spawn("client", client);
            }
            let (splitting, world) = (store.clone(), runtime.clone());
            runtime.spawn("splitter", async move {
                for at in ["a2", "z1.2", "z3"] {
                    world.sleep(Duration::from_nanos(world.next_u64() % 10_000)).await;
                    if splitting.split(at.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
            // Everything else stops where it is when this ends. Raft sleeps for a nanosecond to let others run.
            runtime.sleep(Duration::from_nanos(runtime.next_u64() % 30_000)).await;
        });
    }
    storage.crash();
    let simulation = Simulation::new(seed + 1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (_, store) = open(&storage, &runtime, options()).await;
        let ledger = ledger.lock().clone();
        let found: Vec<String> = store.prepared().iter().map(|found| super::text(&found.name)).collect();
        let all = rows(&store).await;
        for (name, known) in ledger.iter() {
            let is_prepared = found.contains(name);
            let there = keys(name).map(|key| all.iter().any(|(found, _)| *found == key));
            assert_eq!(there[0], there[1], "{name}, {known:?}, is there by half");
            let may_be = match known {
                Known::Preparing => !there[0],
                Known::Prepared => is_prepared && !there[0],
                Known::Committing => is_prepared != there[0],
                Known::Committed => there[0] && !is_prepared,
                Known::RollingBack => !there[0],
                Known::RolledBack => !there[0] && !is_prepared,
            };
            assert!(may_be, "{name}: {known:?}, rows: {there:?}, prepared: {is_prepared}");
            let txn = store.begin(TxnOptions::default());
            for key in keys(name) {
                let locked = txn.lock(key.as_bytes(), LockStrength::Update, WaitPolicy::NoWait).await;
                assert_eq!(locked.is_err(), is_prepared, "{name}: {known:?}, {locked:?}");
            }
        }
        for name in &found {
            commit(&store, name).await.unwrap();
        }
        let all_now = rows(&store).await;
        assert_eq!(all_now.len(), all.len() + 2 * found.len());
        found.len()
    })
}

#[test]
fn a_power_failure_leaves_what_is_prepared() {
    let found: Vec<usize> = (0..60).map(|seed| power_failure(seed * 2)).collect();
    assert!(found.iter().filter(|found| **found > 0).count() > 10, "{found:?}");
}
