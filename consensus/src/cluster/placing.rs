//! Where a shard's replicas belong.
//!
//! - The primary has a replica of every shard, and so has its *deputy*, one of the other voters of the system shard: it can be the
//!   primary as soon as this one is lost.
//! - The others are on the nodes with the fewest replicas. One is moved for that only if it makes the two nodes more even.
//! - A replica leaves a node that is lost or is being decommissioned when another node can take it, and not before.
//!
//! Pure functions: what is known in, where replicas belong out.

use std::collections::{BTreeMap, BTreeSet};

use shardforge_runtime::NodeId;

use super::info::NodeState;

/// A node, as far as replicas are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    pub state: NodeState,
    pub is_alive: bool,
    /// It was silent for so long that its replicas are given up.
    pub is_lost: bool,
    /// How many replicas it has, or is to have.
    pub replicas: usize,
}

impl Seat {
    /// Whether the replicas on it may stay.
    fn keeps(self) -> bool {
        matches!(self.state, NodeState::Active | NodeState::Draining) && !self.is_lost
    }

    /// Whether it may get replicas.
    fn takes(self) -> bool {
        self.state == NodeState::Active && self.is_alive
    }
}

pub(super) type Seats = BTreeMap<NodeId, Seat>;

/// What holds for all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    /// How many replicas a shard is to have.
    pub wanted: usize,
    pub primary: NodeId,
    pub deputy: Option<NodeId>,
}

/// How much fewer replicas a node has to have for one to be moved to it: after the move they differ by less than before.
const WORTH_A_MOVE: usize = 2;

/// Which node is the deputy of a primary, given the voters of the system shard.
pub(super) fn deputy(seats: &Seats, voters: &BTreeSet<NodeId>, primary: NodeId) -> Option<NodeId> {
    let fitting = seats.iter().filter(|(node, seat)| **node != primary && (seat.takes() || seat.keeps()));
    let fitting = fitting.filter(|(node, seat)| seat.is_alive || voters.contains(*node));
    // Who has most replicas now has the fewest to get. Of equal ones the first.
    let best = fitting.max_by_key(|(node, seat)| {
        (voters.contains(*node), seat.replicas, seat.is_alive, std::cmp::Reverse(**node))
    });
    best.map(|(node, _)| *node)
}

/// The nodes where the replicas of a shard with these voters belong.
pub(super) fn target(seats: &Seats, voters: &BTreeSet<NodeId>, rule: Rule) -> BTreeSet<NodeId> {
    let mut target = BTreeSet::from([rule.primary]);
    target.extend(rule.deputy.filter(|_| rule.wanted > 1));
    let mut others: Vec<_> = seats
        .iter()
        .filter(|(node, _)| !target.contains(*node))
        .filter_map(|(node, seat)| {
            let rank = match (voters.contains(node), seat.keeps(), seat.takes()) {
                (true, true, _) => (0, seat.replicas),
                (false, _, true) => (0, seat.replicas + WORTH_A_MOVE),
                // Better than none.
                (true, false, _) => (if seat.is_alive { 1 } else { 2 }, seat.replicas),
                (false, _, false) => return None,
            };
            Some((rank, !voters.contains(node), *node))
        })
        .collect();
    others.sort_unstable();
    let missing = rule.wanted.saturating_sub(target.len());
    target.extend(others.into_iter().take(missing).map(|(_, _, node)| node));
    target
}

/// Whether the step from these voters to those can be taken: a majority of both is alive.
pub(super) fn is_safe(seats: &Seats, voters: &BTreeSet<NodeId>, target: &BTreeSet<NodeId>) -> bool {
    [voters, target].iter().all(|nodes| {
        let alive = nodes.iter().filter(|node| seats.get(*node).is_some_and(|seat| seat.is_alive)).count();
        2 * alive > nodes.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: Seat = Seat { state: NodeState::Active, is_alive: true, is_lost: false, replicas: 10 };
    const SILENT: Seat = Seat { is_alive: false, ..ALIVE };
    const LOST: Seat = Seat { is_lost: true, ..SILENT };
    const LEAVING: Seat = Seat { state: NodeState::Decommissioning, ..ALIVE };
    const DRAINING: Seat = Seat { state: NodeState::Draining, ..ALIVE };

    fn ids(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().map(|number| NodeId(*number)).collect()
    }

    fn seats(seats: &[Seat]) -> Seats {
        (1..).map(NodeId).zip(seats.iter().copied()).collect()
    }

    /// Node 1 is the primary and node 2 its deputy.
    fn placed(all: &[Seat], voters: &[u64], wanted: usize) -> Vec<u64> {
        let rule = Rule { wanted, primary: NodeId(1), deputy: Some(NodeId(2)) };
        target(&seats(all), &ids(voters), rule).into_iter().map(|node| node.0).collect()
    }

    #[test]
    fn replicas_go_where_there_are_few_and_stay_where_they_are() {
        let few = Seat { replicas: 3, ..ALIVE };
        assert_eq!(placed(&[ALIVE, ALIVE, ALIVE], &[1], 3), [1, 2, 3]);
        assert_eq!(placed(&[ALIVE, ALIVE, ALIVE, few], &[1], 3), [1, 2, 4]);
        assert_eq!(placed(&[ALIVE, ALIVE, ALIVE, few], &[1, 2, 3], 3), [1, 2, 4]);
        assert_eq!(placed(&[ALIVE; 4], &[1, 2, 4], 3), [1, 2, 4]);
        let nearly = Seat { replicas: 9, ..ALIVE };
        assert_eq!(placed(&[ALIVE, ALIVE, nearly, ALIVE], &[1, 2, 4], 3), [1, 2, 4], "not worth a move");
        assert_eq!(placed(&[ALIVE; 3], &[1, 2, 3], 1), [1]);
        assert_eq!(placed(&[ALIVE; 6], &[1, 2, 3], 5), [1, 2, 3, 4, 5]);
        assert_eq!(placed(&[ALIVE; 4], &[3, 4], 3), [1, 2, 3], "the primary has one of everything");
    }

    #[test]
    fn replicas_leave_nodes_when_others_can_take_them() {
        for bad in [LOST, LEAVING] {
            assert_eq!(placed(&[ALIVE, ALIVE, bad, ALIVE], &[1, 2, 3], 3), [1, 2, 4]);
            assert_eq!(placed(&[ALIVE, ALIVE, bad], &[1, 2, 3], 3), [1, 2, 3], "nobody can");
            assert_eq!(placed(&[ALIVE, ALIVE, bad, SILENT], &[1, 2, 3], 3), [1, 2, 3], "nobody can");
        }
        for good in [SILENT, DRAINING] {
            assert_eq!(placed(&[ALIVE, ALIVE, good, ALIVE], &[1, 2, 3], 3), [1, 2, 3]);
            assert_eq!(placed(&[ALIVE, ALIVE, ALIVE, good], &[1], 3), [1, 2, 3]);
        }
    }

    #[test]
    fn the_deputy_is_who_has_most_of_what_it_needs() {
        let all = seats(&[ALIVE, ALIVE, Seat { replicas: 12, ..ALIVE }, Seat { replicas: 50, ..ALIVE }]);
        assert_eq!(deputy(&all, &ids(&[1, 2, 3]), NodeId(1)), Some(NodeId(3)));
        assert_eq!(deputy(&all, &ids(&[1]), NodeId(1)), Some(NodeId(4)));
        assert_eq!(deputy(&seats(&[ALIVE, SILENT, ALIVE]), &ids(&[1]), NodeId(1)), Some(NodeId(3)));
        assert_eq!(deputy(&seats(&[ALIVE, LOST, LEAVING]), &ids(&[1, 2, 3]), NodeId(1)), None);
        assert_eq!(deputy(&seats(&[ALIVE]), &ids(&[1]), NodeId(1)), None);
    }

    #[test]
    fn no_step_is_taken_without_majorities() {
        let all = seats(&[ALIVE, ALIVE, SILENT, SILENT]);
        assert!(is_safe(&all, &ids(&[1, 2, 3]), &ids(&[1, 2, 4])));
        assert!(!is_safe(&all, &ids(&[1, 2, 3]), &ids(&[1, 3, 4])));
        assert!(!is_safe(&all, &ids(&[1, 3, 4]), &ids(&[1, 2, 3])));
        assert!(!is_safe(&all, &ids(&[1, 9]), &ids(&[1])), "of an unknown node nothing is known");
    }
}
