//! A cluster that grows and shrinks under load: 1 node, 3, 5, and 3 again, and then a restart of each.
//!
//! ```text
//!   node 1 -> load -> nodes 2, 3 join -> nodes 4, 5 join -> two of them leave, the first among them
//!          -> SIGTERM and restart of each that is left, one after the other -> the load ends
//!          -> compare the ledger with what is there; replicas hold the same
//! ```
//!
//! No transaction may fail but in a way that a client can begin again after. What must hold is said in [`crate::load`].

use std::path::Path;
use std::time::Instant;

use crate::cluster::TestCluster;
use crate::load::{Bulk, Checker, Counts, Load, Numbers, Plan, Troubles, setup};
use crate::violation::Violation;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients with small transactions.
    pub clients: u32,
    /// Shards, at least.
    pub shards: u32,
    /// By how much, of their mean, the replicas of two nodes may differ from it, percent.
    pub uneven: i64,
    /// Transactions acknowledged between two steps.
    pub commits: u32,
    /// What random numbers begin with.
    pub seed: u64,
}

/// What has happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// Small transactions.
    pub counts: Counts,
    /// How often a client looked meanwhile and found nothing lost.
    pub looks: u64,
    /// Replicas that were found to hold the same in the end.
    pub replicas: usize,
    /// What went wrong that may go wrong.
    pub troubles: Troubles,
}

/// Nodes in the middle of it.
const MOST: usize = 5;

/// Runs it in a new directory, and tells of each step.
///
/// # Errors
/// The first thing that is wrong.
pub async fn run(
    options: &Options,
    directory: &Path,
    mut tell: impl FnMut(String),
) -> Result<Report, Violation> {
    let mut cluster = TestCluster::growing(directory, &[]);
    make_tables(&cluster, options.shards).await?;
    let mut numbers = Numbers::new(options.seed);
    let plan = Plan { clients: options.clients, splits: 0, bulk: false, histories: false, several: true };
    let load = Load::start(&plan, cluster.doors(), &mut numbers, 1, Bulk::default());
    load.commits(options.commits).await?;

    while cluster.count() < MOST {
        let begun = Instant::now();
        for _ in 0..2 {
            cluster.join();
        }
        cluster.replicated().await?;
        let (most, fewest) = cluster.balanced(options.uneven).await?;
        tell(format!(
            "{} nodes have {fewest} to {most} replicas each after {:.1} s",
            cluster.count(),
            begun.elapsed().as_secs_f64()
        ));
        load.commits(options.commits).await?;
    }
    for node in [0, MOST - 1] {
        let begun = Instant::now();
        cluster.decommission(node).await?;
        tell(format!("node {} has left after {:.1} s", node + 1, begun.elapsed().as_secs_f64()));
        load.commits(options.commits).await?;
    }
    for node in cluster.members() {
        let begun = Instant::now();
        cluster.node(node).stop().map_err(Violation::Data)?;
        let stopped = begun.elapsed();
        cluster.restart(node);
        load.commits(options.commits).await?;
        tell(format!(
            "node {} has ended after {:.1} s, and serves again after {:.1} s",
            node + 1,
            stopped.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ));
        cluster.replicated().await?;
    }
    let outcome = load.stop().await?;
    let (counts, _) = Checker::default().check(cluster.doors(), 0, 1, &outcome).await?;
    let replicas = cluster.replicas_agree().await?;
    cluster.healthy().map_err(Violation::Data)?;
    Ok(Report { counts, looks: outcome.looks, replicas, troubles: outcome.troubles })
}

/// Makes the tables, in so many shards at least.
async fn make_tables(cluster: &TestCluster, shards: u32) -> Result<(), Violation> {
    let client = cluster.doors().visit(0).await?;
    for statement in setup() {
        client.batch_execute(&statement).await?;
    }
    let there = client.query("SHOW SHARDS", &[]).await?.len();
    let missing = (shards as usize).saturating_sub(there);
    let places: Vec<String> = (0..missing).map(|place| format!("({})", 7_500 + place + 1)).collect();
    if !places.is_empty() {
        client.batch_execute(&format!("ALTER TABLE account SPLIT AT VALUES {}", places.join(", "))).await?;
    }
    Ok(())
}
