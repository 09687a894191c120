//! Experiment 2: one synced write serves many concurrent commits.
//!
//! Opens a node in a temporary directory (or in the one given) and lets 1, 8 and 32 clients propose small
//! commands as fast as they are acknowledged. Prints commits, synced writes, latencies and CPU time, next to what
//! the disk does alone: `docs/decisions/0003-group-commit.md` holds the results.
//!
//! ```text
//! cargo run --release -p shardforge-consensus --example group_commit [seconds] [directory]
//! ```

#![allow(clippy::disallowed_methods, reason = "an experiment measures the real clock and real tasks")]

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardforge_consensus::{Command, DATA_START, Node, NodeOptions, Storage};
use shardforge_runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let temporary = tempfile::tempdir_in(arguments.next().unwrap_or_else(|| ".".to_owned()))?;
    let disk = disk_alone(temporary.path())?;
    println!("fdatasync of 300 appended bytes, alone: {disk:.0} us");

    let options = NodeOptions::new(Storage::RocksDb(temporary.path().join("data")));
    let node = Node::open(options, Runtime::current()).await?;
    println!("clients   commits/s   syncs/s  commits/sync   mean us   p50 us   p99 us   CPU us/commit");
    for clients in [1, 8, 32] {
        run(&node, clients, Duration::from_secs(seconds)).await?;
    }
    node.shutdown().await?;
    Ok(())
}

/// The mean time in microseconds that the disk takes to append and sync a little, by itself.
fn disk_alone(directory: &Path) -> Outcome<f64> {
    let mut file = File::create(directory.join("probe"))?;
    let rounds = 500_u32;
    let start = Instant::now();
    for _ in 0..rounds {
        file.write_all(&[7; 300])?;
        file.sync_data()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds))
}

async fn run(node: &Arc<Node>, clients: u64, length: Duration) -> Outcome<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let before = node.log_stats();
    let cpu_before = cpu_seconds()?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (node, stop, next) = (Arc::clone(node), Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move { work(&node, client, &stop, &next).await })
        })
        .collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.append(&mut task.await??);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds()? - cpu_before;
    let after = node.log_stats();
    latencies.sort_unstable();
    let commits = latencies.len().max(1) as f64;
    let syncs = (after.syncs - before.syncs).max(1) as f64;
    let mean = latencies.iter().sum::<u64>() as f64 / commits / 1e3;
    let percentile =
        |part: usize| latencies.get(latencies.len() * part / 100).map_or(0.0, |nanos| *nanos as f64 / 1e3);
    println!(
        "{clients:7}  {:10.0}  {:8.0}  {:12.2}  {mean:8.0} {:8.0} {:8.0}  {:14.1}",
        commits / elapsed,
        syncs / elapsed,
        commits / syncs,
        percentile(50),
        percentile(99),
        cpu * 1e6 / commits,
    );
    Ok(())
}

/// One client: proposes, waits, proposes; returns each proposal's time in nanoseconds.
async fn work(node: &Node, client: u64, stop: &AtomicBool, next: &AtomicU64) -> Outcome<Vec<u64>> {
    let mut latencies = Vec::new();
    let shard = node.shard_for(&[DATA_START]).ok_or("there is no data shard")?;
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        // About what a TPC-B transaction writes: three rows changed, one added.
        let puts =
            (0..4_u64).map(|row| (key(row, number % 10_000 + client), Bytes::from(vec![7; 100]))).collect();
        let started = Instant::now();
        shard.propose(Command { puts, ..Command::default() }).await?;
        latencies.push(u64::try_from(started.elapsed().as_nanos())?);
    }
    Ok(latencies)
}

fn key(table: u64, row: u64) -> Bytes {
    let mut key = vec![DATA_START];
    key.extend_from_slice(&table.to_be_bytes());
    key.extend_from_slice(&row.to_be_bytes());
    key.extend_from_slice(&[0; 8]);
    Bytes::from(key)
}

/// The CPU time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").ok_or("an odd /proc/self/stat")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = || -> Outcome<f64> { Ok(fields.next().ok_or("an odd /proc/self/stat")?.parse::<f64>()?) };
    Ok((ticks()? + ticks()?) / 100.0)
}
