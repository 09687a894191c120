//! The command line. What a flag means is said in its help text; how flags, environment and file come
//! together is in [`crate::config`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A distributed SQL database that speaks PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "shardforge", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a cluster, or join one: makes a data directory and a configuration file.
    Init(Init),
    /// Run a node in the foreground, until SIGTERM or SIGINT.
    Start(Start),
    /// Run SQL: a shell, or the statements of -c, a file, or standard input.
    Sql(Sql),
    /// Show the shards of a running cluster, or split them.
    #[command(subcommand)]
    Shard(ShardCommand),
    /// Show the nodes of a running cluster, let nodes join it and leave it.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Try a cluster: run one on this machine, with an SQL shell, and delete it at the end.
    Demo(Demo),
    /// Show or check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version.
    Version,
}

/// `shardforge init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Create a cluster that has this one node. Others may join it later.
    #[arg(long, conflicts_with = "join")]
    pub single_node: bool,
    /// Join the cluster that has a node here (its cluster port).
    #[arg(long, value_name = "HOST:PORT", requires = "token")]
    pub join: Option<String>,
    /// What `shardforge node token` printed: it lets one node join, once.
    #[arg(long, value_name = "TOKEN", env = "SHARDFORGE_JOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `shardforge start`.
#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `shardforge sql`.
#[derive(Debug, Args)]
pub struct Sql {
    /// Where to connect [default: postgresql://postgres@127.0.0.1:5432/postgres, or $SHARDFORGE_DSN].
    pub dsn: Option<String>,
    /// Run this and exit; may be given several times.
    #[arg(short, long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// Run this file and exit; may be given several times, `-` is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print rows without header, alignment and row count.
    #[arg(short = 't', long)]
    pub tuples_only: bool,
}

/// `shardforge shard`.
#[derive(Debug, Subcommand)]
pub enum ShardCommand {
    /// List the shards, with the keys where they begin and end and about how many bytes they take on the disk.
    Ls(ShardLs),
    /// Let shards begin at keys of a table or an index.
    Split(ShardSplit),
    /// Read all replicas of all shards, and say whether they hold the same.
    Check(Target),
}

/// `shardforge shard ls`.
#[derive(Debug, Args)]
pub struct ShardLs {
    #[command(flatten)]
    pub of: ShardsOf,
    /// Where to connect [default: as for `shardforge sql`].
    pub dsn: Option<String>,
}

/// `shardforge shard split`.
#[derive(Debug, Args)]
pub struct ShardSplit {
    #[command(flatten)]
    pub of: ShardsOf,
    /// Values of the first columns of the key, such as `(1000)` or `('de', 7)`; may be given several times.
    #[arg(long, value_name = "VALUES", required = true)]
    pub at: Vec<String>,
    /// Where to connect [default: as for `shardforge sql`].
    pub dsn: Option<String>,
}

/// A table or an index, by its name as SQL writes it.
#[derive(Debug, Args)]
pub struct ShardsOf {
    /// The rows of this table.
    #[arg(short, long, value_name = "NAME")]
    pub table: Option<String>,
    /// The entries of this index.
    #[arg(short, long, value_name = "NAME", conflicts_with = "table")]
    pub index: Option<String>,
}

impl ShardsOf {
    /// As SQL says it: `TABLE t`, `INDEX i`.
    pub fn sql(&self) -> Option<String> {
        let table = self.table.as_ref().map(|name| format!("TABLE {name}"));
        table.or_else(|| self.index.as_ref().map(|name| format!("INDEX {name}")))
    }
}

/// `shardforge node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes: where they are, whether they are alive, what they hold, and what to do if something is wrong.
    Ls(Target),
    /// Say how the cluster stands, and what to do if something is wrong.
    Status(Target),
    /// Print a token with which one node can join, once.
    Token(NodeToken),
    /// Have other nodes lead what this one leads, before it is stopped for a while.
    Drain(NodeNumber),
    /// Let a node that was drained take part again.
    Resume(NodeNumber),
    /// Have other nodes hold what this one holds, before it is stopped for good.
    Decommission(NodeNumber),
}

/// The cluster that a command is about.
#[derive(Debug, Args)]
pub struct Target {
    /// Where to connect, any node [default: as for `shardforge sql`].
    pub dsn: Option<String>,
}

/// `shardforge node token`.
#[derive(Debug, Args)]
pub struct NodeToken {
    /// How long it is valid, such as `10 minutes` [default: an hour].
    #[arg(long, value_name = "INTERVAL")]
    pub valid_for: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

/// `shardforge node drain`, `resume` and `decommission`.
#[derive(Debug, Args)]
pub struct NodeNumber {
    /// Which, as `shardforge node ls` numbers them.
    pub node: u32,
    #[command(flatten)]
    pub target: Target,
}

/// `shardforge demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// How many nodes it has.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub nodes: u32,
}

/// `shardforge config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and where it comes from.
    Show(ConfigArgs),
    /// Check the configuration and say what is wrong with it.
    Check(ConfigArgs),
}

/// `shardforge config show` and `check`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// The flags that set something, the same for all commands that read the configuration.
#[derive(Debug, Default, Clone, Args)]
pub struct SettingFlags {
    /// Configuration file [default: shardforge.toml in the working directory, if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the data is.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of the SQL port; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address of the admin port (HTTP); port 0 picks a free one, `off` opens none.
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<String>,
    /// Address for the other nodes of a cluster (mutual TLS).
    #[arg(long, value_name = "HOST:PORT")]
    pub cluster_listen: Option<String>,
    /// Where the other nodes find this one, if that is not where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub cluster_advertise: Option<String>,
    /// Serve other addresses than loopback without TLS, and trust roles without a password from anywhere.
    #[arg(long)]
    pub insecure: bool,
    /// Where data is stored: `rocksdb`, or `memory`, which forgets it at the end.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Connections at once.
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<String>,
    /// Memory for sorts, joins and groupings of all queries together.
    #[arg(long, value_name = "SIZE")]
    pub query_memory: Option<String>,
    /// Memory for cached blocks of data.
    #[arg(long, value_name = "SIZE")]
    pub block_cache: Option<String>,
    /// Memory for the newest versions of rows read lately.
    #[arg(long, value_name = "SIZE")]
    pub row_cache: Option<String>,
    /// How long running statements may go on after SIGTERM.
    #[arg(long, value_name = "TIME")]
    pub shutdown_grace: Option<String>,
    /// What is logged: a level, or a filter such as `info,shardforge_sql=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl SettingFlags {
    /// The settings that were given, by key.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let mut given: Vec<(&'static str, String)> = [
            ("data_dir", &self.data_dir),
            ("listen", &self.listen),
            ("admin_listen", &self.admin_listen),
            ("cluster_listen", &self.cluster_listen),
            ("cluster_advertise", &self.cluster_advertise),
            ("engine", &self.engine),
            ("max_connections", &self.max_connections),
            ("query_memory", &self.query_memory),
            ("block_cache", &self.block_cache),
            ("row_cache", &self.row_cache),
            ("shutdown_grace", &self.shutdown_grace),
            ("log", &self.log),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)))
        .collect();
        if self.insecure {
            given.push(("insecure", "true".to_owned()));
        }
        given
    }
}
