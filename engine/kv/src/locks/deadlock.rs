//! Finding circles in the graph of waits. Pure: edges in, circles out.
//!
//! A session waits for at most one lock at a time, but one wait may be blocked by several sessions (holders,
//! and requests that are ahead in the queue), so the search goes depth first and remembers where it has been.

use std::collections::BTreeMap;

use super::table::{LockName, WaitEdge};

/// Which wait of a circle ends: the one that PostgreSQL would end, where each wait is searched for circles once, when
/// its `deadlock_timeout` is over. That is the first one to time out after the circle was closed by its youngest wait.
/// Two who hold one object and both want more of it are seen at once: there it is the second one.
pub(crate) fn victim(cycle: &[WaitEdge]) -> Option<usize> {
    let closed = cycle.iter().map(|edge| edge.since.at).max()?;
    if let [left, right] = cycle
        && left.name == right.name
        && matches!(left.name, LockName::Object(_))
    {
        return Some(usize::from(right.wait_id > left.wait_id));
    }
    let candidates = cycle.iter().enumerate().filter(|(_, edge)| edge.since.deadline > closed);
    let first = candidates.min_by_key(|(_, edge)| (edge.since.deadline, edge.wait_id));
    first.or_else(|| cycle.iter().enumerate().max_by_key(|(_, edge)| edge.wait_id)).map(|(index, _)| index)
}

/// Circles of waits; each edge's blocker is the next edge's waiter. Circles that share a session are reported
/// once: breaking one may break the other.
pub(crate) fn find_cycles(edges: &[WaitEdge]) -> Vec<Vec<WaitEdge>> {
    let mut by_waiter: BTreeMap<u64, Vec<&WaitEdge>> = BTreeMap::new();
    for edge in edges {
        by_waiter.entry(edge.waiter.session).or_default().push(edge);
    }
    // Whether nothing is reachable any more from a session that has not been seen.
    let mut done: BTreeMap<u64, bool> = BTreeMap::new();
    let mut cycles = Vec::new();
    for &start in by_waiter.keys() {
        // The path to where the search is: the edge taken, and how many edges of its waiter were tried.
        let mut path: Vec<(u64, usize)> = vec![(start, 0)];
        if done.contains_key(&start) {
            continue;
        }
        done.insert(start, false);
        while let Some((session, tried)) = path.last_mut() {
            let Some(edge) = by_waiter.get(session).and_then(|edges| edges.get(*tried)) else {
                done.insert(*session, true);
                path.pop();
                continue;
            };
            *tried += 1;
            match done.get(&edge.blocker.session) {
                Some(true) => {}
                Some(false) => {
                    let begin = path.iter().position(|(session, _)| *session == edge.blocker.session);
                    let Some(begin) = begin else { continue };
                    let edge_of = |(session, tried): &(u64, usize)| by_waiter[session][tried - 1].clone();
                    cycles.push(path[begin..].iter().map(edge_of).collect());
                    for (session, _) in path.drain(..) {
                        done.insert(session, true);
                    }
                }
                None => {
                    done.insert(edge.blocker.session, false);
                    path.push((edge.blocker.session, 0));
                }
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardforge_runtime::Instant;

    use super::super::table::WaitBegin;
    use super::super::{LockMode, Owner};
    use super::*;
    use crate::types::{LockStrength, TxnId};

    /// A wait that began after so many seconds, with a second's time.
    fn began(seconds: u64) -> WaitBegin {
        let at = Instant::from_nanos(seconds * 1_000_000_000);
        WaitBegin { at, wall_micros: 0, deadline: at + Duration::from_secs(1) }
    }

    fn edges(pairs: &[(u64, u64)]) -> Vec<WaitEdge> {
        let owner = |session| Owner { session, txn: Some(TxnId(session)) };
        let edge = |&(waiter, blocker): &(u64, u64)| WaitEdge {
            wait_id: waiter,
            waiter: owner(waiter),
            blocker: owner(blocker),
            name: LockName::Transaction(TxnId(blocker)),
            mode: LockMode::Row(LockStrength::Update),
            since: began(waiter),
            ahead: false,
            leaving: false,
        };
        pairs.iter().map(edge).collect()
    }

    fn circles(pairs: &[(u64, u64)]) -> Vec<Vec<u64>> {
        let cycles = find_cycles(&edges(pairs));
        cycles.iter().map(|cycle| cycle.iter().map(|edge| edge.waiter.session).collect()).collect()
    }

    #[test]
    fn chains_and_diamonds_are_no_circles() {
        assert!(circles(&[(1, 2), (2, 3), (3, 4)]).is_empty());
        assert!(circles(&[(1, 2), (1, 3), (2, 4), (3, 4)]).is_empty());
    }

    #[test]
    fn the_first_wait_to_time_out_in_the_circle_ends() {
        let mut cycle = edges(&[(1, 2), (2, 1)]);
        // The first one's time was over when the second one closed the circle.
        assert_eq!(victim(&cycle), Some(1));
        cycle[0].since.deadline = cycle[0].since.deadline + Duration::from_millis(500);
        assert_eq!(victim(&cycle), Some(0));
        cycle[1].since.deadline = cycle[1].since.at + Duration::from_millis(10);
        assert_eq!(victim(&cycle), Some(1));
        assert_eq!(victim(&[]), None);
    }

    #[test]
    fn circles_are_found_behind_dead_ends() {
        assert_eq!(circles(&[(1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(circles(&[(1, 5), (1, 2), (2, 6), (2, 3), (3, 1)]), [[1, 2, 3]]);
        assert_eq!(circles(&[(9, 1), (1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(circles(&[(1, 2), (2, 1), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
    }
}
