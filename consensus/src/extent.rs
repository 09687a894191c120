//! A shard's extent: the range of keys that it holds, and how often it has been split.
//!
//! ```text
//!   kvdb keys of this node's own records (never in any shard's range):
//!     00 'd' shard u64     the extent of a shard with a replica here
//! ```
//!
//! The extent is replicated state. It changes when the replica applies a split, and is written together with the id of
//! that entry: replaying the log, a replica refuses after the split what it refused the first time.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{CursorOptions, Engine, Pinned, WriteBatch};
use crate::error::Result;
use crate::raft::codec;
use crate::types::{DATA_START, KeyRange, SYSTEM_PREFIX, ShardId};

/// The first byte of this node's own records.
const NODE: u8 = 0x00;

/// The key of one of the node's own records of a shard.
pub(crate) fn node_key(kind: u8, shard: ShardId) -> Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend_from_slice(&[NODE, kind]);
    key.extend_from_slice(&shard.0.to_be_bytes());
    Bytes::from(key)
}

const EXTENT: u8 = b'd';

/// See the module's essay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub shard: ShardId,
    pub range: KeyRange,
    /// Counts the shard's splits.
    pub generation: u64,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    shard: u64,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    generation: u64,
}

impl Extent {
    pub(crate) fn new(shard: ShardId, range: KeyRange) -> Self {
        Self { shard, range, generation: 0 }
    }

    /// Adds the record of this extent to a batch.
    pub(crate) fn store(&self, batch: &mut WriteBatch) -> Result<()> {
        batch.put(node_key(EXTENT, self.shard), self.encode()?);
        Ok(())
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(&Stored {
            shard: self.shard.0,
            start: self.range.start.to_vec(),
            end: self.range.end.as_ref().map(|end| end.to_vec()),
            generation: self.generation,
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let Stored { shard, start, end, generation } = codec::decode(bytes)?;
        let range = KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) };
        Ok(Self { shard: ShardId(shard), range, generation })
    }

    /// The extent of a shard with a replica here.
    pub(crate) fn load(engine: &dyn Engine, shard: ShardId) -> Result<Option<Self>> {
        engine.get(&node_key(EXTENT, shard))?.map(|bytes| Self::decode(&bytes)).transpose()
    }

    /// The same, as of a moment.
    pub(crate) fn pinned(pin: &dyn Pinned, shard: ShardId) -> Result<Option<Self>> {
        pin.get(&node_key(EXTENT, shard))?.map(|bytes| Self::decode(&bytes)).transpose()
    }

    /// Adds the removal of this extent's record to a batch.
    pub(crate) fn forget(shard: ShardId, batch: &mut WriteBatch) {
        batch.delete(node_key(EXTENT, shard));
    }

    /// All that the shard holds, in order: its local space and its range; the system shard's range comes first.
    pub(crate) fn content(&self) -> [KeyRange; 2] {
        let mut ranges = [self.shard.local_space(), self.range.clone()];
        ranges.sort_by(|left, right| left.start.cmp(&right.start));
        ranges
    }

    /// The extents of all shards that have had a replica here, by shard.
    pub(crate) fn load_all(engine: &dyn Engine) -> Result<Vec<Self>> {
        let options = CursorOptions::range(vec![NODE, EXTENT], vec![NODE, EXTENT + 1]);
        let mut cursor = engine.cursor(&options)?;
        let mut extents = Vec::new();
        let mut more = cursor.seek_to_first()?;
        while more {
            extents.push(Self::decode(cursor.value())?);
            more = cursor.next()?;
        }
        Ok(extents)
    }

    /// Cuts the range at a key; what is right of it is the extent of a new shard. `None` when the key is the range's
    /// first one or not in it.
    pub(crate) fn split(&mut self, at: &Bytes, right: ShardId) -> Option<Self> {
        if !self.range.contains(at) || self.range.start == *at {
            return None;
        }
        let end = self.range.end.replace(at.clone());
        self.generation += 1;
        Some(Self::new(right, KeyRange { start: at.clone(), end }))
    }
}

/// The shards of a new node: the system shard, and a data shard from each split to the next.
pub(crate) fn first_extents(data_splits: &[Bytes]) -> Vec<Extent> {
    let mut starts = BTreeSet::from([Bytes::from_static(&[DATA_START])]);
    starts.extend(data_splits.iter().filter(|split| split[..] > [DATA_START][..]).cloned());
    let ends = starts.iter().skip(1).cloned().map(Some).chain([None]);
    let ranges = starts.iter().cloned().zip(ends).map(|(start, end)| KeyRange { start, end });
    let system = KeyRange::new(vec![SYSTEM_PREFIX], vec![SYSTEM_PREFIX + 1]);
    let ids = (ShardId::SYSTEM.0..).map(ShardId);
    ids.zip([system].into_iter().chain(ranges)).map(|(id, range)| Extent::new(id, range)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Extent, first_extents};
    use crate::engine::{Durability, Engine, MemoryEngine, WriteBatch};
    use crate::types::{DATA_START, ShardId};

    #[test]
    fn a_split_cuts_the_range_and_counts() {
        let [system, mut data] = first_extents(&[]).try_into().unwrap();
        assert_eq!((system.shard, data.shard), (ShardId(1), ShardId(2)));
        let at = Bytes::from(vec![DATA_START, b'm']);
        let right = data.split(&at, ShardId(3)).unwrap();
        assert_eq!((data.generation, right.generation), (1, 0));
        assert!(!data.range.contains(&at) && right.range.contains(&at) && right.range.end.is_none());
        assert_eq!(data.range.end, Some(right.range.start.clone()));
        assert!(data.split(&at, ShardId(4)).is_none(), "it lies in the right shard by now");
        let mut same = right.clone();
        assert!(same.split(&at, ShardId(4)).is_none() && same == right, "it begins there already");
    }

    #[test]
    fn extents_come_back_from_the_engine() {
        let engine = MemoryEngine::default();
        let splits = [Bytes::from(vec![DATA_START, 7]), Bytes::from(vec![DATA_START, 3])];
        let extents = first_extents(&splits);
        let mut batch = WriteBatch::new();
        for extent in &extents {
            extent.store(&mut batch).unwrap();
        }
        engine.write(&batch, Durability::Buffered).unwrap();
        assert_eq!(Extent::load_all(&engine).unwrap(), extents);
        assert_eq!(extents.len(), 4);
        assert!(
            extents.windows(2).skip(1).all(|pair| pair[0].range.end.as_ref() == Some(&pair[1].range.start))
        );
    }
}
