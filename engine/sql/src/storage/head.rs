//! [`KeyHead`]: what the keys of a table or of an index begin with, and the hash buckets in it.
//!
//! ```text
//!   one bucket       10 | storage id | columns ...
//!   more buckets     10 | storage id | bucket | columns ...
//! ```
//!
//! The bucket is a hash of the key's columns, as they are encoded: equal keys have equal buckets, and keys that follow
//! one another lie far apart. So writers of a sequence meet in as many shards as there are buckets, one key lies in one
//! bucket, and a range of keys lies in all of them: it is read as one run a bucket, which [`super::merge`] puts in order.
//!
//! Whoever makes a key begins it ([`KeyHead::begin`]), appends the columns, and seals it ([`KeyHead::seal`]). Ranges are
//! made as those of the first bucket, and then spread over all ([`KeyHead::spread`]).

use std::ops::Range;

use bytes::Bytes;
use shardforge_types::codec::key;

use super::{KeySpan, PREFIX_LEN, prefix};
use crate::catalog::{Buckets, StorageId};

/// What the keys of a table or an index begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHead {
    prefix: [u8; PREFIX_LEN],
    buckets: Buckets,
}

impl KeyHead {
    /// Of what is stored under an id.
    pub fn new(storage: StorageId, buckets: Buckets) -> KeyHead {
        KeyHead { prefix: prefix(storage), buckets }
    }

    /// What all of its keys begin with, the bucket left out.
    pub fn prefix(&self) -> &[u8; PREFIX_LEN] {
        &self.prefix
    }

    /// Its length, that of the bucket's number counted.
    pub fn len(&self) -> usize {
        PREFIX_LEN + usize::from(self.is_hashed())
    }

    /// Whether keys have a bucket.
    pub fn is_hashed(&self) -> bool {
        self.buckets != Buckets::ONE
    }

    /// The numbers of its buckets.
    pub fn buckets(&self) -> impl Iterator<Item = u8> + use<> {
        0..=u8::try_from(self.buckets.count() - 1).unwrap_or(u8::MAX)
    }

    /// A key without columns yet, with room for so many bytes of them. Its bucket is the first one.
    pub fn begin(&self, room: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(PREFIX_LEN + 1 + room);
        key.extend_from_slice(&self.prefix);
        if self.is_hashed() {
            key.push(0);
        }
        key
    }

    /// Puts a key into its bucket, once all columns that it is hashed by are there and nothing else is.
    pub fn seal(&self, key: &mut [u8]) {
        if self.is_hashed() {
            key[PREFIX_LEN] = bucket_of(&key[PREFIX_LEN + 1..], self.buckets);
        }
    }

    /// What follows the head of a key: its place in the order of the columns.
    pub fn columns<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.len()..).unwrap_or_default()
    }

    /// The keys that begin with `start`, which has been begun here and has some of the key's columns, or all of them if
    /// `is_whole`: then they are in one bucket.
    pub fn span_of(&self, mut start: Vec<u8>, is_whole: bool) -> KeySpan {
        if is_whole {
            self.seal(&mut start);
        }
        let end = key::prefix_end(&start).unwrap_or_default();
        if is_whole { KeySpan::Range(start, end) } else { self.spread(start, end) }
    }

    /// A range of the first bucket as one of all buckets.
    pub fn spread(&self, start: Vec<u8>, end: Vec<u8>) -> KeySpan {
        if !self.is_hashed() {
            return KeySpan::Range(start, end);
        }
        // An end in the next bucket is that of this one.
        let to = (end.get(PREFIX_LEN) == Some(&0)).then(|| self.columns(&end).to_vec());
        KeySpan::Spread(Spread { head: *self, from: self.columns(&start).to_vec(), to })
    }

    /// All keys.
    pub fn whole(&self) -> KeySpan {
        self.span_of(self.begin(0), false)
    }

    /// The place where a bucket begins.
    pub fn start_of(&self, bucket: u8) -> Vec<u8> {
        let mut key = self.begin(0);
        if self.is_hashed() {
            key[PREFIX_LEN] = bucket;
        }
        key
    }
}

/// A range of the order of columns, in each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    head: KeyHead,
    from: Vec<u8>,
    /// `None`: to the end.
    to: Option<Vec<u8>>,
}

impl Spread {
    /// Whose keys they are.
    pub fn head(&self) -> KeyHead {
        self.head
    }

    /// Its part of each bucket.
    pub fn parts(&self) -> impl Iterator<Item = Range<Bytes>> {
        self.head.buckets().map(|bucket| {
            let bucket = self.head.start_of(bucket);
            let end = match &self.to {
                Some(to) => [&bucket[..], &to[..]].concat(),
                None => key::prefix_end(&bucket).unwrap_or_default(),
            };
            Bytes::from([&bucket[..], &self.from[..]].concat())..Bytes::from(end)
        })
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let columns = self.head.columns(key);
        key.starts_with(&self.head.prefix)
            && columns >= &self.from[..]
            && self.to.as_ref().is_none_or(|to| columns < &to[..])
    }
}

/// The bucket of a key with these columns. It is part of the stored form and never changes: FNV-1a over the bytes, in 64
/// bits, then twice a shift and a multiplication, so that every bit of the columns counts in every bit of the hash.
fn bucket_of(columns: &[u8], buckets: Buckets) -> u8 {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for byte in columns {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    let bucket = (hash >> 33) % u64::from(buckets.count());
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(buckets: u16) -> KeyHead {
        KeyHead::new(StorageId(7), Buckets::new(buckets).unwrap())
    }

    #[test]
    fn buckets_are_what_they_have_always_been() {
        let bucket = |columns: &[u8]| bucket_of(columns, Buckets::new(256).unwrap());
        let found: Vec<u8> =
            [&b""[..], b"\x02\x80\0\0\x01", b"\x02\x80\0\0\x02", b"\x02abc\0"].map(bucket).into();
        assert_eq!(found, [176, 173, 204, 123]);
    }

    #[test]
    fn sequences_spread_evenly() {
        for (count, step) in [(2, 1), (4, 1), (16, 1), (7, 3), (16, 16), (4, 256), (256, 65_536)] {
            let keys = 1_000 * u32::from(count);
            let mut found = vec![0u32; usize::from(count)];
            for number in 0..keys {
                let mut key = head(count).begin(9);
                key.push(2);
                key.extend_from_slice(&(u64::from(number) * step).to_be_bytes());
                head(count).seal(&mut key);
                found[usize::from(key[PREFIX_LEN])] += 1;
            }
            assert!(found.iter().all(|keys| (750..1_250).contains(keys)), "{count}, {step}: {found:?}");
        }
    }

    #[test]
    fn one_bucket_leaves_keys_as_they_were() {
        let mut key = head(1).begin(3);
        key.extend_from_slice(b"abc");
        head(1).seal(&mut key);
        assert_eq!(key, [&prefix(StorageId(7))[..], b"abc"].concat());
        assert_eq!(head(1).columns(&key), b"abc");
        let (start, end) = crate::storage::whole_range(StorageId(7));
        assert_eq!(head(1).whole(), KeySpan::Range(start.to_vec(), end.to_vec()));
    }

    #[test]
    fn a_range_is_in_each_bucket() {
        let head = head(256);
        let KeySpan::Spread(whole) = head.whole() else { panic!("not spread") };
        let parts: Vec<_> = whole.parts().collect();
        assert_eq!(parts.len(), 256);
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        let (start, end) = crate::storage::whole_range(StorageId(7));
        // Nothing lies before the first bucket.
        assert_eq!((&parts[0].start[..PREFIX_LEN], parts[0].start[PREFIX_LEN]), (&start[..], 0));
        assert_eq!(parts[255].end, end);
        let mut key = head.begin(2);
        key.extend_from_slice(b"\x02b");
        let KeySpan::Spread(some) = head.span_of(key, false) else { panic!("not spread") };
        for (bucket, part) in some.parts().enumerate() {
            assert_eq!(
                (usize::from(part.start[PREFIX_LEN]), usize::from(part.end[PREFIX_LEN])),
                (bucket, bucket)
            );
            assert_eq!((&part.start[6..], &part.end[6..]), (&b"\x02b"[..], &b"\x02c"[..]));
            assert!(some.contains(&part.start) && !some.contains(&part.end));
        }
        assert!(!some.contains(b"\x10\0\0\0\x08\0\x02b"), "of another table");
    }
}
