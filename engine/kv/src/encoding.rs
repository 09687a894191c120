//! How this crate's things become keys and values of a shard. docs/architecture/encoding.md repeats it.
//!
//! ```text
//!   02 01 cts:8 txn:8            receipt: the transaction was committed at cts
//!   02 02 txn:8                  record of a spilled transaction: where its provisional versions stand
//!   02 03 id:8                   counter, sequence
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

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::error::{KvError, Result};
use crate::time::Timestamp;
use crate::types::TxnId;

/// Length of the suffix that tells the versions of one key apart.
pub const VERSION_SUFFIX_BYTES: usize = 8;

const RECEIPT: [u8; 2] = [0x02, 0x01];
const RECORD: [u8; 2] = [0x02, 0x02];
const COUNTER: [u8; 2] = [0x02, 0x03];
const ROW: u8 = 0x10;

const ESCAPED: u8 = 0x00;
const ESCAPE_ZERO: u8 = 0xff;
const ESCAPE_END: u8 = 0x01;

const TAG_DELETED: u8 = 0x00;
const TAG_VALUE: u8 = 0x01;
const TAG_PROVISIONAL_DELETED: u8 = 0x02;
const TAG_PROVISIONAL_VALUE: u8 = 0x03;

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

/// Encoded length of a committed version's value.
pub(crate) fn version_value_bytes(value: Option<&[u8]>) -> usize {
    1 + value.map_or(0, <[u8]>::len)
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

/// The key of a commit's receipt.
pub(crate) fn receipt_key(commit_ts: Timestamp, txn: TxnId) -> [u8; 18] {
    let mut out = [0; 18];
    out[..2].copy_from_slice(&RECEIPT);
    out[2..10].copy_from_slice(&commit_ts.as_u64().to_be_bytes());
    out[10..].copy_from_slice(&txn.0.to_be_bytes());
    out
}

/// The commit timestamp in a receipt's key.
pub(crate) fn receipt_ts(key: &[u8]) -> Result<Timestamp> {
    let ts = key.get(2..10).and_then(|bytes| bytes.try_into().ok());
    ts.map(|bytes| Timestamp::from_u64(u64::from_be_bytes(bytes))).ok_or(KvError::Corrupt("a receipt's key"))
}

/// The transaction in a receipt's key.
pub(crate) fn receipt_txn(key: &[u8]) -> Result<TxnId> {
    let txn = key.get(10..).and_then(|bytes| bytes.try_into().ok());
    txn.map(|bytes| TxnId(u64::from_be_bytes(bytes))).ok_or(KvError::Corrupt("a receipt's key"))
}

/// The keys of all receipts.
pub(crate) const RECEIPTS: ([u8; 2], [u8; 2]) = (RECEIPT, RECORD);

/// The keys of all records of spilled transactions.
pub(crate) const RECORDS: ([u8; 2], [u8; 2]) = (RECORD, COUNTER);

fn numbered_key(prefix: [u8; 2], number: u64) -> [u8; 10] {
    let mut out = [0; 10];
    out[..2].copy_from_slice(&prefix);
    out[2..].copy_from_slice(&number.to_be_bytes());
    out
}

/// The key of a spilled transaction's record.
pub(crate) fn record_key(txn: TxnId) -> [u8; 10] {
    numbered_key(RECORD, txn.0)
}

/// The transaction in a record's key.
pub(crate) fn record_txn(key: &[u8]) -> Result<TxnId> {
    let id = key.get(2..10).and_then(|bytes| bytes.try_into().ok());
    id.map(|bytes| TxnId(u64::from_be_bytes(bytes))).ok_or(KvError::Corrupt("a transaction record's key"))
}

/// The key of a counter.
pub(crate) fn counter_key(id: u64) -> [u8; 10] {
    numbered_key(COUNTER, id)
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
