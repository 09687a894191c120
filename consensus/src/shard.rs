//! A shard as it was when it was looked up: a range of keys, and the replica that holds them here.
//!
//! A split does not change a `Shard`; it puts two others in its place in the node's [`crate::ShardMap`]. Commands of the
//! one that is out of date are refused ([`ConsensusError::Moved`]), whoever holds it looks the keys up again. What it
//! reads stays true: the keys are where they were.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Applied, Command};
use crate::error::{ConsensusError, Result};
use crate::extent::Extent;
use crate::limits::KEY_SIZE_MAX_BYTES;
use crate::proposer::Submitted;
use crate::read::ReadView;
use crate::replica::Replica;
use crate::tenure::Tenure;
use crate::types::{KeyRange, LOCAL_KEY_HEADER_BYTES, LOCAL_PREFIX, NodeId, ShardId};

/// A replicated range of keys, see the module's essay.
pub struct Shard {
    replica: Arc<Replica>,
    range: KeyRange,
    generation: u64,
    origin: Option<Origin>,
}

/// What a shard was split off, and the term of the split's entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub parent: ShardId,
    pub parent_term: u64,
}

/// What a shard came from.
///
/// What was true of the keys in the parent's term `parent_term` (who held a lock on them, above all) is true of them in
/// this shard's term `term`, its first: nobody else could have led them in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// The shard that it was split off.
    pub parent: ShardId,
    /// The parent's term at the split.
    pub parent_term: u64,
    /// The first term in which the shard had a leader.
    pub term: u64,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id())
            .field("range", &self.range)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(replica: Arc<Replica>, extent: Extent, origin: Option<Origin>) -> Self {
        Self { replica, range: extent.range, generation: extent.generation, origin }
    }

    /// The same shard after a split.
    pub(crate) fn with_extent(&self, extent: Extent) -> Self {
        Self::new(Arc::clone(&self.replica), extent, self.origin)
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.replica.id
    }

    /// The keys it holds.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// How often it had been split.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// What it was split off, if that was since the node was opened and the shard has had a leader since.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        let Origin { parent, parent_term } = self.origin?;
        Some(Lineage { parent, parent_term, term: self.replica.first_term()? })
    }

    /// Whether this node leads the shard and has applied all that was committed before its term, and so may
    /// serve reads and take proposals. Three atomic loads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.replica.is_leader()
    }

    /// The node that leads the shard, as this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.replica.known_leader()
    }

    /// The newest term that this replica has seen; the one it leads in, if it leads.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.replica.term()
    }

    /// The index of the last raft entry that was applied here.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.replica.applied_index()
    }

    /// The index of the last raft entry that was purged here; zero when none was.
    #[must_use]
    pub fn purged_index(&self) -> u64 {
        self.replica.purged_index()
    }

    /// The applied state. Complete on the leader: every acknowledged proposal is in it.
    #[must_use]
    pub fn read(&self) -> ReadView<'_> {
        ReadView::new(&*self.replica.kv, self.id(), &self.range)
    }

    /// Makes sure that this replica still leads, so that what it reads next is the newest state.
    ///
    /// A sole voter cannot have been replaced; otherwise the leader's lease is checked, and renewed by a round
    /// of heartbeats if need be.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], and [`ConsensusError::Stopped`].
    pub async fn ensure_readable(&self) -> Result<()> {
        self.replica.ensure_readable().await
    }

    /// Replicates a command and carries it out. When this returns `Ok`, the command is durable and visible to
    /// [`Shard::read`].
    ///
    /// Dropping the future does not take the proposal back.
    ///
    /// # Errors
    /// See [`ConsensusError`]; only where [`ConsensusError::is_ambiguous`] says so may the command have been
    /// carried out nevertheless.
    pub async fn propose(&self, command: Command) -> Result<Applied> {
        self.check(&command)?;
        self.replica.proposer.propose(&command, Some(self.generation), None).await
    }

    /// As [`Shard::propose`], of a tenure.
    pub(crate) async fn propose_in(&self, command: &Command, tenure: &Tenure) -> Result<Applied> {
        self.check(command)?;
        self.replica.proposer.propose(command, Some(self.generation), Some(tenure)).await
    }

    /// As [`Shard::propose`], but the command's place in the shard's order is fixed when this returns: whatever
    /// is proposed later is carried out after it, or not at all if this one fails for the want of a leader in
    /// their common term, or for a split since their common generation. `None` when too many proposals wait;
    /// [`Shard::propose`] waits with them.
    ///
    /// # Errors
    /// As [`Shard::propose`].
    pub fn submit(&self, command: &Command) -> Result<Option<Submitted>> {
        self.check(command)?;
        self.replica.proposer.submit(command, Some(self.generation), None)
    }

    /// As [`Shard::submit`], of a tenure.
    pub(crate) fn submit_in(&self, command: &Command, tenure: &Tenure) -> Result<Option<Submitted>> {
        self.check(command)?;
        self.replica.proposer.submit(command, Some(self.generation), Some(tenure))
    }

    /// Whether a command may be proposed here and now.
    fn check(&self, command: &Command) -> Result<()> {
        let fits = |key: &[u8]| {
            let ours = if key.first() == Some(&LOCAL_PREFIX) {
                key.get(1..LOCAL_KEY_HEADER_BYTES) == Some(&self.id().0.to_be_bytes()[..])
            } else {
                self.range.contains(key)
            };
            ours && key.len() <= KEY_SIZE_MAX_BYTES
        };
        let range_fits = |start: &[u8], end: &[u8]| {
            self.range.contains_range(start, end) || self.id().local_space().contains_range(start, end)
        };
        let inside = command.puts.iter().all(|(key, _)| fits(key))
            && command.deletes.iter().all(|key| fits(key))
            && command.delete_ranges.iter().all(|(start, end)| range_fits(start, end));
        if !inside {
            return Err(ConsensusError::OutOfRange { shard: self.id() });
        }
        self.replica.check_writable(!command.puts.is_empty())
    }

    /// Waits until every proposal that was made before it, by whomever, is either applied or will never be.
    ///
    /// It is how the fate of an ambiguous proposal is learned: after it, what is not there will not come.
    ///
    /// # Errors
    /// As [`Shard::propose`].
    pub async fn barrier(&self) -> Result<Applied> {
        self.replica.check_writable(false)?;
        self.replica.proposer.propose(&Command::default(), None, None).await
    }

    /// Proposes to cut the shard at a key, and returns when it is cut; the node starts the right one then.
    pub(crate) async fn propose_split(&self, at: &Bytes, right: ShardId) -> Result<Applied> {
        if !self.range.contains(at) || self.range.start == *at || at.len() > KEY_SIZE_MAX_BYTES {
            return Err(ConsensusError::OutOfRange { shard: self.id() });
        }
        self.replica.check_writable(true)?;
        let applied = self.replica.proposer.propose_split(at, right, self.generation).await?;
        // The others hear at once that it is committed, and are there when the right shard elects its leader.
        self.replica.hurry().await;
        Ok(applied)
    }
}
