//! A cluster that grows and shrinks under load: see `shardforge_tests::growth`. The directory must not be there yet; without
//! one, a temporary one is used and removed.

use std::path::PathBuf;
use std::process::ExitCode;

use shardforge_tests::growth::{Options, run};

const USAGE: &str =
    "usage: grow [--clients N] [--shards N] [--uneven PERCENT] [--commits N] [--seed N] [--data-dir DIR]";

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(Options, Option<PathBuf>)> {
    let mut options = Options { clients: 16, shards: 60, uneven: 15, commits: 1_000, seed: 1 };
    let mut directory = None;
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--clients" => options.clients = value.parse().ok()?,
            "--shards" => options.shards = value.parse().ok()?,
            "--uneven" => options.uneven = value.parse().ok()?,
            "--commits" => options.commits = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--data-dir" => directory = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    Some((options, directory))
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
            let counts = report.counts;
            println!(
                "{} acknowledged, 0 lost, {} undone, {} in doubt ({} came); {} looks; {} replicas agree",
                counts.committed, counts.undone, counts.in_doubt, counts.came, report.looks, report.replicas
            );
            println!("clients had to connect or begin again: {:?}", report.troubles);
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}
