//! Shards that have grown large are split by themselves.

use bytes::Bytes;
use shardforge_consensus::MemoryStorage;
use shardforge_runtime::Simulation;

use super::open;
use super::shards::options;
use crate::limits::SPLIT_CHECK_INTERVAL;
use crate::{ScanRequest, Store, TxnOptions};

async fn fill(store: &Store, keys: std::ops::Range<u32>) {
    let txn = store.begin(TxnOptions::default());
    for key in keys {
        txn.put(Bytes::copy_from_slice(&key.to_be_bytes()), Bytes::from(vec![b'v'; 100]));
    }
    txn.commit().await.unwrap();
}

#[test]
fn large_shards_are_split_where_half_of_them_lies() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let (_node, store) = open(&MemoryStorage::new(), &runtime, options()).await;
        fill(&store, 0..1_000).await;
        runtime.sleep(SPLIT_CHECK_INTERVAL * 3).await;
        assert_eq!(store.shards().len(), 1, "nobody has asked for it");

        let limit_bytes = 40_000;
        store.split_beyond(limit_bytes);
        runtime.sleep(SPLIT_CHECK_INTERVAL * 6).await;
        let shards = store.shards();
        let sizes: Vec<u64> =
            shards.iter().map(|shard| store.size_bytes(&shard.start, shard.end.as_deref())).collect();
        assert!(shards.len() >= 3 && shards.len() <= 8, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= limit_bytes && *size >= limit_bytes / 8), "{sizes:?}");
        let txn = store.begin(TxnOptions::default());
        let page = txn.scan(ScanRequest::new(Bytes::new()..Bytes::from_static(&[0xff; 5]))).await.unwrap();
        assert_eq!(page.rows.len(), 1_000);
    });
}
