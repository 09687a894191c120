//! The exact check: what every read had to find.
//!
//! When a run is over it is known which transactions were committed, and at which timestamp. That says what each row
//! was at any time, and so what each read had to see:
//!
//! - a read of whatever level finds what was committed at its snapshot's timestamp, and its own writes over it;
//! - a row under a lock that was held to the commit is the one that was there just before the commit; under REPEATABLE
//!   READ and above it is also the snapshot's, or the transaction would have written over what it did not see;
//! - all that a SERIALIZABLE transaction read would be read the same just before its commit, rows that were *not* there
//!   included. Then the order of the timestamps is an order in which all of them could have run one by one.
//!
//! Timestamps go on from the newest commit after a restart, and the wall clock may have gone back: a read sees all
//! commits of earlier epochs, and those of its own up to its timestamp.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use shardforge_simulation::{IsolationLevel, LockStrength, Timestamp};

use crate::recorder::{Outcome, Rows, Seen, TxnLog};

struct Version {
    epoch: u32,
    ts: Timestamp,
    value: Option<Bytes>,
}

/// What each row was, and when.
struct Truth(BTreeMap<Bytes, Vec<Version>>);

impl Truth {
    fn new(log: &[TxnLog]) -> Self {
        let mut rows: BTreeMap<Bytes, Vec<Version>> = BTreeMap::new();
        for txn in log {
            let Outcome::Committed(ts) = txn.outcome else { continue };
            for (key, value) in &txn.writes {
                let version = Version { epoch: txn.epoch, ts, value: value.clone() };
                rows.entry(key.clone()).or_default().push(version);
            }
        }
        for versions in rows.values_mut() {
            versions.sort_by_key(|version| (version.epoch, version.ts));
        }
        Self(rows)
    }

    fn at(&self, key: &[u8], epoch: u32, ts: Timestamp) -> Option<&Bytes> {
        let versions = self.0.get(key)?;
        let after = versions.partition_point(|version| (version.epoch, version.ts) <= (epoch, ts));
        versions.get(after.checked_sub(1)?)?.value.as_ref()
    }

    fn was_ever(&self, key: &[u8], value: Option<&Bytes>) -> bool {
        let versions = self.0.get(key).map_or(&[][..], |versions| versions);
        value.is_none() || versions.iter().any(|version| version.value.as_ref() == value)
    }

    /// The rows of a range, with own writes over them.
    fn rows(&self, range: &Range<Bytes>, own: &Rows, epoch: u32, ts: Timestamp) -> Vec<(Bytes, Bytes)> {
        let stored = self.0.range(range.clone()).map(|(key, _)| key);
        let keys: BTreeSet<&Bytes> = stored.chain(own.keys()).collect();
        let value = |key: &Bytes| match own.get(key) {
            Some(own) => own.clone(),
            None => self.at(key, epoch, ts).cloned(),
        };
        keys.into_iter().filter_map(|key| Some((key.clone(), value(key)?))).collect()
    }
}

/// Everything in a run that should not have been seen.
pub fn violations(log: &[TxnLog]) -> Vec<String> {
    let truth = Truth::new(log);
    let mut found = Vec::new();
    for (id, txn) in log.iter().enumerate() {
        let mut report = |what: String| {
            let TxnLog { workload, isolation, epoch, outcome, .. } = txn;
            found.push(format!(
                "transaction {id} ({workload:?}, {isolation:?}, epoch {epoch}, {outcome:?}): {what}"
            ));
        };
        for seen in &txn.seen {
            check_read(&truth, txn, seen, seen.at, "at its snapshot", &mut report);
        }
        if let Outcome::Committed(commit_ts) = txn.outcome {
            let writes = !txn.writes.is_empty();
            let before = if writes { commit_ts.before() } else { commit_ts };
            if txn.isolation == IsolationLevel::Serializable && writes {
                // One that was prepared may have been overtaken since; the histories tell whether anybody saw that.
                let (at, when) = match txn.prepared {
                    Some(prepared) => (prepared, "when it was prepared"),
                    None => (before, "before its commit"),
                };
                for seen in &txn.seen {
                    check_read(&truth, txn, seen, at, when, &mut report);
                }
            }
            for locked in txn.locked.iter().filter(|_| writes) {
                let expected = truth.at(&locked.key, txn.epoch, before);
                let guarded = match locked.strength {
                    LockStrength::KeyShare => expected.is_some() == locked.found.is_some(),
                    _ => expected == locked.found.as_ref(),
                };
                if !guarded {
                    report(format!("{locked:?}, and before the commit it was {expected:?}"));
                }
            }
        }
        let committed = matches!(txn.outcome, Outcome::Committed(_));
        for locked in txn.locked.iter().filter(|locked| locked.settled || committed) {
            if !truth.was_ever(&locked.key, locked.found.as_ref()) {
                report(format!("{locked:?}, which was never committed"));
            }
        }
    }
    found
}

fn check_read(
    truth: &Truth,
    txn: &TxnLog,
    seen: &Seen,
    at: Timestamp,
    when: &str,
    report: &mut impl FnMut(String),
) {
    let expected = truth.rows(&seen.range, &seen.own, txn.epoch, at);
    if expected != seen.found {
        let missing: Vec<_> = expected.iter().filter(|row| !seen.found.contains(row)).collect();
        let surplus: Vec<_> = seen.found.iter().filter(|row| !expected.contains(row)).collect();
        let range = &seen.range;
        report(format!(
            "read {range:?} at {}: {when} ({at}) missing {missing:?}, too much {surplus:?}",
            seen.at
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Workload;

    fn txn(isolation: IsolationLevel, outcome: Outcome) -> TxnLog {
        TxnLog {
            workload: Workload::Registers,
            isolation,
            epoch: 0,
            began: Timestamp::MIN,
            outcome,
            prepared: None,
            seen: Vec::new(),
            locked: Vec::new(),
            writes: Rows::new(),
            steps: Vec::new(),
            invoked: 0,
            completed: None,
        }
    }

    fn committed(isolation: IsolationLevel, ts: u64, writes: &[(&'static str, &'static str)]) -> TxnLog {
        let mut log = txn(isolation, Outcome::Committed(Timestamp::from_u64(ts)));
        log.writes =
            writes.iter().map(|(key, value)| (Bytes::from(*key), Some(Bytes::from(*value)))).collect();
        log
    }

    fn read(at: u64, found: &[(&'static str, &'static str)]) -> Seen {
        Seen {
            at: Timestamp::from_u64(at),
            range: Bytes::from("a")..Bytes::from("z"),
            own: Rows::new(),
            found: found.iter().map(|(key, value)| (Bytes::from(*key), Bytes::from(*value))).collect(),
        }
    }

    #[test]
    fn a_phantom_is_found_under_serializable_and_allowed_below() {
        for (isolation, wrong) in [(IsolationLevel::Serializable, 1), (IsolationLevel::RepeatableRead, 0)] {
            let mut reader = committed(isolation, 30, &[("k", "2")]);
            reader.seen.push(read(10, &[]));
            let log = [committed(isolation, 20, &[("m", "1")]), reader];
            assert_eq!(violations(&log).len(), wrong, "{isolation:?}");
        }
    }

    #[test]
    fn a_read_of_the_future_the_past_or_what_was_undone_is_found() {
        let level = IsolationLevel::ReadCommitted;
        let mut aborted = txn(level, Outcome::Aborted);
        aborted.writes.insert(Bytes::from("k"), Some(Bytes::from("3")));
        let log = |seen: Seen| {
            let mut reader = txn(level, Outcome::Aborted);
            reader.seen.push(seen);
            [
                committed(level, 10, &[("k", "1")]),
                committed(level, 20, &[("k", "2")]),
                aborted.clone(),
                reader,
            ]
        };
        assert!(violations(&log(read(15, &[("k", "1")]))).is_empty());
        assert_eq!(violations(&log(read(15, &[("k", "2")]))).len(), 1);
        assert_eq!(violations(&log(read(25, &[("k", "1")]))).len(), 1);
        assert_eq!(violations(&log(read(25, &[("k", "3")]))).len(), 1);
        assert_eq!(violations(&log(read(25, &[]))).len(), 1);
    }

    #[test]
    fn a_lost_update_is_found() {
        let level = IsolationLevel::ReadCommitted;
        let mut writer = committed(level, 30, &[("k", "3")]);
        writer.locked.push(Locked {
            key: Bytes::from("k"),
            strength: LockStrength::NoKeyUpdate,
            found: Some(Bytes::from("1")),
            settled: true,
        });
        let before = [committed(level, 10, &[("k", "1")]), writer.clone()];
        assert!(violations(&before).is_empty());
        let between = [committed(level, 10, &[("k", "1")]), committed(level, 20, &[("k", "2")]), writer];
        assert_eq!(violations(&between).len(), 1);
    }

    use crate::recorder::Locked;
}
