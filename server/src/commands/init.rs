//! `shardforge init`: makes a data directory and a configuration file, and starts nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{CommandError, load};
use crate::cli::{Init, SettingFlags};
use crate::config::{Config, DEFAULT_FILE, file_text};
use crate::wiring::{self, CLUSTER_LISTEN, Identity, Instance};

pub fn run(args: &Init) -> Result<ExitCode, CommandError> {
    let file = args.settings.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if file.exists() {
        return Err(CommandError::Exists(file));
    }
    let mut flags = SettingFlags { config: None, ..args.settings.clone() };
    if args.join.is_some() && flags.cluster_listen.is_none() {
        flags.cluster_listen = Some(CLUSTER_LISTEN.to_owned());
    }
    let (settings, config) = load(&flags)?;
    if holds_something(&config.data_dir) {
        return Err(CommandError::Exists(config.data_dir));
    }
    let identity = match (&args.join, &args.token) {
        (Some(address), Some(token)) => Some(joined(&config, address, token)?),
        (None, _) if args.single_node => founded(&config)?,
        _ => return Err(CommandError::NoClusterKind),
    };
    let directory = file.parent().unwrap_or(Path::new(""));
    std::fs::write(&file, file_text(&settings, directory))
        .map_err(|error| CommandError::Unwritable { path: file.clone(), error })?;

    println!("data directory: {}", config.data_dir.display());
    println!("configuration:  {}", file.display());
    if let Some(identity) = identity.filter(|_| args.join.is_some()) {
        println!("node:           {} of cluster {}", identity.node.0, identity.cluster);
    }
    match args.settings.config {
        Some(_) => println!("next: shardforge start --config {}", file.display()),
        None => println!("next: shardforge start"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the first node of a cluster.
fn founded(config: &Config) -> Result<Option<Identity>, CommandError> {
    let runtime = super::start::tokio_runtime(config)?;
    runtime.block_on(async {
        let instance = Instance::found(config).await?;
        let identity = instance.identity().cloned();
        instance.close().await?;
        Ok(identity)
    })
}

/// Has a cluster admit a node.
fn joined(config: &Config, address: &str, token: &str) -> Result<Identity, CommandError> {
    let runtime = super::start::tokio_runtime(config)?;
    Ok(runtime.block_on(wiring::join(config, address, token))?)
}

fn holds_something(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
