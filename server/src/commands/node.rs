//! `shardforge node`: SQL for who has a command line before him.

use std::process::ExitCode;

use super::CommandError;
use crate::cli::{NodeCommand, Sql};
use crate::shell;

pub fn run(command: NodeCommand) -> Result<ExitCode, CommandError> {
    let (dsn, sql, bare) = match command {
        NodeCommand::Ls(target) => (target.dsn, "SHOW NODES".to_owned(), false),
        NodeCommand::Status(target) => (target.dsn, "SHOW CLUSTER".to_owned(), false),
        NodeCommand::Token(args) => {
            let valid_for =
                args.valid_for.map_or_else(String::new, |time| format!(" VALID FOR {}", literal(&time)));
            // For a script: nothing but the token.
            (args.target.dsn, format!("CREATE JOIN TOKEN{valid_for}"), true)
        }
        NodeCommand::Drain(args) => (args.target.dsn, format!("ALTER NODE {} DRAIN", args.node), false),
        NodeCommand::Resume(args) => (args.target.dsn, format!("ALTER NODE {} RESUME", args.node), false),
        NodeCommand::Decommission(args) => {
            (args.target.dsn, format!("ALTER NODE {} DECOMMISSION", args.node), false)
        }
    };
    Ok(shell::run(Sql { dsn, commands: vec![sql], files: Vec::new(), tuples_only: bare })?)
}

/// A text as SQL writes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
