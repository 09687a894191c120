//! Logs: one line an event, on stderr, so that stdout carries only what a program may want to read.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The filter cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("invalid log filter \"{filter}\": {problem}")]
pub struct BadFilter {
    filter: String,
    problem: String,
}

/// Whether a filter can be understood.
pub fn check(filter: &str) -> Result<(), BadFilter> {
    parse(filter).map(drop)
}

/// openraft tells of every election and every vote as if it were news. What it has to say of failures reaches
/// the log through `consensus`; `--log info,openraft=info` brings the rest back.
const QUIET: &str = "openraft=error";

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| BadFilter { filter: filter.to_owned(), problem: error.to_string() })
}

/// Starts logging with a filter such as `info` or `info,shardforge_sql=debug`.
pub fn start(filter: &str) -> Result<(), BadFilter> {
    // It fails only if logging was started before, which does no harm.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    Ok(())
}
