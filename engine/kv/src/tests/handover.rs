//! Row locks that are handed on before the commit of their holder is durable
//! (docs/decisions/0006-early-lock-release.md): what the next transaction sees, shows, and waits for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardforge_consensus::MemoryStorage;
use shardforge_runtime::{Runtime, Simulation};

use super::{bytes, open};
use crate::pending::{LogPlace, PendingCommit};
use crate::routing::row_holder;
use crate::{
    IsolationLevel, KvError, KvOptions, LockOutcome, LockStrength, ObjectId, ObjectLockMode, ScanRequest,
    Store, Transaction, TxnId, TxnOptions, Visibility, WaitLimits, WaitPolicy,
};

const WAIT: WaitPolicy = WaitPolicy::Wait(WaitLimits::NONE);

/// A commit that has its place in the log, and hangs there until the test says how it ends.
struct UnderWay {
    store: Store,
    commit: Arc<PendingCommit>,
}

impl UnderWay {
    fn new(store: &Store, key: &str, value: Option<&str>) -> Self {
        let shard = row_holder(&store.shared.node.shards(), key.as_bytes()).unwrap().clone();
        Self::at(store, Some(LogPlace::of(&shard)), key, value)
    }

    fn at(store: &Store, place: Option<LogPlace>, key: &str, value: Option<&str>) -> Self {
        let shared = &store.shared;
        let writes = vec![(bytes(key), value.map(bytes))];
        let commit = PendingCommit::new(TxnId(shared.clock.now().as_u64()), writes, false);
        shared.pending.register(&commit);
        commit.choose(shared.clock.now());
        if let Some(place) = place {
            commit.order(place);
        }
        Self { store: store.clone(), commit }
    }

    fn end(self, applied: bool) {
        self.commit.finish(applied);
        self.store.shared.pending.unregister(&self.commit);
    }
}

/// Runs a test on a store in which "k" is "old".
fn with_store<F>(test: impl FnOnce(Runtime, Store) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (_node, store) = open(&MemoryStorage::new(), &runtime, KvOptions::default()).await;
        commit_value(&store, "k", "old").await;
        test(runtime, store).await;
    });
}

async fn commit_value(store: &Store, key: &str, value: &str) {
    let txn = store.begin(TxnOptions::default());
    txn.put(bytes(key), bytes(value));
    txn.commit().await.unwrap();
}

async fn waits<T>(runtime: &Runtime, future: impl Future<Output = T>) -> bool {
    runtime.timeout(Duration::from_millis(5), future).await.is_err()
}

async fn lock_for_write(txn: &Transaction) -> Result<LockOutcome, KvError> {
    txn.lock_for_write(b"k", LockStrength::NoKeyUpdate, WAIT).await
}

fn outcome(value: Option<&str>, changed: bool) -> LockOutcome {
    LockOutcome { current: value.map(bytes), changed, own: false }
}

#[test]
fn a_writer_takes_over_the_value_and_its_commit_is_behind() {
    with_store(|runtime, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        let base = UnderWay::new(&store, "k", Some("base"));
        assert_eq!(lock_for_write(&txn).await.unwrap(), outcome(Some("base"), true));
        // Locked again, at a later snapshot, it is the same version, and no longer a change.
        txn.begin_statement();
        assert_eq!(lock_for_write(&txn).await.unwrap(), outcome(Some("base"), false));
        // A reader at or above the commit waits for it, one below does not.
        let reader = store.begin(TxnOptions::default());
        reader.begin_statement();
        assert!(waits(&runtime, reader.get(b"k", Visibility::Statement)).await);
        assert!(waits(&runtime, reader.scan(ScanRequest::new(bytes("a")..bytes("z")))).await);
        base.end(true);
        txn.put(bytes("k"), bytes("next"));
        txn.commit().await.unwrap();
        assert_eq!(
            lock_for_write(&store.begin(TxnOptions::default())).await.unwrap().current,
            Some(bytes("next"))
        );
    });
}

#[test]
fn a_row_that_is_just_being_deleted_is_gone() {
    with_store(|_, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        let base = UnderWay::new(&store, "k", None);
        assert_eq!(lock_for_write(&txn).await.unwrap(), outcome(None, true));
        base.end(true);
    });
}

#[test]
fn a_snapshot_that_may_not_move_fails_at_once() {
    with_store(|_, store| async move {
        for isolation in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
            let txn = store.begin(TxnOptions { isolation, ..TxnOptions::default() });
            txn.begin_statement();
            let base = UnderWay::new(&store, "k", Some("base"));
            assert!(matches!(lock_for_write(&txn).await, Err(KvError::SerializationFailure(_))));
            base.end(true);
        }
    });
}

#[test]
fn a_commit_of_another_term_or_without_a_place_in_the_log_is_waited_for() {
    with_store(|runtime, store| async move {
        let shard = row_holder(&store.shared.node.shards(), b"k").unwrap().clone();
        let after_a_split = LogPlace { generation: shard.generation() + 1, ..LogPlace::of(&shard) };
        for other in [None, Some(after_a_split)] {
            let txn = store.begin(TxnOptions::default());
            txn.begin_statement();
            let base = UnderWay::at(&store, other, "k", Some("base"));
            assert!(waits(&runtime, lock_for_write(&txn)).await);
            base.end(false);
            assert_eq!(lock_for_write(&txn).await.unwrap(), outcome(Some("old"), false));
        }
    });
}

/// Commits leave the list of those under way when their tasks run, which may be in any order.
#[test]
fn what_is_stored_may_be_newer_than_what_is_listed() {
    with_store(|_, store| async move {
        let listed = UnderWay::new(&store, "k", Some("listed"));
        commit_value(&store, "k", "newer").await;
        let txn = store.begin(TxnOptions::default());
        assert_eq!(lock_for_write(&txn).await.unwrap().current, Some(bytes("newer")));
        txn.settle().await.unwrap();
        listed.end(true);
    });
}

#[test]
fn values_are_shown_when_they_are_durable() {
    with_store(|runtime, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        let base = UnderWay::new(&store, "k", Some("base"));
        assert!(waits(&runtime, txn.lock(b"k", LockStrength::Update, WAIT)).await);
        // What is written now may have been made of it.
        txn.put(bytes("k"), bytes("based"));
        txn.put(bytes("l"), bytes("based"));
        txn.begin_statement();
        for key in ["k", "l"] {
            assert!(waits(&runtime, txn.get(key.as_bytes(), Visibility::Current)).await);
        }
        let request = ScanRequest::new(bytes("l")..bytes("m"));
        assert!(waits(&runtime, txn.scan(request.clone())).await);
        // Rows that nobody is writing have nothing to do with it.
        assert!(!waits(&runtime, txn.get(b"m", Visibility::Statement)).await);
        base.end(true);
        assert_eq!(txn.get(b"k", Visibility::Current).await.unwrap(), Some(bytes("based")));
        assert_eq!(txn.scan(request).await.unwrap().rows.len(), 1);
    });
}

#[test]
fn who_wrote_nothing_is_committed_after_what_it_saw() {
    with_store(|runtime, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        let base = UnderWay::new(&store, "k", Some("base"));
        lock_for_write(&txn).await.unwrap();
        assert_eq!(txn.commit_reads().unwrap(), None);
        let committed = runtime.spawn("commit", async move { txn.commit().await.map(drop) });
        runtime.sleep(Duration::from_millis(5)).await;
        let ended = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&ended);
        let watcher = runtime.spawn("watcher", async move {
            committed.await.unwrap().unwrap();
            assert!(*seen.lock(), "committed before what it saw");
        });
        runtime.sleep(Duration::from_millis(5)).await;
        *ended.lock() = true;
        base.end(true);
        watcher.await.unwrap();
    });
}

#[test]
fn a_commit_of_reads_is_done_at_once_and_lets_go_of_its_locks() {
    with_store(|_, store| async move {
        let table = ObjectId { class: 1, kind: 2, id: 3 };
        let (reader, writer) = (store.begin(TxnOptions::default()), store.begin(TxnOptions::default()));
        assert!(reader.try_lock_object(table, ObjectLockMode::AccessShare).unwrap());
        assert!(!writer.try_lock_object(table, ObjectLockMode::AccessExclusive).unwrap());
        assert!(reader.commit_reads().unwrap().is_some());
        assert!(reader.commit_reads().is_err());
        assert!(writer.try_lock_object(table, ObjectLockMode::AccessExclusive).unwrap());
        writer.put(bytes("k"), bytes("new"));
        assert_eq!(writer.commit_reads().unwrap(), None);
        writer.commit().await.unwrap();
    });
}

#[test]
fn when_a_commit_fails_so_does_what_was_built_upon_it() {
    with_store(|_, store| async move {
        let begin = || {
            let txn = store.begin(TxnOptions::default());
            txn.begin_statement();
            txn
        };
        let base = UnderWay::new(&store, "k", Some("base"));
        let (writer, reader) = (begin(), begin());
        lock_for_write(&writer).await.unwrap();
        writer.put(bytes("k"), bytes("based"));
        writer.begin_statement();
        reader.lock_for_write(b"k", LockStrength::Update, WaitPolicy::NoWait).await.unwrap_err();
        base.end(false);
        assert!(matches!(writer.get(b"k", Visibility::Current).await, Err(KvError::LocksLost)));
        assert!(matches!(writer.settle().await, Err(KvError::LocksLost)));
        assert!(matches!(writer.commit().await, Err(KvError::LocksLost)));
        // Its locks are free, and nothing is left of either.
        assert_eq!(lock_for_write(&reader).await.unwrap(), outcome(Some("old"), false));
    });
}

#[test]
fn a_lock_given_up_by_a_savepoint_passes_the_same_value_on() {
    with_store(|_, store| async move {
        let first = store.begin(TxnOptions::default());
        first.begin_statement();
        let savepoint = first.savepoint();
        let base = UnderWay::new(&store, "k", Some("base"));
        lock_for_write(&first).await.unwrap();
        first.put(bytes("k"), bytes("undone"));
        first.rollback_to(&savepoint).unwrap();
        let second = store.begin(TxnOptions::default());
        second.begin_statement();
        assert_eq!(lock_for_write(&second).await.unwrap(), outcome(Some("base"), false));
        base.end(true);
        second.put(bytes("k"), bytes("second"));
        second.commit().await.unwrap();
        first.commit().await.unwrap();
        assert_eq!(
            lock_for_write(&store.begin(TxnOptions::default())).await.unwrap().current,
            Some(bytes("second"))
        );
    });
}

/// A row that is spilled has left the lock table, and its writer stands before the commit that is still listed.
#[test]
fn a_spilled_row_comes_before_a_commit_that_is_still_listed() {
    with_store(|runtime, store| async move {
        let base = UnderWay::new(&store, "k", Some("base"));
        let spiller = store.begin(TxnOptions::default());
        spiller.begin_statement();
        lock_for_write(&spiller).await.unwrap();
        spiller.put(bytes("k"), bytes("spilled"));
        spiller.spill_all().await.unwrap();
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        assert!(waits(&runtime, lock_for_write(&txn)).await);
        let own = lock_for_write(&spiller).await.unwrap();
        assert_eq!((own.current, own.own), (Some(bytes("spilled")), true));
        base.end(true);
        spiller.commit().await.unwrap();
        assert_eq!(lock_for_write(&txn).await.unwrap().current, Some(bytes("spilled")));
    });
}

/// Whether a waiter got the row while the commit of its holder was still on its way, and what it read then.
fn hand_over(seed: u64, early_lock_release: bool, show: bool) -> bool {
    let simulation = Simulation::new(seed);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let options = KvOptions { early_lock_release, ..KvOptions::default() };
        let (_, store) = open(&MemoryStorage::new(), &runtime, options).await;
        let first = store.begin(TxnOptions::default());
        first.lock(b"k", LockStrength::Update, WaitPolicy::Wait(WaitLimits::NONE)).await.unwrap();
        first.put(bytes("k"), bytes("first"));
        let committed = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&committed);
        let waiter = runtime.spawn("waiter", {
            let store = store.clone();
            async move {
                let second = store.begin(TxnOptions::default());
                let policy = WaitPolicy::Wait(WaitLimits::NONE);
                let outcome = if show {
                    second.lock(b"k", LockStrength::Update, policy).await.unwrap()
                } else {
                    second.lock_for_write(b"k", LockStrength::Update, policy).await.unwrap()
                };
                assert_eq!(outcome.current, Some(bytes("first")));
                let early = !*seen.lock();
                second.put(bytes("k"), bytes("second"));
                second.commit().await.unwrap();
                early
            }
        });
        runtime.sleep(Duration::from_millis(1)).await;
        first.commit().await.unwrap();
        *committed.lock() = true;
        let early = waiter.await.unwrap();
        let check = store.begin(TxnOptions::default());
        assert_eq!(check.get(b"k", Visibility::Statement).await.unwrap(), Some(bytes("second")));
        early
    })
}

#[test]
fn a_row_passes_on_before_its_commit_is_durable_but_is_not_shown() {
    assert!((0..20).any(|seed| hand_over(seed, true, false)));
    // Without the option, and for who shows what it reads, the commit comes first.
    assert!(!(0..20).any(|seed| hand_over(seed, false, false)));
    assert!(!(0..20).any(|seed| hand_over(seed, true, true)));
}
