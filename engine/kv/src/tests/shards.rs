//! Transactions over several shards: what a crash finds of their commits, and what is left when they are cleaned up behind.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shardforge_consensus::{Command, MemoryStorage, ShardId};
use shardforge_runtime::{Runtime, Simulation};

use super::{bytes, open, text};
use crate::encoding::{self, AT_COMMIT, StoredVersion};
use crate::record::{Record, RecordStatus, encode_mark};
use crate::{KvOptions, ScanRequest, Store, Timestamp, TxnId, TxnOptions, Visibility, WaitPolicy};

pub(super) fn options() -> KvOptions {
    KvOptions { gc_ttl: Duration::ZERO, gc_interval: Duration::from_millis(2), ..KvOptions::default() }
}

/// Runs a test on a store of two shards, of which the right one begins with "m".
pub(super) fn with_two_shards<F>(test: impl FnOnce(Runtime, MemoryStorage, Store) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        let (_node, store) = open(&storage, &runtime, options()).await;
        store.split(b"m").await.unwrap();
        test(runtime, storage, store).await;
    });
}

async fn reopen(runtime: &Runtime, storage: &MemoryStorage, store: Store) -> Store {
    drop(store);
    runtime.sleep(Duration::from_secs(3)).await;
    storage.crash();
    open(storage, runtime, options()).await.1
}

pub(super) async fn rows(store: &Store) -> Vec<(String, String)> {
    let txn = store.begin(TxnOptions::default());
    let page = txn.scan(ScanRequest::new(bytes("")..bytes("zz"))).await.unwrap();
    page.rows.iter().map(|(key, value)| (text(key), text(value))).collect()
}

/// All versions, and whether each is an ordinary one.
pub(super) fn versions(store: &Store) -> Vec<bool> {
    let mut found = Vec::new();
    for shard in store.shared.node.shards().data() {
        let range = shardforge_consensus::CursorOptions::range(
            encoding::ROWS_START.to_vec(),
            encoding::ROWS_END.to_vec(),
        );
        let mut cursor = shard.read().cursor(range).unwrap();
        let mut more = cursor.seek_to_first().unwrap();
        while more {
            let version = encoding::decode_version(cursor.value()).unwrap();
            found.push(matches!(version, StoredVersion::Committed(_)));
            more = cursor.next().unwrap();
        }
    }
    found
}

/// How many records and marks there are in all shards.
pub(super) fn records_and_marks(store: &Store) -> usize {
    let mut found = 0;
    for shard in store.shared.node.shards().data() {
        let id = shard.id();
        let (start, end) = (id.local_key(&encoding::RECORDS.0), id.local_key(&encoding::MARKS.1));
        let mut cursor = shard.read().local_cursor(start, end).unwrap();
        let mut more = cursor.seek_to_first().unwrap();
        while more {
            found += 1;
            more = cursor.next().unwrap();
        }
    }
    found
}

async fn commit_two(store: &Store, value: &str) {
    let txn = store.begin(TxnOptions::default());
    txn.put(bytes("a"), bytes(value));
    txn.put(bytes("z"), bytes(value));
    txn.commit().await.unwrap();
}

fn both(value: &str) -> Vec<(String, String)> {
    ["a", "z"].map(|key| (key.to_owned(), value.to_owned())).to_vec()
}

#[test]
fn a_commit_over_two_shards_leaves_ordinary_versions_only() {
    with_two_shards(|runtime, storage, store| async move {
        for value in ["1", "2"] {
            commit_two(&store, value).await;
            assert_eq!(rows(&store).await, both(value));
        }
        runtime.sleep(Duration::from_secs(1)).await;
        // The collector has found what the second one replaced.
        assert_eq!(versions(&store), [true, true]);
        assert_eq!(records_and_marks(&store), 0);
        let last = store.shared.last_commit.load(std::sync::atomic::Ordering::SeqCst);
        let store = reopen(&runtime, &storage, store).await;
        assert_eq!(rows(&store).await, both("2"));
        // A receipt says when it was, once the record is gone.
        assert_eq!(store.shared.last_commit.load(std::sync::atomic::Ordering::SeqCst), last);
    });
}

/// What there is of a commit over both shards when the power fails.
#[derive(Clone, Copy, Debug)]
struct Found {
    record: Option<RecordStatus>,
    mark: Option<u32>,
    rows_listed: bool,
}

/// The attempt that the record is of.
const ATTEMPT: u32 = 1;

async fn write(store: &Store, found: Found) {
    let shared = &store.shared;
    let (txn, commit_ts) = (TxnId(shared.clock.now().as_u64()), shared.clock.now());
    let ids: Vec<ShardId> = shared.node.shards().data().iter().map(|shard| shard.id()).collect();
    let [left, right] = ids[..] else { panic!("two shards") };
    let version = |key: &str| {
        let mut encoded = encoding::row_prefix(key.as_bytes());
        encoding::push_suffix(&mut encoded, commit_ts);
        let mut value = BytesMut::new();
        encoding::push_provisional_value(&mut value, txn, AT_COMMIT, Some(b"new"));
        (Bytes::copy_from_slice(&encoded), value.freeze())
    };
    let mut in_left = Command { puts: vec![version("a")], ..Command::default() };
    if let Some(status) = found.record {
        let record = Record {
            status,
            commit_ts,
            versions_ts: commit_ts,
            attempt: ATTEMPT,
            shards: vec![right],
            rows: found.rows_listed.then(|| vec![bytes("a"), bytes("z")]),
            ..Record::pending()
        };
        in_left.puts.push((left.local_key(&encoding::record_key(txn)), Bytes::from(record.encode())));
    }
    shared.propose_local(left, in_left).await.unwrap();
    if let Some(attempt) = found.mark {
        let mark = (right.local_key(&encoding::mark_key(txn)), Bytes::from(encode_mark(attempt)));
        let command = Command { puts: vec![version("z"), mark], ..Command::default() };
        shared.propose_local(right, command).await.unwrap();
    }
}

/// The value of the rows after the crash, at once and when all is cleaned up, and what is left then.
fn recovered(found: Found) -> (Vec<(String, String)>, Vec<bool>, usize) {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    simulation.block_on(async move {
        let storage = MemoryStorage::new();
        let (node, store) = open(&storage, &runtime, options()).await;
        store.split(b"m").await.unwrap();
        commit_two(&store, "old").await;
        runtime.sleep(Duration::from_secs(1)).await;
        write(&store, found).await;
        drop(node);
        let store = reopen(&runtime, &storage, store).await;
        let at_once = rows(&store).await;
        runtime.sleep(Duration::from_secs(1)).await;
        store.collect_garbage().await.unwrap();
        assert_eq!(rows(&store).await, at_once);
        let left = (versions(&store), records_and_marks(&store));
        let store = reopen(&runtime, &storage, store).await;
        assert_eq!(rows(&store).await, at_once, "the same answer again");
        (at_once, left.0, left.1)
    })
}

#[test]
fn a_commit_found_half_way_is_decided_by_what_is_there() {
    let staging = Found { record: Some(RecordStatus::Staging), mark: Some(ATTEMPT), rows_listed: true };
    // All parts are there: it is committed, and cleaned up behind.
    assert_eq!(recovered(staging), (both("new"), vec![true, true], 0));
    // The same when it cannot be cleaned up behind, but for its record.
    let large = Found { rows_listed: false, ..staging };
    assert_eq!(recovered(large), (both("new"), vec![false, false], 1));
    // A part is missing, or is that of an attempt before: nothing of it is left.
    for mark in [None, Some(ATTEMPT - 1)] {
        let cut_off = Found { mark, ..staging };
        assert_eq!(recovered(cut_off), (both("old"), vec![true, true], 0), "{cut_off:?}");
    }
    // There is no record yet, or the transaction was still writing.
    for record in [None, Some(RecordStatus::Pending)] {
        let cut_off = Found { record, ..staging };
        assert_eq!(recovered(cut_off), (both("old"), vec![true, true], 0), "{cut_off:?}");
    }
}

#[test]
fn a_lock_in_another_shard_takes_part() {
    with_two_shards(|runtime, _storage, store| async move {
        commit_two(&store, "1").await;
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        txn.lock(b"z", crate::LockStrength::Share, WaitPolicy::NoWait).await.unwrap();
        txn.put(bytes("a"), bytes("2"));
        txn.commit().await.unwrap();
        assert_eq!(rows(&store).await[0], ("a".to_owned(), "2".to_owned()));
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!((versions(&store), records_and_marks(&store)), (vec![true, true], 0));
        assert!(store.locks().is_empty());
    });
}

#[test]
fn transactions_of_one_shard_leave_no_record() {
    with_two_shards(|_runtime, _storage, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.put(bytes("a"), bytes("1"));
        txn.put(bytes("b"), bytes("1"));
        txn.commit().await.unwrap();
        assert_eq!((versions(&store), records_and_marks(&store)), (vec![true, true], 0));
    });
}

#[test]
fn a_split_between_lock_and_commit_goes_unnoticed() {
    with_two_shards(|_runtime, _storage, store| async move {
        let txn = store.begin(TxnOptions::default());
        txn.begin_statement();
        for key in ["a", "c"] {
            txn.lock(key.as_bytes(), crate::LockStrength::Update, WaitPolicy::NoWait).await.unwrap();
            txn.put(bytes(key), bytes("1"));
        }
        // Twice, so that the shard of the second row is one that was split off one that was split off.
        store.split(b"b").await.unwrap();
        store.split(b"c").await.unwrap();
        txn.commit().await.unwrap();
        let found = store.begin(TxnOptions::default()).get(b"c", Visibility::Statement).await.unwrap();
        assert_eq!(found, Some(bytes("1")));
        let shards = store.shards();
        let starts: Vec<_> = shards.iter().map(|shard| text(&shard.start)).collect();
        assert_eq!(starts, ["", "b", "c", "m"]);
        assert!(shards.iter().all(|shard| shard.is_leader && shard.term > 0));
        assert_eq!(shards[0].end, Some(bytes("b")));
    });
}

#[test]
fn sequences_and_cleared_ranges_lie_where_they_lie() {
    with_two_shards(|runtime, storage, store| async move {
        commit_two(&store, "1").await;
        assert_eq!(store.next_id(7).await.unwrap(), 0);
        store.split(b"").await.unwrap();
        assert_eq!(store.next_id(7).await.unwrap(), 1);
        store.clear_range(b"", b"zz");
        runtime.sleep(Duration::from_secs(2)).await;
        assert!(rows(&store).await.is_empty() && versions(&store).is_empty());
        let store = reopen(&runtime, &storage, store).await;
        assert!(store.next_id(7).await.unwrap() > 1);
        assert_eq!(store.shards().len(), 3);
        assert!(store.now() > Timestamp::MIN);
    });
}
