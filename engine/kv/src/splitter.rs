//! Splits by size: a shard that has grown beyond what one is to hold becomes two, each with about half.
//!
//! Where the middle lies is found without reading the shard: the engine knows about how much lies between two keys, and the
//! place is searched for between the shard's ends as if keys were numbers. The row at or after it begins the right shard.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::{BufMut, Bytes};
use shardforge_consensus::{CursorOptions, Shard};

use crate::encoding::{self, EncodedKey};
use crate::error::Result;
use crate::limits::SPLIT_CHECK_INTERVAL;
use crate::store::{Shared, Store};

impl Store {
    /// Has shards split by themselves that hold more than this many bytes on the disk; zero: none do.
    pub fn split_beyond(&self, bytes: u64) {
        self.shared.split_beyond_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Looks at the sizes of shards for as long as the store is open.
pub(crate) fn start(shared: &Arc<Shared>) {
    let (weak, runtime) = (Arc::downgrade(shared), shared.runtime.clone());
    shared.runtime.spawn("split large shards", async move {
        loop {
            runtime.sleep(SPLIT_CHECK_INTERVAL).await;
            if !split_large(&weak).await {
                return;
            }
        }
    });
}

/// Splits each shard that is too large once. False when the store is closed.
async fn split_large(weak: &Weak<Shared>) -> bool {
    let Some(shared) = weak.upgrade() else { return false };
    if shared.check_running().is_err() {
        return false;
    }
    let limit_bytes = shared.split_beyond_bytes.load(Ordering::Relaxed);
    if limit_bytes == 0 {
        return true;
    }
    for shard in shared.node.shards().data() {
        let (start, end) = bounds(shard);
        let size_bytes = shared.node.size_bytes(&start, &end);
        if size_bytes <= limit_bytes {
            continue;
        }
        let outcome = match middle(&shared, shard, size_bytes) {
            Ok(Some(at)) => shared.node.split(&encoding::row_bound(&at)).await.map(drop).map_err(Into::into),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                tracing::info!(shard = %shard.id(), size_bytes, "a shard was split, it had grown large")
            }
            Err(error) => tracing::warn!(%error, shard = %shard.id(), "a large shard was not split"),
        }
    }
    true
}

fn bounds(shard: &Shard) -> (Bytes, Bytes) {
    let range = shard.range();
    let end = range.end.clone().unwrap_or_else(|| Bytes::from_static(&encoding::ROWS_END));
    (range.start.clone(), end)
}

/// The row in the middle of a shard; none when there is no row between its first and its end.
fn middle(shared: &Shared, shard: &Shard, size_bytes: u64) -> Result<Option<Bytes>> {
    let (start, end) = bounds(shard);
    let at = halfway(&start, &end, size_bytes, |key| shared.node.size_bytes(&start, key));
    let mut options = CursorOptions::range(at, end);
    options.bulk = true;
    shared.read(shard, |view| {
        let mut cursor = view.cursor(options)?;
        if !cursor.seek_to_first()? {
            return Ok(None);
        }
        let (prefix, _) = encoding::split_version(cursor.key())?;
        let mut key = Vec::new();
        encoding::decode_prefix(prefix, |part| key.put_slice(part))?;
        let bound: EncodedKey = encoding::row_bound(&key);
        Ok((*bound > *start).then(|| Bytes::from(key)))
    })
}

/// A key between two others before which about half of what lies between them lies, by what `size_before` says of keys.
fn halfway(start: &[u8], end: &[u8], size_bytes: u64, size_before: impl Fn(&[u8]) -> u64) -> Vec<u8> {
    let (mut low, mut high) = (start.to_vec(), end.to_vec());
    // Each round fixes eight more bytes; where keys are alike for longer than that, the next goes on.
    for _ in 0..DEPTH_MAX {
        let common = low.iter().zip(&high).take_while(|(low, high)| low == high).count();
        let prefix = low[..common].to_vec();
        let (mut from, mut to) = (number(&low[common..]), number(&high[common..]));
        while from + 1 < to {
            let between = from + (to - from) / 2;
            let key = [&prefix[..], &between.to_be_bytes()].concat();
            if size_before(&key) * 2 < size_bytes { from = between } else { to = between }
        }
        let at = |number: u64| [&prefix[..], &number.to_be_bytes()].concat();
        let (below, above) = (at(from).max(low), at(to).min(high));
        let step = size_before(&above).saturating_sub(size_before(&below));
        (low, high) = (below, above);
        if step * 4 < size_bytes {
            break;
        }
    }
    high
}

/// How many times eight bytes of a key are looked at.
const DEPTH_MAX: usize = 8;

/// The first eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::halfway;

    /// Searches among keys of one byte each.
    fn half_of(keys: &[&[u8]]) -> usize {
        let before = |key: &[u8]| keys.iter().filter(|other| **other < key).count() as u64;
        let at = halfway(b"\x03", b"\x04", keys.len() as u64, before);
        assert!(at.as_slice() > &b"\x03"[..] && at.as_slice() <= &b"\x04"[..], "{at:?}");
        usize::try_from(before(&at)).unwrap()
    }

    #[test]
    fn the_middle_is_found_however_keys_lie() {
        let even: Vec<Vec<u8>> = (0..1000u32).map(|n| [&b"\x03t"[..], &n.to_be_bytes()].concat()).collect();
        let even: Vec<&[u8]> = even.iter().map(Vec::as_slice).collect();
        assert!((400..=600).contains(&half_of(&even)));
        let long = [&b"\x03"[..], &[b'a'; 40]].concat();
        let alike: Vec<Vec<u8>> = (0..1000u32).map(|n| [&long[..], &n.to_be_bytes()].concat()).collect();
        let alike: Vec<&[u8]> = alike.iter().map(Vec::as_slice).collect();
        assert!((400..=600).contains(&half_of(&alike)));
        // Most of it in one place: what is before stays on the left.
        let mut heaped: Vec<&[u8]> = vec![b"\x03a"; 10];
        heaped.extend(vec![&b"\x03zz"[..]; 990]);
        assert!([10, 1000].contains(&half_of(&heaped)));
        assert_eq!(half_of(&[]), 0);
    }
}
