//! What is told of a cluster's nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shardforge_runtime::NodeId;

use crate::limits::NODE_LOST_AFTER;

/// What a node is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeState {
    /// It holds replicas, and may be the primary.
    Active,
    /// It keeps the replicas that it has, gets no more, and is not to be the primary: it is about to be stopped for a while.
    Draining,
    /// Its replicas are moved to other nodes, and then it is gone.
    Decommissioning,
    /// It is no part of the cluster any more, and never will be again.
    Gone,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub id: NodeId,
    /// Where other nodes reach it, `HOST:PORT`; empty when it has not said so yet.
    pub address: String,
    /// Where clients reach it, `HOST:PORT`; empty when it has not said so yet.
    pub sql_address: String,
    /// What it is there for.
    pub state: NodeState,
}

/// What a node has said of itself lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeLoad {
    /// How many replicas it has.
    pub replicas: u64,
    /// How many shards it leads.
    pub leaders: u64,
}

/// Decides whether what a node shows is good for a join token: given the token's record, as it was added, and what is shown.
/// An error says why not.
pub type TokenCheck = Arc<dyn Fn(&[u8], &[u8]) -> Result<(), String> + Send + Sync>;

/// How a node takes part in its cluster.
#[derive(Clone)]
pub struct ClusterOptions {
    /// This node.
    pub node: NodeId,
    /// Where other nodes reach it, `HOST:PORT`.
    pub advertise: String,
    /// Where clients reach it, `HOST:PORT`.
    pub sql_advertise: String,
    /// Nodes to look for beside those that this one remembers, and where to look for those.
    pub known: Vec<NodeInfo>,
    /// The replicas of a node that has been silent for this long are replaced, if other nodes can take them.
    pub replaced_after: Duration,
    /// Whether a join token is good.
    pub check_token: TokenCheck,
}

impl ClusterOptions {
    /// The defaults; nobody can join.
    #[must_use]
    pub fn new(node: NodeId, advertise: impl Into<String>, sql_advertise: impl Into<String>) -> Self {
        Self {
            node,
            advertise: advertise.into(),
            sql_advertise: sql_advertise.into(),
            known: Vec::new(),
            replaced_after: NODE_LOST_AFTER,
            check_token: Arc::new(|_record, _shown| Err("nobody may join".to_owned())),
        }
    }
}

impl std::fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("node", &self.node)
            .field("advertise", &self.advertise)
            .field("sql_advertise", &self.sql_advertise)
            .finish_non_exhaustive()
    }
}

/// A node that wants to join.
#[derive(Clone, Debug)]
pub struct AdmitRequest {
    /// The join token that it has.
    pub token: u64,
    /// What it shows to prove that, see [`TokenCheck`].
    pub shown: Bytes,
    /// Where other nodes reach it, `HOST:PORT`; empty when it does not know that yet.
    pub address: String,
    /// Where clients reach it, `HOST:PORT`; empty when it does not know that yet.
    pub sql_address: String,
}

/// A join token, as the cluster keeps it.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name.
    pub id: u64,
    /// What [`TokenCheck`] needs to know it by.
    pub record: Bytes,
    /// When it is of no use any more, in seconds since 1970.
    pub expires_at: u64,
}
