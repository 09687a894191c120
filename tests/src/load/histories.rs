//! Histories of what clients wrote and saw, checked from the outside by [`adya`]: from them it infers which transactions had to
//! come before which, and looks for the cycles that a level of isolation forbids, in real time too: whatever was acknowledged
//! before a transaction began comes before it, whichever node the one and the other went through.
//!
//! Lists tell the order of their versions by themselves. Registers and cells do not: whoever writes one has read it
//! before, in the same transaction, so each version names one that came earlier. A scan of a group of cells is a read of every
//! cell that could be in it: one that is not there is read as nothing, so a phantom is found like anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{History, Opts, Valid};

use super::ledger::Fate;

/// How long the checker may look for a cycle among transactions that all depend on each other.
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// How strictly transactions are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 3] = [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    /// As SQL calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::ReadCommitted => "READ COMMITTED",
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        }
    }

    /// What it promises, in the words of the checker.
    fn model(self) -> &'static str {
        match self {
            Level::ReadCommitted => "strong-read-committed",
            Level::RepeatableRead => "strong-snapshot-isolation",
            Level::Serializable => "strict-serializable",
        }
    }
}

/// What a transaction works on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Rows with lists that get longer.
    Lists,
    /// Rows with one value, read and written by their keys.
    Registers,
    /// Rows that are inserted and written by their keys, and read by scans.
    Cells,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Lists, Kind::Registers, Kind::Cells];
}

/// One thing that a transaction did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Append(i64, i64),
    ReadList(i64, Vec<i64>),
    Write(i64, i64),
    Read(i64, Option<i64>),
}

/// A transaction, as its client remembers it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// How strictly it was kept apart from others.
    pub level: Level,
    /// What it worked on.
    pub kind: Kind,
    /// What it did.
    pub steps: Vec<Step>,
    /// How it ended.
    pub fate: Fate,
    /// When it began, in the order of all such moments of a load.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
}

/// Checks all that clients remember of a load; how many transactions are known to be committed.
///
/// # Errors
/// The first anomaly that a level forbids.
pub fn check(all: &[Remembered]) -> Result<u64, String> {
    let mut histories: BTreeMap<(Level, Kind), Vec<&Remembered>> = BTreeMap::new();
    for txn in all {
        histories.entry((txn.level, txn.kind)).or_default().push(txn);
    }
    for ((level, kind), txns) in histories {
        check_one(level, kind, &txns)?;
    }
    Ok(all.iter().filter(|txn| txn.fate == Fate::Committed).count() as u64)
}

fn check_one(level: Level, kind: Kind, txns: &[&Remembered]) -> Result<(), String> {
    let workload = match kind {
        Kind::Lists => adya::Workload::ListAppend,
        Kind::Registers | Kind::Cells => adya::Workload::RwRegister,
    };
    let options = Opts {
        models: vec![level.model().to_owned()],
        timeout: SEARCH_MAX,
        wfr_keys: true,
        ..Opts::default()
    };
    let report = adya::check(&history(txns), workload, &options);
    // A history in which nobody depends on anybody says nothing, and that is no violation.
    if report.valid == Valid::True || report.anomaly_types == ["empty-transaction-graph"] {
        return Ok(());
    }
    let explained: Vec<&str> =
        report.anomalies.values().flatten().map(|anomaly| anomaly.explanation.as_str()).collect();
    Err(format!("{kind:?}, {}: {:?}\n{}", level.name(), report.anomaly_types, explained.join("\n")))
}

fn history(txns: &[&Remembered]) -> History {
    let mut moments: Vec<(u64, usize, OpType)> = Vec::new();
    for (id, txn) in txns.iter().enumerate() {
        let (end, at) = match txn.fate {
            Fate::Committed => (OpType::Ok, txn.ended),
            Fate::Undone => (OpType::Fail, txn.ended),
            // It may come to pass at any time after it began.
            Fate::Unknown => (OpType::Info, u64::MAX),
        };
        moments.push((txn.began, id, OpType::Invoke));
        moments.push((at, id, end));
    }
    moments.sort_by_key(|(at, id, _)| (*at, *id));
    let mut interner = Interner::default();
    let mut operations = Vec::with_capacity(moments.len());
    for (index, (_, id, kind)) in (0..).zip(moments) {
        let value = txns[id].steps.iter().map(|step| operation(step, kind, &mut interner)).collect();
        // Each transaction is a process: the order in real time has that of a session in it.
        operations.push(Op { index, kind, process: Some(id as i64), value, time: None });
    }
    History::from_ops(operations, interner)
}

fn operation(step: &Step, kind: OpType, interner: &mut Interner) -> Mop {
    let is_known = kind == OpType::Ok;
    let mut key = |key: &i64| interner.intern(Scalar::Str(key.to_string()));
    match step {
        Step::Append(row, element) => {
            let key = key(row);
            Mop::Append { key, value: interner.intern(Scalar::Int(*element)) }
        }
        Step::Write(row, value) => {
            let key = key(row);
            Mop::Write { key, value: interner.intern(Scalar::Int(*value)) }
        }
        Step::ReadList(row, list) => {
            let key = key(row);
            let list = list.iter().map(|element| interner.intern(Scalar::Int(*element))).collect();
            Mop::Read { key, value: if is_known { ReadValue::List(list) } else { ReadValue::Nil } }
        }
        Step::Read(row, value) => {
            let key = key(row);
            let value = value.filter(|_| is_known).map(|value| interner.intern(Scalar::Int(value)));
            Mop::Read { key, value: value.map_or(ReadValue::Nil, ReadValue::Scalar) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(level: Level, kind: Kind, fate: Fate, span: (u64, u64), steps: Vec<Step>) -> Remembered {
        Remembered { level, kind, steps, fate, began: span.0, ended: span.1 }
    }

    /// Whether each level allows it.
    fn allowed(kind: Kind, txns: &[(Fate, (u64, u64), Vec<Step>)]) -> [bool; 3] {
        Level::ALL.map(|level| {
            let of_level = |(fate, span, steps): &(Fate, (u64, u64), Vec<Step>)| {
                txn(level, kind, *fate, *span, steps.clone())
            };
            check(&txns.iter().map(of_level).collect::<Vec<_>>()).is_ok()
        })
    }

    #[test]
    fn what_no_level_allows_is_found() {
        let undone = [
            (Fate::Undone, (0, 1), vec![Step::Append(1, 1)]),
            (Fate::Committed, (2, 3), vec![Step::ReadList(1, vec![1])]),
        ];
        assert_eq!(allowed(Kind::Lists, &undone), [false; 3]);
        let unknown = [(Fate::Unknown, (0, 1), vec![Step::Append(1, 1)]), undone[1].clone()];
        assert_eq!(allowed(Kind::Lists, &unknown), [true; 3]);
        let lost = [
            (Fate::Committed, (0, 1), vec![Step::Append(1, 1)]),
            (Fate::Committed, (2, 3), vec![Step::Append(1, 2)]),
            (Fate::Committed, (4, 5), vec![Step::ReadList(1, vec![2])]),
        ];
        assert_eq!(allowed(Kind::Lists, &lost), [false; 3]);
    }

    #[test]
    fn what_was_acknowledged_is_seen_by_whoever_begins_later() {
        let stale = [
            (Fate::Committed, (0, 1), vec![Step::Read(1, None), Step::Write(1, 1)]),
            (Fate::Committed, (2, 3), vec![Step::Read(1, None), Step::Read(2, None)]),
        ];
        assert_eq!(allowed(Kind::Registers, &stale)[1..], [false; 2]);
    }

    #[test]
    fn write_skew_through_a_phantom_is_found_where_it_is_forbidden() {
        let half = |span, row, value| {
            (Fate::Committed, span, vec![Step::Read(0, None), Step::Read(1, None), Step::Write(row, value)])
        };
        let skew = [half((0, 2), 0, 1), half((1, 3), 1, 2)];
        assert_eq!(allowed(Kind::Cells, &skew), [true, true, false]);
    }
}
