//! Where the layers meet. Nothing else in this crate names a layer below the frontend.
//!
//! ```text
//!   Config -> Instance: the node, and its part in a cluster (Transport, Cluster)         as long as the process
//!               |
//!               +--> Database: Store -> Engine -> SqlBackend -> Frontend                 as long as a tenure
//!               |
//!               +--> Gateway: clients to the Frontend here, or over a tunnel to where one is
//! ```
//!
//! A node alone has one tenure, from its start to its end. Of a cluster's nodes one has a tenure at a time: it serves SQL,
//! and the others pass their clients on to it (docs/decisions/0014-one-primary-first.md).

mod control;
mod database;
mod identity;
mod instance;
mod joining;
mod network;
mod threads;

use std::path::{Path, PathBuf};

use shardforge_consensus::ConsensusError;
pub use shardforge_consensus::{NodeId, Tenure};
use shardforge_kv::KvError;
pub use shardforge_sql::session::SqlBackend as Backend;
use shardforge_transport::TransportError;
use shardforge_transport::token::TokenError;
use shardforge_types::PgError;

pub use database::{Database, StoreObserver};
pub use identity::{CLUSTER_LISTEN, Identity};
pub use instance::Instance;
pub use joining::join;

/// Why the database cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made.
    #[error("cannot create directory {}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file of the node's cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// An address is none, or names nothing.
    #[error("cannot find the address {address}: {error}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// A cluster's node forgets nothing.
    #[error("a node of a cluster cannot have its data in memory")]
    ClusterInMemory,
    /// The node's storage.
    #[error(transparent)]
    Node(#[from] ConsensusError),
    /// The network between nodes, and certificates.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A join token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The answer to a request to join.
    #[error("the cluster's answer cannot be understood: {0}")]
    Welcome(String),
    /// The store.
    #[error("cannot open the database: {0}")]
    Store(#[from] KvError),
    /// The catalog.
    #[error("cannot open the database: {0}")]
    Engine(#[from] PgError),
}

fn create_directory(path: &Path) -> Result<(), OpenError> {
    std::fs::create_dir_all(path).map_err(|error| OpenError::Directory { path: path.to_owned(), error })
}
