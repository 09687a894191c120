//! The record of a spilled transaction: the one write that commits all its provisional versions.
//!
//! ```text
//!   version:1 = 1   status:1   commit_ts:8   ranges:4   (from:4 to:4)...
//! ```
//!
//! The ranges are commands that were rolled back to a savepoint: their versions do not count. A record is
//! PENDING from the first spill on; one that is found so at start belongs to a transaction that died, and its
//! versions are garbage. STAGING is reserved for commits over several shards.

use smallvec::SmallVec;

use crate::error::{KvError, Result};
use crate::time::Timestamp;

const FORMAT: u8 = 1;

/// How far a spilled transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordStatus {
    /// Still writing.
    Pending = 0,
    /// All shards have been asked to prepare. Reserved.
    Staging = 1,
    /// Committed.
    Committed = 2,
}

/// Commands that were rolled back, as closed ranges in rising order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct IgnoredCommands(SmallVec<[(u32, u32); 2]>);

impl IgnoredCommands {
    /// Adds all commands from `from` to `to`.
    pub(crate) fn ignore(&mut self, from: u32, to: u32) {
        // A later rollback may reach back before an earlier one.
        while self.0.last().is_some_and(|&(start, _)| start >= from) {
            self.0.pop();
        }
        match self.0.last_mut() {
            Some((_, end)) if *end + 1 >= from => *end = to,
            _ => self.0.push((from, to)),
        }
    }

    pub(crate) fn contains(&self, command: u32) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&command))
    }
}

/// A spilled transaction as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) status: RecordStatus,
    pub(crate) commit_ts: Timestamp,
    pub(crate) ignored: IgnoredCommands,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(14 + 8 * self.ignored.0.len());
        out.extend_from_slice(&[FORMAT, self.status as u8]);
        out.extend_from_slice(&self.commit_ts.as_u64().to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.ignored.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (from, to) in &self.ignored.0 {
            out.extend_from_slice(&from.to_be_bytes());
            out.extend_from_slice(&to.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let corrupt = KvError::Corrupt("a transaction record is not well formed");
        let Some(([FORMAT, status], rest)) = value.split_first_chunk::<2>() else { return Err(corrupt) };
        let status = match status {
            0 => RecordStatus::Pending,
            1 => RecordStatus::Staging,
            2 => RecordStatus::Committed,
            _ => return Err(corrupt),
        };
        let (commit_ts, rest) = rest.split_first_chunk::<8>().ok_or(corrupt.clone())?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(corrupt.clone())?;
        let (ranges, remainder) = rest.as_chunks::<8>();
        if !remainder.is_empty() || ranges.len() != u32::from_be_bytes(*count) as usize {
            return Err(corrupt);
        }
        let ignored = ranges
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            })
            .collect();
        let commit_ts = Timestamp::from_u64(u64::from_be_bytes(*commit_ts));
        Ok(Self { status, commit_ts, ignored: IgnoredCommands(ignored) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_ranges_merge() {
        let mut ignored = IgnoredCommands::default();
        ignored.ignore(5, 7);
        ignored.ignore(9, 10);
        ignored.ignore(11, 12);
        assert_eq!(ignored.0.as_slice(), [(5, 7), (9, 12)]);
        ignored.ignore(6, 15);
        assert_eq!(ignored.0.as_slice(), [(5, 15)]);
        ignored.ignore(2, 20);
        assert_eq!(ignored.0.as_slice(), [(2, 20)]);
        assert!(ignored.contains(2) && ignored.contains(20) && !ignored.contains(1));
    }

    #[test]
    fn records_come_back_and_garbage_does_not() {
        let mut ignored = IgnoredCommands::default();
        ignored.ignore(3, 4);
        ignored.ignore(8, 8);
        let record = Record { status: RecordStatus::Committed, commit_ts: Timestamp::from_u64(77), ignored };
        let encoded = record.encode();
        assert_eq!(Record::decode(&encoded).unwrap(), record);
        for length in 0..encoded.len() {
            assert!(Record::decode(&encoded[..length]).is_err());
        }
    }
}
