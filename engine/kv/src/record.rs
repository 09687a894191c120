//! The record of a transaction with provisional versions: the one write that commits all of them.
//!
//! ```text
//!   version:1 = 3   status:1   commit_ts:8   versions_ts:8   attempt:4
//!   count:4 (from:4 to:4)...     commands that were rolled back to a savepoint: their versions do not count
//!   count:4 (shard:8)...         the other shards that take part
//!   listed:1  count:4 (length:4 key)...     the rows whose versions lie at versions_ts, where they are few
//!   held:1 = 0, or held:1 = 1 and what a prepared transaction holds:
//!       name  payload                       length:4 and bytes, each
//!       count:4 (modes:1 lock)...           lock: 00 row's key, 01 class:4 kind:2 id:8, or 02 for itself
//!       reads:1  count:4 (from to)...       what a SERIALIZABLE transaction has read
//! ```
//!
//! A record is PENDING from the first spill on; one that is found so at start belongs to a transaction that died, and
//! its versions are garbage. STAGING means that all shards were asked to write their parts at the same time: the
//! transaction is committed if each of the others has a *mark* of the same attempt. PREPARED means the same, but for that
//! the transaction waits to be told whether it is committed. COMMITTED needs no marks any more.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};
use shardforge_consensus::ShardId;
use smallvec::SmallVec;

use crate::error::{KvError, Result};
use crate::locks::LockName;
use crate::time::Timestamp;
use crate::types::{ObjectId, TxnId};

const FORMAT: u8 = 3;
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
    /// All shards have been asked for their parts; COMMIT PREPARED or ROLLBACK PREPARED decides.
    Prepared = 3,
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

/// What a prepared transaction holds, beside its versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holdings {
    /// What it is known by.
    pub(crate) name: Bytes,
    /// What its owner wants to know of it.
    pub(crate) payload: Bytes,
    /// What it has locked, each with its modes. A lock on a transaction is on itself.
    pub(crate) locks: Vec<(LockName, u8)>,
    /// What has to hold still until it ends, of a SERIALIZABLE transaction.
    pub(crate) reads: Option<Vec<Range<Bytes>>>,
}

/// A transaction as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) status: RecordStatus,
    pub(crate) commit_ts: Timestamp,
    /// Where the versions lie that its end has written: at the commit's timestamp, unless it was prepared before.
    pub(crate) versions_ts: Timestamp,
    /// Counts how often its commit was sent out: its shards may be split meanwhile.
    pub(crate) attempt: u32,
    pub(crate) ignored: IgnoredCommands,
    /// The shards that take part, but for the record's own.
    pub(crate) shards: Vec<ShardId>,
    /// The rows with versions there; none if it was spilled, or if they are too many.
    pub(crate) rows: Option<Vec<Bytes>>,
    /// Of a prepared transaction.
    pub(crate) holdings: Option<Holdings>,
}

impl Record {
    /// Of a transaction that has begun to spill.
    pub(crate) fn pending() -> Self {
        Self {
            status: RecordStatus::Pending,
            commit_ts: Timestamp::MIN,
            versions_ts: Timestamp::MIN,
            attempt: 0,
            ignored: IgnoredCommands::default(),
            shards: Vec::new(),
            rows: None,
            holdings: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&[FORMAT, self.status as u8]);
        out.put_u64(self.commit_ts.as_u64());
        out.put_u64(self.versions_ts.as_u64());
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
            put_bytes(&mut out, row);
        }
        match &self.holdings {
            None => out.put_u8(0),
            Some(holdings) => {
                out.put_u8(1);
                holdings.encode(&mut out);
            }
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
            3 => RecordStatus::Prepared,
            _ => return None,
        };
        let commit_ts = Timestamp::from_u64(rest.try_get_u64().ok()?);
        let versions_ts = Timestamp::from_u64(rest.try_get_u64().ok()?);
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
            rows.push(take_bytes(&mut rest)?);
        }
        let rows = match listed {
            0 if rows.is_empty() => None,
            1 => Some(rows),
            _ => return None,
        };
        let holdings = match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(Holdings::read(&mut rest)?),
            _ => return None,
        };
        let record = Self { status, commit_ts, versions_ts, attempt, ignored, shards, rows, holdings };
        rest.is_empty().then_some(record)
    }
}

const LOCKED_ROW: u8 = 0;
const LOCKED_OBJECT: u8 = 1;
const LOCKED_ITSELF: u8 = 2;

impl Holdings {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.name);
        put_bytes(out, &self.payload);
        put_count(out, self.locks.len());
        for (name, modes) in &self.locks {
            out.put_u8(*modes);
            match name {
                LockName::Row(key) => {
                    out.put_u8(LOCKED_ROW);
                    put_bytes(out, key);
                }
                LockName::Object(ObjectId { class, kind, id }) => {
                    out.put_u8(LOCKED_OBJECT);
                    out.put_u32(*class);
                    out.put_u16(*kind);
                    out.put_u64(*id);
                }
                LockName::Transaction(txn) => {
                    out.put_u8(LOCKED_ITSELF);
                    out.put_u64(txn.0);
                }
            }
        }
        out.put_u8(u8::from(self.reads.is_some()));
        let reads = self.reads.as_deref().unwrap_or_default();
        put_count(out, reads.len());
        for Range { start, end } in reads {
            put_bytes(out, start);
            put_bytes(out, end);
        }
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let (name, payload) = (take_bytes(rest)?, take_bytes(rest)?);
        let mut locks = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            let modes = rest.try_get_u8().ok()?;
            let lock = match rest.try_get_u8().ok()? {
                LOCKED_ROW => LockName::row(&take_bytes(rest)?),
                LOCKED_OBJECT => LockName::Object(ObjectId {
                    class: rest.try_get_u32().ok()?,
                    kind: rest.try_get_u16().ok()?,
                    id: rest.try_get_u64().ok()?,
                }),
                LOCKED_ITSELF => LockName::Transaction(TxnId(rest.try_get_u64().ok()?)),
                _ => return None,
            };
            locks.push((lock, modes));
        }
        let has_read = rest.try_get_u8().ok()?;
        let mut reads = Vec::new();
        for _ in 0..rest.try_get_u32().ok()? {
            reads.push(take_bytes(rest)?..take_bytes(rest)?);
        }
        let reads = match has_read {
            0 if reads.is_empty() => None,
            1 => Some(reads),
            _ => return None,
        };
        Some(Self { name, payload, locks, reads })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

fn take_bytes(rest: &mut &[u8]) -> Option<Bytes> {
    let length = rest.try_get_u32().ok()? as usize;
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Bytes::copy_from_slice(bytes))
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
        let row = |key: &str| Bytes::copy_from_slice(key.as_bytes());
        let holdings = Holdings {
            name: row("name"),
            payload: row(""),
            locks: vec![
                (LockName::row(b"a"), 8),
                (LockName::Object(ObjectId { class: 5, kind: 1, id: 9 }), 0xff),
                (LockName::Transaction(TxnId(3)), 1),
            ],
            reads: Some(vec![row("a")..row("b"), row("")..row("z")]),
        };
        let prepared = Record {
            status: RecordStatus::Prepared,
            commit_ts: Timestamp::MIN,
            versions_ts: Timestamp::from_u64(76),
            holdings: Some(holdings.clone()),
            ..staging.clone()
        };
        let idle = Holdings { locks: Vec::new(), reads: None, ..holdings };
        let without = Record { holdings: Some(idle), rows: None, ..prepared.clone() };
        for record in [Record::pending(), spilled, staging, prepared, without] {
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
