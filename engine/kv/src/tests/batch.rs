//! Many row locks at once say of each row what its lock alone would say.

use std::sync::Arc;

use shardforge_consensus::MemoryStorage;
use shardforge_runtime::Simulation;

use super::{bytes, open};
use crate::pending::{LogPlace, PendingCommit};
use crate::{
    IsolationLevel, KvError, KvOptions, LockStrength, Store, TxnId, TxnOptions, WaitLimits, WaitPolicy,
};

const WAIT: WaitPolicy = WaitPolicy::Wait(WaitLimits::NONE);

fn name(row: usize) -> String {
    format!("k{row:02}")
}

async fn commit(store: &Store, rows: impl Iterator<Item = usize>, value: Option<&str>) {
    let txn = store.begin(TxnOptions::default());
    for row in rows {
        match value {
            Some(value) => txn.put(bytes(&name(row)), bytes(value)),
            None => txn.delete(bytes(&name(row))),
        }
    }
    txn.commit().await.unwrap();
}

/// Rows of every kind: absent, old, rewritten many times, deleted, newer than the snapshot, just being committed,
/// written by the transaction itself, and spilled by it.
#[test]
fn a_batch_finds_what_single_locks_find() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let options = KvOptions { transaction_memory_bytes_max: 300, ..KvOptions::default() };
        let (_node, store) = open(&MemoryStorage::new(), &runtime, options).await;
        commit(&store, (0..40).filter(|row| row % 3 != 0), Some("old")).await;
        for round in 0..12 {
            commit(&store, [4, 5].into_iter(), Some(&format!("round {round}"))).await;
        }
        commit(&store, [7, 8].into_iter(), None).await;

        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        for row in [10, 11, 12, 13] {
            txn.lock(name(row).as_bytes(), LockStrength::Update, WAIT).await.unwrap();
            txn.put(bytes(&name(row)), bytes("spilled"));
        }
        txn.spill_if_large().await.unwrap();
        for row in [14, 15] {
            txn.lock(name(row).as_bytes(), LockStrength::Update, WAIT).await.unwrap();
            txn.put(bytes(&name(row)), bytes("buffered"));
        }
        commit(&store, [16, 18, 20].into_iter(), Some("newer")).await;
        commit(&store, [17, 22].into_iter(), None).await;
        let writes = vec![(bytes(&name(30)), Some(bytes("under way"))), (bytes(&name(31)), None)];
        let under_way = PendingCommit::new(TxnId(store.shared.clock.now().as_u64()), writes, false);
        store.shared.pending.register(&under_way);
        under_way.choose(store.shared.clock.now());
        let shard = std::sync::Arc::clone(&store.shared.node.shards().data()[0]);
        under_way.order(LogPlace::of(&shard));

        // Ascending, then out of order, with a row twice.
        let rows: Vec<usize> = (0..36).chain([39, 38, 1, 37, 4]).collect();
        let keys: Vec<_> = rows.iter().map(|row| bytes(&name(*row))).collect();
        let together = txn.lock_many_for_write(&keys, LockStrength::Update, WAIT).await.unwrap();
        for (key, found) in keys.iter().zip(&together) {
            let alone = txn.lock_for_write(key, LockStrength::Update, WAIT).await.unwrap();
            assert_eq!(*found, alone, "{}", super::text(key));
        }
        assert_eq!(together.iter().filter(|outcome| outcome.changed).count(), 7);
        assert_eq!(together.iter().filter(|outcome| outcome.own).count(), 6);

        let other = store.begin(TxnOptions::default());
        let refused = other.lock_many_for_write(&keys[24..28], LockStrength::KeyShare, WaitPolicy::NoWait);
        assert!(matches!(refused.await, Err(KvError::LockNotAvailable(_))));
        under_way.finish(true);
        store.shared.pending.unregister(&Arc::clone(&under_way));
    });
}

#[test]
fn a_snapshot_that_may_not_move_fails_in_a_batch() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (_node, store) = open(&MemoryStorage::new(), &runtime, KvOptions::default()).await;
        commit(&store, 0..10, Some("old")).await;
        let isolation = IsolationLevel::RepeatableRead;
        let txn = store.begin(TxnOptions { isolation, ..TxnOptions::default() });
        txn.begin_statement();
        commit(&store, [6].into_iter(), Some("newer")).await;
        let keys: Vec<_> = (0..10).map(|row| bytes(&name(row))).collect();
        let locked = txn.lock_many_for_write(&keys, LockStrength::Update, WAIT).await;
        assert!(matches!(locked, Err(KvError::SerializationFailure(_))));
    });
}
