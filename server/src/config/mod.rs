//! The configuration: every setting has one key, and its value comes from the first of these that has it.
//!
//! ```text
//!   flag --data-dir    variable SHARDFORGE_DATA_DIR    key data_dir in the TOML file    default
//! ```
//!
//! Values are text until [`Config::from_settings`] gives them types, so that an error can name the setting
//! and the place it was set in. `config show` prints what [`Settings::resolve`] found.

mod settings;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use settings::{ConfigError, Setting, Settings, Source, similar};

/// The configuration file that is read when none is named.
pub const DEFAULT_FILE: &str = "shardforge.toml";

/// Which storage engine holds the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// On disk.
    RocksDb,
    /// In memory: forgotten at the end.
    Memory,
}

/// All settings, with their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Address of the SQL port.
    pub listen: String,
    /// Address of the admin port, if there is to be one.
    pub admin_listen: Option<String>,
    /// Address of the cluster port, if there is to be one.
    pub cluster_listen: Option<String>,
    /// Where other nodes find this one, if that is not where it listens.
    pub cluster_advertise: Option<String>,
    /// Whether other addresses than loopback are served without TLS.
    pub insecure: bool,
    /// The storage engine.
    pub engine: EngineKind,
    /// Connections at once.
    pub max_connections: usize,
    /// How many of them are kept for superusers.
    pub superuser_reserved_connections: usize,
    /// How many transactions may be prepared at once.
    pub max_prepared_transactions: usize,
    /// From the connection to the end of the authentication.
    pub authentication_timeout: Duration,
    /// How long running statements may go on at shutdown.
    pub shutdown_grace: Duration,
    /// Memory for the work of all queries together, in bytes.
    pub query_memory_bytes: usize,
    /// Where queries spill to what does not fit in memory.
    pub spill_dir: PathBuf,
    /// Memory for cached blocks, in bytes.
    pub block_cache_bytes: usize,
    /// Memory for the newest versions of rows read lately, in bytes.
    pub row_cache_bytes: usize,
    /// While there are several nodes, shards that are larger are split, in bytes; 0: none are.
    pub shard_size_bytes: u64,
    /// With less free space than this, writes are refused, in bytes.
    pub disk_reserve_bytes: u64,
    /// How long superseded row versions are kept at least.
    pub gc_ttl: Duration,
    /// Threads that run statements.
    pub worker_threads: usize,
    /// What is logged.
    pub log: String,
}

impl Config {
    /// Gives the settings their types.
    pub fn from_settings(settings: &Settings) -> Result<Config, ConfigError> {
        let data_dir = settings.path("data_dir");
        let spill_dir = match settings.value("spill_dir") {
            "" => data_dir.join("spill"),
            _ => settings.path("spill_dir"),
        };
        let config = Config {
            data_dir,
            listen: settings.parse("listen", values::address)?,
            admin_listen: match settings.value("admin_listen") {
                "off" => None,
                _ => Some(settings.parse("admin_listen", values::address)?),
            },
            cluster_listen: optional_address(settings, "cluster_listen")?,
            cluster_advertise: optional_address(settings, "cluster_advertise")?,
            insecure: settings.parse("insecure", values::boolean)?,
            engine: settings.parse("engine", values::engine)?,
            max_connections: settings.parse("max_connections", values::count(1, 100_000))?,
            superuser_reserved_connections: settings
                .parse("superuser_reserved_connections", values::count(0, 1_000))?,
            max_prepared_transactions: settings
                .parse("max_prepared_transactions", values::count(0, 100_000))?,
            authentication_timeout: settings.parse("authentication_timeout", values::duration)?,
            shutdown_grace: settings.parse("shutdown_grace", values::duration)?,
            query_memory_bytes: settings.parse("query_memory", values::size)?,
            spill_dir,
            block_cache_bytes: settings.parse("block_cache", values::size)?,
            row_cache_bytes: settings.parse("row_cache", values::size)?,
            shard_size_bytes: settings.parse("shard_size", values::size)? as u64,
            disk_reserve_bytes: settings.parse("disk_reserve", values::size)? as u64,
            gc_ttl: settings.parse("gc_ttl", values::duration)?,
            worker_threads: match settings.parse("worker_threads", values::count(0, 1_024))? {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                count => count,
            },
            log: settings.value("log").to_owned(),
        };
        if config.superuser_reserved_connections >= config.max_connections {
            return Err(ConfigError::Invalid {
                key: "superuser_reserved_connections".to_owned(),
                place: settings.source("superuser_reserved_connections").to_string(),
                problem: format!("it must be less than max_connections ({})", config.max_connections),
            });
        }
        Ok(config)
    }
}

/// An address that may be left out.
fn optional_address(settings: &Settings, key: &str) -> Result<Option<String>, ConfigError> {
    match settings.value(key) {
        "" => Ok(None),
        _ => settings.parse(key, values::address).map(Some),
    }
}

/// The text of a new configuration file: what was asked for, and the rest as comments.
pub fn file_text(settings: &Settings, directory: &Path) -> String {
    let mut text = String::from(
        "# ShardForge's configuration. Flags and SHARDFORGE_* variables take precedence.\n\
         # `shardforge config show` prints every setting with its source.\n",
    );
    for setting in settings.iter() {
        let given = setting.source != Source::Default || setting.key == "data_dir";
        let value = if setting.key == "data_dir" {
            let path = settings.path("data_dir");
            relative_to(&path, directory)
        } else {
            setting.value.clone()
        };
        let mark = if given { "" } else { "#" };
        text.push_str(&format!("\n# {}\n{mark}{} = {}\n", setting.help, setting.key, toml_string(&value)));
    }
    text
}

/// A path as it is to be written into a file in `directory`.
fn relative_to(path: &Path, directory: &Path) -> String {
    if path.is_absolute() || directory.components().next().is_none() {
        return path.display().to_string();
    }
    match path.strip_prefix(directory) {
        Ok(below) => below.display().to_string(),
        // Relative to the working directory, which the file is not in.
        Err(_) => {
            std::path::absolute(path).map_or(path.display().to_string(), |path| path.display().to_string())
        }
    }
}

fn toml_string(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}
