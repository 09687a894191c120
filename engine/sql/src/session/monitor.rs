//! What others see of a session that waits: the store's locks in PostgreSQL's words.
//!
//! PostgreSQL keeps row locks in the rows themselves. Who waits for one first takes a lock on the *tuple*, which
//! orders the waiters, and then waits for the end of the *transaction* that holds the row. Here a row's lock is one
//! queue; its front stands for the waiter that has the tuple's lock, and those behind wait for that one.

use shardforge_kv::{LockBlocker, LockTarget, LockWaitInfo};

/// The process number of a session of the store; 0 for those that are no connection's.
fn process_id(session: u64) -> i32 {
    i32::try_from(session).unwrap_or(0)
}

/// Whom a wait is for, as PostgreSQL counts it: who holds a conflicting lock, and who asked for one before. Of a
/// row's queue, only the front waits for the holders.
fn blockers(wait: &LockWaitInfo) -> impl Iterator<Item = &LockBlocker> {
    let is_row = matches!(wait.target, LockTarget::Row(_));
    let queued = is_row && wait.blockers.iter().any(|blocker| blocker.ahead);
    wait.blockers.iter().filter(move |blocker| blocker.ahead || !queued)
}

/// `pg_blocking_pids`.
pub(super) fn blocking_pids(waits: &[LockWaitInfo], pid: i32) -> Vec<i32> {
    let of_pid = waits.iter().filter(|wait| process_id(wait.session) == pid);
    of_pid.flat_map(blockers).map(|blocker| process_id(blocker.session)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardforge_kv::ObjectId;

    use super::*;

    fn wait(session: u64, target: LockTarget, blockers: &[(u64, bool)]) -> LockWaitInfo {
        let blocker = |&(session, ahead): &(u64, bool)| LockBlocker { session, transaction: None, ahead };
        LockWaitInfo {
            session,
            transaction: None,
            target,
            mode: "ExclusiveLock",
            since_micros: 0,
            blockers: blockers.iter().map(blocker).collect(),
        }
    }

    #[test]
    fn behind_the_front_of_a_row_only_the_queue_blocks() {
        let row = || LockTarget::Row(Bytes::from_static(b"k"));
        let table = LockTarget::Object(ObjectId { class: 5, id: 16384 });
        let waits = [
            wait(2, row(), &[(1, false)]),
            wait(3, row(), &[(1, false), (2, true)]),
            wait(4, table, &[(1, false), (2, true), (1 << 40, false)]),
        ];
        assert_eq!(blocking_pids(&waits, 2), [1]);
        assert_eq!(blocking_pids(&waits, 3), [2]);
        assert_eq!(blocking_pids(&waits, 4), [1, 2, 0]);
        assert!(blocking_pids(&waits, 1).is_empty());
    }
}
