//! Which shard holds which keys, on this node.
//!
//! ```text
//!   lookup      take the map (one counted reference) -> binary search
//!   a split     state machine --Report--> host: start the right replica -> a new map in the old one's place
//! ```
//!
//! A map never changes; a split makes a new one. Who has looked a key up in the old one either reads (what is stored is
//! the same), or proposes and is refused with [`ConsensusError::Moved`], and waits here for the new map.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::error::{ConsensusError, Result};
use crate::extent::Extent;
use crate::failure::Failure;
use crate::shard::Shard;
use crate::tenure::Tenures;
use crate::types::{KeyRange, ShardId};

/// The shards of a node at one moment, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct ShardMap(Vec<Arc<Shard>>);

impl Deref for ShardMap {
    type Target = [Arc<Shard>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl ShardMap {
    /// The shard that holds a key; `None` for keys that lie in no shard's range (see [`crate::SYSTEM_PREFIX`]).
    #[must_use]
    pub fn holder(&self, key: &[u8]) -> Option<&Arc<Shard>> {
        let after = self.0.partition_point(|shard| shard.range().start[..] <= *key);
        self.0.get(after.checked_sub(1)?).filter(|shard| shard.range().contains(key))
    }

    /// A shard by its name.
    #[must_use]
    pub fn by_id(&self, id: ShardId) -> Option<&Arc<Shard>> {
        self.0.iter().find(|shard| shard.id() == id)
    }

    /// The shards that hold keys of a range, in the order of their keys.
    pub fn overlapping<'a>(&'a self, range: &'a KeyRange) -> impl DoubleEndedIterator<Item = &'a Arc<Shard>> {
        self.0.iter().filter(|shard| shard.range().overlaps(range))
    }

    /// The data shards, in the order of their keys.
    #[must_use]
    pub fn data(&self) -> &[Arc<Shard>] {
        // The system shard is the first, if it is here.
        let first = self.0.partition_point(|shard| shard.id() == ShardId::SYSTEM);
        self.0.get(first..).unwrap_or_default()
    }
}

/// The current map.
pub(crate) struct Routing {
    map: RwLock<Arc<ShardMap>>,
    changed: Notify,
    next_id: AtomicU64,
    closed: AtomicBool,
    failure: Arc<Failure>,
    tenures: Arc<Tenures>,
}

impl Routing {
    pub(crate) fn new(failure: Arc<Failure>, tenures: Arc<Tenures>) -> Self {
        Self {
            map: RwLock::default(),
            changed: Notify::new(),
            next_id: AtomicU64::new(ShardId::SYSTEM.0),
            closed: AtomicBool::new(false),
            failure,
            tenures,
        }
    }

    pub(crate) fn map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.map.read())
    }

    /// The shard that holds a key.
    pub(crate) fn holder(&self, key: &[u8]) -> Option<Arc<Shard>> {
        self.map.read().holder(key).cloned()
    }

    /// A name for a new shard. One that is not used is lost.
    pub(crate) fn new_id(&self) -> ShardId {
        ShardId(self.next_id.fetch_add(1, Ordering::SeqCst))
    }

    /// All shards here have names below this one.
    pub(crate) fn ids_end(&self) -> u64 {
        self.next_id.load(Ordering::SeqCst)
    }

    /// Adds a shard, or puts it into the place of what it was before.
    pub(crate) fn put(&self, shard: Arc<Shard>) {
        self.change(|shards| {
            shards.retain(|other| other.id() != shard.id());
            shards.push(Arc::clone(&shard));
        });
    }

    /// A shard has become two. What is left of it may have gone by now, and the right one may be elsewhere only.
    pub(crate) fn split(&self, left: Option<Extent>, right: Option<Arc<Shard>>) {
        self.change(|shards| {
            if let Some(left) = left
                && let Some(old) = shards.iter_mut().find(|old| old.id() == left.shard)
                && old.generation() < left.generation
            {
                *old = Arc::new(old.with_extent(left));
            }
            shards.extend(right);
        });
    }

    /// Takes a shard off the map that has no replica here any more.
    pub(crate) fn remove(&self, shard: ShardId) {
        self.change(|shards| shards.retain(|other| other.id() != shard));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Shard>>)) {
        let mut map = self.map.write();
        let mut shards = map.0.clone();
        change(&mut shards);
        shards.sort_by(|left, right| left.range().start.cmp(&right.range().start));
        let ids = shards.iter().map(|shard| shard.id().0 + 1);
        self.next_id.fetch_max(ids.max().unwrap_or_default(), Ordering::SeqCst);
        let changed = Arc::new(ShardMap(shards));
        *map = Arc::clone(&changed);
        drop(map);
        self.tenures.rerouted(&changed);
        self.changed.notify_waiters();
    }

    /// Waits until a shard that was found to be out of date has been replaced.
    pub(crate) async fn rerouted(&self, shard: &Shard) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the check, so that no change is missed in between.
            changed.as_mut().enable();
            // One that has gone from here is looked up elsewhere.
            if self.map().by_id(shard.id()).is_none_or(|now| now.generation() > shard.generation()) {
                return Ok(());
            }
            if self.closed.load(Ordering::Acquire) || self.failure.has_failed() {
                return Err(ConsensusError::Stopped { reason: self.failure.reason() });
            }
            changed.await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// No map will follow.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}
