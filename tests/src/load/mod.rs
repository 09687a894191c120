//! Load with a ledger: transactions that leave traces, so that what became of them can be told afterwards.
//!
//! ```text
//!   Worker, ...   TPC-B, transfers with savepoints, unique keys      ->  entries: number, parts, fate
//!   write_bulk    one large transaction after the other
//!   split         shards begin in new places
//!   watch         what is acknowledged is seen by others, and sums never change
//!   Historian, ... lists, registers and cells at three levels      ->  histories
//!
//!   Load::stop -> Outcome -> Checker: the ledger against what is there
//! ```
//!
//! Every transaction has a number, and writes it together with all else into a table of its kind. Afterwards:
//!
//! - what was acknowledged is there; what was rolled back, or had not come to its COMMIT, is not; what was in doubt (the
//!   connection was lost during COMMIT) is there or not;
//! - whatever is there is there whole: all parts but those that were undone by a rollback to a savepoint, in all of the
//!   shards that it wrote to (each balance is the sum of what the transactions say that it was changed by);
//! - indexes have the entries of their tables' rows, and keys are unique;
//! - what earlier loads have left is as it was;
//! - the histories have no anomaly that their level forbids ([`check_histories`]).

mod check;
mod historian;
mod histories;
mod ledger;
mod numbers;
mod others;
mod shared;
mod tables;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::Error;

use crate::doors::Doors;
use crate::violation::Violation;
pub use check::Checker;
use historian::Historian;
use histories::Level;
pub use histories::{Remembered, check as check_histories};
pub use ledger::{Bulk, Counts, Entry};
pub use numbers::Numbers;
use shared::{Fault, Resumed, Shared};
pub use tables::setup;
pub use worker::Troubles;
use worker::Worker;

/// How long a load may take to get so far, or to get going again, before that counts as never.
const PROGRESS_MAX: Duration = Duration::from_secs(120);

/// Clients with histories at each level.
const HISTORIANS: usize = 3;

/// What a load is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients with small transactions.
    pub clients: u32,
    /// Splits, at most.
    pub splits: u32,
    /// Whether there are large transactions too.
    pub bulk: bool,
    /// Whether there are clients with histories.
    pub histories: bool,
    /// Whether other nodes take over when one fails.
    pub several: bool,
}

/// What is known when a load has ended.
#[derive(Debug)]
pub struct Outcome {
    /// The small transactions.
    pub entries: Vec<Entry>,
    /// The large ones.
    pub bulk: Bulk,
    /// Splits acknowledged.
    pub splits: u32,
    /// How often it was seen that nothing is lost.
    pub looks: u64,
    /// What is remembered for histories.
    pub remembered: Vec<Remembered>,
    /// What went wrong that may go wrong.
    pub troubles: Troubles,
    /// The number of the first transaction after it.
    pub next: i64,
}

/// How long it took after a fault until clients wrote again.
#[derive(Clone, Copy, Debug)]
pub struct Resumption {
    /// Until the first of them did.
    pub first: Duration,
    /// Until each of them did.
    pub all: Duration,
    /// How many had lost their connection.
    pub lost: u32,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: u32,
    resumed: UnboundedReceiver<Resumed>,
    workers: JoinSet<Result<(Vec<Entry>, Troubles), Error>>,
    historians: JoinSet<Result<Vec<Remembered>, Error>>,
    bulk: JoinHandle<Result<Bulk, Error>>,
    splits: JoinHandle<Result<u32, Error>>,
    watcher: JoinHandle<Result<u64, Violation>>,
}

impl Load {
    /// Starts one on a database that [`setup`] has made, with transactions from number `first` on.
    pub fn start(plan: &Plan, doors: &Doors, numbers: &mut Numbers, first: i64, bulk: Bulk) -> Load {
        let (sender, resumed) = unbounded_channel();
        let shared = Arc::new(Shared::new(doors.clone(), plan.several, first, sender));
        let mut workers = JoinSet::new();
        for home in 0..plan.clients {
            workers.spawn(Worker::new(home as usize, numbers.fork(), Arc::clone(&shared)).run());
        }
        let mut historians = JoinSet::new();
        for home in 0..if plan.histories { HISTORIANS } else { 0 } {
            for level in Level::ALL {
                let (numbers, shared) = (numbers.fork(), Arc::clone(&shared));
                historians.spawn(Historian::new(home, level, numbers, shared, first).run());
            }
        }
        let (large, splitting) = (Arc::clone(&shared), Arc::clone(&shared));
        let has_bulk = plan.bulk;
        let bulk =
            tokio::spawn(
                async move { if has_bulk { others::write_bulk(bulk, large).await } else { Ok(bulk) } },
            );
        let splits = tokio::spawn(others::split(numbers.fork(), plan.splits, splitting));
        let watcher = tokio::spawn(others::watch(Arc::clone(&shared)));
        Load { shared, clients: plan.clients, resumed, workers, historians, bulk, splits, watcher }
    }

    /// Waits until so many more transactions are acknowledged, or a client has seen what must not be, which
    /// [`Load::stop`] tells then.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn commits(&self, count: u32) -> Result<(), Violation> {
        let committed = timeout(PROGRESS_MAX, async {
            tokio::select! {
                biased;
                () = self.shared.ended() => {}
                permits = self.shared.committed.acquire_many(count) => {
                    permits.expect("the semaphore is never closed").forget();
                }
            }
        });
        let too_long = || Violation::Data(format!("{count} transactions take more than {PROGRESS_MAX:?}"));
        committed.await.map_err(|_| too_long())
    }

    /// Notes that something is done to the cluster now.
    pub fn fault(&self) -> Fault {
        self.shared.fault()
    }

    /// Waits until every client has had a transaction acknowledged that it began after a fault; none when a client has
    /// seen what must not be, which [`Load::stop`] tells then.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn resumed(&mut self, fault: Fault) -> Result<Option<Resumption>, Violation> {
        let (mut resumption, mut count) =
            (Resumption { first: Duration::MAX, all: Duration::ZERO, lost: 0 }, 0);
        while count < self.clients {
            let next = timeout(PROGRESS_MAX, async {
                tokio::select! {
                    biased;
                    () = self.shared.ended() => None,
                    next = self.resumed.recv() => next,
                }
            });
            let Ok(next) = next.await else {
                return Err(Violation::Data(format!(
                    "{count} clients write again {PROGRESS_MAX:?} after a fault"
                )));
            };
            let Some(next) = next else { return Ok(None) };
            if next.fault == fault.number {
                count += 1;
                resumption.first = resumption.first.min(next.after);
                resumption.all = resumption.all.max(next.after);
                resumption.lost += u32::from(next.lost);
            }
        }
        Ok(Some(resumption))
    }

    /// Asks the clients to end, each after the transaction that it is in; what is known then.
    ///
    /// # Errors
    /// The first thing that a client has seen and must not have seen.
    pub async fn stop(mut self) -> Result<Outcome, Violation> {
        self.shared.end();
        let (mut entries, mut troubles) = (Vec::new(), Troubles::new());
        while let Some(worker) = self.workers.join_next().await {
            let (more, what) = worker.expect("a client does not panic")?;
            entries.extend(more);
            for (what, count) in what {
                *troubles.entry(what).or_default() += count;
            }
        }
        let mut remembered = Vec::new();
        while let Some(historian) = self.historians.join_next().await {
            remembered.extend(historian.expect("a client does not panic")?);
        }
        let bulk = self.bulk.await.expect("a client does not panic")?;
        let splits = self.splits.await.expect("a client does not panic")?;
        let looks = self.watcher.await.expect("a client does not panic")?;
        let next = self.shared.next_number();
        Ok(Outcome { entries, bulk, splits, looks, remembered, troubles, next })
    }
}
