//! What tests of SQL run against: a server on a data directory of its own, or a cluster in its place.

use std::path::Path;

use tokio_postgres::{Client, Error, NoTls};

use crate::cluster::TestCluster;

/// How many nodes a server of the tests is made of; one if the variable is not set. The tests say the same of a
/// cluster as of one node.
pub const NODES_VARIABLE: &str = "SHARDFORGE_TEST_NODES";

/// How many hash buckets the sessions of tests give to tables and indexes that do not say it; none if the variable is
/// not set. What is spread has to answer as what is not.
pub const BUCKETS_VARIABLE: &str = "SHARDFORGE_TEST_BUCKETS";

/// The settings that sessions of tests begin with, as the start-up parameter `options` has them.
pub fn session_options() -> Option<String> {
    std::env::var(BUCKETS_VARIABLE).ok().map(|buckets| format!("-c default_buckets={buckets}"))
}

/// A running server, or the cluster in its place, reached through its last node. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    cluster: TestCluster,
    dsn: String,
}

impl Server {
    /// Starts a server on a directory, and waits until it serves.
    pub fn start(data_dir: &Path) -> Server {
        Server::start_with(data_dir, &[])
    }

    /// Starts a server with some settings, by their variables.
    pub fn start_with(data_dir: &Path, settings: &[(&str, &str)]) -> Server {
        let nodes = std::env::var(NODES_VARIABLE).map_or(1, |nodes| {
            nodes.parse().unwrap_or_else(|_| panic!("{NODES_VARIABLE} is a number, not {nodes:?}"))
        });
        Server::of(data_dir, nodes, settings)
    }

    /// Starts a server that is no cluster, whatever other tests run against.
    pub fn alone(data_dir: &Path) -> Server {
        Server::of(data_dir, 1, &[])
    }

    fn of(data_dir: &Path, nodes: usize, settings: &[(&str, &str)]) -> Server {
        let mut cluster = TestCluster::start(data_dir, nodes, settings);
        let mut dsn = cluster.node(nodes - 1).dsn().to_owned();
        if let Some(options) = session_options() {
            let encoded = options.replace(' ', "%20").replace('=', "%3D");
            dsn = format!("{dsn}?options={encoded}");
        }
        Server { cluster, dsn }
    }

    /// A connection.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.expect("the server accepts connections")
    }

    /// A connection, if the server is still there.
    pub async fn try_connect(&self) -> Result<Client, Error> {
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
        for node in 0..self.cluster.count() {
            self.cluster.node(node).kill();
        }
    }
}
