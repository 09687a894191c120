//! Whether replicas hold the same.
//!
//! A checksum is of a shard's logical content: the pairs of its local space and its range, at one applied index, without
//! those that a compaction may drop. Replicas with the same applied index have the same one, whatever their files look like.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{CursorOptions, Keep, SharedFilter};
use crate::error::{ConsensusError, Result};
use crate::extent::Extent;
use crate::raft::state_machine::pinned_index;
use crate::shard::Shard;

/// What a replica held at some point of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checksum {
    /// The index of the last entry applied.
    pub applied_index: u64,
    /// How many pairs there were.
    pub pairs: u64,
    /// The sum of them all, in their order.
    pub sum: u64,
}

/// The 64-bit hash of Fowler, Noll and Vo, variant 1a.
struct Sum(u64);

impl Sum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl Shard {
    /// The checksum of what this replica holds now. It reads all of it; what is written meanwhile does not count.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] when the replica has just been removed; when the engine cannot read.
    pub async fn checksum(&self) -> Result<Checksum> {
        let (id, filter) = (self.id(), self.replica().filter.clone());
        let pin = Arc::clone(&self.replica().kv).pin();
        let summing = self.replica().runtime.spawn_blocking("checksum", move || {
            let extent = Extent::pinned(&*pin, id)?
                .ok_or_else(|| ConsensusError::Refused(format!("shard {id} has gone from here")))?;
            let mut sum = Sum::new();
            let mut pairs = 0;
            for range in extent.content() {
                let options = CursorOptions { lower: Some(range.start), upper: range.end, bulk: true };
                let mut cursor = pin.cursor(&options)?;
                let mut more = cursor.seek_to_first()?;
                while more {
                    if kept(filter.as_ref(), cursor.key(), cursor.value()) {
                        sum.add(cursor.key());
                        sum.add(cursor.value());
                        pairs += 1;
                    }
                    more = cursor.next()?;
                }
            }
            Ok(Checksum { applied_index: pinned_index(&*pin, id)?, pairs, sum: sum.0 })
        });
        summing.await.map_err(|error| ConsensusError::Storage(error.to_string()))?
    }
}

fn kept(filter: Option<&SharedFilter>, key: &[u8], value: &[u8]) -> bool {
    filter.is_none_or(|filter| filter.keep(key, value) == Keep::Yes)
}
