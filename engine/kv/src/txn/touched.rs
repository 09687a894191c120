//! The shards that a transaction has locked or written in, and whether its locks there still hold.
//!
//! A lock holds as long as the shard has the leader that gave it: as long as the shard is in the same term. A
//! shard may be split meanwhile; what it was when it was first touched is kept, and at commit all shards that hold parts
//! of it by then take part. A lock that was taken in the left one in a term holds in the right one's first term, if that
//! was split off in the left one's same term.

use std::sync::Arc;

use shardforge_consensus::{KeyRange, Shard, ShardMap};
use smallvec::SmallVec;

use crate::encoding;
use crate::error::{KvError, Result};
use crate::pending::LogPlace;
use crate::routing::row_holder;

/// A shard as it was when the transaction first touched it.
#[derive(Clone, Debug)]
struct TouchedShard {
    shard: Arc<Shard>,
    term: u64,
}

/// A shard as it is now, and the term in which the transaction's locks hold there.
#[derive(Clone, Debug)]
pub(super) struct Participant {
    pub(super) shard: Arc<Shard>,
    pub(super) term: u64,
}

impl Participant {
    pub(super) fn place(&self) -> LogPlace {
        LogPlace { shard: self.shard.id(), generation: self.shard.generation(), term: self.term }
    }
}

/// See the module's essay. Nearly always one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct TouchedShards(SmallVec<[TouchedShard; 1]>);

impl TouchedShards {
    /// The transaction locks or writes a row.
    pub(super) fn touch(&mut self, key: &[u8], map: impl FnOnce() -> Arc<ShardMap>) -> Result<()> {
        if self.0.iter().any(|touched| encoding::holds_row(touched.shard.range(), key)) {
            return Ok(());
        }
        let map = map();
        let shard = Arc::clone(row_holder(&map, key)?);
        let term = shard.term();
        self.0.push(TouchedShard { shard, term });
        Ok(())
    }

    /// The only shard, as it was.
    pub(super) fn only(&self) -> Option<Participant> {
        match &self.0[..] {
            [TouchedShard { shard, term }] => Some(Participant { shard: Arc::clone(shard), term: *term }),
            _ => None,
        }
    }

    /// The first shard.
    pub(super) fn first(&self) -> Option<&Arc<Shard>> {
        self.0.first().map(|touched| &touched.shard)
    }

    /// Whether commands of the transaction for one of its shards go to this place.
    pub(super) fn meets(&self, place: LogPlace) -> bool {
        self.0.iter().any(|TouchedShard { shard, term }| {
            place == LogPlace { shard: shard.id(), generation: shard.generation(), term: *term }
        })
    }

    /// The shards that hold now what was touched.
    pub(super) fn participants(&self, map: &ShardMap) -> Result<Vec<Participant>> {
        let touched = |range: &KeyRange| self.0.iter().any(|touched| touched.shard.range().overlaps(range));
        let now = map.data().iter().filter(|shard| touched(shard.range()));
        now.map(|shard| Ok(Participant { shard: Arc::clone(shard), term: self.term_in(shard, map)? }))
            .collect()
    }

    /// The term in which the transaction's locks hold in a shard.
    ///
    /// # Errors
    /// [`KvError::LocksLost`] when there is none: the leader changed on the way there.
    pub(super) fn term_in(&self, shard: &Shard, map: &ShardMap) -> Result<u64> {
        self.known_term(shard, shard.range(), map)?.ok_or(KvError::LocksLost)
    }

    /// The term in which locks on rows of a range hold in a shard; none if the shard was not touched while it held rows
    /// of the range, nor was what it came from.
    fn known_term(&self, shard: &Shard, range: &KeyRange, map: &ShardMap) -> Result<Option<u64>> {
        let same = |touched: &&TouchedShard| {
            touched.shard.id() == shard.id() && touched.shard.range().overlaps(range)
        };
        let own = self.0.iter().find(same).map(|touched| touched.term);
        let Some(lineage) = shard.lineage() else { return Ok(own) };
        let Some(parent) = map.by_id(lineage.parent) else { return Ok(own) };
        match (own, self.known_term(parent, range, map)?) {
            (own, None) => Ok(own),
            (None, Some(term)) if term == lineage.parent_term => Ok(Some(lineage.term)),
            (Some(own), Some(term)) if term == lineage.parent_term && own == lineage.term => Ok(Some(own)),
            _ => Err(KvError::LocksLost),
        }
    }
}
