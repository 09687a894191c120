//! A server process on a data directory of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio_postgres::{Client, NoTls};

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    dsn: String,
}

/// The binary that cargo built beside this test or example.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") || path.ends_with("examples") {
        path.pop();
    }
    path.join("shardforge")
}

impl Server {
    /// Starts a server on a directory, and waits until it serves.
    pub fn start(data_dir: &Path) -> Server {
        Server::start_with(data_dir, &[])
    }

    /// Starts a server with some settings, by their variables.
    pub fn start_with(data_dir: &Path, settings: &[(&str, &str)]) -> Server {
        let mut child = Command::new(binary())
            .args(["start", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .envs(settings.iter().copied())
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the server says when it is ready");
        let dsn = line.trim().strip_prefix("ready: ").unwrap_or_else(|| panic!("said {line:?}")).to_owned();
        Server { child, dsn }
    }

    /// A connection.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.expect("the server accepts connections")
    }

    /// A connection, if the server is still there.
    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.dsn, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Its address and port.
    pub fn address(&self) -> &str {
        self.dsn.split(['@', '/']).nth(3).expect("a DSN has an address")
    }

    /// Where it listens.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// Ends it without warning, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("and is gone then");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
