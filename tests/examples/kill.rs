//! Kills a server under load, again and again: `kill [--rounds N] [--clients N] [--commits MIN..MAX] [--splits N]
//! [--seed N] [--data-dir DIR]`. The directory must not be there yet; without one, a temporary one is used and removed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use shardforge_tests::kill::{Options, Report, run};

const USAGE: &str =
    "usage: kill [--rounds N] [--clients N] [--commits MIN..MAX] [--splits N] [--seed N] [--data-dir DIR]";

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(Options, Option<PathBuf>)> {
    let mut options = Options { rounds: 100, clients: 16, commits: 200..=3_000, splits: 4, seed: 1 };
    let mut directory = None;
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        fn number<T: FromStr>(value: &str) -> Option<T> {
            value.parse().ok()
        }
        match name.as_str() {
            "--rounds" => options.rounds = number(&value)?,
            "--clients" => options.clients = number(&value)?,
            "--commits" => {
                let (min, max) = value.split_once("..")?;
                options.commits = number(min)?..=number(max)?;
            }
            "--splits" => options.splits = number(&value)?,
            "--seed" => options.seed = number(&value)?,
            "--data-dir" => directory = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    (!options.commits.is_empty()).then_some((options, directory))
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
        Ok(Report { counts, splits, shards, slowest_start }) => {
            println!(
                "{} rounds: {} acknowledged, 0 lost, {} undone, {} in doubt ({} came); {splits} splits, {shards} shards; \
                 slowest start {} ms",
                options.rounds,
                counts.committed,
                counts.undone,
                counts.in_doubt,
                counts.came,
                slowest_start.as_millis()
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}
