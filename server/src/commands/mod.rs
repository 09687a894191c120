//! One file a command.

mod config;
mod demo;
mod init;
mod node;
mod shard;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{Cli, Command, SettingFlags};
use crate::config::{Config, ConfigError, Settings, similar};
use crate::shell;
use crate::telemetry::BadFilter;
use crate::wiring::OpenError;

/// Why a command failed: what is printed on stderr.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter is wrong.
    #[error(transparent)]
    Log(#[from] BadFilter),
    /// `init` was not told what kind of cluster to make.
    #[error("say what to make: a new cluster with --single-node, or a node of another with --join")]
    NoClusterKind,
    /// `shard split` was not told what to split.
    #[error("say what to split: --table NAME or --index NAME")]
    NothingToSplit,
    /// `init` would overwrite something.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file or directory cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The world could connect and nobody said that it may.
    #[error("{0} is not a loopback address, and connections are not encrypted")]
    Exposed(String),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The process lacks something elementary: threads, signals.
    #[error("cannot start: {0}")]
    System(std::io::Error),
    /// The shell cannot go on.
    #[error(transparent)]
    Shell(#[from] shell::ShellError),
    /// There is no demo.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
}

impl CommandError {
    /// What may help.
    pub fn hint(&self) -> Option<String> {
        match self {
            CommandError::Config(ConfigError::Unknown { key, .. }) => similar(key)
                .map(|key| format!("perhaps you meant \"{key}\"; `shardforge config show` lists all")),
            CommandError::NoClusterKind => Some(
                "shardforge init --single-node, or shardforge init --join HOST:PORT --token TOKEN".to_owned(),
            ),
            CommandError::Exists(_) => {
                Some("choose another --data-dir or --config, or remove it first".to_owned())
            }
            CommandError::Listen { error, .. } if error.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another server has the port; stop it, or choose another address".to_owned())
            }
            CommandError::Exposed(_) => Some(
                "add --insecure to serve it all the same; passwords are still asked of roles that have one"
                    .to_owned(),
            ),
            CommandError::Shell(error) => error.hint(),
            _ => None,
        }
    }
}

/// Runs a command.
pub fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Start(args) => start::run(&args),
        Command::Sql(args) => Ok(shell::run(args)?),
        Command::Shard(command) => shard::run(command),
        Command::Node(command) => node::run(command),
        Command::Demo(args) => demo::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Version => {
            println!("shardforge {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn settings(flags: &SettingFlags) -> Result<Settings, ConfigError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Settings::resolve(&flags.given(), flags.config.as_deref(), environment)
}

fn load(flags: &SettingFlags) -> Result<(Settings, Config), ConfigError> {
    let settings = settings(flags)?;
    let config = Config::from_settings(&settings)?;
    Ok((settings, config))
}
