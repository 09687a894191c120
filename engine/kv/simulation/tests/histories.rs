//! Histories, checked from the outside by [`adya`]: from what transactions wrote and read it infers which had to come
//! before which, and looks for the cycles that a level forbids.
//!
//! Lists tell the order of their versions by themselves. Registers do not; their versions come in the order of the
//! commits' timestamps. A scan of a table is a read of every row that could be in it: one that is not there is read as
//! nothing, so a phantom is an anti-dependency like any other, and a cycle through one is found as G2-item.

use std::collections::HashMap;
use std::time::Duration;

use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{History, Opts, Valid};
use shardforge_simulation::IsolationLevel;

use crate::recorder::{Outcome, Step, TxnLog};
use crate::run::Workload;

/// What a level promises, in the words of the checker.
fn model(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::ReadCommitted => "strong-read-committed",
        IsolationLevel::RepeatableRead => "strong-snapshot-isolation",
        IsolationLevel::Serializable => "strict-serializable",
    }
}

/// What the histories of a run show that the weakest of its levels forbids.
pub fn violations(log: &[TxnLog], level: IsolationLevel) -> Vec<String> {
    let kinds = [
        (adya::Workload::ListAppend, &[Workload::Lists][..]),
        (adya::Workload::RwRegister, &[Workload::Registers]),
        (adya::Workload::RwRegister, &[Workload::Predicates]),
    ];
    kinds.into_iter().flat_map(|(kind, workloads)| check(log, kind, workloads, level)).collect()
}

fn check(log: &[TxnLog], kind: adya::Workload, of: &[Workload], level: IsolationLevel) -> Vec<String> {
    let (history, commit_order) = history(log, of);
    let options = Opts {
        models: vec![model(level).to_owned()],
        transaction_order: Some(commit_order),
        timeout: Duration::from_secs(60),
        ..Opts::default()
    };
    let report = adya::check(&history, kind, &options);
    // A history in which nobody depends on anybody says nothing, and that is no violation.
    if report.valid != Valid::False {
        return Vec::new();
    }
    let explained = report.anomalies.values().flatten().map(|anomaly| anomaly.explanation.as_str());
    let explained: Vec<_> = explained.collect();
    vec![format!("{of:?} under {level:?}: {:?}\n{}", report.anomaly_types, explained.join("\n"))]
}

/// The history of some workloads, and where each completion stands in the order of commits.
fn history(log: &[TxnLog], of: &[Workload]) -> (History, HashMap<u64, i64>) {
    let mut events: Vec<(u64, usize, OpType)> = Vec::new();
    for (id, txn) in log.iter().enumerate().filter(|(_, txn)| of.contains(&txn.workload)) {
        let end = match txn.outcome {
            Outcome::Aborted => OpType::Fail,
            Outcome::Unknown => OpType::Info,
            Outcome::Committed(_) => OpType::Ok,
        };
        events.push((txn.invoked, id, OpType::Invoke));
        // One that was cut off ended at some time after it began.
        events.push((txn.completed.unwrap_or(u64::MAX), id, end));
    }
    events.sort_by_key(|(event, id, _)| (*event, *id));
    let mut order: Vec<(u32, u64, usize)> = Vec::new();
    let mut interner = Interner::default();
    let mut ops = Vec::with_capacity(events.len());
    let mut completions = HashMap::new();
    for (index, (_, id, kind)) in (0..).zip(events) {
        if kind == OpType::Ok
            && let Outcome::Committed(ts) = log[id].outcome
        {
            order.push((log[id].epoch, ts.as_u64(), id));
            completions.insert(id, index);
        }
        let value = log[id].steps.iter().map(|step| micro_operation(step, kind, &mut interner)).collect();
        // Each transaction is a process: clients come and go.
        ops.push(Op { index, kind, process: Some(id as i64), value, time: None });
    }
    order.sort_unstable();
    let commit_order = (0..).zip(order).map(|(place, (_, _, id))| (completions[&id], place)).collect();
    (History::from_ops(ops, interner), commit_order)
}

fn micro_operation(step: &Step, kind: OpType, interner: &mut Interner) -> Mop {
    let known = kind == OpType::Ok;
    let number = |value: &u64| Scalar::Int(*value as i64);
    match step {
        Step::Append(key, element) => {
            let key = interner.intern(Scalar::Str(key.clone()));
            Mop::Append { key, value: interner.intern(number(element)) }
        }
        Step::Write(key, value) => {
            let key = interner.intern(Scalar::Str(key.clone()));
            Mop::Write { key, value: interner.intern(number(value)) }
        }
        Step::ReadList(key, list) => {
            let key = interner.intern(Scalar::Str(key.clone()));
            let list = list.iter().map(|element| interner.intern(number(element))).collect();
            Mop::Read { key, value: if known { ReadValue::List(list) } else { ReadValue::Nil } }
        }
        Step::Read(key, value) => {
            let key = interner.intern(Scalar::Str(key.clone()));
            let value = value.as_ref().filter(|_| known).map(|value| interner.intern(number(value)));
            Mop::Read { key, value: value.map_or(ReadValue::Nil, ReadValue::Scalar) }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardforge_simulation::Timestamp;

    use super::*;
    use crate::recorder::Rows;

    fn read(key: &str, value: Option<u64>) -> Step {
        Step::Read(key.to_owned(), value)
    }

    fn write(key: &str, value: u64) -> Step {
        Step::Write(key.to_owned(), value)
    }

    fn txn(workload: Workload, outcome: Outcome, span: (u64, u64), steps: Vec<Step>) -> TxnLog {
        TxnLog {
            workload,
            isolation: IsolationLevel::Serializable,
            epoch: 0,
            began: Timestamp::MIN,
            outcome,
            prepared: None,
            seen: Vec::new(),
            locked: Vec::new(),
            writes: Rows::from([(Bytes::new(), None)]),
            steps,
            invoked: span.0,
            completed: Some(span.1),
        }
    }

    fn at(ts: u64) -> Outcome {
        Outcome::Committed(Timestamp::from_u64(ts))
    }

    #[test]
    fn write_skew_through_a_phantom_is_found_where_it_is_forbidden() {
        let table = |row, value| vec![read("p/0", None), read("p/1", None), write(row, value)];
        let log = [
            txn(Workload::Predicates, at(10), (0, 2), table("p/0", 1)),
            txn(Workload::Predicates, at(11), (1, 3), table("p/1", 2)),
        ];
        assert_eq!(violations(&log, IsolationLevel::Serializable).len(), 1);
        assert!(violations(&log, IsolationLevel::RepeatableRead).is_empty());
    }

    #[test]
    fn what_read_committed_forbids_is_found() {
        let aborted = [
            txn(Workload::Lists, Outcome::Aborted, (0, 1), vec![Step::Append("l".to_owned(), 1)]),
            txn(Workload::Lists, at(5), (2, 3), vec![Step::ReadList("l".to_owned(), vec![1])]),
        ];
        assert_eq!(violations(&aborted, IsolationLevel::ReadCommitted).len(), 1);
        let circular = [
            txn(Workload::Registers, at(5), (0, 2), vec![write("a", 1), read("b", Some(2))]),
            txn(Workload::Registers, at(6), (1, 3), vec![write("b", 2), read("a", Some(1))]),
        ];
        assert_eq!(violations(&circular, IsolationLevel::ReadCommitted).len(), 1);
    }

    #[test]
    fn a_snapshot_that_is_split_or_stale_is_found_under_repeatable_read() {
        let writer = |ts, span| txn(Workload::Registers, at(ts), span, vec![write("a", ts), write("b", ts)]);
        let split = [
            writer(5, (0, 1)),
            txn(Workload::Registers, at(6), (2, 3), vec![read("a", Some(5)), read("b", None)]),
        ];
        assert_eq!(violations(&split, IsolationLevel::RepeatableRead).len(), 1);
        let stale = [
            writer(5, (0, 1)),
            txn(Workload::Registers, at(4), (2, 3), vec![read("a", None), read("b", None)]),
        ];
        assert_eq!(violations(&stale, IsolationLevel::RepeatableRead).len(), 1);
        let right = [
            writer(5, (0, 1)),
            txn(Workload::Registers, at(6), (2, 3), vec![read("a", Some(5)), read("b", Some(5))]),
        ];
        assert!(violations(&right, IsolationLevel::Serializable).is_empty());
    }
}
