//! Cleaning up behind commits over several shards.
//!
//! ```text
//!   committed        rows: provisional versions      record: STAGING       marks in the other shards
//!   1. rewritten     rows: ordinary versions         STAGING               marks
//!   2. forgotten     rows: ordinary versions         none; a receipt       marks
//!   3. cleaned                                                             none
//! ```
//!
//! Nothing of this is waited for. Whatever step a crash cuts off, the next open finds the record, decides by it and by
//! the marks as before, and goes on; marks without a record say nothing any more. The steps are taken for many commits
//! together: three rounds of the log, however many they are.
//!
//! While a transaction is being cleaned up behind, the garbage collector leaves its provisional versions alone: what is
//! rewritten must not have been removed meanwhile, as it would come back. For the same reason only what is still
//! provisional is rewritten.
//!
//! A prepared transaction's versions lie below its commit. They are rewritten where they are, when no snapshot is left that
//! is older than the commit (`gc.rs` says when): to all others it makes no difference, as the rows were locked in between.
//!
//! A spilled transaction's versions stay as they are. Its record becomes COMMITTED and stays, and the marks go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use shardforge_consensus::{Command, ShardId};
use tokio::sync::Notify;

use crate::encoding::{self, StoredVersion};
use crate::error::Result;
use crate::limits::{RESOLVE_BYTES_MAX, RESOLVE_TRANSACTIONS_MAX, RESOLVE_VERSIONS_MAX};
use crate::pending::PendingCommit;
use crate::record::{IgnoredCommands, Record, RecordStatus};
use crate::routing::row_holder;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::txn::RECEIPT_FORMAT;
use crate::types::TxnId;

/// A commit over several shards, to clean up behind.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) txn: TxnId,
    /// The shard that has the record.
    pub(crate) anchor: ShardId,
    /// Those that have marks.
    pub(crate) others: Vec<ShardId>,
    pub(crate) commit_ts: Timestamp,
    /// Where its versions lie.
    pub(crate) versions_ts: Timestamp,
    pub(crate) ignored: IgnoredCommands,
    /// Names the rows whose versions are to be rewritten; none if the transaction was spilled.
    pub(crate) versions: Option<Arc<PendingCommit>>,
}

/// The commits to clean up behind.
#[derive(Debug, Default)]
pub(crate) struct Resolutions {
    queue: Mutex<VecDeque<Resolution>>,
    filled: Arc<Notify>,
}

impl Resolutions {
    pub(crate) fn push(&self, resolution: Resolution) {
        self.queue.lock().push_back(resolution);
        self.filled.notify_one();
    }

    /// The store is gone: its task may end.
    pub(crate) fn close(&self) {
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<Resolution> {
        let mut queue = self.queue.lock();
        let count = queue.len().min(RESOLVE_TRANSACTIONS_MAX);
        queue.drain(..count).collect()
    }
}

/// Starts the task that cleans up, which ends with the store.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let filled = Arc::clone(&shared.resolutions.filled);
    shared.runtime.spawn("resolver", async move { while step(&weak, &filled).await {} });
}

/// Waits for commits and cleans up behind them; false when the store is gone.
async fn step(weak: &Weak<Shared>, filled: &Notify) -> bool {
    // Who waits must not keep the store alive; when it goes, it says so here.
    if weak.upgrade().is_some_and(|shared| shared.resolutions.queue.lock().is_empty()) {
        filled.notified().await;
    }
    let Some(shared) = weak.upgrade() else { return false };
    if shared.tenure.has_ended() {
        return false;
    }
    let resolutions = shared.resolutions.take();
    if let Err(error) = resolve(&shared, &resolutions).await {
        // Everybody reads on as before; the next open tries again.
        tracing::warn!(%error, "the versions of a commit over several shards stay provisional until the next start");
    }
    true
}

async fn resolve(shared: &Shared, resolutions: &[Resolution]) -> Result<()> {
    for resolution in resolutions {
        if let Some(versions) = &resolution.versions {
            rewrite(shared, resolution, versions).await?;
        }
    }
    let mut in_anchors: BTreeMap<ShardId, Command> = BTreeMap::new();
    let mut in_others: BTreeMap<ShardId, Command> = BTreeMap::new();
    for Resolution { txn, anchor, others, commit_ts, ignored, versions, .. } in resolutions {
        let command = in_anchors.entry(*anchor).or_default();
        let record = anchor.local_key(&encoding::record_key(*txn));
        if versions.is_some() {
            command.deletes.push(record);
        } else {
            let status = RecordStatus::Committed;
            let stays =
                Record { status, commit_ts: *commit_ts, ignored: ignored.clone(), ..Record::pending() };
            command.puts.push((record, Bytes::from(stays.encode())));
        }
        let receipt = anchor.local_key(&encoding::receipt_key(*commit_ts, *txn));
        command.puts.push((receipt, Bytes::from_static(&[RECEIPT_FORMAT])));
        for other in others {
            let mark = other.local_key(&encoding::mark_key(*txn));
            in_others.entry(*other).or_default().deletes.push(mark);
        }
    }
    // The records first: without its marks a record in STAGING would be that of a transaction that failed.
    for commands in [in_anchors, in_others] {
        let proposals = commands.into_iter().map(|(shard, command)| shared.propose_local(shard, command));
        futures::future::try_join_all(proposals).await?;
    }
    for Resolution { txn, versions, .. } in resolutions {
        if let Some(versions) = versions {
            shared.spilled.remove(*txn);
            // What the collector passed over meanwhile, it finds now.
            shared.garbage.superseded(versions, shared.clock.now(), false);
        }
    }
    Ok(())
}

/// Rewrites a commit's provisional versions as ordinary ones, some at a time.
async fn rewrite(shared: &Shared, resolution: &Resolution, versions: &PendingCommit) -> Result<()> {
    let mut rest = versions.writes();
    while !rest.is_empty() {
        let mut puts = Vec::new();
        let mut size_bytes = 0;
        while puts.len() < RESOLVE_VERSIONS_MAX
            && size_bytes < RESOLVE_BYTES_MAX
            && let Some(((row, _), behind)) = rest.split_first()
        {
            rest = behind;
            if let Some(put) = ordinary_version(shared, resolution, row)? {
                size_bytes += put.0.len() + put.1.len();
                puts.push(put);
            }
        }
        shared.propose_scattered(puts, Vec::new()).await?;
    }
    Ok(())
}

/// A row's version of the commit as an ordinary one, if it is still provisional.
fn ordinary_version(shared: &Shared, resolution: &Resolution, row: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
    let mut key = encoding::row_prefix(row);
    encoding::push_suffix(&mut key, resolution.versions_ts);
    let map = shared.node.shards();
    shared.read(row_holder(&map, row)?, |view| {
        let Some(stored) = view.get(&key)? else { return Ok(None) };
        let StoredVersion::Provisional { txn, data, .. } = encoding::decode_version(&stored)? else {
            return Ok(None);
        };
        if txn != resolution.txn {
            return Ok(None);
        }
        let mut value = BytesMut::with_capacity(data.map_or(1, |data| data.len() + 1));
        encoding::push_version_value(&mut value, data);
        Ok(Some((Bytes::copy_from_slice(&key), value.freeze())))
    })
}
