//! The nouns of this crate: shards, replicas, key ranges.
//!
//! ```text
//!   key space of a node
//!   00 .. 01   this node's own records (applied indexes); never replicated, never readable from above
//!   01 .. 02   the system shard
//!   02 .. 03   local spaces: 02, a shard's id in eight bytes, and then what it keeps beside its range
//!   03 .. end  the data shards, each a range of it
//! ```

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use shardforge_runtime::NodeId;

/// The first byte of every key of the system shard.
pub const SYSTEM_PREFIX: u8 = 0x01;

/// The first byte of every key of a local space.
pub const LOCAL_PREFIX: u8 = 0x02;

/// The least first byte of a key in a data shard.
pub const DATA_START: u8 = 0x03;

/// A replicated range of the key space, and the raft group that replicates it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ShardId(pub u64);

impl ShardId {
    /// The shard of the cluster's own records.
    pub const SYSTEM: Self = Self(1);
}

impl ShardId {
    /// The shard's local space: keys that belong to it whatever its range becomes, and that its commands write
    /// together with those of its range.
    #[must_use]
    pub fn local_space(self) -> KeyRange {
        let start = self.local_key(&[]);
        let end = Self(self.0.saturating_add(1)).local_key(&[]);
        KeyRange { start, end: Some(end) }
    }

    /// A key of the shard's local space.
    #[must_use]
    pub fn local_key(self, rest: &[u8]) -> Bytes {
        let mut key = Vec::with_capacity(LOCAL_KEY_HEADER_BYTES + rest.len());
        key.push(LOCAL_PREFIX);
        key.extend_from_slice(&self.0.to_be_bytes());
        key.extend_from_slice(rest);
        Bytes::from(key)
    }
}

/// What a key of a local space begins with: the prefix and the shard's id.
pub const LOCAL_KEY_HEADER_BYTES: usize = 9;

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// One copy of a shard, as raft names it. Never used again once its replica is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

impl From<u64> for ReplicaId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The keys from `start`, included, to `end`, excluded; no `end` means up to the last key there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The first key past the range.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// The range from `start` to before `end`.
    pub fn new(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// The range from `start` on.
    pub fn from(start: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: None }
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether some key lies in both ranges.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let begins_before_the_end_of =
            |left: &Self, right: &Self| right.end.as_ref().is_none_or(|end| left.start < *end);
        begins_before_the_end_of(self, other) && begins_before_the_end_of(other, self)
    }

    /// Whether all keys from `start` to before `end` lie in the range.
    #[must_use]
    pub fn contains_range(&self, start: &[u8], end: &[u8]) -> bool {
        start >= &self.start[..] && self.end.as_ref().is_none_or(|last| end <= &last[..])
    }
}

#[cfg(test)]
mod tests {
    use super::{DATA_START, KeyRange, LOCAL_PREFIX, ShardId};

    #[test]
    fn ranges_hold_their_start_and_not_their_end() {
        let range = KeyRange::new(&b"b"[..], &b"d"[..]);
        assert!(range.contains(b"b") && range.contains(b"czz"));
        assert!(!range.contains(b"a") && !range.contains(b"d"));
        assert!(range.contains_range(b"b", b"d") && !range.contains_range(b"b", b"d\0"));
        assert!(KeyRange::from(&b"b"[..]).contains(b"\xff\xff"));
        assert!(range.overlaps(&KeyRange::new(&b"a"[..], &b"c"[..])) && range.overlaps(&range));
        assert!(!range.overlaps(&KeyRange::from(&b"d"[..])));
        assert!(!range.overlaps(&KeyRange::new(&b"a"[..], &b"b"[..])));
    }

    #[test]
    fn local_spaces_lie_side_by_side_and_apart_from_the_data() {
        let (one, next) = (ShardId(255).local_space(), ShardId(256).local_space());
        assert_eq!(one.end.as_ref(), Some(&next.start));
        assert!(one.contains(&ShardId(255).local_key(b"x")) && !one.contains(&ShardId(256).local_key(b"")));
        assert!(next.start[0] == LOCAL_PREFIX && LOCAL_PREFIX < DATA_START);
    }
}
