//! Whether a shard's replicas hold the same: every node that has one is asked what its replica holds.
//!
//! Replicas apply the same log, but not at the same moment: only checksums of the same applied index can be compared. Of a
//! shard that is written to, several attempts may be needed.

use futures::future::join_all;
use shardforge_runtime::NodeId;

use super::messages::{Answer, Request};
use super::shared::Shared;
use crate::checksum::Checksum;
use crate::error::{ConsensusError, Result};
use crate::limits::CHECKSUM_LIMIT;
use crate::types::ShardId;

/// What a node has said of its replica of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaChecksum {
    /// The node.
    pub node: NodeId,
    /// What the replica holds; `None` if the node did not answer, or has no replica yet or any more.
    pub checksum: Option<Checksum>,
}

impl Shared {
    pub(super) async fn checksums(&self, shard: ShardId) -> Result<Vec<ReplicaChecksum>> {
        let members = match self.node.shards().by_id(shard) {
            Some(shard) => shard.members(),
            None => return Err(ConsensusError::Refused(format!("shard {shard} is not here"))),
        };
        let mut nodes: Vec<NodeId> = members.list.iter().map(|member| member.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let asked = nodes.into_iter().map(|node| async move {
            let checksum = if node == self.options.node {
                self.own_checksum(shard).await
            } else {
                match self.call(node, Request::Checksum(shard.0), CHECKSUM_LIMIT).await {
                    Ok(Answer::Checksum(checksum)) => checksum,
                    _ => None,
                }
            };
            ReplicaChecksum { node, checksum }
        });
        Ok(join_all(asked).await)
    }

    /// What this node's replica of a shard holds.
    pub(super) async fn own_checksum(&self, shard: ShardId) -> Option<Checksum> {
        let shard = self.node.shards().by_id(shard).cloned()?;
        match shard.checksum().await {
            Ok(checksum) => Some(checksum),
            Err(error) => {
                tracing::warn!(shard = %shard.id(), %error, "a replica's checksum cannot be taken");
                None
            }
        }
    }
}
