//! What is asked of the leader of the system shard: from any node, wherever it leads.

use shardforge_runtime::NodeId;

use super::info::{AdmitRequest, NewToken, NodeState};
use super::messages::{Answer, Request};
use super::registry::{Admission, Circumstances, Done, NodeRecord, Order, Registry};
use super::shared::Shared;
use crate::error::{ConsensusError, Result};
use crate::limits::{GOSSIP_LIMIT, ORDER_LIMIT, ORDER_PAUSE, ORDER_TRY_LIMIT};
use crate::types::ShardId;

impl Shared {
    pub(super) async fn admit(&self, request: AdmitRequest) -> Result<NodeId> {
        let admission = Admission {
            token: request.token,
            shown: request.shown.to_vec(),
            address: request.address,
            sql_address: request.sql_address,
            request: self.runtime.next_u64().max(1),
        };
        match self.order(Order::Admit(admission)).await? {
            Done::Admitted { node } => Ok(NodeId(node)),
            Done::Well | Done::ShardIds { .. } => Err(unexpected()),
        }
    }

    pub(super) async fn add_token(&self, token: NewToken) -> Result<()> {
        let NewToken { id, record, expires_at } = token;
        self.order(Order::AddToken { id, record: record.to_vec(), expires_at }).await.map(drop)
    }

    pub(super) async fn set_state(&self, node: NodeId, state: NodeState) -> Result<()> {
        self.order(Order::SetState { node: node.0, state }).await.map(drop)
    }

    pub(super) async fn new_shard_id(&self) -> Result<ShardId> {
        loop {
            if let Some(id) = self.shard_ids.lock().next() {
                return Ok(ShardId(id));
            }
            let Done::ShardIds { first, end } = self.order(Order::ShardIds).await? else {
                return Err(unexpected());
            };
            *self.shard_ids.lock() = first..end;
        }
    }

    /// Has the leader of the system shard do something, which it may be asked for twice.
    async fn order(&self, order: Order) -> Result<Done> {
        let trying = self.try_until_done(order);
        let tried = self.runtime.timeout(ORDER_LIMIT, trying).await;
        tried.unwrap_or_else(|_elapsed| {
            let reason = "the leader of the system shard cannot be reached; a majority of the nodes that keep it must be up";
            Err(ConsensusError::Refused(reason.to_owned()))
        })
    }

    async fn try_until_done(&self, order: Order) -> Result<Done> {
        let mut hint = None;
        for attempt in 0_usize.. {
            let to =
                hint.take().or_else(|| self.leader_of_the_system()).unwrap_or_else(|| self.somebody(attempt));
            if to == self.options.node {
                match self.obey(order.clone()).await {
                    Err(ConsensusError::NotLeader { leader, .. }) => hint = leader,
                    // It may have been carried out; asked for again, it says so.
                    Err(error) if error.is_ambiguous() => {}
                    done => return done,
                }
            } else {
                match self.call(to, Request::Order(order.clone()), ORDER_TRY_LIMIT).await {
                    Ok(Answer::Ordered(done)) => return Ok(done),
                    Ok(Answer::Refused(reason)) => return Err(ConsensusError::Refused(reason)),
                    Ok(Answer::NotLeader(leader)) => hint = leader.map(NodeId),
                    Ok(Answer::Status { .. } | Answer::Done | Answer::Checksum(_)) | Err(_) => {}
                }
            }
            hint = hint.filter(|hint| *hint != to);
            if hint.is_none() {
                self.runtime.sleep(ORDER_PAUSE).await;
            }
        }
        Err(unexpected())
    }

    /// Who leads the system shard, as this node's replica knows, or else who claims to.
    pub(super) fn leader_of_the_system(&self) -> Option<NodeId> {
        match self.system() {
            Some(system) if system.is_leader() => Some(self.options.node),
            Some(system) => system.replica().known_leader().filter(|leader| *leader != self.options.node),
            None => Some(self.knowledge.lock().claim())
                .filter(|claim| claim.serves)
                .map(|claim| NodeId(claim.node)),
        }
    }

    /// One node after the other.
    fn somebody(&self, attempt: usize) -> NodeId {
        let peers = self.knowledge.lock().peers();
        if peers.is_empty() { self.options.node } else { peers[attempt % peers.len()] }
    }

    /// Carries out what another node asks for.
    pub(super) async fn obey_other(&self, order: Order) -> Answer {
        match self.obey(order).await {
            Ok(done) => Answer::Ordered(done),
            Err(ConsensusError::NotLeader { leader, .. }) => Answer::NotLeader(leader.map(|leader| leader.0)),
            Err(error) if error.is_ambiguous() => Answer::NotLeader(None),
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    async fn obey(&self, order: Order) -> Result<Done> {
        let change = self.change(|before, shards_end| {
            let mut registry =
                before.ok_or(ConsensusError::NotLeader { shard: ShardId::SYSTEM, leader: None })?;
            let now = self.runtime.wall_micros() / 1_000_000;
            let circumstances = Circumstances { now, check: &self.options.check_token, shards_end };
            let done = registry.obey(order, &circumstances)?;
            Ok((registry, done))
        });
        change.await
    }

    /// Changes the registry, as the leader of the system shard. `change` is given what is stored, and the number that is above
    /// the names of all shards here.
    pub(super) async fn change<T>(
        &self,
        change: impl FnOnce(Option<Registry>, u64) -> Result<(Registry, T)>,
    ) -> Result<T> {
        let mut unsettled = self.unsettled.lock().await;
        let Some(system) = self.system() else {
            return Err(ConsensusError::NotLeader { shard: ShardId::SYSTEM, leader: None });
        };
        // What is read below is of this term, or is refused.
        let term = system.term();
        if !system.is_leader() {
            return Err(system.replica().not_leader());
        }
        if *unsettled {
            system.barrier().await?;
            *unsettled = false;
        }
        let before = Registry::load(&system)?;
        let (mut after, result) = change(before.clone(), self.node.shards_end())?;
        if let Some(command) = after.command(before.as_ref(), term)? {
            // Until it is known what has become of it; this future may be dropped.
            *unsettled = true;
            let proposed = system.propose(command).await;
            *unsettled = proposed.as_ref().is_err_and(ConsensusError::is_ambiguous);
            match proposed {
                Err(ConsensusError::Rejected { .. }) => return Err(system.replica().not_leader()),
                proposed => drop(proposed?),
            }
        }
        self.take_leave_of_those_who_go(before.as_ref(), &after).await;
        let known = self.knowledge.lock().view().version;
        self.learn(|knowledge| knowledge.adopt(after.view()));
        if after.header.version > known {
            self.tell();
        }
        Ok(result)
    }

    /// Tells nodes that they are gone: when this one knows it, it speaks to them no more.
    async fn take_leave_of_those_who_go(&self, before: Option<&Registry>, after: &Registry) {
        let is_new = |node: &&NodeRecord| {
            let was = before.and_then(|before| before.nodes.get(&node.id)).map(|node| node.state);
            node.state == NodeState::Gone && was != Some(NodeState::Gone)
        };
        for node in after.nodes.values().filter(is_new) {
            // One that does not hear it finds the others silent.
            let _either = self.call(NodeId(node.id), Request::Registry(after.view()), GOSSIP_LIMIT).await;
        }
    }
}

fn unexpected() -> ConsensusError {
    ConsensusError::Refused("the answer of the system shard's leader belongs to another request".to_owned())
}
