//! How a shard's content gets to a replica that needs it.
//!
//! ```text
//!   sender                                          receiver
//!     Begin { meta, extent }       -------------->    claim the range, begin a staging area
//!     Chunk { number, pairs }      -------------->    put them there              (one at a time, each acknowledged)
//!     ...
//!     End { vote, meta, extent }   -------------->    raft, then the state machine: replace
//! ```
//!
//! The sender reads one pin of its engine, so all that arrives is of one applied index, and neither side holds more than a
//! chunk of it. Anything out of order ends the transfer: raft begins another, from a newer pin.
//!
//! The range has to be free at the receiver. If another shard's replica holds some of it, that one has been split and has
//! not heard of it yet; it will, and raft tries again until then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::alias::SnapshotOf;
use openraft::errors::{NetworkError, RPCError};
use openraft::network::RPCTypes;
use openraft::raft::{AppendEntriesRequest, SnapshotResponse};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use shardforge_runtime::{Instant, Runtime};
use tokio::sync::Semaphore;

use super::network::{Answer, ORDER_PERMITS, Peer, Request, RpcResult, unexpected};
use super::snapshot::SnapshotData;
use super::{Raft, SnapshotMeta, TypeConfig, Vote};
use crate::engine::{CursorOptions, Engine, Pinned, Staging};
use crate::error::{ConsensusError, Result};
use crate::extent::Extent;
use crate::limits::{
    RPC_TIMEOUT, SNAPSHOT_BYTES_PER_SECOND_MAX, SNAPSHOT_CHUNK_SIZE_BYTES, SNAPSHOT_IDLE_MAX,
};
use crate::records::Claims;
use crate::types::{KeyRange, ReplicaId, ShardId};

/// A message of a transfer. Each transfer has a random name.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotPart {
    transfer: u64,
    step: Step,
}

#[derive(Serialize, Deserialize)]
enum Step {
    Begin { extent: Vec<u8> },
    Chunk { number: u64, pairs: Vec<(Vec<u8>, Vec<u8>)> },
    End { chunks: u64, vote: Vote, meta: SnapshotMeta },
}

/// Where the next chunk begins: a place in one of the ranges.
pub(super) struct Position {
    ranges: Vec<KeyRange>,
    /// The last key read of the first range.
    after: Option<Vec<u8>>,
}

impl Position {
    pub(super) fn start(extent: &Extent) -> Self {
        Self { ranges: extent.content().into(), after: None }
    }

    /// The next pairs, about as many as fit into a chunk; none at the end.
    pub(super) fn read(&mut self, pin: &dyn Pinned) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut pairs = Vec::new();
        let mut size_bytes = 0;
        while let Some(range) = self.ranges.first() {
            let options =
                CursorOptions { lower: Some(range.start.clone()), upper: range.end.clone(), bulk: true };
            let mut cursor = pin.cursor(&options)?;
            let mut more = match &self.after {
                None => cursor.seek_to_first()?,
                Some(after) => cursor.seek(after)? && (cursor.key() != &after[..] || cursor.next()?),
            };
            while more {
                size_bytes += cursor.key().len() + cursor.value().len();
                pairs.push((cursor.key().to_vec(), cursor.value().to_vec()));
                if size_bytes >= SNAPSHOT_CHUNK_SIZE_BYTES {
                    self.after = pairs.last().map(|(key, _)| key.clone());
                    return Ok(pairs);
                }
                more = cursor.next()?;
            }
            drop(cursor);
            self.ranges.remove(0);
            self.after = None;
        }
        Ok(pairs)
    }
}

impl Peer {
    /// Sends a snapshot, which takes as long as it takes; `limit` bounds the installation alone.
    pub(super) async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        limit: Duration,
    ) -> RpcResult<SnapshotResponse<TypeConfig>> {
        let SnapshotData::Pinned { mut pin, extent } = snapshot.snapshot else {
            return unexpected();
        };
        let transfer = self.runtime.next_u64();
        let failed = |error: &ConsensusError| RPCError::Network(NetworkError::new(error));
        let mut position = Position::start(&extent);
        let extent = extent.encode().map_err(|error| failed(&error))?;
        self.send_part(transfer, Step::Begin { extent }, RPC_TIMEOUT).await?;
        let mut chunks = 0;
        loop {
            let began = self.runtime.now();
            let reading = self.runtime.spawn_blocking("read snapshot", move || {
                let pairs = position.read(&*pin);
                (pin, position, pairs)
            });
            let pairs;
            (pin, position, pairs) =
                reading.await.map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
            let pairs = pairs.map_err(|error| failed(&error))?;
            if pairs.is_empty() {
                break;
            }
            let size_bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
            self.send_part(transfer, Step::Chunk { number: chunks, pairs }, RPC_TIMEOUT).await?;
            chunks += 1;
            let due = began + Duration::from_secs(size_bytes as u64) / SNAPSHOT_BYTES_PER_SECOND_MAX;
            self.runtime.sleep_until(due).await;
        }
        let end = Step::End { chunks, vote, meta: snapshot.meta };
        match self.send_part(transfer, end, limit).await? {
            Answer::Snapshot(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn send_part(&self, transfer: u64, step: Step, limit: Duration) -> RpcResult<Answer> {
        let request = Request::Snapshot(SnapshotPart { transfer, step });
        self.call_within(RPCTypes::InstallSnapshot, request, limit).await
    }
}

/// What is on its way to one replica.
struct Transfer {
    name: u64,
    extent: Extent,
    staging: Box<dyn Staging>,
    chunks: u64,
    touched: Instant,
}

/// The snapshots that are being received.
pub(crate) struct Incoming {
    runtime: Runtime,
    /// Until the node stops: requests may outlive it.
    engine: Mutex<Option<Arc<dyn Engine>>>,
    claims: Arc<Claims>,
    transfers: Mutex<BTreeMap<(ShardId, ReplicaId), Transfer>>,
}

impl Incoming {
    pub(crate) fn new(runtime: Runtime, engine: Arc<dyn Engine>, claims: Arc<Claims>) -> Self {
        Self { runtime, engine: Mutex::new(Some(engine)), claims, transfers: Mutex::default() }
    }

    /// Drops what has come for a replica.
    pub(super) fn forget(&self, shard: ShardId, replica: ReplicaId) {
        let gone = self.transfers.lock().remove(&(shard, replica));
        drop(gone);
        self.claims.withdraw(shard);
    }

    /// Drops everything; nothing is received any more.
    pub(super) fn clear(&self) {
        let closed = self.engine.lock().take();
        drop(closed);
        let gone = std::mem::take(&mut *self.transfers.lock());
        drop(gone);
    }

    fn engine(&self) -> Result<Arc<dyn Engine>> {
        let stopped = || ConsensusError::Stopped { reason: "the node was shut down".to_owned() };
        self.engine.lock().clone().ok_or_else(stopped)
    }

    /// Drops the transfers that have come to a halt.
    fn forget_idle(&self) {
        let now = self.runtime.now();
        self.transfers.lock().retain(|(shard, _), transfer| {
            let moving = now - transfer.touched < SNAPSHOT_IDLE_MAX;
            if !moving {
                self.claims.withdraw(*shard);
            }
            moving
        });
    }

    pub(super) async fn take_in(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        to: (Raft, Arc<Semaphore>),
        part: SnapshotPart,
    ) -> Answer {
        let result = match part.step {
            Step::Begin { extent } => {
                self.begin(shard, replica, part.transfer, &extent).map(|()| Answer::Done)
            }
            Step::Chunk { number, pairs } => {
                self.chunk(shard, replica, part.transfer, number, pairs).await.map(|()| Answer::Done)
            }
            Step::End { chunks, vote, meta } => {
                self.end(shard, replica, part.transfer, chunks, to, (vote, meta)).await
            }
        };
        result.unwrap_or_else(|error| Answer::Refused(error.to_string()))
    }

    fn begin(&self, shard: ShardId, replica: ReplicaId, name: u64, extent: &[u8]) -> Result<()> {
        self.forget_idle();
        let extent = Extent::decode(extent)?;
        if extent.shard != shard {
            return Err(ConsensusError::Corrupt(format!("a snapshot of {} for {shard}", extent.shard)));
        }
        self.claims.announce(shard, &extent.range).map_err(|other| {
            ConsensusError::Storage(format!("the range of {shard} is still held by {other} here"))
        })?;
        let staging = self.engine()?.stage(extent.content().into())?;
        let touched = self.runtime.now();
        let transfer = Transfer { name, extent, staging, chunks: 0, touched };
        let replaced = self.transfers.lock().insert((shard, replica), transfer);
        drop(replaced);
        Ok(())
    }

    /// Takes a transfer out of the list, if it is the one that is meant, and is as far.
    fn take(&self, shard: ShardId, replica: ReplicaId, name: u64, chunks: u64) -> Result<Transfer> {
        let mut transfers = self.transfers.lock();
        let expected = |transfer: &Transfer| transfer.name == name && transfer.chunks == chunks;
        if !transfers.get(&(shard, replica)).is_some_and(expected) {
            return Err(ConsensusError::Storage(format!("the transfer of {shard} has to begin anew")));
        }
        transfers
            .remove(&(shard, replica))
            .ok_or_else(|| ConsensusError::Storage(format!("the transfer of {shard} has ended")))
    }

    async fn chunk(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        name: u64,
        number: u64,
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        let mut transfer = self.take(shard, replica, name, number)?;
        let putting = self.runtime.spawn_blocking("stage", move || {
            let inside = |key: &[u8]| transfer.extent.content().iter().any(|range| range.contains(key));
            for (key, value) in &pairs {
                if !inside(key) {
                    return Err(ConsensusError::Corrupt(
                        "a snapshot has keys outside of its range".to_owned(),
                    ));
                }
                transfer.staging.put(key, value)?;
            }
            Ok(transfer)
        });
        let mut transfer = putting.await.map_err(|error| ConsensusError::Storage(error.to_string()))??;
        transfer.chunks += 1;
        transfer.touched = self.runtime.now();
        // Unless another has begun in the meantime.
        self.transfers.lock().entry((shard, replica)).or_insert(transfer);
        Ok(())
    }

    async fn end(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        name: u64,
        chunks: u64,
        (raft, order): (Raft, Arc<Semaphore>),
        (vote, meta): (Vote, SnapshotMeta),
    ) -> Result<Answer> {
        let Transfer { extent, staging, .. } = self.take(shard, replica, name, chunks)?;
        let held = self
            .claims
            .hold(shard, &extent.range)
            .ok_or_else(|| ConsensusError::Storage(format!("the range of {shard} has changed on its way")))?;
        // To openraft the entries that a snapshot covers are gone at once, and then it looks for those that are here and not
        // applied yet. What is here of this leader it has committed: it is applied first.
        let committed = AppendEntriesRequest {
            vote: vote.clone(),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: meta.last_log_id.clone(),
        };
        let data = SnapshotData::Received { staging, extent };
        let snapshot = SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot: data };
        let installing = self.runtime.spawn("install snapshot", async move {
            let _alone = order.acquire_many(ORDER_PERMITS).await;
            raft.append_entries(committed)
                .await
                .map_err(|error| ConsensusError::Storage(error.to_string()))?;
            let installed = raft.install_full_snapshot(vote, snapshot).await;
            installed.map_err(|error| ConsensusError::Storage(error.to_string()))
        });
        let installed =
            installing.await.map_err(|error| ConsensusError::Stopped { reason: error.to_string() })?;
        if !held && Extent::load(&*self.engine()?, shard)?.is_none() {
            self.claims.let_go(shard);
        }
        installed.map(Answer::Snapshot)
    }
}
