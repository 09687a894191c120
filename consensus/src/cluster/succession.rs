//! Who stands for election first when the leader of the system shard is silent.
//!
//! ```text
//!   last heard of the leader      lease over    first in line   second   ...      raft's own timers, at random
//!   |------------------------------|-------------|---------------|-----------------|--------------------------|
//!            ELECTION_TIMEOUT_MAX    .. DELAY      .. STEP
//! ```
//!
//! Raft lets a follower wait for a random time after the lease, so that two of them do not stand at the same time. Here the voters
//! have an order instead, and clients wait less. It is a matter of speed alone: whoever stands asks first whether it would be elected,
//! nobody votes before the lease is over, and when all of this comes to nothing raft's timers are there.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select;
use shardforge_runtime::NodeId;

use super::shared::Shared;
use crate::limits::{ELECTION_TIMEOUT_MAX, ELECTION_TIMEOUT_MIN, SUCCESSION_DELAY, SUCCESSION_STEP};

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.node.changes();
    loop {
        changes.borrow_and_update();
        let wait = wait(&shared).await;
        let Some(wait) = wait else {
            // This node leads, or is not to: raft says when that changes, or stands by itself.
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        select(pin!(changes.changed()), shared.runtime.sleep(wait)).await;
    }
}

/// Stands for election if it is time to; returns how long to wait before that is asked again, if it ever is.
async fn wait(shared: &Shared) -> Option<Duration> {
    let system = shared.system()?;
    if system.is_leader() {
        return None;
    }
    let place = place(&shared.may_follow(), system.replica().known_leader(), shared.options.node)?;
    let heard_at = system.replica().heard_of_leader_at().await?;
    let due_at = heard_at + ELECTION_TIMEOUT_MAX + SUCCESSION_DELAY + SUCCESSION_STEP * place;
    let now = shared.runtime.now();
    if now < due_at {
        return Some(due_at - now);
    }
    system.replica().stand_if_unled().await;
    // It had an answer by then, or stands again.
    Some(ELECTION_TIMEOUT_MIN)
}

/// Which place a node has among those that may follow a leader, the one with the next number first; none if it is not among them.
fn place(nodes: &BTreeSet<NodeId>, leader: Option<NodeId>, node: NodeId) -> Option<u32> {
    let last = leader.unwrap_or(NodeId(0));
    let following = nodes.iter().filter(|other| **other > last);
    let line = following.chain(nodes.iter().filter(|other| **other < last));
    (0..).zip(line).find(|(_, other)| **other == node).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_node_comes_first() {
        let nodes: BTreeSet<_> = [1, 3, 4, 7].map(NodeId).into();
        let line = |leader| [1, 3, 4, 7].map(|node| place(&nodes, leader, NodeId(node)));
        assert_eq!(line(Some(NodeId(3))), [Some(2), None, Some(0), Some(1)]);
        assert_eq!(line(Some(NodeId(7))), [Some(0), Some(1), Some(2), None]);
        assert_eq!(line(Some(NodeId(5))), [Some(1), Some(2), Some(3), Some(0)], "it is not among them");
        assert_eq!(line(None), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(place(&nodes, None, NodeId(2)), None);
    }
}
