//! Rows whose keys change while somebody waits for them.

use shardforge_consensus::MemoryStorage;
use shardforge_runtime::{Runtime, Simulation};

use super::{bytes, open, text};
use crate::{
    IsolationLevel, KvError, KvOptions, LockStrength, Store, Transaction, TxnOptions, WaitLimits, WaitPolicy,
};

const WAIT: WaitPolicy = WaitPolicy::Wait(WaitLimits::NONE);
const STRENGTH: LockStrength = LockStrength::Update;

/// Runs a test on a store in which "a" is "one" and "b" is "two".
fn with_store<F>(options: KvOptions, test: impl FnOnce(Runtime, Store) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (_node, store) = open(&MemoryStorage::new(), &runtime, options).await;
        let txn = store.begin(TxnOptions::default());
        txn.put(bytes("a"), bytes("one"));
        txn.put(bytes("b"), bytes("two"));
        txn.commit().await.unwrap();
        test(runtime, store).await;
    });
}

fn begin(store: &Store, isolation: IsolationLevel) -> Transaction {
    let txn = store.begin(TxnOptions { isolation, ..TxnOptions::default() });
    txn.begin_statement();
    txn
}

async fn move_row(txn: &Transaction, from: &str, to: &str, value: &str) {
    for key in [from, to] {
        txn.lock(key.as_bytes(), STRENGTH, WAIT).await.unwrap();
    }
    txn.move_row(bytes(from), bytes(to), bytes(value));
}

/// Where a statement finds a row that it has read before others were committed, and what it is there.
async fn found(txn: &Transaction, key: &str) -> Result<(String, Option<String>), KvError> {
    let outcome = txn.lock(key.as_bytes(), STRENGTH, WAIT).await?;
    let now = if outcome.changed { txn.follow(key.as_bytes(), STRENGTH, WAIT).await? } else { None };
    let (key, outcome) = now.unwrap_or((bytes(key), outcome));
    Ok((text(&key), outcome.current.as_deref().map(text)))
}

fn at(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

#[test]
fn who_waits_for_a_row_finds_it_under_its_new_key() {
    // Spilled writes, and writes in memory.
    for memory in [150, 64 << 20] {
        let options = KvOptions { transaction_memory_bytes_max: memory, ..KvOptions::default() };
        with_store(options, async |runtime, store| {
            let mover = begin(&store, IsolationLevel::ReadCommitted);
            move_row(&mover, "a", "c", "one").await;
            mover.begin_statement();
            move_row(&mover, "c", "d", "uno").await;
            // Another row comes to where it was.
            mover.begin_statement();
            move_row(&mover, "b", "a", "two").await;
            let waiter = begin(&store, IsolationLevel::ReadCommitted);
            let waiting = runtime.spawn("waiter", async move { found(&waiter, "a").await.unwrap() });
            runtime.sleep(std::time::Duration::from_millis(1)).await;
            assert!(store.stats().waiting_now == 1);
            mover.commit().await.unwrap();
            assert_eq!(waiting.await.unwrap(), at("d", "uno"));
            let later = begin(&store, IsolationLevel::ReadCommitted);
            assert_eq!(found(&later, "a").await.unwrap(), at("a", "two"));
        });
    }
}

#[test]
fn rows_are_followed_from_commit_to_commit_and_back() {
    with_store(KvOptions::default(), async |_, store| {
        let reader = begin(&store, IsolationLevel::ReadCommitted);
        let strict = begin(&store, IsolationLevel::RepeatableRead);
        for (from, to) in [("a", "c"), ("c", "d"), ("d", "a"), ("b", "c")] {
            let mover = begin(&store, IsolationLevel::ReadCommitted);
            let value = if from == "b" { "two" } else { "one" };
            move_row(&mover, from, to, value).await;
            mover.commit().await.unwrap();
        }
        // To a snapshot that does not move, it is an update.
        let refused = found(&strict, "b").await;
        assert!(matches!(&refused, Err(KvError::SerializationFailure(conflict)) if !conflict.deleted));
        drop(strict);
        assert_eq!(found(&reader, "a").await.unwrap(), at("a", "one"));
        assert_eq!(found(&reader, "b").await.unwrap(), at("c", "two"));
        drop(reader);
        store.collect_garbage().await.unwrap();
        store.shared.prune_moved();
        assert!(!begin(&store, IsolationLevel::ReadCommitted).is_elsewhere(b"a").unwrap());
    });
}

#[test]
fn what_was_undone_has_not_moved_and_what_was_deleted_is_gone() {
    with_store(KvOptions::default(), async |_, store| {
        let reader = begin(&store, IsolationLevel::ReadCommitted);
        let writer = begin(&store, IsolationLevel::ReadCommitted);
        let savepoint = writer.savepoint();
        move_row(&writer, "a", "c", "one").await;
        writer.rollback_to(&savepoint).unwrap();
        writer.lock(b"a", STRENGTH, WAIT).await.unwrap();
        writer.put(bytes("a"), bytes("changed"));
        writer.lock(b"b", STRENGTH, WAIT).await.unwrap();
        writer.delete(bytes("b"));
        writer.begin_statement();
        writer.put(bytes("b"), bytes("another"));
        writer.commit().await.unwrap();
        assert_eq!(found(&reader, "a").await.unwrap(), at("a", "changed"));
        assert_eq!(found(&reader, "b").await.unwrap(), ("b".to_owned(), None));
        drop(reader);
        let later = begin(&store, IsolationLevel::ReadCommitted);
        assert_eq!(found(&later, "b").await.unwrap(), at("b", "another"));
    });
}
