//! Snapshots: what a replica needs whose log begins too late.
//!
//! A snapshot that is *taken* is only a mark: the state machine's records in `kvdb`, flushed, are the snapshot.
//! Its content is read when it is *sent*, and so may be newer than the mark. That is sound because commands
//! are blind writes: applying again those between the mark and the content leads to the same state, and a
//! replica serves nothing before it has applied everything its leader had committed.

use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use openraft::alias::SnapshotOf;
use serde::{Deserialize, Serialize};

use super::log_store::io_error;
use super::{SnapshotMeta, TypeConfig};
use crate::engine::{CursorOptions, Engine};
use crate::error::Result;
use crate::types::KeyRange;

/// The content of a shard.
#[derive(Clone)]
pub(crate) enum SnapshotData {
    /// Still in the engine that it comes from: the shard's local space and its range.
    Here { engine: Arc<dyn Engine>, ranges: [KeyRange; 2] },
    /// Received from another node.
    Received(ShardContent),
}

/// All pairs of a shard, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShardContent {
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl SnapshotData {
    /// Reads the content, if it is not there yet.
    pub(crate) fn into_content(self) -> Result<ShardContent> {
        match self {
            Self::Received(content) => Ok(content),
            Self::Here { engine, ranges } => {
                let mut content = ShardContent::default();
                for range in ranges {
                    let options = CursorOptions { lower: Some(range.start), upper: range.end, bulk: true };
                    let mut cursor = engine.cursor(&options)?;
                    let mut more = cursor.seek_to_first()?;
                    while more {
                        content.pairs.push((cursor.key().to_vec(), cursor.value().to_vec()));
                        more = cursor.next()?;
                    }
                }
                Ok(content)
            }
        }
    }
}

impl ShardContent {
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.pairs.into_iter().map(|(key, value)| (Bytes::from(key), Bytes::from(value)))
    }
}

/// Takes a snapshot: makes sure that what the mark speaks of is durable.
pub(crate) struct SnapshotBuilder {
    pub(super) meta: SnapshotMeta,
    pub(super) data: SnapshotData,
    /// The engine, if it has yet to be flushed.
    pub(super) flush: Option<Arc<dyn Engine>>,
    pub(super) taken: Arc<parking_lot::Mutex<Option<SnapshotMeta>>>,
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
        *self.taken.lock() = Some(self.meta.clone());
        Ok(SnapshotOf::<TypeConfig, SnapshotData> { meta: self.meta.clone(), snapshot: self.data.clone() })
    }
}
