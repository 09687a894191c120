use std::ops::ControlFlow;
use std::time::Duration;

use shardforge_consensus::MemoryStorage;
use shardforge_runtime::{Runtime, Simulation};

use super::Transaction;
use crate::tests::{bytes, open, text};
use crate::{
    KvError, KvOptions, LockOutcome, LockStrength, ScanRequest, Store, TxnOptions, Visibility, WaitLimits,
    WaitPolicy,
};

const WAIT: WaitPolicy = WaitPolicy::Wait(WaitLimits::NONE);

/// Runs a test on a disk so slow that a piece is on its way for long, and some orders of what happens meanwhile.
fn with_store<F>(memory_bytes: usize, test: impl Fn(Store, Runtime) -> F + Copy + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    for seed in 0..8 {
        let simulation = Simulation::new(seed);
        simulation.slow_the_disk(Duration::from_millis(20));
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let options = KvOptions { transaction_memory_bytes_max: memory_bytes, ..KvOptions::default() };
            let (_node, store) = open(&MemoryStorage::new(), &runtime, options).await;
            test(store, runtime).await;
        });
    }
}

async fn lock(txn: &Transaction, key: &str, policy: WaitPolicy) -> Result<LockOutcome, KvError> {
    txn.lock(key.as_bytes(), LockStrength::Update, policy).await
}

async fn write(txn: &Transaction, key: &str, value: Option<&str>) {
    lock(txn, key, WAIT).await.unwrap();
    match value {
        Some(value) => txn.put(bytes(key), bytes(value)),
        None => txn.delete(bytes(key)),
    }
}

/// A transaction that has a piece on its way, in which `a` is 1 and `c` is 3, in a second statement.
async fn begin_with_piece(store: &Store) -> Transaction {
    let txn = store.begin(TxnOptions::default());
    txn.begin_statement();
    write(&txn, "a", Some("1")).await;
    write(&txn, "c", Some("3")).await;
    txn.spill_piece().await.unwrap();
    assert!(is_under_way(&txn));
    txn.begin_statement();
    txn
}

fn is_under_way(txn: &Transaction) -> bool {
    let core = txn.core.lock();
    core.spilling.as_ref().is_some_and(|spilling| spilling.seen_by(u32::MAX).is_some())
}

async fn rows(txn: &Transaction, visibility: Visibility, reverse: bool) -> String {
    let request = ScanRequest { visibility, reverse, ..ScanRequest::new(bytes("a")..bytes("z")) };
    let page = txn.scan(request).await.unwrap();
    let shown = page.rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value)));
    shown.collect::<Vec<_>>().join(" ")
}

/// What the statement sees, which is the same while the piece is on its way and when it has arrived.
async fn sees(txn: &Transaction, expected: &str) {
    for round in [ControlFlow::Continue(()), ControlFlow::Break(())] {
        assert_eq!(rows(txn, Visibility::Statement, false).await, expected);
        let mut reversed: Vec<_> = expected.split(' ').collect();
        reversed.reverse();
        assert_eq!(rows(txn, Visibility::Statement, true).await, reversed.join(" "));
        for key in ["a", "b", "c", "d"] {
            let found = txn.get(key.as_bytes(), Visibility::Statement).await.unwrap();
            let row = expected.split(' ').find_map(|row| row.strip_prefix(&format!("{key}=")));
            assert_eq!(found.as_deref().map(text).as_deref(), row, "{key}");
        }
        if round.is_continue() {
            txn.finish_piece().await.unwrap();
            assert!(!is_under_way(txn));
        }
    }
}

#[test]
fn a_piece_is_read_while_it_is_on_its_way() {
    with_store(usize::MAX, |store: Store, _runtime: Runtime| async move {
        let before = store.begin(TxnOptions::default());
        write(&before, "b", Some("old")).await;
        write(&before, "c", Some("old")).await;
        before.commit().await.unwrap();

        let txn = begin_with_piece(&store).await;
        assert_eq!(txn.get(b"a", Visibility::Statement).await.unwrap(), Some(bytes("1")));
        sees(&txn, "a=1 b=old c=3").await;
        txn.rollback().await.unwrap();

        let txn = begin_with_piece(&store).await;
        let held = txn.hold_snapshot();
        write(&txn, "a", None).await;
        write(&txn, "d", Some("4")).await;
        let locked = lock(&txn, "c", WAIT).await.unwrap();
        assert_eq!((locked.current, locked.own), (Some(bytes("3")), true));
        let many =
            txn.lock_many_for_write(&["a", "b", "c"].map(bytes), LockStrength::Update, WAIT).await.unwrap();
        let many: Vec<_> = many.iter().map(|row| (row.current.as_deref().map(text), row.own)).collect();
        assert_eq!(many, [(None, true), (Some("old".to_owned()), false), (Some("3".to_owned()), true)]);
        assert!(is_under_way(&txn));
        assert_eq!(rows(&txn, Visibility::Statement, false).await, "a=1 b=old c=3");
        assert_eq!(rows(&txn, Visibility::Current, false).await, "b=old c=3 d=4");
        txn.begin_statement();
        sees(&txn, "b=old c=3 d=4").await;
        assert_eq!(rows(&txn, Visibility::At(held.snapshot()), true).await, "c=3 b=old a=1");
        txn.commit().await.unwrap();

        let after = store.begin(TxnOptions::default());
        assert_eq!(rows(&after, Visibility::Statement, false).await, "b=old c=3 d=4");
    });
}

#[test]
fn savepoints_hold_while_a_piece_is_on_its_way() {
    with_store(usize::MAX, |store: Store, _runtime: Runtime| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        write(&txn, "a", Some("1")).await;
        let savepoint = txn.savepoint();
        write(&txn, "a", Some("2")).await;
        write(&txn, "b", Some("2")).await;
        txn.spill_piece().await.unwrap();
        write(&txn, "c", Some("3")).await;
        txn.begin_statement();
        assert_eq!(rows(&txn, Visibility::Statement, false).await, "a=2 b=2 c=3");
        assert!(is_under_way(&txn));
        txn.rollback_to(&savepoint).unwrap();
        txn.begin_statement();
        // The lock of a row that was locked since is free at once.
        let other = store.begin(TxnOptions::default());
        lock(&other, "b", WaitPolicy::NoWait).await.unwrap();
        other.put(bytes("b"), bytes("other"));
        assert!(matches!(lock(&other, "a", WaitPolicy::NoWait).await, Err(KvError::LockNotAvailable(_))));
        assert!(is_under_way(&txn));
        sees(&txn, "a=1").await;
        other.commit().await.unwrap();
        txn.begin_statement();
        write(&txn, "c", Some("4")).await;
        txn.commit().await.unwrap();
        let after = store.begin(TxnOptions::default());
        assert_eq!(rows(&after, Visibility::Statement, false).await, "a=1 b=other c=4");
    });
}

#[test]
fn a_lock_from_before_a_savepoint_outlives_what_was_written_after_it() {
    with_store(usize::MAX, |store: Store, _runtime: Runtime| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        lock(&txn, "a", WAIT).await.unwrap();
        let savepoint = txn.savepoint();
        write(&txn, "a", Some("1")).await;
        txn.spill_all().await.unwrap();
        txn.rollback_to(&savepoint).unwrap();
        let other = store.begin(TxnOptions::default());
        assert!(matches!(lock(&other, "a", WaitPolicy::NoWait).await, Err(KvError::LockNotAvailable(_))));
        txn.rollback().await.unwrap();
        lock(&other, "a", WaitPolicy::NoWait).await.unwrap();
    });
}

#[test]
fn a_transaction_that_ends_leaves_nothing_of_its_piece() {
    with_store(usize::MAX, |store: Store, runtime: Runtime| async move {
        let txn = begin_with_piece(&store).await;
        txn.rollback().await.unwrap();
        assert!(store.locks().is_empty());
        let other = store.begin(TxnOptions::default());
        write(&other, "a", Some("other")).await;
        other.commit().await.unwrap();
        runtime.sleep(Duration::from_millis(200)).await;
        let after = store.begin(TxnOptions::default());
        assert_eq!(rows(&after, Visibility::Statement, false).await, "a=other");
    });
}

#[test]
fn a_piece_that_was_cut_off_is_written_again() {
    with_store(usize::MAX, |store: Store, _runtime: Runtime| async move {
        let txn = begin_with_piece(&store).await;
        txn.core
            .lock()
            .spilling
            .as_ref()
            .and_then(|spilling| spilling.writing.as_ref())
            .unwrap()
            .task
            .abort();
        write(&txn, "d", Some("4")).await;
        assert!(matches!(txn.spill_piece().await, Err(KvError::ShuttingDown)));
        assert!(is_under_way(&txn));
        txn.begin_statement();
        let other = store.begin(TxnOptions::default());
        assert!(matches!(lock(&other, "a", WaitPolicy::NoWait).await, Err(KvError::LockNotAvailable(_))));
        sees(&txn, "a=1 c=3 d=4").await;
        txn.commit().await.unwrap();
        let after = store.begin(TxnOptions::default());
        assert_eq!(rows(&after, Visibility::Statement, false).await, "a=1 c=3 d=4");
    });
}

/// Each write makes a piece; somebody who waits for one of them goes away.
#[test]
fn who_waits_for_a_piece_may_leave() {
    with_store(0, |store: Store, runtime: Runtime| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        let mut left = 0;
        for row in 0..20 {
            let key = format!("k{row:02}");
            let limit = Duration::from_micros(runtime.next_u64() % 20_000);
            if runtime.timeout(limit, lock(&txn, &key, WAIT)).await.is_err() {
                left += 1;
                lock(&txn, &key, WAIT).await.unwrap();
            }
            txn.put(bytes(&key), bytes("value"));
        }
        assert!(left > 0);
        txn.begin_statement();
        assert_eq!(rows(&txn, Visibility::Statement, false).await.split(' ').count(), 20);
        txn.commit().await.unwrap();
        assert!(store.locks().is_empty());
        let after = store.begin(TxnOptions::default());
        assert_eq!(rows(&after, Visibility::Statement, false).await.split(' ').count(), 20);
    });
}
