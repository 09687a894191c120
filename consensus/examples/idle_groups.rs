//! Experiment 4: hundreds of idle raft groups in one process.
//!
//! Opens 300 groups in two ways, leaves them idle and prints the CPU time and memory that they take:
//! 300 shards on one node, whose sole voters need no timers; and 100 shards on each of three nodes of this
//! process, which do exchange heartbeats. `docs/decisions/0004-idle-groups.md` holds the results.
//!
//! ```text
//! cargo run --release -p shardforge-consensus --example idle_groups [seconds]
//! ```

#![allow(clippy::disallowed_methods, reason = "an experiment measures the real clock and real tasks")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardforge_consensus::{Command, DATA_START, Node, NodeId, NodeOptions, Storage};
use shardforge_runtime::{LocalNetwork, Runtime};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    let idle = Duration::from_secs(seconds);
    let temporary = tempfile::tempdir_in(".")?;
    let data = |name: &str| Storage::RocksDb(temporary.path().join(name));

    report("an empty process", Duration::from_secs(2)).await?;
    let mut options = NodeOptions::new(data("few"));
    let few = Node::open(options, Runtime::current()).await?;
    report("one node, 2 groups", idle).await?;
    few.shutdown().await?;
    drop(few);

    options = NodeOptions::new(data("one"));
    options.data_splits = splits(299);
    let start = Instant::now();
    let one = Node::open(options, Runtime::current()).await?;
    println!("opened {} groups in {:.0} ms", one.shards().len(), start.elapsed().as_secs_f64() * 1e3);
    report("one node, 300 groups with a sole voter", idle).await?;
    one.shutdown().await?;
    drop(one);

    let network = LocalNetwork::new(Runtime::current());
    let mut nodes = Vec::new();
    for number in 1..=3 {
        let mut options = NodeOptions::new(data(&format!("three-{number}")));
        options.node_id = NodeId(number);
        options.voters = (1..=3).map(NodeId).collect();
        options.network = Some(network.endpoint(NodeId(number)));
        options.data_splits = splits(99);
        nodes.push(Node::open(options, Runtime::current()).await?);
    }
    for group in 0..100 {
        wait_for_leader(&nodes, group).await?;
    }
    report("three nodes, 300 replicas of 100 groups", idle).await?;
    for node in &nodes {
        node.shutdown().await?;
    }
    Ok(())
}

/// Where to cut the key space into `count` data shards.
fn splits(count: u16) -> Vec<Bytes> {
    (1..count).map(|at| Bytes::from([&[DATA_START][..], &at.to_be_bytes()].concat())).collect()
}

/// Waits until some node leads a group and takes a command for it.
async fn wait_for_leader(nodes: &[Arc<Node>], group: usize) -> Outcome<()> {
    loop {
        for node in nodes {
            let shard = Arc::clone(&node.shards()[group]);
            if shard.is_leader() && shard.propose(Command::default()).await.is_ok() {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Prints what the process takes while it is left alone.
async fn report(what: &str, idle: Duration) -> Outcome<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, switches_before) = (cpu_seconds()?, context_switches()?);
    tokio::time::sleep(idle).await;
    let seconds = idle.as_secs_f64();
    println!(
        "{what:40}  {:6.2} % of a core  {:7.0} wake-ups/s  {:5.0} MB resident",
        (cpu_seconds()? - before) / seconds * 100.0,
        (context_switches()? - switches_before) / seconds,
        status("VmRSS:")? / 1024.0,
    );
    Ok(())
}

fn status(field: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("an odd /proc/self/status")?;
    Ok(line.split_whitespace().nth(1).ok_or("an odd /proc/self/status")?.parse()?)
}

/// Voluntary context switches of all threads so far: each is a thread that went to sleep.
fn context_switches() -> Outcome<f64> {
    let mut switches = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let line = status.lines().find(|line| line.starts_with("voluntary")).ok_or("an odd status")?;
        switches += line.split_whitespace().nth(1).ok_or("an odd status")?.parse::<f64>()?;
    }
    Ok(switches)
}

/// The CPU time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").ok_or("an odd /proc/self/stat")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = || -> Outcome<f64> { Ok(fields.next().ok_or("an odd /proc/self/stat")?.parse::<f64>()?) };
    Ok((ticks()? + ticks()?) / 100.0)
}
