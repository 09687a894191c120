//! Who has replicas of a shard, and how that changes.
//!
//! ```text
//!   add_learner(node)      a new replica's name enters the members; the first message makes it on its node, empty
//!   catch_up(replica)      it gets a snapshot, and the log after it
//!   set_voters(nodes)      through the joint configuration: a majority of the old voters and one of the new
//!   remove_learner(..)     its node deletes it, and then it leaves the members: none is forgotten that still holds data
//!
//!   place(nodes)           all of it, from wherever an earlier attempt has ended
//! ```
//!
//! All of this is the leader's to do. A replica's name is of the term in which it was added and of a count in that term,
//! so no name is given twice, whoever leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use crate::error::{ConsensusError, Result};
use crate::limits::{CATCH_UP_ENTRIES_MAX, NODE_ID_END};
use crate::maintenance::flush_and_purge_one;
use crate::raft::network::remove_from;
use crate::raft::{Placement, TypeConfig};
use crate::replica::Replica;
use crate::shard::Shard;
use crate::types::{NodeId, ReplicaId};

/// One of a shard's replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name.
    pub replica: ReplicaId,
    /// The node that has it.
    pub node: NodeId,
    /// Whether it votes; if not, it only learns.
    pub votes: bool,
}

/// The replicas of a shard, as one of them knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// In the order of their names.
    pub list: Vec<Member>,
    /// Whether a change of voters is half done: old and new ones vote.
    pub joint: bool,
}

impl Members {
    /// The replica on a node; the voter, if there are two.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<Member> {
        let here = || self.list.iter().filter(move |member| member.node == node);
        here().find(|member| member.votes).or_else(|| here().next()).copied()
    }

    /// The nodes whose replicas vote.
    #[must_use]
    pub fn voting_nodes(&self) -> BTreeSet<NodeId> {
        self.list.iter().filter(|member| member.votes).map(|member| member.node).collect()
    }
}

impl Shard {
    /// Who has replicas of the shard, as this one knows.
    #[must_use]
    pub fn members(&self) -> Members {
        self.replica().members()
    }

    /// Adds a replica on another node, which learns and does not vote; returns its name.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when the node has a replica already or another change is under way, and
    /// [`ConsensusError::NotLeader`].
    pub async fn add_learner(&self, node: NodeId) -> Result<ReplicaId> {
        self.replica().add_learner(node).await
    }

    /// Waits until a replica has nearly all that the leader has.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when it is no member or `limit` is over, and [`ConsensusError::NotLeader`].
    pub async fn catch_up(&self, replica: ReplicaId, limit: Duration) -> Result<()> {
        self.replica().catch_up(replica, limit).await
    }

    /// Makes the replicas on these nodes the voters; those that voted before learn from then on.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when a node has no replica or another change is under way,
    /// [`ConsensusError::NotLeader`], and [`ConsensusError::Ambiguous`]: the change may be half done then
    /// ([`Members::joint`]), and calling this again completes it.
    pub async fn set_voters(&self, nodes: &BTreeSet<NodeId>) -> Result<()> {
        self.replica().set_voters(nodes).await
    }

    /// Has its node delete a replica that does not vote, and removes it from the members.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when it votes, its node cannot be reached, or another change is under way, and
    /// [`ConsensusError::NotLeader`]. It may be deleted and still be a member then; calling this again completes it.
    pub async fn remove_learner(&self, replica: ReplicaId) -> Result<()> {
        self.replica().remove_learner(replica, false).await
    }

    /// Removes a replica that does not vote from the members, though its node will never be heard of again.
    ///
    /// # Errors
    /// As [`Shard::remove_learner`].
    pub async fn forget_learner(&self, replica: ReplicaId) -> Result<()> {
        self.replica().remove_learner(replica, true).await
    }

    /// Brings the shard's replicas to exactly these nodes, where they vote: adds replicas, waits until they have caught up,
    /// changes the voters, and removes the others. Called again after an error, by whoever leads then, it goes on from
    /// where it was.
    ///
    /// # Errors
    /// As the steps above. A leader that is none of the nodes leads no more afterwards: the next one has to complete it.
    pub async fn place(&self, nodes: &BTreeSet<NodeId>, limit: Duration) -> Result<()> {
        self.place_without(nodes, &BTreeSet::new(), limit).await
    }

    /// The same, where some nodes will never be heard of again: nobody waits for them to delete their replicas.
    pub(crate) async fn place_without(
        &self,
        nodes: &BTreeSet<NodeId>,
        lost: &BTreeSet<NodeId>,
        limit: Duration,
    ) -> Result<()> {
        let replica = self.replica();
        if replica.members().joint {
            replica.set_voters(&replica.later_voters()).await?;
        }
        for node in nodes {
            let added = match replica.members().on(*node) {
                // A majority of the voters has everything, be it without this one.
                Some(member) if member.votes => continue,
                Some(member) => member.replica,
                None => replica.add_learner(*node).await?,
            };
            replica.catch_up(added, limit).await?;
        }
        if replica.members().voting_nodes() != *nodes {
            replica.set_voters(nodes).await?;
        }
        for member in replica.members().list {
            if !member.votes {
                replica.remove_learner(member.replica, lost.contains(&member.node)).await?;
            }
        }
        Ok(())
    }

    /// Hands the leadership to the voter on another node, as soon as that one has all that this one has. Returns at once; it
    /// has come to pass when [`Shard::is_leader`] says so there. A tenure of this node is over before anything is done, as the
    /// other one need not wait for any lease; and this replica leads no more in its term, whatever comes of it.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when the node has no voter, and [`ConsensusError::NotLeader`].
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<()> {
        self.replica().transfer_leadership(to).await
    }
}

impl Replica {
    pub(crate) fn members(&self) -> Members {
        let metrics = self.raft().server_metrics();
        let config = Arc::clone(&metrics.borrow_watched().membership_config);
        let voters: BTreeSet<_> = config.voter_ids().collect();
        let member = |(replica, placement): (&ReplicaId, &Placement)| Member {
            replica: *replica,
            node: NodeId(placement.node),
            votes: voters.contains(replica),
        };
        Members { list: config.nodes().map(member).collect(), joint: config.get_joint_config().len() > 1 }
    }

    /// The nodes of those who vote when a change of voters is complete.
    fn later_voters(&self) -> BTreeSet<NodeId> {
        let metrics = self.raft().server_metrics();
        let config = Arc::clone(&metrics.borrow_watched().membership_config);
        let voters = config.get_joint_config().last().cloned().unwrap_or_default();
        let placed = config.nodes().filter(|(replica, _)| voters.contains(replica));
        placed.map(|(_, placement)| NodeId(placement.node)).collect()
    }

    async fn add_learner(&self, node: NodeId) -> Result<ReplicaId> {
        self.check_leads()?;
        if self.members().list.iter().any(|member| member.node == node) {
            return self.refused(&format!("{node} has a replica already"));
        }
        // What others rely on, a crash here must not take back: see the invariants of `host.rs`. And they are to begin with
        // a snapshot, not with a log that goes back to the shard's first entry.
        flush_and_purge_one(self).await?;
        let number = self.added.fetch_add(1, Ordering::SeqCst);
        let replica = ReplicaId(self.term() * NODE_ID_END + number);
        let added = std::collections::BTreeMap::from([(replica, Placement { node: node.0 })]);
        self.change(ChangeMembers::AddNodes(added)).await?;
        Ok(replica)
    }

    async fn catch_up(&self, replica: ReplicaId, limit: Duration) -> Result<()> {
        let waiting = self.runtime.timeout(limit, self.until_caught_up(replica)).await;
        match waiting {
            Ok(result) => result,
            Err(_elapsed) => self.refused(&format!("{replica} has not caught up within {limit:?}")),
        }
    }

    async fn until_caught_up(&self, replica: ReplicaId) -> Result<()> {
        let mut metrics = self.raft().metrics();
        loop {
            self.check_leads()?;
            {
                let now = metrics.borrow_watched();
                if now.membership_config.get_node(&replica).is_none() {
                    return self.refused(&format!("{replica} is no member"));
                }
                let last = now.last_log_index.unwrap_or_default();
                let matching = now.replication.as_ref().and_then(|all| all.get(&replica).copied().flatten());
                if replica == self.name || matching.is_some_and(|id| id.index + CATCH_UP_ENTRIES_MAX >= last)
                {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(self.not_leader());
            }
        }
    }

    async fn set_voters(self: &Arc<Self>, nodes: &BTreeSet<NodeId>) -> Result<()> {
        self.check_leads()?;
        let members = self.members();
        let mut voters = BTreeSet::new();
        for node in nodes {
            let Some(member) = members.on(*node) else {
                return self.refused(&format!("{node} has no replica"));
            };
            voters.insert(member.replica);
        }
        if voters.is_empty() {
            return self.refused("it needs a voter");
        }
        // In a task of its own, which knows when it is over, whoever waits for it.
        let under_way = self.change_of_voters();
        let changing = self.runtime.spawn("change of voters", async move {
            under_way.replica().change(ChangeMembers::ReplaceAllVoters(voters)).await
        });
        let changed = changing.await;
        changed.map_err(|error| ConsensusError::Ambiguous { shard: self.id, reason: error.to_string() })?
    }

    async fn remove_learner(&self, replica: ReplicaId, is_lost: bool) -> Result<()> {
        self.check_leads()?;
        let Some(member) = self.members().list.into_iter().find(|member| member.replica == replica) else {
            return self.refused(&format!("{replica} is no member"));
        };
        if member.votes {
            return self.refused(&format!("{replica} votes"));
        }
        // That it does not vote is committed: this replica leads, and one change follows the other.
        if !is_lost {
            remove_from(&*self.network, &self.runtime, member.node, self.id, replica).await?;
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([replica]))).await
    }

    async fn transfer_leadership(&self, to: NodeId) -> Result<()> {
        self.check_leads()?;
        let voter = self.members().on(to).filter(|member| member.votes);
        let Some(voter) = voter else {
            return self.refused(&format!("{to} has no replica that votes"));
        };
        if voter.replica == self.name {
            return Ok(());
        }
        self.hand_over();
        let transferred = self.raft().trigger().transfer_leader(voter.replica).await;
        transferred.map_err(|error| ConsensusError::Stopped { reason: error.to_string() })
    }

    fn check_leads(&self) -> Result<()> {
        if self.is_leader() { Ok(()) } else { Err(self.not_leader()) }
    }

    fn refused<T>(&self, reason: &str) -> Result<T> {
        Err(ConsensusError::Refused(format!("the replicas of shard {} stay as they are: {reason}", self.id)))
    }

    /// Has raft change the members, and waits until the change is applied here.
    async fn change(&self, change: ChangeMembers<ReplicaId, Placement>) -> Result<()> {
        type Refusal = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;
        // Voters that vote no more stay, to learn.
        let changed: std::result::Result<_, Refusal> = self.raft().change_membership(change, true).await;
        match changed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(self.not_leader()),
            Err(RaftError::APIError(error)) => self.refused(&error.to_string()),
            Err(RaftError::Fatal(error)) => {
                Err(ConsensusError::Ambiguous { shard: self.id, reason: error.to_string() })
            }
        }
    }
}
