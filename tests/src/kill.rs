//! `kill -9` of real servers under load, round after round on one set of data directories.
//!
//! ```text
//!   one server:   load -> so many transactions are acknowledged -> SIGKILL -> the load ends
//!                 -> restart -> compare the ledger with what is there -> the next round
//!
//!   a cluster:    load through all nodes -> so many transactions are acknowledged -> SIGKILL of the next node in turn
//!                 -> every client writes again -> the node is started -> more transactions -> the load ends
//!                 -> compare the ledger with what is there -> the next round
//!                 -> in the end: replicas hold the same
//! ```
//!
//! Other faults take the place of SIGKILL ([`Fault`]): those of the network as well, which then is one of its own.
//!
//! What must hold is said in [`crate::load`].

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::cluster::TestCluster;
pub use crate::faults::Fault;
pub use crate::load::Counts;
use crate::load::{Bulk, Checker, Load, Numbers, Outcome, Plan, Resumption, Troubles, setup};
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
    let mut cluster = match options.fault.partition(0) {
        None => TestCluster::start(directory, options.nodes, &[]),
        Some(_) => TestCluster::start_apart(directory, options.nodes).map_err(Violation::Data)?,
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
        let (outcome, resumption, start) = self.load(cluster, victim, several).await?;
        let counts;
        (counts, self.bulk) =
            self.checker.check(cluster.doors(), round as usize, self.first, &outcome).await?;
        self.first = outcome.next;

        let shards = count_shards(cluster).await?;
        let report = &mut self.report;
        if shards < report.shards {
            return Err(Violation::Data(format!("{} shards have become {shards}", report.shards)));
        }
        report.shards = shards;
        report.splits += outcome.splits;
        report.counts.add(counts);
        report.looks += outcome.looks;
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
        Ok(said)
    }

    /// Puts load on the cluster, does to one of its servers what is to be done, and brings it back: what is known then, how
    /// clients went on meanwhile, and how long the server took to come back.
    async fn load(
        &mut self,
        cluster: &mut TestCluster,
        victim: usize,
        several: bool,
    ) -> Result<(Outcome, Option<Resumption>, Duration), Violation> {
        let options = self.options;
        let plan = Plan { clients: options.clients, splits: options.splits, bulk: options.bulk, several };
        let bulk = std::mem::take(&mut self.bulk);
        let mut load = Load::start(&plan, cluster.doors(), &mut self.numbers, self.first, bulk);
        let bounds = i64::from(*options.commits.start())..=i64::from(*options.commits.end());
        let commits = self.numbers.within(bounds) as u32;
        load.commits(commits).await?;
        let fault = load.fault();
        options.fault.inflict(cluster, victim).await?;
        if !several {
            let outcome = load.stop().await?;
            return Ok((outcome, None, options.fault.undo(cluster, victim).await?));
        }
        let resumption = load.resumed(fault).await?;
        let start = options.fault.undo(cluster, victim).await?;
        load.commits(commits / 2).await?;
        Ok((load.stop().await?, resumption, start))
    }
}

async fn count_shards(cluster: &TestCluster) -> Result<i64, Violation> {
    let rows = cluster.doors().visit(0).await?.query("SHOW SHARDS", &[]).await?;
    Ok(rows.len() as i64)
}
