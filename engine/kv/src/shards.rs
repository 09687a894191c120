//! Shards as who runs a cluster sees them: where they begin, how large they are, and where to cut them.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::Shard;

use crate::encoding::{self, EncodedKey};
use crate::error::Result;
use crate::store::Store;

/// A shard that rows lie in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its number, never used again.
    pub id: u64,
    /// The first key that it may hold.
    pub start: Bytes,
    /// The first key past it; none for the last shard.
    pub end: Option<Bytes>,
    /// Whether this node leads it.
    pub is_leader: bool,
    /// The term in which it is led.
    pub term: u64,
    /// The last entry of its log that was carried out here.
    pub applied_index: u64,
}

impl Store {
    /// Splits the shard that holds a key in two, of which the right one begins with that key. Transactions under way go
    /// on. Nothing is done when a shard begins there already.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn split(&self, at: &[u8]) -> Result<()> {
        self.shared.node.split(&encoding::row_bound(at)).await?;
        Ok(())
    }

    /// The shards that rows lie in, in the order of their keys.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardInfo> {
        let map = self.shared.node.shards();
        let info = |shard: &Arc<Shard>| ShardInfo {
            id: shard.id().0,
            start: encoding::decode_bound(&shard.range().start).unwrap_or_default(),
            end: shard.range().end.as_deref().and_then(encoding::decode_bound),
            is_leader: shard.is_leader(),
            term: shard.term(),
            applied_index: shard.applied_index(),
        };
        map.data().iter().map(info).collect()
    }

    /// About how many bytes the rows from one key to before another take on the disk, with their old versions. What was
    /// written lately is in memory alone and does not count. No `end`: to the last row.
    #[must_use]
    pub fn size_bytes(&self, start: &[u8], end: Option<&[u8]>) -> u64 {
        let end = end.map_or_else(|| EncodedKey::from_slice(&encoding::ROWS_END), encoding::row_bound);
        self.shared.node.size_bytes(&encoding::row_bound(start), &end)
    }
}
