//! The collector looks for garbage at the keys that commits wrote. It has to find there what a look at everything finds.

use std::time::Duration;

use bytes::Bytes;
use shardforge_consensus::MemoryStorage;
use shardforge_runtime::Simulation;

use super::{bytes, open};
use crate::{KvOptions, Store, TxnOptions, encoding, gc};

async fn commit(store: &Store, key: &str, value: Option<&str>) {
    let txn = store.begin(TxnOptions::default());
    match value {
        Some(value) => txn.put(bytes(key), bytes(value)),
        None => txn.delete(bytes(key)),
    }
    txn.commit().await.unwrap();
}

#[test]
fn garbage_is_found_by_key_as_everywhere() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        // The collector itself stays away.
        let options = KvOptions {
            gc_ttl: Duration::ZERO,
            gc_interval: Duration::from_secs(3_600),
            ..KvOptions::default()
        };
        let (_node, store) = open(&MemoryStorage::new(), &runtime, options).await;
        let name = |row: usize| format!("k{row:02}");
        for row in 0..50 {
            commit(&store, &name(row), Some("a")).await;
            if row % 2 == 0 {
                commit(&store, &name(row), Some("b")).await;
            }
            if row % 5 == 0 {
                commit(&store, &name(row), None).await;
            }
        }
        // A table in the midst of the keys is dropped: nothing is there any more.
        let bound = |key: &str| Bytes::copy_from_slice(&encoding::row_bound(key.as_bytes()));
        store.shared.clear(bound("k20"), bound("k30")).await.unwrap();

        let rows = (0..50).map(|row| bytes(&name(row)));
        let never_written = (0..50).map(|row| bytes(&format!("k{row:02}x")));
        let mut keys: Vec<Bytes> = rows.chain(never_written).collect();
        keys.sort();
        let found = gc::garbage_of(&store.shared, &keys, store.shared.clock.now()).unwrap();
        // 16 rows have one old version, 4 deleted ones three (with the mark), 4 deleted ones two.
        assert_eq!(found.len(), 16 + 4 * 3 + 4 * 2);
        assert_eq!(store.collect_garbage().await.unwrap(), found.len() as u64);
        let again = gc::garbage_of(&store.shared, &keys, store.shared.clock.now()).unwrap();
        assert!(again.is_empty(), "{again:?}");
    });
}
