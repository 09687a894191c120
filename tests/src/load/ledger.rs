//! What is known, outside of the server, of the transactions of a round.

use std::collections::BTreeMap;

/// Where a transaction leaves rows with its number, by which it is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trace {
    /// A TPC-B transaction: one row.
    History,
    /// A transfer between accounts of the bank: one row for each of its parts.
    Move,
    /// A ticket with a code that no other has: one row.
    Ticket,
}

impl Trace {
    /// All of them.
    pub const ALL: [Trace; 3] = [Trace::History, Trace::Move, Trace::Ticket];

    /// The table with columns `id`, the transaction's number, and `part`.
    pub fn table(self) -> &'static str {
        match self {
            Trace::History => "history",
            Trace::Move => "bank_move",
            Trace::Ticket => "ticket",
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its COMMIT was acknowledged.
    Committed,
    /// It was rolled back, or its COMMIT was never sent.
    Undone,
    /// Its COMMIT was sent, and the answer never came.
    Unknown,
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number, which no other has.
    pub number: i64,
    /// Where it leaves its rows.
    pub trace: Trace,
    /// The parts of it that no rollback to a savepoint has undone.
    pub parts: Vec<i32>,
    /// How it ended.
    pub fate: Fate,
}

/// The large transaction: each takes the rows of the one before it away and writes as many new ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bulk {
    /// Whose rows are known to have been there; 0: nobody's.
    pub settled: i64,
    /// Whose rows may be there in their place.
    pub in_doubt: Vec<i64>,
}

/// Counts of transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Acknowledged.
    pub committed: u64,
    /// Rolled back, or cut off before their COMMIT.
    pub undone: u64,
    /// With a COMMIT that was not answered.
    pub in_doubt: u64,
    /// Those of them that turned out to be committed.
    pub came: u64,
}

impl Counts {
    /// Adds other counts to these.
    pub fn add(&mut self, other: Counts) {
        self.committed += other.committed;
        self.undone += other.undone;
        self.in_doubt += other.in_doubt;
        self.came += other.came;
    }
}

/// The rows that are found of a trace: parts by number.
pub type Found = BTreeMap<i64, Vec<i32>>;

/// Compares what is known of transactions with the rows that are found of them.
///
/// # Errors
/// The first transaction that is lost, torn, undone and there nevertheless, or was never begun.
pub fn compare(trace: Trace, entries: &[Entry], mut found: Found) -> Result<Counts, String> {
    let table = trace.table();
    let mut counts = Counts::default();
    for Entry { number, parts, fate, .. } in entries.iter().filter(|entry| entry.trace == trace) {
        let there = found.remove(number);
        match (fate, there) {
            (Fate::Committed, Some(there)) if there == *parts => counts.committed += 1,
            (Fate::Committed, None) => {
                return Err(format!("{table}: transaction {number} was acknowledged and is lost"));
            }
            (Fate::Undone, None) => counts.undone += 1,
            (Fate::Undone, Some(there)) => {
                return Err(format!("{table}: transaction {number} was undone, and {there:?} is there"));
            }
            (Fate::Unknown, None) => counts.in_doubt += 1,
            (Fate::Unknown, Some(there)) if there == *parts => {
                counts.in_doubt += 1;
                counts.came += 1;
            }
            (Fate::Committed | Fate::Unknown, Some(there)) => {
                return Err(format!("{table}: transaction {number} is {there:?} instead of {parts:?}"));
            }
        }
    }
    match found.first_key_value() {
        Some((number, _)) => Err(format!("{table}: transaction {number} has never been")),
        None => Ok(counts),
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Fate, Found, Trace, compare};

    fn outcome(fate: Fate, there: Option<&[i32]>) -> Result<(u64, u64), String> {
        let entry = Entry { number: 7, trace: Trace::Move, parts: vec![1, 3], fate };
        let found: Found = there.map(|parts| (7, parts.to_vec())).into_iter().collect();
        compare(Trace::Move, &[entry], found).map(|counts| (counts.committed, counts.came))
    }

    #[test]
    fn what_does_not_agree_is_found() {
        assert_eq!(outcome(Fate::Committed, Some(&[1, 3])), Ok((1, 0)));
        assert!(outcome(Fate::Committed, None).is_err());
        assert!(outcome(Fate::Committed, Some(&[1, 2, 3])).is_err());
        assert_eq!(outcome(Fate::Undone, None), Ok((0, 0)));
        assert!(outcome(Fate::Undone, Some(&[1])).is_err());
        assert_eq!(outcome(Fate::Unknown, None), Ok((0, 0)));
        assert_eq!(outcome(Fate::Unknown, Some(&[1, 3])), Ok((0, 1)));
        assert!(outcome(Fate::Unknown, Some(&[3])).is_err());
        assert!(compare(Trace::Move, &[], Found::from([(9, vec![1])])).is_err());
    }
}
