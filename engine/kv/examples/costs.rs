//! What the store's operations cost, measured on this machine.
//!
//! ```text
//!   cargo run --release -p shardforge-kv --example costs -- [--data-dir DIR] [--rows N] [--seconds N] [--early-lock-release off]
//! ```
//!
//! Without a data directory it measures the memory engine: the costs of this crate alone. With one, commits
//! include the log's sync.

#![allow(clippy::disallowed_methods, reason = "an experiment measures the real clock and real tasks")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardforge_consensus::{MemoryStorage, Node, Storage};
use shardforge_kv::{
    KvOptions, LockStrength, ScanRequest, Store, TxnOptions, Visibility, WaitLimits, WaitPolicy,
};
use shardforge_runtime::Runtime;

struct Arguments {
    data_dir: Option<PathBuf>,
    early: bool,
    rows: u64,
    seconds: u64,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments { data_dir: None, early: true, rows: 100_000, seconds: 2 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--data-dir" => parsed.data_dir = Some(value.into()),
            "--early-lock-release" => parsed.early = value == "on",
            "--rows" => parsed.rows = value.parse().expect("a number of rows"),
            "--seconds" => parsed.seconds = value.parse().expect("a number of seconds"),
            _ => panic!("unknown argument {word}"),
        }
    }
    parsed
}

fn key(row: u64) -> Bytes {
    let mut key = vec![1, 0, 0, 64, 1];
    key.extend_from_slice(&row.to_be_bytes());
    key.into()
}

/// The row that the `n`th step of a walk without a visible order touches.
fn scattered(n: u64, rows: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows
}

fn report(what: &str, count: u64, took: Duration) {
    let each = took.as_secs_f64() / count.max(1) as f64;
    println!("{what:<44} {:>10.2} us   {:>10.0}/s", each * 1e6, count as f64 / took.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let arguments = arguments();
    let runtime = Runtime::current();
    let storage = match arguments.data_dir.clone() {
        Some(directory) => Storage::RocksDb(directory),
        None => Storage::Memory(MemoryStorage::new()),
    };
    let node = Node::open(Store::node_options(storage), runtime.clone()).await.expect("the node opens");
    let options = KvOptions { early_lock_release: arguments.early, ..KvOptions::default() };
    let store = Store::open(Arc::clone(&node), runtime, options).expect("the store opens");

    load(&store, arguments.rows).await;
    reads(&store, &arguments).await;
    for clients in [1, 8, 32] {
        commits(&store, &arguments, clients, "update of one row each", 0).await;
    }
    for clients in [8, 32] {
        commits(&store, &arguments, clients, "all update the same row", 1).await;
    }
    println!("{:?}", store.stats());
    store.close().await.expect("the store closes");
    node.shutdown().await.expect("the node shuts down");
}

/// One transaction that writes all rows, as COPY does.
async fn load(store: &Store, rows: u64) {
    let start = Instant::now();
    let txn = store.begin(TxnOptions::default());
    let value = Bytes::from(vec![7; 100]);
    for row in 0..rows {
        txn.lock(&key(row), LockStrength::Update, WaitPolicy::NoWait).await.expect("a lock");
        txn.put(key(row), value.clone());
    }
    txn.commit().await.expect("a commit");
    report("load: lock and put in one transaction, a row", rows, start.elapsed());
}

async fn reads(store: &Store, arguments: &Arguments) {
    let limit = Duration::from_secs(arguments.seconds);
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < limit {
        for _ in 0..100 {
            let txn = store.begin(TxnOptions::default());
            txn.begin_statement();
            let found = txn.get(&key(scattered(count, arguments.rows)), Visibility::Statement).await;
            assert!(found.expect("a read").is_some());
            txn.commit().await.expect("a commit");
            count += 1;
        }
    }
    report("begin, get, commit", count, start.elapsed());

    let txn = store.begin(TxnOptions::default());
    txn.begin_statement();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < limit {
        for _ in 0..100 {
            let found = txn.get(&key(scattered(count, arguments.rows)), Visibility::Statement).await;
            assert!(found.expect("a read").is_some());
            count += 1;
        }
    }
    report("get alone", count, start.elapsed());

    let start = Instant::now();
    let mut request = ScanRequest::new(key(0)..key(arguments.rows));
    let mut count = 0;
    loop {
        let page = txn.scan(request.clone()).await.expect("a scan");
        count += page.rows.len() as u64;
        match page.resume {
            Some(resume) => request = request.resumed(resume),
            None => break,
        }
    }
    report("scan, a row", count, start.elapsed());
    assert_eq!(count, arguments.rows);
}

/// Transactions of one update each; `hot` rows are shared by all, or (0) none is.
async fn commits(store: &Store, arguments: &Arguments, clients: u64, what: &str, hot: u64) {
    let done = Arc::new(AtomicU64::new(0));
    let limit = Duration::from_secs(arguments.seconds);
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (store, done, rows) = (store.clone(), Arc::clone(&done), arguments.rows);
            tokio::spawn(async move {
                let value = Bytes::from(vec![client as u8; 100]);
                let mut step = client << 32;
                while start.elapsed() < limit {
                    step += 1;
                    let row = if hot > 0 { step % hot } else { scattered(step, rows) };
                    let txn = store.begin(TxnOptions::default());
                    txn.begin_statement();
                    txn.lock(&key(row), LockStrength::NoKeyUpdate, WaitPolicy::Wait(WaitLimits::NONE))
                        .await
                        .expect("a lock");
                    txn.put(key(row), value.clone());
                    txn.commit().await.expect("a commit");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a client");
    }
    report(&format!("{what}, {clients} clients"), done.load(Ordering::Relaxed), start.elapsed());
}
