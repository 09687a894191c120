//! What a node remembers of the replicas that it has had, and which ranges its replicas hold.
//!
//! ```text
//!   raftdb keys:  0 u64 | 3 | shard u64     the newest replica of the shard here, and whether it has been removed
//!                 0 u64 | 4                 what the node knows of its cluster, which says its other part (`cluster/`)
//! ```
//!
//! A shard's first replicas are named after their nodes, and need no record. One that was added later has one from before
//! it first answers. The record of one that was removed stays: nothing that was meant for it, or for those before it, may
//! bring it back, for its promises are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

use crate::engine::{CursorOptions, Engine, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::raft::codec;
use crate::raft::log_writer::LogWriter;
use crate::types::{KeyRange, NodeId, ReplicaId, ShardId};

/// Above the kinds of keys that a group's log has; the group zero has no log.
const RECORD: u8 = 3;

/// See the module's essay.
const CLUSTER_KEY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, RECORD + 1];

fn record_key(shard: ShardId) -> Bytes {
    let mut key = vec![0; 8];
    key.push(RECORD);
    key.extend_from_slice(&shard.0.to_be_bytes());
    Bytes::from(key)
}

/// The newest replica of a shard here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub replica: ReplicaId,
    pub removed: bool,
}

/// The records of a node.
pub(crate) struct Records {
    node: NodeId,
    writer: Arc<LogWriter>,
    records: RwLock<BTreeMap<ShardId, Record>>,
    cluster: RwLock<Option<Bytes>>,
}

impl Records {
    pub(crate) fn open(node: NodeId, engine: &dyn Engine, writer: Arc<LogWriter>) -> Result<Self> {
        let mut end = vec![0; 8];
        end.push(RECORD + 1);
        let mut start = vec![0; 8];
        start.push(RECORD);
        let mut cursor = engine.cursor(&CursorOptions::range(start, end))?;
        let mut records = BTreeMap::new();
        let mut more = cursor.seek_to_first()?;
        while more {
            let shard = cursor.key().get(9..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
            let shard =
                shard.ok_or_else(|| ConsensusError::Corrupt("a replica's record has no shard".to_owned()))?;
            records.insert(ShardId(shard), codec::decode(cursor.value())?);
            more = cursor.next()?;
        }
        drop(cursor);
        let cluster = engine.get(CLUSTER_KEY)?.map(|value| Bytes::copy_from_slice(&value));
        Ok(Self { node, writer, records: RwLock::new(records), cluster: RwLock::new(cluster) })
    }

    /// A shard's first replica here, as a split or the node's first start makes it.
    pub(crate) fn first(&self) -> ReplicaId {
        ReplicaId(self.node.0)
    }

    pub(crate) fn get(&self, shard: ShardId) -> Option<Record> {
        self.records.read().get(&shard).copied()
    }

    pub(crate) fn all(&self) -> Vec<(ShardId, Record)> {
        self.records.read().iter().map(|(shard, record)| (*shard, *record)).collect()
    }

    /// The name of the replica of a shard that has data here.
    pub(crate) fn replica(&self, shard: ShardId) -> ReplicaId {
        self.get(shard).map_or(self.first(), |record| record.replica)
    }

    /// Keeps the records as they are for as long as the guard lives.
    pub(crate) fn held(&self) -> HeldRecords<'_> {
        HeldRecords { first: self.first(), records: self.records.read() }
    }

    /// Writes a record; it is seen at once, and durable when this returns.
    pub(crate) async fn set(&self, shard: ShardId, record: Record) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(record_key(shard), codec::encode(&record)?);
        self.records.write().insert(shard, record);
        Ok(self.writer.write(batch).await?)
    }

    /// What the node knows of its cluster.
    pub(crate) fn cluster(&self) -> Option<Bytes> {
        self.cluster.read().clone()
    }

    /// Writes it down; it is durable when this returns.
    pub(crate) async fn set_cluster(&self, known: Vec<u8>) -> Result<()> {
        let known = Bytes::from(known);
        let mut batch = WriteBatch::new();
        batch.put(CLUSTER_KEY, known.clone());
        *self.cluster.write() = Some(known);
        Ok(self.writer.write(batch).await?)
    }
}

/// See [`Records::held`].
pub(crate) struct HeldRecords<'a> {
    first: ReplicaId,
    records: RwLockReadGuard<'a, BTreeMap<ShardId, Record>>,
}

impl HeldRecords<'_> {
    /// Whether the shard's first replica here is the one that may come to be now.
    pub(crate) fn first_may_start(&self, shard: ShardId) -> bool {
        self.records.get(&shard).is_none_or(|record| record.replica == self.first && !record.removed)
    }
}

/// Which shard holds which range here, or is about to. No two hold the same key.
#[derive(Default)]
pub(crate) struct Claims(Mutex<BTreeMap<ShardId, Claim>>);

struct Claim {
    range: KeyRange,
    /// Whether data lies there, or is being put there. What is merely announced may change.
    held: bool,
}

impl Claims {
    /// Says what a shard holds from now on; the ranges of others are known to be disjoint from it.
    pub(crate) fn set(&self, shard: ShardId, range: KeyRange) {
        self.0.lock().insert(shard, Claim { range, held: true });
    }

    /// Announces a range for a shard that has none yet, or had more.
    ///
    /// # Errors
    /// The shard here that has some of it. It may have been split, and not have heard of it yet.
    pub(crate) fn announce(&self, shard: ShardId, range: &KeyRange) -> std::result::Result<(), ShardId> {
        let mut claims = self.0.lock();
        if let Some((other, _)) =
            claims.iter().find(|(id, claim)| **id != shard && claim.range.overlaps(range))
        {
            return Err(*other);
        }
        if claims.get(&shard).is_none_or(|claim| !claim.held) {
            claims.insert(shard, Claim { range: range.clone(), held: false });
        }
        Ok(())
    }

    /// Holds what was announced; `None` when that was something else. Otherwise whether it was held before.
    pub(crate) fn hold(&self, shard: ShardId, range: &KeyRange) -> Option<bool> {
        let mut claims = self.0.lock();
        let claim = claims.get_mut(&shard)?;
        if !claim.held && claim.range != *range {
            return None;
        }
        Some(std::mem::replace(&mut claim.held, true))
    }

    /// The shard has got nothing of what it held for the first time.
    pub(crate) fn let_go(&self, shard: ShardId) {
        if let Some(claim) = self.0.lock().get_mut(&shard) {
            claim.held = false;
        }
    }

    /// Takes an announcement back.
    pub(crate) fn withdraw(&self, shard: ShardId) {
        let mut claims = self.0.lock();
        if claims.get(&shard).is_some_and(|claim| !claim.held) {
            claims.remove(&shard);
        }
    }

    pub(crate) fn give_up(&self, shard: ShardId) {
        self.0.lock().remove(&shard);
    }
}

#[cfg(test)]
mod tests {
    use super::Claims;
    use crate::types::{KeyRange, ShardId};

    #[test]
    fn no_key_is_claimed_twice() {
        let claims = Claims::default();
        let (all, left, right) =
            (KeyRange::from(&b"a"[..]), KeyRange::new(&b"a"[..], &b"m"[..]), KeyRange::from(&b"m"[..]));
        claims.set(ShardId(2), all.clone());
        assert_eq!(claims.announce(ShardId(3), &right), Err(ShardId(2)));
        assert_eq!(claims.announce(ShardId(2), &left), Ok(()), "and it still holds the rest");
        assert_eq!(claims.hold(ShardId(2), &left), Some(true));
        assert_eq!(claims.announce(ShardId(3), &right), Err(ShardId(2)));
        claims.set(ShardId(2), left.clone());
        assert_eq!(claims.announce(ShardId(3), &right), Ok(()));
        assert_eq!(claims.announce(ShardId(4), &all), Err(ShardId(2)));
        claims.give_up(ShardId(2));
        claims.withdraw(ShardId(3));
        assert_eq!(claims.announce(ShardId(4), &all), Ok(()));
        // What was announced may shrink until it is held.
        assert_eq!(claims.announce(ShardId(4), &right), Ok(()));
        assert_eq!(claims.hold(ShardId(4), &all), None);
        assert_eq!(claims.announce(ShardId(5), &left), Ok(()));
        assert_eq!(claims.hold(ShardId(4), &right), Some(false));
        claims.withdraw(ShardId(4));
        assert_eq!(claims.announce(ShardId(6), &right), Err(ShardId(4)));
        claims.let_go(ShardId(4));
        claims.withdraw(ShardId(4));
        assert_eq!(claims.announce(ShardId(6), &right), Ok(()));
    }
}
