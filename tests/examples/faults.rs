//! Inflicts one fault after the other upon clusters under load, checks the ledger and the histories of each round, and prints a
//! table: see `shardforge_tests::kill`. Those of the network take root and iproute2.

use std::process::ExitCode;
use std::time::Duration;

use shardforge_tests::kill::{Fault, Options, Report, median_and_worst, run};

const USAGE: &str = "usage: faults [--nodes N] [--rounds N] [--clients N] [--only FAULT,...] [--seed N]";

struct Wanted {
    options: Options,
    faults: Vec<(&'static str, Fault)>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let mut options = Options {
        nodes: 3,
        rounds: 6,
        clients: 8,
        commits: 200..=400,
        splits: 1,
        bulk: false,
        histories: true,
        fault: Fault::Kill,
        seed: 1,
    };
    let mut faults = Fault::ALL.to_vec();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--nodes" => options.nodes = value.parse().ok()?,
            "--rounds" => options.rounds = value.parse().ok()?,
            "--clients" => options.clients = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--only" => {
                let of_name = |name: &str| Fault::ALL.into_iter().find(|fault| fault.0 == name);
                faults = value.split(',').map(of_name).collect::<Option<_>>()?;
            }
            _ => return None,
        }
    }
    let sensible = faults.iter().all(|(_, fault)| options.nodes >= fault.nodes_min().max(2));
    sensible.then_some(Wanted { options, faults })
}

/// A line of the table, after the fault's name.
fn line(report: &Report) -> String {
    let of = |times: Vec<Duration>| {
        median_and_worst(times.into_iter()).map_or_else(
            || "-".to_owned(),
            |(median, worst)| format!("{:.1} / {:.1} s", median.as_secs_f64(), worst.as_secs_f64()),
        )
    };
    let failovers = report.failovers.iter().map(|(_, all)| *all).collect();
    format!(
        "{} | {} | {} | {} | {} | {}",
        report.counts.committed,
        report.counts.in_doubt,
        report.checked,
        of(failovers),
        of(report.others.clone()),
        of(report.recoveries.clone())
    )
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Wanted { options, faults }) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let (mut table, mut is_well) = (Vec::new(), true);
    for (name, fault) in faults {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = Options { fault, ..options.clone() };
        let ran = run(&options, &directory.path().join("data"), |line| println!("{name}: {line}")).await;
        let said = ran.as_ref().map_or_else(|violation| format!("VIOLATION: {violation}"), line);
        is_well &= ran.is_ok();
        println!("{name}: {said}");
        table.push(format!("| {name} | {said} |"));
    }
    println!(
        "\n| fault | acknowledged | in doubt | in histories | all write again, primary hit | another hit | undone |"
    );
    println!("|---|---|---|---|---|---|---|");
    table.iter().for_each(|line| println!("{line}"));
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
