//! The shards that a transaction has locked or written in.
//!
//! Its locks hold as long as the store does, which is in one tenure: whatever becomes of a shard in it, this node leads what was
//! locked. A shard may be split meanwhile; what it was when it was first touched is kept, and at commit all shards that hold
//! parts of it by then take part.

use std::sync::Arc;

use shardforge_consensus::{KeyRange, Shard, ShardMap};
use smallvec::SmallVec;

use crate::encoding;
use crate::error::Result;
use crate::pending::LogPlace;
use crate::routing::row_holder;

/// See the module's essay. Each is as it was when it was first touched; nearly always it is one.
#[derive(Clone, Debug, Default)]
pub(super) struct TouchedShards(SmallVec<[Arc<Shard>; 1]>);

impl TouchedShards {
    /// The transaction locks or writes a row.
    pub(super) fn touch(&mut self, key: &[u8], map: impl FnOnce() -> Arc<ShardMap>) -> Result<()> {
        if self.0.iter().any(|touched| encoding::holds_row(touched.range(), key)) {
            return Ok(());
        }
        let shard = Arc::clone(row_holder(&map(), key)?);
        self.0.push(shard);
        Ok(())
    }

    /// The only shard.
    pub(super) fn only(&self) -> Option<Arc<Shard>> {
        match &self.0[..] {
            [only] => Some(Arc::clone(only)),
            _ => None,
        }
    }

    /// The first shard.
    pub(super) fn first(&self) -> Option<&Arc<Shard>> {
        self.0.first()
    }

    /// Whether commands of the transaction for one of its shards go to this place.
    pub(super) fn meets(&self, place: LogPlace) -> bool {
        self.0.iter().any(|shard| place == LogPlace::of(shard))
    }

    /// The shards that hold now what was touched.
    pub(super) fn participants(&self, map: &ShardMap) -> Vec<Arc<Shard>> {
        let touched = |range: &KeyRange| self.0.iter().any(|touched| touched.range().overlaps(range));
        map.data().iter().filter(|shard| touched(shard.range())).cloned().collect()
    }
}
