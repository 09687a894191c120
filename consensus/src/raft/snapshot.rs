//! Snapshots: what a replica needs whose log begins too late.
//!
//! A snapshot that is *taken* is only a mark: the state machine's records in `kvdb`, flushed, are the snapshot. One that is
//! *sent* is a pin of `kvdb` at the moment it was asked for: the shard's content, its extent and its members at one applied
//! index. `transfer.rs` carries it over, and the receiver's state machine puts it into the place of what it had.

use std::sync::Arc;

use openraft::RaftSnapshotBuilder;
use openraft::alias::SnapshotOf;

use super::log_store::io_error;
use super::transfer::Position;
use super::{SnapshotMeta, TypeConfig};
use crate::engine::{Engine, Pinned, Staging};
use crate::error::{ConsensusError, Result};
use crate::extent::Extent;

/// The content of a shard.
pub(crate) enum SnapshotData {
    /// In the state machine's engine, and said to be complete there.
    Taken,
    /// In the engine that it comes from.
    Pinned { pin: Box<dyn Pinned>, extent: Extent },
    /// Come from another node.
    Received { staging: Box<dyn Staging>, extent: Extent },
}

impl SnapshotData {
    /// The content beside an engine, ready to be put into place there.
    pub(super) fn into_staged(self, engine: &Arc<dyn Engine>) -> Result<(Box<dyn Staging>, Extent)> {
        match self {
            Self::Received { staging, extent } => Ok((staging, extent)),
            Self::Pinned { pin, extent } => {
                let mut staging = Arc::clone(engine).stage(extent.content().into())?;
                let mut position = Position::start(&extent);
                loop {
                    let pairs = position.read(&*pin)?;
                    if pairs.is_empty() {
                        return Ok((staging, extent));
                    }
                    for (key, value) in pairs {
                        staging.put(&key, &value)?;
                    }
                }
            }
            Self::Taken => Err(ConsensusError::Storage("the content of a snapshot is not here".to_owned())),
        }
    }
}

/// Takes a snapshot: makes sure that what the mark speaks of is durable.
pub(crate) struct SnapshotBuilder {
    pub(super) meta: SnapshotMeta,
    /// The engine, if it has yet to be flushed.
    pub(super) flush: Option<Arc<dyn Engine>>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> std::io::Result<SnapshotOf<TypeConfig, SnapshotData>> {
        if let Some(engine) = self.flush.take() {
            shardforge_runtime::Runtime::current()
                .spawn_blocking("flush", move || engine.flush())
                .await
                .map_err(std::io::Error::other)?
                .map_err(io_error)?;
        }
        Ok(SnapshotOf::<TypeConfig, SnapshotData> { meta: self.meta.clone(), snapshot: SnapshotData::Taken })
    }
}
