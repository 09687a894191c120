//! The cluster as SQL shows it and changes it.
//!
//! [`ClusterControl`] is what the statements about nodes call: `SHOW NODES`, `SHOW CLUSTER`, `SHOW CHECKSUMS`, `CREATE JOIN TOKEN`,
//! `ALTER NODE`. Whoever opens the engine implements it; the engine of a node that is alone has none. This layer knows
//! nodes and shards by their numbers and no more of them than it shows.
//!
//! [`advice`] says of such a state what is wrong with it, and what to do.

pub mod advice;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use shardforge_types::PgResult;

/// What statements ask of the cluster. Its calls may wait for other nodes, for a bounded time.
#[async_trait]
pub trait ClusterControl: Send + Sync + fmt::Debug {
    /// The nodes and where the shards are, as known here.
    ///
    /// # Errors
    /// 58000 or 57014 when it cannot be found out.
    async fn status(&self) -> PgResult<ClusterStatus>;

    /// What each replica of each shard holds, in the order of shards and nodes. All of it is read.
    ///
    /// # Errors
    /// As [`Self::status`].
    async fn checksums(&self) -> PgResult<Vec<ReplicaChecksum>>;

    /// Makes a token with which one node can join, once, until `valid_for` is over; returns it as text.
    ///
    /// # Errors
    /// 0A000 where nodes cannot join (a node without a cluster port); 57P03 when the cluster does not take it now.
    async fn create_token(&self, valid_for: Duration) -> PgResult<String>;

    /// Has the other nodes take over what the node leads, and gives it nothing to lead until [`Self::resume`]. It returns
    /// when that is written down, not when it is done.
    ///
    /// # Errors
    /// 42704 for a node that is not known, 55000 for one that is leaving or gone.
    async fn drain(&self, node: u64) -> PgResult<()>;

    /// Takes back [`Self::drain`], and [`Self::decommission`] of a node that is not gone yet.
    ///
    /// # Errors
    /// 42704 for a node that is not known, 55000 for one that is gone.
    async fn resume(&self, node: u64) -> PgResult<()>;

    /// Has the other nodes take over all that the node holds; when it holds nothing any more it is gone for good. It returns
    /// when that is written down, not when it is done.
    ///
    /// # Errors
    /// 42704 for a node that is not known, 55000 for one that is gone.
    async fn decommission(&self, node: u64) -> PgResult<()>;
}

/// A cluster, as one of its nodes knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that runs the transactions now, if there is one.
    pub primary: Option<u64>,
    /// How many replicas that vote each shard is to have, with the nodes that there are now.
    pub replicas_wanted: usize,
    /// How long a node is silent before its replicas are replaced by others elsewhere.
    pub replaced_after: Duration,
    /// The nodes, those that are gone among them, in the order of their numbers.
    pub nodes: Vec<NodeStatus>,
    /// All shards.
    pub shards: Vec<ShardReplicas>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its number.
    pub id: u64,
    /// Where other nodes reach it, `HOST:PORT`.
    pub address: String,
    /// Where clients reach it, `HOST:PORT`.
    pub sql_address: String,
    /// What it is to do.
    pub state: NodeState,
    /// Whether it has been heard of lately.
    pub is_alive: bool,
    /// How long ago it was heard of last; absent: not since this node has started.
    pub last_heard: Option<Duration>,
    /// The version of its program, if it has told it.
    pub version: Option<String>,
}

/// What a node is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It takes part.
    Active,
    /// It holds replicas and is to lead nothing.
    Draining,
    /// It is to hold nothing.
    Decommissioning,
    /// It has held nothing and may not come back.
    Gone,
}

impl NodeState {
    /// As SHOW NODES says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Decommissioning => "decommissioning",
            NodeState::Gone => "gone",
        }
    }
}

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardReplicas {
    /// Its number.
    pub shard: u64,
    /// The node that leads it, if one does.
    pub leader: Option<u64>,
    /// The nodes with a replica that votes, ascending.
    pub voters: Vec<u64>,
    /// The nodes with a replica that only learns, ascending.
    pub learners: Vec<u64>,
    /// How much of its log the node that answers has applied: the index of the last entry.
    pub applied_index: Option<u64>,
}

/// What a replica holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaChecksum {
    /// The shard.
    pub shard: u64,
    /// The node.
    pub node: u64,
    /// What was read; absent: the node did not answer, or has no such replica any more.
    pub content: Option<ReplicaContent>,
}

/// What was read of a replica. Only contents at the same applied index can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaContent {
    /// How much of the shard's log was applied: the index of the last entry.
    pub applied_index: u64,
    /// How many pairs of keys and values there were.
    pub pairs: u64,
    /// The sum of them all.
    pub checksum: u64,
}

impl ReplicaChecksum {
    /// Whether it agrees with the other replicas of the shard that were read at the same applied index; `None` if there is
    /// no such replica.
    #[must_use]
    pub fn agrees(&self, all: &[ReplicaChecksum]) -> Option<bool> {
        let content = self.content?;
        let others = all.iter().filter(|other| other.shard == self.shard && other.node != self.node);
        let comparable = |other: &ReplicaContent| other.applied_index == content.applied_index;
        let mut others = others.filter_map(|other| other.content.filter(comparable)).peekable();
        others.peek()?;
        Some(others.all(|other| other == content))
    }
}

impl ClusterStatus {
    /// A node by its number.
    #[must_use]
    pub fn node(&self, id: u64) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// How many replicas a node has, voters and others.
    #[must_use]
    pub fn replicas_of(&self, node: u64) -> usize {
        self.shards
            .iter()
            .filter(|shard| shard.voters.contains(&node) || shard.learners.contains(&node))
            .count()
    }

    /// How many shards a node leads.
    #[must_use]
    pub fn leaders_of(&self, node: u64) -> usize {
        self.shards.iter().filter(|shard| shard.leader == Some(node)).count()
    }

    /// Whether a node is heard of.
    fn is_alive(&self, id: u64) -> bool {
        self.node(id).is_some_and(|node| node.is_alive)
    }

    /// The nodes that can take replicas.
    fn takers(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes
            .iter()
            .filter(|node| node.is_alive && matches!(node.state, NodeState::Active | NodeState::Draining))
    }

    /// The shards with fewer voters on live nodes than they are to have.
    fn under_replicated(&self) -> usize {
        self.shards.iter().filter(|shard| self.live_voters(shard) < self.replicas_wanted).count()
    }

    /// The shards of which too few voters live for a majority: nothing of them can be written or read.
    fn without_quorum(&self) -> usize {
        self.shards.iter().filter(|shard| self.live_voters(shard) * 2 <= shard.voters.len()).count()
    }

    fn live_voters(&self, shard: &ShardReplicas) -> usize {
        shard.voters.iter().filter(|node| self.is_alive(**node)).count()
    }
}
