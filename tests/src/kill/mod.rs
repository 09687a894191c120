//! `kill -9` of the real server under load, round after round on one data directory.
//!
//! ```text
//!   set up tables in several shards
//!   round:  clients: TPC-B, transfers with savepoints, unique keys | a large transaction | splits
//!           -> so many transactions are acknowledged -> SIGKILL
//!           -> restart -> compare the ledger with what is there -> the next round
//! ```
//!
//! Every transaction has a number, and writes it together with all else into a table of its kind. Afterwards:
//!
//! - what was acknowledged is there; what was rolled back, or had not come to its COMMIT, is not; what was in doubt is
//!   there or not;
//! - whatever is there is there whole: all parts but those that were undone by a rollback to a savepoint, in all of the
//!   shards that it wrote to (each balance is the sum of what the transactions say that it was changed by);
//! - indexes have the entries of their tables' rows, and keys are unique;
//! - what the rounds before have left is as it was, shards among it.

mod check;
mod client;
mod ledger;
mod numbers;
mod tables;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::Server;
use check::Checker;
pub use check::Violation;
use client::{Shared, Worker, split, write_bulk};
pub use ledger::Counts;
use ledger::{Bulk, Entry};
use numbers::Numbers;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often the server is killed.
    pub rounds: u32,
    /// Clients with small transactions.
    pub clients: u32,
    /// Transactions acknowledged before it is killed, amid the next ones: between these, in each round.
    pub commits: RangeInclusive<u32>,
    /// Splits in each round, at most.
    pub splits: u32,
    /// What random numbers begin with.
    pub seed: u64,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Small transactions.
    pub counts: Counts,
    /// Splits acknowledged.
    pub splits: u32,
    /// Shards in the end.
    pub shards: i64,
    /// The longest time from the start of the process until it served.
    pub slowest_start: Duration,
}

/// Runs rounds on a new data directory, and tells of each.
///
/// # Errors
/// The first thing that is wrong.
pub async fn run(
    options: &Options,
    directory: &Path,
    mut tell: impl FnMut(String),
) -> Result<Report, Violation> {
    let mut numbers = Numbers::new(options.seed);
    let mut server = Server::start(directory);
    let client = server.connect().await;
    for statement in tables::setup() {
        client.batch_execute(&statement).await?;
    }
    let (mut checker, mut bulk, mut report) = (Checker::default(), Bulk::default(), Report::default());
    report.shards = count_shards(&server).await?;
    let mut first = 1;
    for round in 1..=options.rounds {
        let load = load(options, &mut numbers, &mut server, first, bulk).await?;
        let started = Instant::now();
        server = Server::start(directory);
        let start = started.elapsed();
        let client = server.connect().await;
        let counts;
        (counts, bulk) = checker.check(&client, first, &load.entries, load.bulk).await?;
        checker.settle(&client, load.next).await?;
        first = load.next;

        let shards = count_shards(&server).await?;
        if shards < report.shards {
            return Err(Violation::Data(format!("{} shards have become {shards}", report.shards)));
        }
        report.shards = shards;
        report.splits += load.splits;
        report.counts.add(counts);
        report.slowest_start = report.slowest_start.max(start);
        tell(format!(
            "round {round}: {} acknowledged, {} undone, {} in doubt ({} came), {shards} shards, serving again after {} ms",
            counts.committed,
            counts.undone,
            counts.in_doubt,
            counts.came,
            start.as_millis()
        ));
    }
    Ok(report)
}

async fn count_shards(server: &Server) -> Result<i64, Violation> {
    let rows = server.connect().await.query("SHOW SHARDS", &[]).await?;
    Ok(rows.len() as i64)
}

/// What is known of a round when its server has been killed.
struct Load {
    entries: Vec<Entry>,
    bulk: Bulk,
    splits: u32,
    /// The number of the first transaction after it.
    next: i64,
}

/// Puts load on a server and kills it under it.
async fn load(
    options: &Options,
    numbers: &mut Numbers,
    server: &mut Server,
    first: i64,
    bulk: Bulk,
) -> Result<Load, Violation> {
    let shared = Arc::new(Shared { next: AtomicI64::new(first), committed: Semaphore::new(0) });
    let mut workers = JoinSet::new();
    for _ in 0..options.clients {
        let worker = Worker::new(server.connect().await, numbers.fork(), Arc::clone(&shared)).await?;
        workers.spawn(worker.run());
    }
    let bulk = tokio::spawn(write_bulk(server.connect().await, bulk, Arc::clone(&shared)));
    let splits =
        tokio::spawn(split(server.connect().await, numbers.fork(), options.splits, Arc::clone(&shared)));
    let bounds = i64::from(*options.commits.start())..=i64::from(*options.commits.end());
    // Closed when a client has seen what must not be: it says so below.
    let _loaded = shared.committed.acquire_many(numbers.within(bounds) as u32).await;
    server.kill();

    let mut entries = Vec::new();
    while let Some(worker) = workers.join_next().await {
        entries.extend(worker.expect("a client does not panic")?);
    }
    let bulk = bulk.await.expect("a client does not panic")?;
    let splits = splits.await.expect("a client does not panic")?;
    Ok(Load { entries, bulk, splits, next: shared.next.load(Ordering::Relaxed) })
}
