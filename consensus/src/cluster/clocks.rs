//! Whose wall clock is wrong.
//!
//! ```text
//!   asked at s, answered at e (by this node's monotonic clock), the peer's wall clock in between was w
//!   offset = w - (wall clock at s + (e - s) / 2), give or take (e - s) / 2
//! ```
//!
//! The order of transactions does not rest on wall clocks, for one node at a time gives out all timestamps; what `now()` says does, and
//! how old a state of the past is. A node whose clock differs from those of most nodes by more than the maximum stops itself: it
//! is the one that is wrong. Where no majority says so (of two nodes, nobody knows which) nothing is done.

use std::collections::BTreeMap;
use std::time::Duration;

use shardforge_runtime::{Instant, NodeId};

use crate::limits::{CLOCK_OFFSET_MAX, CLOCK_READING_KEPT};

/// How far a peer's clock is ahead of this node's, at least: what the way there and back may account for is taken off.
struct Reading {
    at: Instant,
    ahead_micros: i64,
}

/// The clocks of the other nodes, as they were read lately.
#[derive(Default)]
pub(super) struct Clocks(BTreeMap<NodeId, Reading>);

impl Clocks {
    /// Takes down what a peer's clock said between two moments; `wall_micros` is what this node's said at the first.
    pub(super) fn read(
        &mut self,
        peer: NodeId,
        (asked, answered): (Instant, Instant),
        wall_micros: u64,
        peer_wall_micros: u64,
    ) {
        let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
        let way = answered.saturating_duration_since(asked);
        let slack = i64::try_from(way.as_micros() / 2).unwrap_or(i64::MAX);
        let offset = signed(peer_wall_micros).saturating_sub(signed(wall_micros)).saturating_sub(slack);
        let ahead_micros = offset.signum() * offset.saturating_abs().saturating_sub(slack).max(0);
        let _before = self.0.insert(peer, Reading { at: answered, ahead_micros });
    }

    /// Why this node has to stop, if most of a cluster's nodes have another time than it has.
    pub(super) fn complaint(&self, now: Instant, nodes: usize) -> Option<String> {
        let max = i64::try_from(CLOCK_OFFSET_MAX.as_micros()).unwrap_or(i64::MAX);
        let is_recent = |reading: &&Reading| now.saturating_duration_since(reading.at) < CLOCK_READING_KEPT;
        let mut far: Vec<i64> = self
            .0
            .values()
            .filter(is_recent)
            .map(|reading| reading.ahead_micros)
            .filter(|ahead| ahead.saturating_abs() > max)
            .collect();
        if far.len() <= nodes / 2 {
            return None;
        }
        far.sort_unstable();
        let typical = far[far.len() / 2];
        let by = Duration::from_micros(typical.unsigned_abs());
        let side = if typical > 0 { "behind" } else { "ahead of" };
        Some(format!(
            "this node's clock is {by:?} {side} those of most nodes, and {CLOCK_OFFSET_MAX:?} is the maximum: synchronize it, \
             and start the node again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardforge_runtime::{NodeId, Simulation};

    use super::Clocks;
    use crate::limits::{CLOCK_OFFSET_MAX, CLOCK_READING_KEPT};

    const WALL: u64 = 1_700_000_000_000_000;

    /// What is complained of when the clocks of the others are ahead by so many milliseconds, in a cluster of so many nodes.
    fn complaint(ahead_millis: &[i64], way: Duration, nodes: usize) -> Option<String> {
        let asked = Simulation::new(1).runtime().now();
        let mut clocks = Clocks::default();
        for (number, ahead) in (2..).zip(ahead_millis) {
            let middle = WALL + u64::try_from(way.as_micros() / 2).unwrap();
            let wall = middle.saturating_add_signed(ahead * 1_000);
            clocks.read(NodeId(number), (asked, asked + way), WALL, wall);
        }
        clocks.complaint(asked + way, nodes)
    }

    #[test]
    fn who_differs_from_most_is_wrong() {
        let quick = Duration::from_millis(2);
        assert_eq!(complaint(&[100, 100], quick, 3), None);
        assert_eq!(complaint(&[-100, 100], quick, 3), None);
        assert!(complaint(&[400, 400], quick, 3).unwrap().contains("behind"));
        assert!(complaint(&[-400, -410], quick, 3).unwrap().contains("ahead of"));
        assert_eq!(complaint(&[400, 0], quick, 3), None, "the other one is wrong");
        assert_eq!(complaint(&[400], quick, 2), None, "who knows");
        assert_eq!(complaint(&[400, 400], quick, 5), None, "not most");
        assert!(complaint(&[400, 400, 400], quick, 5).is_some());
    }

    #[test]
    fn a_slow_way_proves_nothing() {
        let slow = Duration::from_millis(900);
        assert_eq!(complaint(&[400, 400], slow, 3), None);
        assert!(complaint(&[1_000, 1_000], slow, 3).is_some());
    }

    #[test]
    fn old_readings_do_not_count() {
        let asked = Simulation::new(1).runtime().now();
        let mut clocks = Clocks::default();
        for peer in [2, 3] {
            clocks.read(NodeId(peer), (asked, asked), WALL, WALL + 10_000_000);
        }
        assert!(clocks.complaint(asked + CLOCK_OFFSET_MAX, 3).is_some());
        assert_eq!(clocks.complaint(asked + CLOCK_READING_KEPT, 3), None);
    }
}
