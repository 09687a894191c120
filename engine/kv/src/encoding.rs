//! How this crate's things become keys and values of a shard. docs/architecture/encoding.md repeats it.
//!
//! ```text
//!   in the local space of a shard (02 shard:8):
//!   01 cts:8 txn:8               receipt: the transaction was committed at cts
//!   02 txn:8                     record: where the provisional versions of a transaction stand
//!   03 txn:8                     mark: this shard's part of the transaction is there
//!
//!   in the range of a shard:
//!   03 01 id:8                   counter, sequence
//!   10 escaped key 00 01 ~ts:8   version of a row
//! ```
//!
//! Numbers are big endian; `~ts` is the complement, so that a key's newest version comes first. In an escaped
//! key each 00 is followed by FF; with the mark 00 01 behind it, versions sort by (key, newest first) even when
//! one key is a prefix of another. Every key ends with eight bytes that tell versions apart, which is what
//! `version_suffix_bytes` of the engine is set to.
//!
//! A version's value starts with a tag:
//!
//! ```text
//!   00                       the row was deleted
//!   01 data                  the row's value
//!   02 txn:8 command:4       the row was deleted, if txn is committed
//!   03 txn:8 command:4 data  the row's value, if txn is committed
//! ```
//!
//! The versions with a tag of 02 or 03 are *provisional* (`spilled.rs`). Their command is [`AT_COMMIT`] where they were
//! written by a commit over several shards: then the timestamp in the key is that of the commit, and the version is
//! rewritten as an ordinary one when the commit is behind it.

use bytes::{BufMut, Bytes, BytesMut};
use shardforge_consensus::{KeyRange, LOCAL_KEY_HEADER_BYTES};
use smallvec::SmallVec;

use crate::error::{KvError, Result};
use crate::time::Timestamp;
use crate::types::TxnId;

/// Length of the suffix that tells the versions of one key apart.
pub const VERSION_SUFFIX_BYTES: usize = 8;

const RECEIPT: u8 = 0x01;
const RECORD: u8 = 0x02;
const MARK: u8 = 0x03;
const COUNTER: [u8; 2] = [0x03, 0x01];
const ROW: u8 = 0x10;

const ESCAPED: u8 = 0x00;
const ESCAPE_ZERO: u8 = 0xff;
const ESCAPE_END: u8 = 0x01;

const TAG_DELETED: u8 = 0x00;
const TAG_VALUE: u8 = 0x01;
const TAG_PROVISIONAL_DELETED: u8 = 0x02;
const TAG_PROVISIONAL_VALUE: u8 = 0x03;

/// The command of provisional versions that were written by a commit; see the module's essay.
pub(crate) const AT_COMMIT: u32 = u32::MAX;

/// Bytes of a provisional version before its data.
const PROVISIONAL_HEADER_BYTES: usize = 13;

/// An encoded key; long enough for most without an allocation.
pub(crate) type EncodedKey = SmallVec<[u8; 64]>;

fn extend_escaped(out: &mut EncodedKey, key: &[u8]) {
    // Numbers in keys are full of zeros: byte by byte is faster than run by run.
    let zeros = key.iter().filter(|&&byte| byte == ESCAPED).count();
    let start = out.len();
    out.resize(start + key.len() + zeros, ESCAPE_ZERO);
    let mut at = start;
    for &byte in key {
        out[at] = byte;
        at += 1 + usize::from(byte == ESCAPED);
    }
}

/// What all versions of `key` start with.
pub(crate) fn row_prefix(key: &[u8]) -> EncodedKey {
    let mut out = EncodedKey::new();
    out.push(ROW);
    extend_escaped(&mut out, key);
    out.extend_from_slice(&[ESCAPED, ESCAPE_END]);
    out
}

/// The first encoded key at or after every version of keys at or after `key`; before all of them.
pub(crate) fn row_bound(key: &[u8]) -> EncodedKey {
    let mut out = EncodedKey::new();
    out.push(ROW);
    extend_escaped(&mut out, key);
    out
}

/// The key that a bound was made of by [`row_bound`]; none for bounds before the first row. A bound after all rows is a
/// shard's only if there are none in it.
pub(crate) fn decode_bound(bound: &[u8]) -> Option<Bytes> {
    let rest = bound.strip_prefix(&ROWS_START)?;
    let mut key = BytesMut::with_capacity(rest.len());
    let mut escaped = false;
    for &byte in rest {
        if !escaped {
            key.put_u8(byte);
        }
        escaped = byte == ESCAPED && !escaped;
    }
    Some(key.freeze())
}

/// Whether all versions of a row lie in a range of a shard.
pub(crate) fn holds_row(range: &KeyRange, key: &[u8]) -> bool {
    let is_all = range.end.is_none() && range.start[..] <= ROWS_START[..];
    is_all || range.contains(&row_prefix(key))
}

/// The end of the rows: after every version of every key.
pub(crate) const ROWS_END: [u8; 1] = [ROW + 1];

/// The start of the rows.
pub(crate) const ROWS_START: [u8; 1] = [ROW];

/// Appends the suffix of a version to its row's prefix.
pub(crate) fn push_suffix(prefix: &mut EncodedKey, ts: Timestamp) {
    prefix.extend_from_slice(&(!ts.as_u64()).to_be_bytes());
}

/// The end of a row's versions, given its prefix.
pub(crate) fn prefix_end(prefix: &[u8]) -> EncodedKey {
    let mut out = EncodedKey::from_slice(prefix);
    if let Some(last) = out.last_mut() {
        *last = ESCAPE_END + 1;
    }
    out
}

/// Splits the key of a version into the row's prefix and the version's timestamp.
pub(crate) fn split_version(encoded: &[u8]) -> Result<(&[u8], Timestamp)> {
    let (prefix, suffix) =
        encoded.split_last_chunk::<8>().ok_or(KvError::Corrupt("a version's key is too short"))?;
    Ok((prefix, Timestamp::from_u64(!u64::from_be_bytes(*suffix))))
}

/// Appends the key that a row's prefix stands for.
pub(crate) fn decode_prefix(prefix: &[u8], mut append: impl FnMut(&[u8])) -> Result<()> {
    let corrupt = KvError::Corrupt("a row's key is not well formed");
    let Some((ROW, mut rest)) = prefix.split_first().map(|(first, rest)| (*first, rest)) else {
        return Err(corrupt);
    };
    loop {
        let Some(zero) = rest.iter().position(|&byte| byte == ESCAPED) else { return Err(corrupt) };
        match rest.get(zero + 1) {
            Some(&ESCAPE_ZERO) => append(&rest[..=zero]),
            Some(&ESCAPE_END) if zero + 2 == rest.len() => {
                append(&rest[..zero]);
                return Ok(());
            }
            _ => return Err(corrupt),
        }
        rest = &rest[zero + 2..];
    }
}

/// A version's value as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoredVersion<'a> {
    /// Committed at the timestamp in its key.
    Committed(Option<&'a [u8]>),
    /// Belongs to a spilled transaction.
    Provisional { txn: TxnId, command: u32, data: Option<&'a [u8]> },
}

/// Takes a version's value apart.
pub(crate) fn decode_version(value: &[u8]) -> Result<StoredVersion<'_>> {
    let corrupt = KvError::Corrupt("a version's value is not well formed");
    match value.split_first() {
        Some((&TAG_VALUE, data)) => Ok(StoredVersion::Committed(Some(data))),
        Some((&TAG_DELETED, _)) => Ok(StoredVersion::Committed(None)),
        Some((&tag @ (TAG_PROVISIONAL_DELETED | TAG_PROVISIONAL_VALUE), rest)) => {
            let (txn, rest) = rest.split_first_chunk::<8>().ok_or(corrupt.clone())?;
            let (command, data) = rest.split_first_chunk::<4>().ok_or(corrupt)?;
            Ok(StoredVersion::Provisional {
                txn: TxnId(u64::from_be_bytes(*txn)),
                command: u32::from_be_bytes(*command),
                data: (tag == TAG_PROVISIONAL_VALUE).then_some(data),
            })
        }
        _ => Err(corrupt),
    }
}

/// Appends a committed version's value.
pub(crate) fn push_version_value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(data) => {
            out.put_u8(TAG_VALUE);
            out.put_slice(data);
        }
        None => out.put_u8(TAG_DELETED),
    }
}

/// Adds a provisional version's value.
pub(crate) fn push_provisional_value(out: &mut BytesMut, txn: TxnId, command: u32, value: Option<&[u8]>) {
    out.reserve(PROVISIONAL_HEADER_BYTES + value.map_or(0, <[u8]>::len));
    out.put_u8(if value.is_some() { TAG_PROVISIONAL_VALUE } else { TAG_PROVISIONAL_DELETED });
    out.put_u64(txn.0);
    out.put_u32(command);
    out.put_slice(value.unwrap_or_default());
}

/// The key of a commit's receipt, in a local space.
pub(crate) fn receipt_key(commit_ts: Timestamp, txn: TxnId) -> [u8; 17] {
    let mut out = [RECEIPT; 17];
    out[1..9].copy_from_slice(&commit_ts.as_u64().to_be_bytes());
    out[9..].copy_from_slice(&txn.0.to_be_bytes());
    out
}

/// The commit timestamp in a receipt's key, as it is stored.
pub(crate) fn receipt_ts(stored: &[u8]) -> Result<Timestamp> {
    Ok(Timestamp::from_u64(local_number(stored, KvError::Corrupt("a receipt's key"))?))
}

/// The transaction in a receipt's key, as it is stored.
pub(crate) fn receipt_txn(stored: &[u8]) -> Result<TxnId> {
    let txn: Option<[u8; 8]> =
        stored.get(LOCAL_KEY_HEADER_BYTES + 9..).and_then(|bytes| bytes.try_into().ok());
    txn.map(|bytes| TxnId(u64::from_be_bytes(bytes))).ok_or(KvError::Corrupt("a receipt's key"))
}

/// The receipts, records and marks of a local space: from the first key to before the second.
pub(crate) const RECEIPTS: ([u8; 1], [u8; 1]) = ([RECEIPT], [RECORD]);
pub(crate) const RECORDS: ([u8; 1], [u8; 1]) = ([RECORD], [MARK]);
pub(crate) const MARKS: ([u8; 1], [u8; 1]) = ([MARK], [MARK + 1]);

fn numbered_key(kind: u8, number: u64) -> [u8; 9] {
    let mut out = [kind; 9];
    out[1..].copy_from_slice(&number.to_be_bytes());
    out
}

/// The number behind the kind of a stored local key.
fn local_number(stored: &[u8], corrupt: KvError) -> Result<u64> {
    let number = stored.get(LOCAL_KEY_HEADER_BYTES + 1..LOCAL_KEY_HEADER_BYTES + 9);
    let number: Option<[u8; 8]> = number.and_then(|bytes| bytes.try_into().ok());
    number.map(u64::from_be_bytes).ok_or(corrupt)
}

/// The key of a transaction's record, in a local space.
pub(crate) fn record_key(txn: TxnId) -> [u8; 9] {
    numbered_key(RECORD, txn.0)
}

/// The key of a transaction's mark, in a local space.
pub(crate) fn mark_key(txn: TxnId) -> [u8; 9] {
    numbered_key(MARK, txn.0)
}

/// The transaction in the key of a record or a mark, as it is stored.
pub(crate) fn local_txn(stored: &[u8]) -> Result<TxnId> {
    Ok(TxnId(local_number(stored, KvError::Corrupt("the key of a transaction's record or mark"))?))
}

/// The key of a counter.
pub(crate) fn counter_key(id: u64) -> [u8; 10] {
    let mut out = [0; 10];
    out[..2].copy_from_slice(&COUNTER);
    out[2..].copy_from_slice(&id.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_key(key: &[u8], ts: u64) -> EncodedKey {
        let mut out = row_prefix(key);
        push_suffix(&mut out, Timestamp::from_u64(ts));
        out
    }

    #[test]
    fn versions_sort_by_key_then_newest_first() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"\x01", b"a", b"a\0", b"a\xff"];
        let mut encoded = Vec::new();
        for key in keys {
            for ts in [u64::MAX, 1 << 62, 7, 0] {
                encoded.push(version_key(key, ts));
            }
        }
        assert!(encoded.is_sorted_by(|left, right| left < right));
        for key in keys {
            let versions = encoded.iter().filter(|version| version.starts_with(&row_prefix(key)));
            assert_eq!(versions.count(), 4);
            assert!(row_bound(key) <= version_key(key, u64::MAX));
            assert!(version_key(key, 0) < prefix_end(&row_prefix(key)));
        }
    }

    #[test]
    fn bounds_part_keys_as_they_part_themselves() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"a\0b", b"b"];
        for bound in keys {
            for key in keys {
                assert_eq!(key < bound, version_key(key, 5) < row_bound(bound), "{key:?} against {bound:?}");
            }
        }
    }

    #[test]
    fn bounds_come_back_and_part_shards_between_rows() {
        for key in [&b""[..], b"\0", b"a\0\xff\0b", b"plain", b"ends\0"] {
            let bound = row_bound(key);
            assert_eq!(decode_bound(&bound).as_deref(), Some(key));
            let right = KeyRange::from(bound.to_vec());
            assert!(holds_row(&right, key) && holds_row(&right, b"z"));
            assert!(key.is_empty() || !holds_row(&right, &key[..key.len() - 1]));
        }
        assert_eq!(decode_bound(&[0x03]), None);
    }

    #[test]
    fn keys_and_values_come_back() {
        for key in [&b""[..], b"\0", b"a\0\xff\0\x01b", b"plain"] {
            let encoded = version_key(key, 42);
            let (prefix, ts) = split_version(&encoded).unwrap();
            let mut decoded = Vec::new();
            decode_prefix(prefix, |part| decoded.extend_from_slice(part)).unwrap();
            assert_eq!((decoded.as_slice(), ts.as_u64()), (key, 42));
        }
        let mut stored = BytesMut::new();
        push_provisional_value(&mut stored, TxnId(9), 3, Some(b"x"));
        let expected = StoredVersion::Provisional { txn: TxnId(9), command: 3, data: Some(b"x") };
        assert_eq!(decode_version(&stored).unwrap(), expected);
        assert!(
            decode_version(&[]).is_err() && decode_version(&[2, 1]).is_err() && decode_version(&[9]).is_err()
        );
        assert!(decode_prefix(b"\x10ab", |_| ()).is_err() && split_version(b"abc").is_err());
    }
}
