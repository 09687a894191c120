//! What a node does on its own: it flushes `kvdb` and purges the raft logs behind it, and it watches the disk.
//!
//! ```text
//!   every 64 MB of log:
//!     note what each shard has applied            (the marks)
//!     flush kvdb                                  everything up to the marks is durable
//!     per shard: snapshot at its mark, purge the log up to it
//! ```
//!
//! The order is the point: a log entry goes only after the flush that covers its effects has completed. The
//! snapshot is a mark in raft's state and copies nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::async_runtime::WatchReceiver;
use shardforge_runtime::Runtime;

use crate::directory::DataDirectory;
use crate::engine::Engine;
use crate::error::{ConsensusError, Result};
use crate::failure::Failure;
use crate::limits::{DISK_CHECK_INTERVAL, LOG_SIZE_TO_FLUSH_BYTES};
use crate::raft::SnapshotMeta;
use crate::raft::log_writer::LogWriter;
use crate::replica::Replica;
use crate::routing::Routing;
use crate::shard::Shard;

/// What maintenance works on.
pub(crate) struct Maintenance {
    pub runtime: Runtime,
    pub kv: Arc<dyn Engine>,
    pub writer: Arc<LogWriter>,
    pub routing: Arc<Routing>,
    pub directory: Option<Arc<DataDirectory>>,
    /// With less free space than this no more writes are taken.
    pub disk_reserve_bytes: u64,
    pub disk_full: Arc<AtomicBool>,
    pub failure: Arc<Failure>,
}

impl Maintenance {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut flushed_at = 0;
        loop {
            self.runtime.sleep(DISK_CHECK_INTERVAL).await;
            self.check_disk();
            let written = self.writer.stats().bytes;
            let due = written - flushed_at >= LOG_SIZE_TO_FLUSH_BYTES;
            if due && !self.disk_full.load(Ordering::Acquire) {
                match flush_and_purge(&self.runtime, &self.kv, &self.routing).await {
                    Ok(()) => flushed_at = written,
                    // The log still has everything, and this is tried again; what the engine cannot recover
                    // from, the next write reports.
                    Err(error) => tracing::warn!("could not flush kvdb: {error}"),
                }
            }
            if self.failure.has_failed() {
                return;
            }
        }
    }

    /// Stops taking writes while little space is left, and takes them again when there is more.
    pub(crate) fn check_disk(&self) {
        let Some(directory) = &self.directory else { return };
        let free = match self.runtime.disk().free_bytes(directory.path()) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!("could not tell the free space of {}: {error}", directory.path().display());
                return;
            }
        };
        let full = free < self.disk_reserve_bytes;
        let was_full = self.disk_full.swap(full, Ordering::AcqRel);
        if full && !was_full {
            tracing::error!("{free} bytes are left on the disk: writes are refused until there are more");
        } else if was_full && !full {
            tracing::info!("there is space on the disk again: writes are taken");
        }
    }
}

/// Makes everything applied durable in `kvdb`, and purges the logs that it came from.
pub(crate) async fn flush_and_purge(
    runtime: &Runtime,
    kv: &Arc<dyn Engine>,
    routing: &Routing,
) -> Result<()> {
    // A shard that comes to be meanwhile is none of this round's: its own log keeps all that is not flushed.
    let shards = routing.map();
    let mut marks = Vec::with_capacity(shards.len());
    for shard in shards.iter() {
        let raft = shard.replica().raft();
        let mark = raft.with_state_machine(|machine| Box::pin(std::future::ready(machine.mark()))).await;
        match mark {
            Ok(mark) => marks.push((shard, mark)),
            Err(_) if has_gone(shard, routing) => {}
            Err(error) => return Err(stopped(&error)),
        }
    }
    let engine = Arc::clone(kv);
    let flush = runtime.spawn_blocking("flush kvdb", move || engine.flush());
    flush.await.map_err(|error| stopped(&error))??;
    for (shard, mark) in marks {
        match purge(shard.replica(), mark).await {
            Err(_) if has_gone(shard, routing) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Whether a replica has been removed since its shard was looked up.
fn has_gone(shard: &Shard, routing: &Routing) -> bool {
    let map = routing.map();
    map.by_id(shard.id()).is_none_or(|now| !Arc::ptr_eq(now.replica(), shard.replica()))
}

/// The same for one replica.
pub(crate) async fn flush_and_purge_one(replica: &Replica) -> Result<()> {
    let raft = replica.raft();
    let mark = raft.with_state_machine(|machine| Box::pin(std::future::ready(machine.mark()))).await;
    let engine = Arc::clone(&replica.kv);
    let flush = replica.runtime.spawn_blocking("flush kvdb", move || engine.flush());
    flush.await.map_err(|error| stopped(&error))??;
    purge(replica, mark.map_err(|error| stopped(&error))?).await
}

fn stopped(error: &dyn std::fmt::Display) -> ConsensusError {
    ConsensusError::Stopped { reason: error.to_string() }
}

/// Snapshots one shard at a mark that `kvdb` holds durably, and purges its log up to there.
async fn purge(replica: &Replica, mark: SnapshotMeta) -> Result<()> {
    let raft = replica.raft();
    let Some(upto) = mark.last_log_id else { return Ok(()) };
    let taken = raft.data_metrics().borrow_watched().snapshot;
    if taken < Some(upto) {
        raft.with_state_machine(move |machine| {
            machine.set_flushed(mark);
            Box::pin(std::future::ready(()))
        })
        .await
        .map_err(|error| stopped(&error))?;
        raft.trigger().snapshot().await.map_err(|error| stopped(&error))?;
        let mut metrics = raft.data_metrics();
        while metrics.borrow_watched().snapshot < Some(upto) {
            metrics.changed().await.map_err(|error| stopped(&error))?;
        }
    }
    raft.trigger().purge_log(upto.index).await.map_err(|error| stopped(&error))
}
