//! The record of a transaction with provisional versions: the one write that commits all of them.
//!
//! ```text
//!   version:1 = 2   status:1   commit_ts:8   attempt:4
//!   count:4 (from:4 to:4)...     commands that were rolled back to a savepoint: their versions do not count
//!   count:4 (shard:8)...         the other shards that take part
//!   listed:1  count:4 (length:4 key)...     the rows whose versions lie at commit_ts, where they are few
//! ```
//!
//! A record is PENDING from the first spill on; one that is found so at start belongs to a transaction that died, and
//! its versions are garbage. STAGING means that all shards were asked to write their parts at the same time: the
//! transaction is committed if each of the others has a *mark* of the same attempt. COMMITTED needs no marks any more.

use bytes::{Buf, BufMut, Bytes};
use shardforge_consensus::ShardId;
use smallvec::SmallVec;

use crate::error::{KvError, Result};
use crate::time::Timestamp;

const FORMAT: u8 = 2;
const MARK_FORMAT: u8 = 1;

/// How far a transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordStatus {
    /// Still writing.
    Pending = 0,
    /// All shards have been asked for their parts.
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

/// A transaction as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) status: RecordStatus,
    pub(crate) commit_ts: Timestamp,
    /// Counts how often its commit was sent out: its shards may be split meanwhile.
    pub(crate) attempt: u32,
    pub(crate) ignored: IgnoredCommands,
    /// The shards that take part, but for the record's own.
    pub(crate) shards: Vec<ShardId>,
    /// The rows with versions at the commit timestamp; none if it was spilled, or if they are too many.
    pub(crate) rows: Option<Vec<Bytes>>,
}

impl Record {
    /// Of a transaction that has begun to spill.
    pub(crate) fn pending() -> Self {
        Self {
            status: RecordStatus::Pending,
            commit_ts: Timestamp::MIN,
            attempt: 0,
            ignored: IgnoredCommands::default(),
            shards: Vec::new(),
            rows: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&[FORMAT, self.status as u8]);
        out.put_u64(self.commit_ts.as_u64());
        out.put_u32(self.attempt);
        put_count(&mut out, self.ignored.0.len());
        for (from, to) in &self.ignored.0 {
            out.put_u32(*from);
            out.put_u32(*to);
        }
        put_count(&mut out, self.shards.len());
        for shard in &self.shards {
            out.put_u64(shard.0);
        }
        out.put_u8(u8::from(self.rows.is_some()));
        let rows = self.rows.as_deref().unwrap_or_default();
        put_count(&mut out, rows.len());
        for row in rows {
            put_count(&mut out, row.len());
            out.put_slice(row);
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        Self::read(value).ok_or(KvError::Corrupt("a transaction record is not well formed"))
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut rest = value;
        let (FORMAT, status) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?) else { return None };
        let status = match status {
            0 => RecordStatus::Pending,
            1 => RecordStatus::Staging,
            2 => RecordStatus::Committed,
            _ => return None,
        };
        let commit_ts = Timestamp::from_u64(rest.try_get_u64().ok()?);
        let attempt = rest.try_get_u32().ok()?;
        let mut ignored = IgnoredCommands::default();
        for _ in 0..rest.try_get_u32().ok()? {
            ignored.0.push((rest.try_get_u32().ok()?, rest.try_get_u32().ok()?));
        }
        let mut shards = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            shards.push(ShardId(rest.try_get_u64().ok()?));
        }
        let listed = rest.try_get_u8().ok()?;
        let mut rows = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            let length = rest.try_get_u32().ok()? as usize;
            let (row, behind) = rest.split_at_checked(length)?;
            rows.push(Bytes::copy_from_slice(row));
            rest = behind;
        }
        let rows = match listed {
            0 if rows.is_empty() => None,
            1 => Some(rows),
            _ => return None,
        };
        rest.is_empty().then_some(Self { status, commit_ts, attempt, ignored, shards, rows })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

/// What a shard other than the record's says when its part is there: of which attempt.
pub(crate) fn encode_mark(attempt: u32) -> Vec<u8> {
    let mut out = vec![MARK_FORMAT];
    out.put_u32(attempt);
    out
}

/// The attempt of a mark.
pub(crate) fn decode_mark(value: &[u8]) -> Result<u32> {
    match value.split_first() {
        Some((&MARK_FORMAT, rest)) => rest.try_into().map(u32::from_be_bytes).ok(),
        _ => None,
    }
    .ok_or(KvError::Corrupt("a transaction's mark is not well formed"))
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
        let spilled = Record {
            status: RecordStatus::Committed,
            commit_ts: Timestamp::from_u64(77),
            ignored,
            ..Record::pending()
        };
        let staging = Record {
            status: RecordStatus::Staging,
            attempt: 3,
            shards: vec![ShardId(5), ShardId(9)],
            rows: Some(vec![Bytes::from("a"), Bytes::new(), Bytes::from("row")]),
            ..spilled.clone()
        };
        for record in [Record::pending(), spilled, staging] {
            let encoded = record.encode();
            assert_eq!(Record::decode(&encoded).unwrap(), record);
            for length in 0..encoded.len() {
                assert!(Record::decode(&encoded[..length]).is_err());
            }
            assert!(Record::decode(&[&encoded[..], b"x"].concat()).is_err());
        }
        assert_eq!(decode_mark(&encode_mark(7)).unwrap(), 7);
        assert!(decode_mark(&[]).is_err() && decode_mark(&[1, 0]).is_err() && decode_mark(&[2; 5]).is_err());
    }
}
