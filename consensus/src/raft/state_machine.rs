//! A shard's state machine: carries out committed commands on `kvdb`.
//!
//! ```text
//!   kvdb keys of this node's own records (never in any shard's range):
//!     00 'a' shard u64     the id of the last entry applied
//!     00 'm' shard u64     the last membership
//!     00 'd' shard u64     the extent, see extent.rs
//! ```
//!
//! `kvdb` has no log of its own. Each write carries the data of its entries and the id of the last of them, so
//! whatever point a crash goes back to is one that an entry's id names exactly, and raft replays from there.
//!
//! A split changes what the shard is: from its place in the log on, the shard ends earlier, and the shard right of it
//! exists, with replicas on the same nodes. The write that says so is reported to the node, which starts the new shard's
//! replica; nothing of that one's log can come before, so no write of the left log comes after it. Names of shards are given
//! once in a cluster: were the new shard's name another's, the one would be put into the place of the other.
//!
//! A shard begins with its first entry applied, the one that says who its members are: it is in no log. So whoever
//! becomes a replica later gets a snapshot, and never a log that misses what the shard held when it began.
//!
//! A replica that has been added and has not got its snapshot yet has no extent.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures::channel::mpsc::Sender;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use shardforge_runtime::Runtime;

use super::batch::Effect;
use super::log_store::io_error;
use super::snapshot::{SnapshotBuilder, SnapshotData};
use super::{BatchOutcome, LogId, Members, Placement, SnapshotMeta, StoredMembership, TypeConfig, codec};
use crate::engine::{Durability, Engine, Pinned, WriteBatch, end_of};
use crate::error::{ConsensusError, Result};
use crate::extent::{Extent, node_key};
use crate::failure::Failure;
use crate::limits::APPLY_SIZE_BYTES;
use crate::records::Records;
use crate::types::{KeyRange, NodeId, ReplicaId, ShardId};

const APPLIED: u8 = b'a';
const MEMBERSHIP: u8 = b'm';

/// What a state machine tells its node.
#[derive(Debug)]
pub(crate) enum Report {
    /// A split was applied.
    Split(SplitReport),
    /// A snapshot was installed: this is what the shard holds now.
    Installed(Extent),
}

/// A replica has applied a split.
#[derive(Debug)]
pub(crate) struct SplitReport {
    /// What is left of the shard.
    pub left: Extent,
    /// The shard that has come to be.
    pub right: Extent,
    /// Whether it has a replica here.
    pub right_is_here: bool,
    /// The term of the split's entry.
    pub term: u64,
}

/// Adds the records of a shard that begins: it has applied the first entry, which names its members.
pub(crate) fn found(shard: ShardId, members: Members, batch: &mut WriteBatch) -> Result<()> {
    let first = LogId::new_term_index(0, 0);
    batch.put(node_key(APPLIED, shard), codec::encode(&first)?);
    batch.put(node_key(MEMBERSHIP, shard), codec::encode(&StoredMembership::new(Some(first), members))?);
    Ok(())
}

/// The first members of a shard: one replica on each of these nodes, named after it.
pub(crate) fn first_members(voters: &[NodeId], learners: &[NodeId]) -> Result<Members> {
    let named = |node: &NodeId| (ReplicaId(node.0), Placement { node: node.0 });
    let config = voters.iter().map(|node| ReplicaId(node.0)).collect();
    let nodes: std::collections::BTreeMap<_, _> = voters.iter().chain(learners).map(named).collect();
    Members::new(vec![config], nodes)
        .map_err(|error| ConsensusError::Storage(format!("not a list of members: {error}")))
}

/// The members of a shard that is split off one with these: on the same nodes. What is in between two sets of voters
/// begins with the later one.
fn members_after_split(members: &StoredMembership) -> Result<Members> {
    let voters = members.get_joint_config().last().cloned().unwrap_or_default();
    let (voting, learning): (Vec<_>, Vec<_>) =
        members.nodes().partition(|(replica, _)| voters.contains(replica));
    let nodes = |list: Vec<(&ReplicaId, &Placement)>| {
        list.into_iter().map(|(_, placement)| NodeId(placement.node)).collect::<Vec<_>>()
    };
    first_members(&nodes(voting), &nodes(learning))
}

/// Adds the removal of all that a node knows of a shard's replica.
pub(crate) fn erase(shard: ShardId, extent: Option<&Extent>, batch: &mut WriteBatch) {
    for range in extent.into_iter().flat_map(Extent::content) {
        batch.delete_range(range.start.clone(), end_of(&range));
    }
    batch.delete(node_key(APPLIED, shard));
    batch.delete(node_key(MEMBERSHIP, shard));
    Extent::forget(shard, batch);
}

/// The last entry applied and the members, as they are stored.
fn applied_state(engine: &dyn Engine, shard: ShardId) -> Result<(Option<LogId>, StoredMembership)> {
    let applied = match engine.get(&node_key(APPLIED, shard))? {
        Some(bytes) => Some(codec::decode(&bytes)?),
        None => None,
    };
    let members = match engine.get(&node_key(MEMBERSHIP, shard))? {
        Some(bytes) => codec::decode(&bytes)?,
        None => StoredMembership::default(),
    };
    Ok((applied, members))
}

/// The index of the last entry that a pinned engine has applied.
pub(crate) fn pinned_index(pin: &dyn Pinned, shard: ShardId) -> Result<u64> {
    let applied = pin.get(&node_key(APPLIED, shard))?;
    Ok(applied.map(|bytes| codec::decode::<LogId>(&bytes)).transpose()?.map_or(0, |id| id.index))
}

/// How far a replica has come; read by everyone without locks.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The index of the last entry applied.
    pub applied_index: AtomicU64,
    /// The term of the last blank entry applied: a leader begins its term with one.
    pub opened_term: AtomicU64,
    /// The first term in which the shard had a leader; zero if that was before this node was opened.
    pub first_term: AtomicU64,
    /// How often the shard had been split by then; never behind `opened_term`.
    pub generation: AtomicU64,
    /// Woken when either moves past a leader's first entry.
    pub opened: tokio::sync::Notify,
}

/// See the module's essay.
pub(crate) struct StateMachine {
    shard: ShardId,
    extent: Option<Extent>,
    reports: Sender<Report>,
    records: Arc<Records>,
    engine: Arc<dyn Engine>,
    applied: Option<LogId>,
    membership: StoredMembership,
    progress: Arc<Progress>,
    failure: Arc<Failure>,
    /// What was applied when `kvdb` was last flushed for all shards together, if a snapshot is to be made of it.
    flushed: Option<SnapshotMeta>,
    /// Lives as long as this does.
    alive: Arc<()>,
}

impl StateMachine {
    /// Reads how far the replica had come.
    pub(crate) fn open(
        shard: ShardId,
        reports: Sender<Report>,
        records: Arc<Records>,
        engine: Arc<dyn Engine>,
        progress: Arc<Progress>,
        failure: Arc<Failure>,
    ) -> Result<Self> {
        let extent = Extent::load(&*engine, shard)?;
        let (applied, membership) = applied_state(&*engine, shard)?;
        progress.applied_index.store(applied.map_or(0, |id: LogId| id.index), Ordering::Release);
        if let Some(extent) = &extent {
            progress.generation.store(extent.generation, Ordering::Release);
        }
        Ok(Self {
            shard,
            extent,
            reports,
            records,
            engine,
            applied,
            membership,
            progress,
            failure,
            flushed: None,
            alive: Arc::default(),
        })
    }

    /// The members as of the last entry applied.
    pub(crate) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// Cannot be upgraded once the state machine is gone.
    pub(crate) fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }

    /// What has been applied, as a snapshot's mark.
    pub(crate) fn mark(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    /// Says that `kvdb` has been flushed since it was at `mark`: the next snapshot is made of that, and does not
    /// flush again.
    pub(crate) fn set_flushed(&mut self, mark: SnapshotMeta) {
        self.flushed = Some(mark);
    }

    /// Tells the node.
    fn report(&mut self, report: Report) {
        // Nobody takes it when the node is stopping; the next open finds the extents.
        if self.reports.try_send(report).is_err_and(|error| error.is_full()) {
            self.failure.report("too many splits wait for their replicas to be started");
        }
    }

    /// Writes what has been gathered, and answers those who wait for it.
    fn write(&mut self, gathered: &mut Gathered) -> Result<()> {
        let Some(last) = gathered.last.take() else { return Ok(()) };
        let mut batch = std::mem::take(&mut gathered.batch);
        batch.put(node_key(APPLIED, self.shard), codec::encode(&last)?);
        if let Some(membership) = gathered.membership.take() {
            batch.put(node_key(MEMBERSHIP, self.shard), codec::encode(&membership)?);
            self.membership = membership;
        }
        if gathered.splits.is_empty() {
            self.engine.write(&batch, Durability::Buffered)?;
        } else {
            // No replica of the right shard is removed while it comes to be.
            let records = self.records.held();
            for (report, members) in &mut gathered.splits {
                let right = &report.right;
                report.right_is_here =
                    members.get_node(&self.records.first()).is_some() && records.first_may_start(right.shard);
                if report.right_is_here {
                    if Extent::load(&*self.engine, right.shard)?.is_some() {
                        let reason = format!(
                            "{} has split off {}, which is another shard's name",
                            self.shard, right.shard
                        );
                        return Err(ConsensusError::Corrupt(reason));
                    }
                    right.store(&mut batch)?;
                    found(right.shard, members.clone(), &mut batch)?;
                } else {
                    batch.delete_range(right.range.start.clone(), end_of(&right.range));
                }
            }
            self.engine.write(&batch, Durability::Buffered)?;
        }
        self.applied = Some(last);
        self.progress.applied_index.store(last.index, Ordering::Release);
        if let Some(extent) = &self.extent {
            self.progress.generation.store(extent.generation, Ordering::Release);
        }
        // Before it counts as opened: who opens the node then finds all splits that were replayed.
        for (report, _) in gathered.splits.drain(..) {
            self.report(Report::Split(report));
        }
        if let Some(term) = gathered.first_term.take() {
            self.progress.first_term.store(term, Ordering::Release);
        }
        if let Some(term) = gathered.opened_term.take() {
            self.progress.opened_term.store(term, Ordering::Release);
            self.progress.opened.notify_waiters();
        }
        for (responder, outcome) in gathered.replies.drain(..) {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn apply_all<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut gathered = Gathered::default();
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id;
            gathered.last = Some(id);
            let extent = self.extent.as_mut().ok_or_else(|| {
                io_error(ConsensusError::Corrupt(format!("shard {} has entries and no extent", self.shard)))
            })?;
            if id.index == 1 {
                gathered.first_term = Some(id.leader_id.term);
            }
            let mut outcome = BatchOutcome::default();
            match entry.payload {
                EntryPayload::Blank => gathered.opened_term = Some(id.leader_id.term),
                EntryPayload::Membership(membership) => {
                    gathered.membership = Some(StoredMembership::new(Some(id), membership));
                }
                EntryPayload::Normal(commands) => {
                    let term = id.leader_id.term;
                    for (position, command) in (0..).zip(&commands.commands) {
                        let effect = command.apply(term, extent.generation, &mut gathered.batch);
                        match effect.map_err(io_error)? {
                            Effect::Written => {}
                            Effect::OtherTerm => outcome.rejected.push(position),
                            Effect::OtherGeneration => outcome.moved.push(position),
                            Effect::Split { at, right } => match extent.split(&at, right) {
                                Some(right) => {
                                    let members = gathered.membership.as_ref().unwrap_or(&self.membership);
                                    let members = members_after_split(members).map_err(io_error)?;
                                    gathered.split(extent, right, members, term).map_err(io_error)?;
                                }
                                None => outcome.moved.push(position),
                            },
                        }
                    }
                }
            }
            if let Some(responder) = responder {
                gathered.replies.push((responder, outcome));
            }
            if gathered.batch.size_bytes() >= APPLY_SIZE_BYTES {
                self.write(&mut gathered).map_err(io_error)?;
            }
        }
        self.write(&mut gathered).map_err(io_error)
    }
}

/// Entries that will be one write.
#[derive(Default)]
struct Gathered {
    batch: WriteBatch,
    last: Option<LogId>,
    membership: Option<StoredMembership>,
    opened_term: Option<u64>,
    first_term: Option<u64>,
    splits: Vec<(SplitReport, Members)>,
    replies: Vec<(ApplyResponder<TypeConfig>, BatchOutcome)>,
}

impl Gathered {
    /// The shard has become two.
    fn split(&mut self, left: &Extent, right: Extent, members: Members, term: u64) -> Result<()> {
        left.store(&mut self.batch)?;
        self.splits.push((SplitReport { left: left.clone(), right, right_is_here: false, term }, members));
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let result = self.apply_all(entries).await;
        if let Err(error) = &result {
            self.failure
                .report(&format!("could not apply committed entries of shard {}: {error}", self.shard));
        }
        result
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (meta, flush) = match self.flushed.take() {
            Some(mark) => (mark, None),
            None => (self.mark(), Some(Arc::clone(&self.engine))),
        };
        SnapshotBuilder { meta, flush }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let result = self.replace(meta, snapshot).await;
        if let Err(error) = &result {
            self.failure.report(&format!("could not install a snapshot of shard {}: {error}", self.shard));
        }
        result.map_err(io_error)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        // Nothing is applied meanwhile, so the pin is at the mark.
        Ok(self.extent.as_ref().filter(|_| self.applied.is_some()).map(|extent| {
            let pin = Arc::clone(&self.engine).pin();
            let snapshot = SnapshotData::Pinned { pin, extent: extent.clone() };
            SnapshotOf::<TypeConfig, SnapshotData> { meta: self.mark(), snapshot }
        }))
    }
}

impl StateMachine {
    /// Puts what was received into the place of what the shard held here.
    async fn replace(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<()> {
        let (staging, extent) = snapshot.into_staged(&self.engine)?;
        let mut records = WriteBatch::new();
        extent.store(&mut records)?;
        if let Some(last) = &meta.last_log_id {
            records.put(node_key(APPLIED, self.shard), codec::encode(last)?);
        }
        records.put(node_key(MEMBERSHIP, self.shard), codec::encode(&meta.last_membership)?);
        // What the shard had and has lost by splits: whoever holds it by now is to bring it here itself.
        let lost = match (&self.extent, &extent.range.end) {
            (Some(old), Some(end)) if old.range.end.as_ref().is_none_or(|old| old > end) => {
                Some(KeyRange { start: end.clone(), end: old.range.end.clone() })
            }
            _ => None,
        };
        let replacing = Runtime::current()
            .spawn_blocking("replace", move || staging.replace(lost.as_slice(), &records))
            .await;
        replacing.map_err(|error| ConsensusError::Storage(error.to_string()))??;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.progress.applied_index.store(meta.last_log_id.map_or(0, |id| id.index), Ordering::Release);
        self.progress.generation.store(extent.generation, Ordering::Release);
        self.extent = Some(extent.clone());
        self.report(Report::Installed(extent));
        Ok(())
    }
}
