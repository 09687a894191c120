//! The list of settings, and finding each one's value.

use std::fmt;
use std::path::{Path, PathBuf};

use super::DEFAULT_FILE;
use super::values::Parsed;

struct Definition {
    key: &'static str,
    default: &'static str,
    help: &'static str,
}

const fn define(key: &'static str, default: &'static str, help: &'static str) -> Definition {
    Definition { key, default, help }
}

/// All settings there are.
const DEFINITIONS: &[Definition] = &[
    define("data_dir", "./data", "Where the data is; relative to this file."),
    define("listen", "127.0.0.1:5432", "Address of the SQL port."),
    define("admin_listen", "127.0.0.1:8432", "Address of the admin port (HTTP), or \"off\"."),
    define(
        "cluster_listen",
        "",
        "Address for the other nodes of a cluster, such as 127.0.0.1:7432; none if empty.",
    ),
    define(
        "cluster_advertise",
        "",
        "Where the other nodes find this one, HOST:PORT; cluster_listen if empty.",
    ),
    define("insecure", "false", "Serve other addresses than loopback without TLS."),
    define("engine", "rocksdb", "\"rocksdb\", or \"memory\", which forgets everything at the end."),
    define("max_connections", "100", "Connections at once."),
    define("superuser_reserved_connections", "3", "How many of them are kept for superusers."),
    define("max_prepared_transactions", "0", "Transactions prepared at once; 0 refuses PREPARE TRANSACTION."),
    define("authentication_timeout", "60s", "How long a client may take to log in."),
    define("shutdown_grace", "10s", "How long running statements may go on after SIGTERM."),
    define("query_memory", "256MB", "Memory for sorts, joins and groupings of all queries together."),
    define("spill_dir", "", "Where queries spill to; the folder \"spill\" of the data directory if empty."),
    define("block_cache", "256MB", "Memory for cached blocks of data."),
    define("row_cache", "128MB", "Memory for the newest versions of rows read lately; 0 for none."),
    define("shard_size", "256MB", "Larger shards are split while there are several nodes; 0 for none."),
    define("disk_reserve", "64MB", "With less free space than this, writes are refused."),
    define("gc_ttl", "5s", "How long superseded row versions are kept at least."),
    define("worker_threads", "0", "Threads that run statements; 0 means one for each core."),
    define("log", "info", "What is logged: a level, or a filter such as \"info,shardforge_sql=debug\"."),
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag(String),
    /// A variable of the environment.
    Variable(String),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag {flag}"),
            Source::Variable(name) => write!(f, "variable {name}"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, or a value is a table or a list.
    #[error("configuration file {}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        problem: String,
    },
    /// There is no such setting.
    #[error("configuration file {}: unknown setting \"{key}\"", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was set.
        key: String,
    },
    /// A value cannot be used.
    #[error("invalid value of setting \"{key}\" ({place}): {problem}")]
    Invalid {
        /// The setting.
        key: String,
        /// Where it was set.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// One setting with its value.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name in the file.
    pub key: &'static str,
    /// Its value, as text.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
    /// What it is for.
    pub help: &'static str,
}

/// All settings with their values, in a fixed order.
#[derive(Debug, Clone)]
pub struct Settings {
    settings: Vec<Setting>,
    /// Variables that look like settings and are none.
    pub unknown_variables: Vec<String>,
}

impl Settings {
    /// Finds every setting's value. `flags` are pairs of key and value; without `file`, the default file is read
    /// if it exists.
    pub fn resolve(
        flags: &[(&'static str, String)],
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let environment: Vec<(String, String)> =
            environment.filter(|(name, _)| name.starts_with("SHARDFORGE_")).collect();
        let variable = |name: &str| {
            environment.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.clone())
        };
        let path = file.map(Path::to_owned).or_else(|| variable("SHARDFORGE_CONFIG").map(PathBuf::from));
        let (path, in_file) = match path {
            Some(path) => (path.clone(), read_file(&path)?),
            None if Path::new(DEFAULT_FILE).exists() => {
                (PathBuf::from(DEFAULT_FILE), read_file(Path::new(DEFAULT_FILE))?)
            }
            None => (PathBuf::new(), vec![]),
        };
        let settings = DEFINITIONS
            .iter()
            .map(|definition| {
                let key = definition.key;
                let name = variable_name(key);
                let from_flag = flags.iter().find(|(candidate, _)| *candidate == key);
                let from_file = in_file.iter().find(|(candidate, _)| candidate == key);
                let (value, source) = match (from_flag, variable(&name), from_file) {
                    (Some((_, value)), _, _) => (value.clone(), Source::Flag(flag_name(key))),
                    (_, Some(value), _) => (value, Source::Variable(name)),
                    (_, _, Some((_, value))) => (value.clone(), Source::File(path.clone())),
                    _ => (definition.default.to_owned(), Source::Default),
                };
                Setting { key, value, source, help: definition.help }
            })
            .collect();
        let unknown_variables = environment
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| {
                !matches!(name.as_str(), "SHARDFORGE_CONFIG" | "SHARDFORGE_DSN" | "SHARDFORGE_JOIN_TOKEN")
            })
            .filter(|name| DEFINITIONS.iter().all(|definition| variable_name(definition.key) != *name))
            .collect();
        Ok(Settings { settings, unknown_variables })
    }

    /// All settings.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    fn get(&self, key: &str) -> &Setting {
        self.settings
            .iter()
            .find(|setting| setting.key == key)
            .unwrap_or_else(|| panic!("there is no setting named {key}"))
    }

    /// A setting's text.
    pub fn value(&self, key: &str) -> &str {
        &self.get(key).value
    }

    /// Where it was set.
    pub fn source(&self, key: &str) -> &Source {
        &self.get(key).source
    }

    /// A setting that is a path: one from the file is relative to the file.
    pub fn path(&self, key: &str) -> PathBuf {
        let setting = self.get(key);
        match &setting.source {
            Source::File(file) => {
                file.parent().unwrap_or(Path::new("")).join(&setting.value).components().collect()
            }
            _ => PathBuf::from(&setting.value),
        }
    }

    /// A setting with its type.
    pub fn parse<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Result<T, ConfigError> {
        let setting = self.get(key);
        parse(setting.value.trim()).map_err(|problem| ConfigError::Invalid {
            key: key.to_owned(),
            place: setting.source.to_string(),
            problem: format!("\"{}\": {problem}", setting.value),
        })
    }
}

/// The settings in a file, as text.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let malformed = |problem: String| ConfigError::Malformed { path: path.to_owned(), problem };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
    table
        .into_iter()
        .map(|(key, value)| {
            if DEFINITIONS.iter().all(|definition| definition.key != key) {
                return Err(ConfigError::Unknown { path: path.to_owned(), key });
            }
            match value {
                toml::Value::String(text) => Ok((key, text)),
                toml::Value::Integer(number) => Ok((key, number.to_string())),
                toml::Value::Boolean(switch) => Ok((key, switch.to_string())),
                other => Err(malformed(format!("setting \"{key}\" cannot be a {}", other.type_str()))),
            }
        })
        .collect()
}

fn variable_name(key: &str) -> String {
    format!("SHARDFORGE_{}", key.to_ascii_uppercase())
}

fn flag_name(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The setting whose name is most like `key`, if one is.
pub fn similar(key: &str) -> Option<&'static str> {
    let likeness = |candidate: &str| {
        let common = candidate.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        let common_end = candidate.bytes().rev().zip(key.bytes().rev()).take_while(|(a, b)| a == b).count();
        common.max(common_end)
    };
    let best = DEFINITIONS.iter().map(|definition| definition.key).max_by_key(|key| likeness(key))?;
    (likeness(best) >= 3).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EngineKind, file_text};

    fn resolve(
        flags: &[(&'static str, String)],
        file: &str,
        variables: &[(&str, &str)],
    ) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("test.toml");
        std::fs::write(&path, file).expect("a file");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::resolve(flags, Some(&path), variables)
    }

    #[test]
    fn flag_before_variable_before_file_before_default() {
        let settings = resolve(
            &[("listen", "1.2.3.4:1".to_owned())],
            "listen = '2.2.2.2:2'\nmax_connections = 7\ndata_dir = 'd'\ninsecure = true",
            &[
                ("SHARDFORGE_LISTEN", "3.3.3.3:3"),
                ("SHARDFORGE_MAX_CONNECTIONS", "9"),
                ("SHARDFORGE_TYPO", ""),
            ],
        )
        .expect("settings");
        assert_eq!(settings.value("listen"), "1.2.3.4:1");
        assert_eq!(settings.source("listen"), &Source::Flag("--listen".to_owned()));
        assert_eq!(settings.value("max_connections"), "9");
        assert_eq!(settings.source("max_connections").to_string(), "variable SHARDFORGE_MAX_CONNECTIONS");
        assert!(matches!(settings.source("insecure"), Source::File(_)));
        assert_eq!(settings.source("log"), &Source::Default);
        assert_eq!(settings.unknown_variables, ["SHARDFORGE_TYPO"]);
        let config = Config::from_settings(&settings).expect("a configuration");
        assert!(config.insecure && config.data_dir.is_absolute() && config.data_dir.ends_with("d"));
        assert_eq!(config.spill_dir, config.data_dir.join("spill"));
        assert_eq!(config.engine, EngineKind::RocksDb);
    }

    #[test]
    fn errors_name_the_setting_and_the_place() {
        let error = resolve(&[], "listne = 'x'", &[]).expect_err("an unknown setting");
        assert!(error.to_string().ends_with("unknown setting \"listne\""), "{error}");
        assert_eq!(similar("listne"), Some("listen"));
        let settings = resolve(&[], "", &[("SHARDFORGE_MAX_CONNECTIONS", "many")]).expect("settings");
        let error = Config::from_settings(&settings).expect_err("a bad value").to_string();
        assert_eq!(
            error,
            "invalid value of setting \"max_connections\" (variable SHARDFORGE_MAX_CONNECTIONS): \
             \"many\": expected a whole number from 1 to 100000"
        );
        assert!(resolve(&[], "listen = ", &[]).is_err());
        assert!(resolve(&[], "listen = ['a']", &[]).is_err());
    }

    #[test]
    fn a_written_file_reads_back() {
        let settings = resolve(&[("listen", "127.0.0.1:1".to_owned())], "", &[]).expect("settings");
        let text = file_text(&settings, Path::new(""));
        assert!(
            text.contains("\nlisten = \"127.0.0.1:1\"\n") && text.contains("\n#log = \"info\"\n"),
            "{text}"
        );
        let again = resolve(&[], &text, &[]).expect("settings");
        assert_eq!(again.value("listen"), "127.0.0.1:1");
        assert_eq!(again.source("log"), &Source::Default);
    }
}
