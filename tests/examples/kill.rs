//! Kills servers under load, again and again: see `shardforge_tests::kill`. The directory must not be there yet; without
//! one, a temporary one is used and removed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use shardforge_tests::kill::{Fault, Options, Report, median_and_worst, run};

const USAGE: &str =
    "usage: kill [--nodes N] [--rounds N] [--clients N] [--commits MIN..MAX] [--splits N] [--bulk yes|no]
            [--histories yes|no] [--seed N] [--data-dir DIR]
            [--fault kill|stop|freeze|isolate|mute|deafen|ring|flap|slow-disk|stuck-disk|clock-jumps|wrong-clock]";

fn yes_or_no(value: &str) -> Option<bool> {
    Some(["no", "yes"].iter().position(|word| *word == value)? == 1)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(Options, Option<PathBuf>)> {
    let mut options = Options {
        nodes: 1,
        rounds: 100,
        clients: 16,
        commits: 200..=3_000,
        splits: 4,
        bulk: true,
        histories: false,
        fault: Fault::Kill,
        seed: 1,
    };
    let mut directory = None;
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        fn number<T: FromStr>(value: &str) -> Option<T> {
            value.parse().ok()
        }
        match name.as_str() {
            "--nodes" => options.nodes = number(&value)?,
            "--rounds" => options.rounds = number(&value)?,
            "--clients" => options.clients = number(&value)?,
            "--commits" => {
                let (min, max) = value.split_once("..")?;
                options.commits = number(min)?..=number(max)?;
            }
            "--splits" => options.splits = number(&value)?,
            "--bulk" => options.bulk = yes_or_no(&value)?,
            "--histories" => options.histories = yes_or_no(&value)?,
            "--fault" => (_, options.fault) = *Fault::ALL.iter().find(|(name, _)| *name == value)?,
            "--seed" => options.seed = number(&value)?,
            "--data-dir" => directory = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    let sensible = !options.commits.is_empty() && options.nodes >= options.fault.nodes_min();
    sensible.then_some((options, directory))
}

fn tell(options: &Options, report: &Report) {
    let Report { counts, splits, shards, looks, replicas, slowest_start, troubles, .. } = report;
    let Report { failovers, others, recoveries, checked, .. } = report;
    println!(
        "{} rounds: {} acknowledged, 0 lost, {} undone, {} in doubt ({} came); {looks} looks; {splits} splits, {shards} \
         shards; slowest start {} ms",
        options.rounds,
        counts.committed,
        counts.undone,
        counts.in_doubt,
        counts.came,
        slowest_start.as_millis()
    );
    let of = |what: &str, times: Vec<Duration>| {
        if let Some((median, worst)) = median_and_worst(times.iter().copied()) {
            println!(
                "{what}: median {} ms, worst {} ms ({})",
                median.as_millis(),
                worst.as_millis(),
                times.len()
            );
        }
    };
    of("primary lost, writes resumed at a client", failovers.iter().map(|(first, _)| *first).collect());
    of("primary lost, writes resumed at every client", failovers.iter().map(|(_, all)| *all).collect());
    of("another node lost, writes resumed at every client", others.clone());
    of("fault undone, writes resumed at every client", recoveries.clone());
    if options.histories {
        println!("{checked} transactions in histories without an anomaly");
    }
    if options.nodes > 1 {
        println!("{replicas} replicas agree; clients had to connect or begin again: {troubles:?}");
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some((options, directory)) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.unwrap_or_else(|| temporary.path().join("data"));
    match run(&options, &directory, |line| println!("{line}")).await {
        Ok(report) => {
            tell(&options, &report);
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}
