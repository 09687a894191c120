//! `shardforge shard ls`, `split` and `check`: SQL for who has a command line before him.

use std::process::ExitCode;

use super::CommandError;
use crate::cli::{ShardCommand, Sql};
use crate::shell;

pub fn run(command: ShardCommand) -> Result<ExitCode, CommandError> {
    let (dsn, sql) = match command {
        ShardCommand::Ls(args) => {
            let from = args.of.sql().map_or_else(String::new, |of| format!(" FROM {of}"));
            (args.dsn, format!("SHOW SHARDS{from}"))
        }
        ShardCommand::Split(args) => {
            let of = args.of.sql().ok_or(CommandError::NothingToSplit)?;
            (args.dsn, format!("ALTER {of} SPLIT AT VALUES {}", args.at.join(", ")))
        }
        ShardCommand::Check(target) => (target.dsn, "SHOW CHECKSUMS".to_owned()),
    };
    Ok(shell::run(Sql { dsn, commands: vec![sql], files: Vec::new(), tuples_only: false })?)
}
