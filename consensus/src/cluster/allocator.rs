//! Brings replicas to where they belong, while this node is the primary.
//!
//! The data shards come first: when a voter of the system shard can become the primary, it has replicas of them all. A change
//! takes the steps of [`crate::Shard::place`], each of which can be repeated; what is cut short here, the next primary goes on with.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures::future::select;
use futures::{StreamExt, stream};
use shardforge_runtime::NodeId;

use super::info::NodeState;
use super::placing::{Rule, Seat, Seats, deputy, is_safe, target};
use super::shared::Shared;
use crate::error::{ConsensusError, Result};
use crate::limits::{
    ALLOCATOR_INTERVAL, LEAVING_NODE_LOST_AFTER, PLACE_LIMIT, PLACEMENTS_AT_ONCE_MAX, PLACEMENTS_PLANNED_MAX,
};
use crate::shard::Shard;

/// Runs until it is dropped.
pub(super) async fn run(shared: &Shared) {
    let mut learned = shared.learned.subscribe();
    loop {
        learned.borrow_and_update();
        if !round(shared).await {
            let pause = shared.runtime.sleep(ALLOCATOR_INTERVAL);
            select(pin!(learned.changed()), pause).await;
        }
    }
}

/// A shard that is to have its replicas elsewhere.
struct Move {
    shard: Arc<Shard>,
    target: BTreeSet<NodeId>,
}

/// Does what is to be done first; returns whether all of it succeeded, and there may be more.
async fn round(shared: &Shared) -> bool {
    let (moves, lost) = plan(shared);
    if moves.is_empty() {
        return retire(shared).await;
    }
    let mut moving = stream::iter(moves)
        .map(async |Move { shard, target }| {
            let placing = shard.place_without(&target, &lost, PLACE_LIMIT);
            let placed = shared.runtime.timeout(PLACE_LIMIT, placing).await;
            let placed = placed.unwrap_or_else(|_elapsed| Err(refused("it took too long")));
            if let Err(error) = &placed {
                tracing::info!(shard = %shard.id(), ?target, "its replicas are not there yet: {error}");
            }
            placed.is_ok()
        })
        .buffer_unordered(PLACEMENTS_AT_ONCE_MAX);
    let mut all = true;
    while let Some(placed) = moving.next().await {
        all &= placed;
    }
    all
}

fn refused(reason: &str) -> ConsensusError {
    ConsensusError::Refused(reason.to_owned())
}

/// The moves to begin with, and the nodes that are not waited for.
fn plan(shared: &Shared) -> (Vec<Move>, BTreeSet<NodeId>) {
    let shards = shared.node.shards();
    let mut seats = seats(shared, &shards);
    let lost = seats.iter().filter(|(_, seat)| seat.is_lost).map(|(node, _)| *node).collect();
    let Some(system) = shared.system() else { return (Vec::new(), lost) };
    let primary = shared.options.node;
    let deputy = deputy(&seats, &system.members().voting_nodes(), primary);
    let rule = Rule { wanted: shared.replicas_wanted(), primary, deputy };
    let mut moves = Vec::new();
    for shard in shards.data() {
        moves.extend(plan_one(shard, &mut seats, rule));
        if moves.len() >= PLACEMENTS_PLANNED_MAX {
            break;
        }
    }
    if moves.is_empty() {
        moves.extend(plan_one(&system, &mut seats, rule));
    }
    (moves, lost)
}

/// Where a shard is to be moved, if it is; those that are planned later see it there.
fn plan_one(shard: &Arc<Shard>, seats: &mut Seats, rule: Rule) -> Option<Move> {
    let members = shard.members();
    let voters = members.voting_nodes();
    let target = target(seats, &voters, rule);
    let is_there = voters == target && !members.joint && members.list.len() == voters.len();
    if is_there || !is_safe(seats, &voters, &target) {
        return None;
    }
    for (node, seat) in seats.iter_mut() {
        if voters.contains(node) {
            seat.replicas = seat.replicas.saturating_sub(1);
        }
        if target.contains(node) {
            seat.replicas += 1;
        }
    }
    Some(Move { shard: Arc::clone(shard), target })
}

fn seats(shared: &Shared, shards: &[Arc<Shard>]) -> Seats {
    let now = shared.runtime.now();
    let mut seats: Seats = {
        let knowledge = shared.knowledge.lock();
        let seat = |node: NodeId, state| {
            let silent_for = knowledge.silent_for(node, now);
            let leaves = state == NodeState::Decommissioning;
            let lost_after = shared.options.replaced_after;
            let lost_after = if leaves { lost_after.min(LEAVING_NODE_LOST_AFTER) } else { lost_after };
            let is_lost = state == NodeState::Gone || silent_for >= lost_after;
            (node, Seat { state, is_alive: knowledge.is_alive(node, now), is_lost, replicas: 0 })
        };
        knowledge.view().nodes.values().map(|record| seat(NodeId(record.id), record.state)).collect()
    };
    for shard in shards {
        for member in shard.members().list {
            if let Some(seat) = seats.get_mut(&member.node) {
                seat.replicas += 1;
            }
        }
    }
    seats
}

/// Lets a node go that is to leave and has no replicas any more; returns whether there was one.
async fn retire(shared: &Shared) -> bool {
    let shards = shared.node.shards();
    let seats = seats(shared, &shards);
    let leaving = seats.iter().find(|(node, seat)| {
        seat.state == NodeState::Decommissioning && seat.replicas == 0 && **node != shared.options.node
    });
    let Some((node, _)) = leaving else { return false };
    let retired: Result<()> = shared.set_state(*node, NodeState::Gone).await;
    match retired {
        Ok(()) => {
            tracing::info!(%node, "it has left the cluster");
            true
        }
        Err(error) => {
            tracing::info!(%node, "it could not be let go yet: {error}");
            false
        }
    }
}
