//! `shardforge demo`: a cluster to try things on, which is gone afterwards.
//!
//! ```text
//!   a folder -> init --single-node, start -> for each other node: node token, init --join, start -> sql
//!   the shell ends, SIGINT, SIGTERM, SIGHUP -> the nodes are killed, the folder is deleted
//! ```
//!
//! The nodes are processes of this same program, made and joined by the commands that a user would type. They have process
//! groups of their own: Ctrl-C in the shell stops a statement and no node. Ports are chosen by the system.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::CommandError;
use crate::cli::Demo;

/// A step that takes longer has failed: starting a node, having it join.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// Lines of a node's log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 10;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder for the nodes' data.
    #[error("cannot use {}: {error}", path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program cannot run itself.
    #[error("cannot run a node: {0}")]
    Process(#[from] io::Error),
    /// A node did not do what it should.
    #[error("{step} failed:\n{said}")]
    Step {
        /// What it should have done.
        step: String,
        /// What it said instead.
        said: String,
    },
}

pub fn run(args: &Demo) -> Result<ExitCode, CommandError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::System)?;
    Ok(runtime.block_on(demonstrate(args.nodes))?)
}

async fn demonstrate(nodes: u32) -> Result<ExitCode, DemoError> {
    let mut signals = Signals::listen()?;
    let mut cluster = Cluster::new()?;
    let outcome = tokio::select! {
        biased;
        _ = signals.next() => Ok(ExitCode::FAILURE),
        grown = cluster.grow(nodes) => match grown {
            Ok(()) => cluster.shell(&mut signals).await,
            Err(error) => Err(error),
        },
    };
    cluster.stop().await;
    outcome
}

/// The nodes, and the folder that all their files are in.
struct Cluster {
    program: PathBuf,
    folder: Folder,
    nodes: Vec<Node>,
}

struct Node {
    process: Child,
    dsn: String,
}

impl Cluster {
    fn new() -> Result<Cluster, DemoError> {
        Ok(Cluster { program: std::env::current_exe()?, folder: Folder::new()?, nodes: Vec::new() })
    }

    /// Makes and starts the nodes, one after the other.
    async fn grow(&mut self, nodes: u32) -> Result<(), DemoError> {
        for number in 1..=nodes {
            match self.nodes.first().map(|first| first.dsn.clone()) {
                None => self.init(number, &["--single-node"], None).await?,
                Some(dsn) => {
                    let token = self.output("node token", &["node", "token", &dsn], None).await?;
                    let listed =
                        self.output("node ls", &["sql", "-t", "-c", "SHOW NODES", &dsn], None).await?;
                    let address = listed.split('|').nth(1).unwrap_or_default();
                    self.init(number, &["--join", address], Some(token.trim())).await?;
                }
            }
            self.start(number).await?;
        }
        Ok(())
    }

    async fn init(&self, number: u32, how: &[&str], token: Option<&str>) -> Result<(), DemoError> {
        let (config, data) = (format!("n{number}.toml"), format!("n{number}"));
        let mut arguments = vec!["init", "--config", &config, "--data-dir", &data, "--listen", "127.0.0.1:0"];
        arguments.extend(["--cluster-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        arguments.extend(how);
        self.output(&format!("init of node {number}"), &arguments, token).await.map(drop)
    }

    /// Starts a node, and waits until it takes clients.
    async fn start(&mut self, number: u32) -> Result<(), DemoError> {
        let log = self.folder.0.join(format!("n{number}.log"));
        let file = File::create(&log).map_err(|error| DemoError::Folder { path: log.clone(), error })?;
        let mut process = self
            .command(&["start", "--config", &format!("n{number}.toml")])
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            // Without an answer in time the line is empty, as at an early end.
            let _ = timeout(STEP_TIME_MAX, BufReader::new(stdout).read_line(&mut line)).await;
        }
        let Some(dsn) = line.trim().strip_prefix("ready: ") else {
            return Err(DemoError::Step { step: format!("start of node {number}"), said: last_lines(&log) });
        };
        let id = process.id().map_or_else(String::new, |id| format!("process {id}, "));
        eprintln!("node {number}: {id}{dsn}");
        self.nodes.push(Node { process, dsn: dsn.to_owned() });
        Ok(())
    }

    /// Runs the program to its end, and returns what it prints.
    async fn output(&self, step: &str, arguments: &[&str], token: Option<&str>) -> Result<String, DemoError> {
        let mut command = self.command(arguments);
        if let Some(token) = token {
            // Arguments can be read by everybody.
            command.env("SHARDFORGE_JOIN_TOKEN", token);
        }
        let failed = |said: String| DemoError::Step { step: step.to_owned(), said };
        let output = timeout(STEP_TIME_MAX, command.output())
            .await
            .map_err(|_| failed(format!("no end after {} s", STEP_TIME_MAX.as_secs())))??;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_here(arguments);
        command.current_dir(&self.folder.0).stdin(Stdio::null());
        command
    }

    /// A command that runs where the demo was started.
    fn command_here(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).kill_on_drop(true);
        // What is set for other servers is not meant for these.
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| name.to_string_lossy().starts_with("SHARDFORGE_")) {
            command.env_remove(name);
        }
        command
    }

    /// Runs the SQL shell on the terminal, or on the statements of the standard input, until its end.
    async fn shell(&self, signals: &mut Signals) -> Result<ExitCode, DemoError> {
        let Some(first) = self.nodes.first() else { return Ok(ExitCode::SUCCESS) };
        let by_hand = io::stdin().is_terminal();
        if by_hand {
            eprintln!("any of them takes clients; all are gone when you leave (\\q)");
        }
        let mut shell = self.command_here(&["sql", &first.dsn]).spawn()?;
        let status = loop {
            tokio::select! {
                biased;
                status = shell.wait() => break status?,
                // At a terminal the shell has got it as well: there it stops a statement.
                signal = signals.next() => if !(by_hand && signal == Ending::Interrupt) {
                    shell.kill().await?;
                    return Ok(ExitCode::FAILURE);
                },
            }
        };
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Ends the nodes. Nobody wants their data: there is nothing to wait for.
    async fn stop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended by itself.
            let _ = node.process.kill().await;
        }
    }
}

/// The end of a node's log.
fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

/// A folder of its own, deleted when it goes out of scope.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, DemoError> {
        let path = std::env::temp_dir().join(format!("shardforge-demo-{}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Folder(path)),
            Err(error) => Err(DemoError::Folder { path, error }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("shardforge: cannot delete {}: {error}", self.0.display());
        }
    }
}

/// What ends a demo from outside.
#[derive(PartialEq, Eq)]
enum Ending {
    Interrupt,
    Terminate,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Ending::Terminate,
            _ = self.hangup.recv() => Ending::Terminate,
            _ = self.interrupt.recv() => Ending::Interrupt,
        }
    }
}
