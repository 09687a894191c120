//! The `shardforge` binary: command line, configuration, wiring. No logic of the database lives here.
//!
//! ```text
//!   main ── cli ──> commands/{init, start, sql, config}
//!                      start: config -> wiring (node, database) -> serving (gateway, frontend), admin
//!                      sql:   shell (a client like any other)
//! ```
//!
//! Exit codes: 0 done, 1 failed (said on stderr), 2 wrong usage (said by clap).

mod admin;
mod cli;
mod commands;
mod config;
mod liveness;
mod metrics;
mod serving;
mod shell;
mod telemetry;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

/// Allocation is a large part of a short statement, and mimalloc is fast at it from many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shardforge: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
