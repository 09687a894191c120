//! The lock table's waits, as those see them who look at it from outside.

use std::collections::BTreeMap;

use super::table::WaitEdge;
use crate::types::{LockBlocker, LockTarget, LockWaitInfo};

/// One entry a wait, oldest first, of its edges.
pub(crate) fn waits(edges: Vec<WaitEdge>) -> Vec<LockWaitInfo> {
    let mut waits: BTreeMap<u64, LockWaitInfo> = BTreeMap::new();
    for edge in edges {
        let wait = waits.entry(edge.wait_id).or_insert_with(|| LockWaitInfo {
            session: edge.waiter.session,
            transaction: edge.waiter.txn,
            target: match edge.blocker.txn.filter(|_| edge.leaving) {
                Some(txn) => LockTarget::Transaction(txn),
                None => edge.name.target(),
            },
            mode: edge.mode.name(),
            since_micros: edge.since.wall_micros,
            blockers: Vec::new(),
        });
        wait.blockers.push(LockBlocker {
            session: edge.blocker.session,
            transaction: edge.blocker.txn,
            ahead: edge.ahead,
        });
    }
    waits.into_values().collect()
}
