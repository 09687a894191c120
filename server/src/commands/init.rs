//! `shardforge init`: makes a data directory and a configuration file, and starts nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{CommandError, load};
use crate::cli::Init;
use crate::config::{DEFAULT_FILE, file_text};
use crate::wiring::Database;

pub fn run(args: &Init) -> Result<ExitCode, CommandError> {
    if !args.single_node {
        return Err(CommandError::NoClusterKind);
    }
    let file = args.settings.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if file.exists() {
        return Err(CommandError::Exists(file));
    }
    let mut flags = args.settings.clone();
    flags.config = None;
    let (settings, config) = load(&flags)?;
    if holds_something(&config.data_dir) {
        return Err(CommandError::Exists(config.data_dir));
    }

    let runtime = super::start::tokio_runtime(&config)?;
    runtime.block_on(async {
        let database = Database::open(&config).await?;
        database.close().await?;
        Ok::<(), CommandError>(())
    })?;
    let directory = file.parent().unwrap_or(Path::new(""));
    std::fs::write(&file, file_text(&settings, directory))
        .map_err(|error| CommandError::Unwritable { path: file.clone(), error })?;

    println!("data directory: {}", config.data_dir.display());
    println!("configuration:  {}", file.display());
    match args.settings.config {
        Some(_) => println!("next: shardforge start --config {}", file.display()),
        None => println!("next: shardforge start"),
    }
    Ok(ExitCode::SUCCESS)
}

fn holds_something(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
