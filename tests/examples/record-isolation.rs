//! Records what a server makes of isolation specs: `record-isolation DSN SPEC...`.
//!
//! The DSN is that of a superuser on a PostgreSQL 18 with `max_prepared_transactions` above 0. Each spec (a path that ends
//! in `specs/NAME.spec`) runs in a database of its own; its transcript becomes `expected/NAME.out`. With `--show` instead
//! of a first spec, transcripts are printed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use shardforge_tests::isolation::{Database, Spec, run};

/// How long a step may run that waits for nobody.
const STEP_MAX: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(dsn) = arguments.next() else {
        eprintln!("usage: record-isolation DSN [--show] SPEC...");
        return ExitCode::FAILURE;
    };
    let mut show = false;
    let mut failed = false;
    for path in arguments {
        if path == "--show" {
            show = true;
        } else if let Err(error) = record(&dsn, Path::new(&path), show).await {
            eprintln!("{path}: {error}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn record(dsn: &str, path: &Path, show: bool) -> Result<(), Box<dyn std::error::Error>> {
    let spec = Spec::parse(&std::fs::read_to_string(path)?)?;
    let database = Database::create(dsn).await?;
    let transcript = run(&spec, database.dsn(), STEP_MAX).await;
    database.drop().await?;
    let transcript = transcript?;
    if show {
        print!("{}", transcript.text);
        return Ok(());
    }
    let name = path.file_stem().ok_or("a spec has a name")?;
    let directory =
        path.parent().and_then(Path::parent).ok_or("a spec is in a directory specs")?.join("expected");
    Ok(std::fs::write(directory.join(name).with_extension("out"), transcript.text)?)
}
