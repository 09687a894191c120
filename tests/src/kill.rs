//! `kill -9` of real servers under load, round after round on one set of data directories.
//!
//! ```text
//!   one server:   load -> so many transactions are acknowledged -> SIGKILL -> the load ends
//!                 -> restart -> compare the ledger with what is there -> the next round
//!
//!   a cluster:    load through all nodes -> so many transactions are acknowledged -> SIGKILL of the next node in turn
//!                 -> every client writes again -> the node is started -> every client writes again -> the load ends
//!                 -> compare the ledger with what is there, check the histories -> the next round
//!                 -> in the end: replicas hold the same
//! ```
//!
//! Other faults take the place of SIGKILL ([`Fault`]): those of networks, disks and clocks as well, which are the nodes' own then.
//!
//! What must hold is said in [`crate::load`].

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::cluster::TestCluster;
pub use crate::faults::Fault;
use crate::faults::RECOVERY_MAX;
pub use crate::load::Counts;
use crate::load::{
    Bulk, Checker, Load, Numbers, Outcome, Plan, Resumption, Troubles, check_histories, setup,
};
use crate::violation::Violation;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Servers: one by itself, or the nodes of a cluster.
    pub nodes: usize,
    /// How often one is killed.
    pub rounds: u32,
    /// Clients with small transactions.
    pub clients: u32,
    /// Transactions acknowledged before it is killed, amid the next ones: between these, in each round.
    pub commits: RangeInclusive<u32>,
    /// Splits in each round, at most.
    pub splits: u32,
    /// Whether there are large transactions too.
    pub bulk: bool,
    /// Whether there are clients whose histories are checked.
    pub histories: bool,
    /// What is done to a server.
    pub fault: Fault,
    /// What random numbers begin with.
    pub seed: u64,
}

/// What has happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Small transactions.
    pub counts: Counts,
    /// Splits acknowledged.
    pub splits: u32,
    /// Shards in the end.
    pub shards: i64,
    /// How often a client looked meanwhile and found nothing lost.
    pub looks: u64,
    /// Replicas that were found to hold the same in the end.
    pub replicas: usize,
    /// The longest time from the start of a process until it served.
    pub slowest_start: Duration,
    /// What went wrong that may go wrong.
    pub troubles: Troubles,
    /// Of each round whose victim ran the transactions, so that every client lost its connection: the time until the first
    /// of them wrote again, and until all did.
    pub failovers: Vec<(Duration, Duration)>,
    /// Of each other round the time until all clients wrote again.
    pub others: Vec<Duration>,
    /// Of each round the time from when the fault was undone until the server served again, and all clients had written again.
    pub recoveries: Vec<Duration>,
    /// Committed transactions in histories that were checked.
    pub checked: u64,
}

/// The middle one and the largest.
pub fn median_and_worst(times: impl Iterator<Item = Duration>) -> Option<(Duration, Duration)> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

/// Runs rounds in a new directory, and tells of each.
///
/// # Errors
/// The first thing that is wrong.
pub async fn run(
    options: &Options,
    directory: &Path,
    mut tell: impl FnMut(String),
) -> Result<Report, Violation> {
    let mut cluster = if options.nodes == 1 {
        TestCluster::start(directory, 1, &[])
    } else {
        let surroundings = options.fault.surroundings(directory, options.nodes).map_err(Violation::Data)?;
        TestCluster::start_in(surroundings, directory, options.nodes, &[])
    };
    let client = cluster.doors().visit(0).await?;
    for statement in setup() {
        client.batch_execute(&statement).await?;
    }
    drop(client);
    cluster.replicated().await?;
    let mut rounds = Rounds {
        options,
        numbers: Numbers::new(options.seed),
        checker: Checker::default(),
        bulk: Bulk::default(),
        first: 1,
        report: Report { shards: count_shards(&cluster).await?, ..Report::default() },
    };
    for round in 1..=options.rounds {
        let said = rounds.round(&mut cluster, round).await?;
        cluster.healthy().map_err(Violation::Data)?;
        tell(format!("round {round}: {said}"));
    }
    if options.nodes > 1 {
        rounds.report.replicas = cluster.replicas_agree().await?;
    }
    Ok(rounds.report)
}

struct Rounds<'o> {
    options: &'o Options,
    numbers: Numbers,
    checker: Checker,
    bulk: Bulk,
    /// The number of the next transaction.
    first: i64,
    report: Report,
}

impl Rounds<'_> {
    async fn round(&mut self, cluster: &mut TestCluster, round: u32) -> Result<String, Violation> {
        let several = self.options.nodes > 1;
        let victim = (round as usize - 1) % self.options.nodes;
        let Ran { mut outcome, resumption, start, recovery } = self.load(cluster, victim, several).await?;
        let counts;
        (counts, self.bulk) =
            self.checker.check(cluster.doors(), round as usize, self.first, &outcome).await?;
        self.first = outcome.next;
        let remembered = std::mem::take(&mut outcome.remembered);
        let checking = tokio::task::spawn_blocking(move || check_histories(&remembered));
        let checked = checking.await.expect("the check does not panic").map_err(Violation::Data)?;

        let shards = count_shards(cluster).await?;
        let report = &mut self.report;
        if shards < report.shards {
            return Err(Violation::Data(format!("{} shards have become {shards}", report.shards)));
        }
        report.shards = shards;
        report.splits += outcome.splits;
        report.counts.add(counts);
        report.looks += outcome.looks;
        report.checked += checked;
        report.recoveries.extend(recovery);
        report.slowest_start = report.slowest_start.max(start);
        for (what, count) in outcome.troubles {
            *report.troubles.entry(what).or_default() += count;
        }
        let mut said = format!(
            "{} acknowledged, {} undone, {} in doubt ({} came), {shards} shards, serving again after {} ms",
            counts.committed,
            counts.undone,
            counts.in_doubt,
            counts.came,
            start.as_millis()
        );
        if let Some(Resumption { first, all, lost }) = resumption {
            let failover = lost == self.options.clients;
            if failover {
                report.failovers.push((first, all));
            } else {
                report.others.push(all);
            }
            said.push_str(&format!(
                "; node {}{} was lost by {lost} clients, writes resumed after {} ms, everybody's after {} ms",
                victim + 1,
                if failover { " (primary)" } else { "" },
                first.as_millis(),
                all.as_millis()
            ));
        }
        if let Some(recovery) = recovery {
            said.push_str(&format!(
                "; everybody's after the fault was undone after {} ms",
                recovery.as_millis()
            ));
        }
        Ok(said)
    }

    /// Puts load on the cluster, does to one of its servers what is to be done, and brings it back: what is known then, how
    /// clients went on meanwhile, and how long it took until all was well again.
    async fn load(
        &mut self,
        cluster: &mut TestCluster,
        victim: usize,
        several: bool,
    ) -> Result<Ran, Violation> {
        let options = self.options;
        let plan = Plan {
            clients: options.clients,
            splits: options.splits,
            bulk: options.bulk,
            histories: options.histories,
            several,
        };
        let bulk = std::mem::take(&mut self.bulk);
        let mut load = Load::start(&plan, cluster.doors(), &mut self.numbers, self.first, bulk);
        let bounds = i64::from(*options.commits.start())..=i64::from(*options.commits.end());
        let commits = self.numbers.within(bounds) as u32;
        load.commits(commits).await?;
        let (mut fault, begun) = (load.fault(), Instant::now());
        options.fault.inflict(cluster, victim).await?;
        if options.fault.takes_time() {
            fault = load.fault();
        }
        if !several {
            let outcome = load.stop().await?;
            let start = options.fault.undo(cluster, victim).await?;
            return Ok(Ran { outcome, resumption: None, start, recovery: None });
        }
        let resumption = load.resumed(fault).await?;
        sleep(options.fault.lasts_min().saturating_sub(begun.elapsed())).await;
        let undone = load.fault();
        let start = options.fault.undo(cluster, victim).await?;
        let recovery = load.resumed(undone).await?.map(|resumed| resumed.all.max(start));
        if let Some(recovery) = recovery.filter(|recovery| *recovery > RECOVERY_MAX) {
            let what = format!("clients write again {recovery:?} after {:?} was undone", options.fault);
            return Err(Violation::Data(what));
        }
        load.commits(commits / 2).await?;
        Ok(Ran { outcome: load.stop().await?, resumption, start, recovery })
    }
}

/// What has come of a load.
struct Ran {
    outcome: Outcome,
    /// How clients went on after the fault.
    resumption: Option<Resumption>,
    /// How long the server took to serve again.
    start: Duration,
    /// How long it took until all clients wrote again besides.
    recovery: Option<Duration>,
}

async fn count_shards(cluster: &TestCluster) -> Result<i64, Violation> {
    let rows = cluster.doors().visit(0).await?.query("SHOW SHARDS", &[]).await?;
    Ok(rows.len() as i64)
}
