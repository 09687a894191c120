//! The cluster's own life: which nodes there are, who is alive, which of them is the primary, and where replicas go.
//!
//! ```text
//!   every node                                        the node that leads the system shard
//!     gossip.rs   who is alive, who serves, and         orders.rs     admits nodes, keeps tokens and states, names shards
//!                 the registry, to each other once      keeper.rs     writes down who is where
//!                 a second, and at once on changes      office.rs     gathers the leadership of all shards: a tenure
//!     keeper.rs   remembers the nodes over a restart    allocator.rs  while it lasts: brings replicas to where they belong
//!
//!   succession.rs who stands for election first when the leader of the system shard is silent
//!   checksums.rs  whether replicas hold the same
//!   knowledge.rs  what a node knows       registry.rs  what the system shard keeps       messages.rs  what nodes say
//! ```
//!
//! Invariants:
//! - Only the leader of the system shard changes the registry, in its term.
//! - A node has a tenure only while it leads the system shard and all data shards; one that has a tenure hands no shard over.
//! - What is known of other nodes (who is alive, who serves) decides what is tried, never what is right: that is raft's.

mod allocator;
mod checksums;
mod clocks;
mod gossip;
mod info;
mod keeper;
mod knowledge;
mod messages;
mod office;
mod orders;
mod placing;
mod registry;
mod shared;
mod succession;

use std::sync::Arc;
use std::time::Duration;

pub use checksums::ReplicaChecksum;
pub use info::{AdmitRequest, ClusterOptions, NewToken, NodeInfo, NodeLoad, NodeState, TokenCheck};
pub(crate) use messages::{Answer, Request};
use parking_lot::Mutex;
use shardforge_runtime::{Network, NodeId, Runtime, TaskHandle};
use tokio::sync::watch;

use self::shared::Shared;
use crate::error::Result;
use crate::node::Node;
use crate::tenure::Tenure;
use crate::types::ShardId;

/// This node's part in its cluster. It ends when it is dropped, or with [`Cluster::stop`].
pub struct Cluster {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<TaskHandle<()>>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Begins to take part, with a node that is open; `network` is the one that it was opened with. A node that was alone until
    /// now becomes the first of a cluster.
    ///
    /// # Errors
    /// When what the node remembers cannot be read or written.
    pub async fn start(
        node: Arc<Node>,
        network: Arc<dyn Network>,
        runtime: Runtime,
        options: ClusterOptions,
    ) -> Result<Arc<Self>> {
        let shared = Shared::open(node, network, runtime, options).await?;
        let tasks = shared.start();
        Ok(Arc::new(Self { shared, tasks: Mutex::new(tasks) }))
    }

    /// Ends taking part: nothing that the node does is for the cluster afterwards, and nothing of it is held any more.
    pub async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            // Aborted or done, either way it holds nothing any more.
            let _ended = task.await;
        }
    }

    /// The nodes of the cluster, those that have gone included, by name. Connections are to be made to those of their addresses,
    /// and those of [`NodeState::Gone`] are to be expelled.
    #[must_use]
    pub fn nodes(&self) -> watch::Receiver<Arc<[NodeInfo]>> {
        self.shared.nodes.subscribe()
    }

    /// How long ago a node was heard of; `None` if it was not since this one was started.
    #[must_use]
    pub fn last_heard(&self, node: NodeId) -> Option<Duration> {
        self.shared.knowledge.lock().last_heard(node, self.shared.runtime.now())
    }

    /// Whether a node was heard of within [`crate::limits::NODE_ALIVE_WITHIN`].
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.shared.knowledge.lock().is_alive(node, self.shared.runtime.now())
    }

    /// What a node has to do, as it has said last.
    #[must_use]
    pub fn load(&self, node: NodeId) -> Option<NodeLoad> {
        if node == self.shared.options.node {
            return Some(self.shared.load());
        }
        self.shared.knowledge.lock().load(node)
    }

    /// How many replicas a shard is to have now.
    #[must_use]
    pub fn replicas_wanted(&self) -> usize {
        self.shared.replicas_wanted()
    }

    /// Who serves SQL, as this node knows: clients' connections go there.
    #[must_use]
    pub fn primary(&self) -> watch::Receiver<Option<NodeId>> {
        self.shared.primary.subscribe()
    }

    /// This node's tenure, while it is the primary: from when it leads all shards until one of them is lost, the lease is over, or
    /// another node is to be the primary. Whoever has opened something in a tenure drops it before he opens it in the next one.
    #[must_use]
    pub fn tenure(&self) -> watch::Receiver<Option<Tenure>> {
        self.shared.tenure.subscribe()
    }

    /// Says whether SQL is served here, under the current tenure. Others send clients here only then.
    pub fn serving(&self, serves: bool) {
        self.shared.serving(serves);
    }

    /// Gives up being the primary, if there is another node for it, and becomes it no more: the tenure ends, and what this node
    /// leads is handed over. To be called before the node is stopped on purpose. It takes no longer than
    /// [`crate::limits::STAND_BACK_LIMIT`].
    pub async fn stand_back(&self) {
        self.shared.stand_back().await;
    }

    /// Ends a tenure in which this node cannot serve, because its disk fails, say: another node becomes the primary, if there is
    /// one. Unlike [`Cluster::stand_back`] it may become it again, when the others have tried.
    pub fn pass_on(&self, tenure: &Tenure, reason: &str) {
        self.shared.pass_on(tenure, reason);
    }

    /// Lets a node in and returns its name. The token is used up by it.
    ///
    /// # Errors
    /// [`crate::ConsensusError::Refused`] when the token is not good, or when the leader of the system shard cannot be reached:
    /// the node may have been let in then, and the token be of no use.
    pub async fn admit(&self, request: AdmitRequest) -> Result<NodeId> {
        self.shared.admit(request).await
    }

    /// Keeps a join token until it is used or has expired.
    ///
    /// # Errors
    /// [`crate::ConsensusError::Refused`] when there are too many, or the leader of the system shard cannot be reached.
    pub async fn add_token(&self, token: NewToken) -> Result<()> {
        self.shared.add_token(token).await
    }

    /// Has a node give up being the primary, and become it no more, until [`Cluster::resume`].
    ///
    /// # Errors
    /// [`crate::ConsensusError::Refused`] when there is no such node, it is the only active one, or the leader of the system shard
    /// cannot be reached.
    pub async fn drain(&self, node: NodeId) -> Result<()> {
        self.shared.set_state(node, NodeState::Draining).await
    }

    /// Has all replicas of a node moved to others; it is [`NodeState::Gone`] when there are none left. This returns at once.
    ///
    /// # Errors
    /// As [`Cluster::drain`].
    pub async fn decommission(&self, node: NodeId) -> Result<()> {
        self.shared.set_state(node, NodeState::Decommissioning).await
    }

    /// Ends draining or decommissioning.
    ///
    /// # Errors
    /// As [`Cluster::drain`]; also when the node has gone.
    pub async fn resume(&self, node: NodeId) -> Result<()> {
        self.shared.set_state(node, NodeState::Active).await
    }

    /// What each replica of a shard holds, by node. Every one of them reads all of it.
    ///
    /// # Errors
    /// [`crate::ConsensusError::Refused`] when this node has no replica of the shard.
    pub async fn checksums(&self, shard: ShardId) -> Result<Vec<ReplicaChecksum>> {
        self.shared.checksums(shard).await
    }

    /// A name for a new shard, which no other shard of the cluster has or will have.
    ///
    /// # Errors
    /// [`crate::ConsensusError::Refused`] when the leader of the system shard cannot be reached.
    pub async fn new_shard_id(&self) -> Result<ShardId> {
        self.shared.new_shard_id().await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}
