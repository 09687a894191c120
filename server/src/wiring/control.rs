//! [`Control`]: what SQL's statements about nodes do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardforge_consensus::{Cluster, NewToken, NodeState};
use shardforge_consensus::{ConsensusError, Node, NodeId};
use shardforge_sql::cluster as sql;
use shardforge_transport::ClusterId;
use shardforge_transport::certificates::{Authority, CertificateFiles, fingerprint};
use shardforge_transport::token::JoinToken;
use shardforge_types::{PgError, PgResult, SqlState};

use super::joining::seconds_since_1970;

/// See the module's essay.
pub struct Control {
    pub node: Arc<Node>,
    pub cluster: Arc<Cluster>,
    pub id: ClusterId,
    /// Where the CA's key is.
    pub certificates: PathBuf,
    pub replaced_after: Duration,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl sql::ClusterControl for Control {
    async fn status(&self) -> PgResult<sql::ClusterStatus> {
        let nodes = Arc::clone(&self.cluster.nodes().borrow());
        let nodes = nodes.iter().map(|node| sql::NodeStatus {
            id: node.id.0,
            address: node.address.clone(),
            sql_address: node.sql_address.clone(),
            state: match node.state {
                NodeState::Active => sql::NodeState::Active,
                NodeState::Draining => sql::NodeState::Draining,
                NodeState::Decommissioning => sql::NodeState::Decommissioning,
                NodeState::Gone => sql::NodeState::Gone,
            },
            is_alive: self.cluster.is_alive(node.id),
            last_heard: self.cluster.last_heard(node.id),
            version: None,
        });
        let map = self.node.shards();
        let shards = map.iter().map(|shard| {
            let members = shard.members();
            let nodes = |votes: bool| {
                let mut nodes: Vec<u64> = members
                    .list
                    .iter()
                    .filter(|member| member.votes == votes)
                    .map(|member| member.node.0)
                    .collect();
                nodes.sort_unstable();
                nodes
            };
            sql::ShardReplicas {
                shard: shard.id().0,
                leader: shard.leader().map(|node| node.0),
                voters: nodes(true),
                learners: nodes(false),
                applied_index: Some(shard.applied_index()),
            }
        });
        let primary = *self.cluster.primary().borrow();
        Ok(sql::ClusterStatus {
            primary: primary.map(|node| node.0),
            replicas_wanted: self.cluster.replicas_wanted(),
            replaced_after: self.replaced_after,
            nodes: nodes.collect(),
            shards: shards.collect(),
        })
    }

    async fn checksums(&self) -> PgResult<Vec<sql::ReplicaChecksum>> {
        let mut all = Vec::new();
        for shard in self.node.shards().iter() {
            let replicas = self.cluster.checksums(shard.id()).await.map_err(refused)?;
            all.extend(replicas.into_iter().map(|replica| sql::ReplicaChecksum {
                shard: shard.id().0,
                node: replica.node.0,
                content: replica.checksum.map(|checksum| sql::ReplicaContent {
                    applied_index: checksum.applied_index,
                    pairs: checksum.pairs,
                    checksum: checksum.sum,
                }),
            }));
        }
        Ok(all)
    }

    async fn create_token(&self, valid_for: Duration) -> PgResult<String> {
        let cannot = |error: &dyn std::fmt::Display| {
            PgError::new(SqlState::SYSTEM_ERROR, format!("this node cannot make join tokens: {error}"))
        };
        let files = CertificateFiles::of(&self.certificates);
        let authority = Authority::load(&files, self.id).map_err(|error| cannot(&error))?;
        let expires_at = seconds_since_1970().saturating_add(valid_for.as_secs());
        let token = JoinToken::new(Some(fingerprint(authority.certificate())), expires_at)
            .map_err(|error| cannot(&error))?;
        let record = token.record();
        let kept = NewToken { id: record.id, record: record.encode().into(), expires_at };
        self.cluster.add_token(kept).await.map_err(refused)?;
        Ok(token.reveal())
    }

    async fn drain(&self, node: u64) -> PgResult<()> {
        self.check_known(node)?;
        self.cluster.drain(NodeId(node)).await.map_err(refused)
    }

    async fn resume(&self, node: u64) -> PgResult<()> {
        self.check_known(node)?;
        self.cluster.resume(NodeId(node)).await.map_err(refused)
    }

    async fn decommission(&self, node: u64) -> PgResult<()> {
        self.check_known(node)?;
        self.cluster.decommission(NodeId(node)).await.map_err(refused)
    }
}

impl Control {
    fn check_known(&self, node: u64) -> PgResult<()> {
        let nodes = Arc::clone(&self.cluster.nodes().borrow());
        match nodes.iter().find(|info| info.id.0 == node) {
            None => Err(PgError::new(SqlState::UNDEFINED_OBJECT, format!("node {node} does not exist"))),
            Some(info) if info.state == NodeState::Gone => Err(PgError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("node {node} has left the cluster"),
            )),
            Some(_) => Ok(()),
        }
    }
}

/// What the cluster does not do, as a client is told.
fn refused(error: ConsensusError) -> PgError {
    let state = match error {
        ConsensusError::Refused(_) => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        _ => SqlState::CANNOT_CONNECT_NOW,
    };
    PgError::new(state, error.to_string())
}
