//! Transaction ids of 64 bits, and snapshots of which transactions were running: `xid8`, `pg_snapshot`.
//!
//! A `pg_snapshot` value is kept in its binary form: the number of running transactions, the lowest id of them, the
//! first id that was not given out, and the ids of those running, ascending.

use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

/// Which transactions had ended at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// All below it had ended.
    pub xmin: u64,
    /// All from it on had not begun.
    pub xmax: u64,
    /// Those in between that were running, ascending.
    pub running: Vec<u64>,
}

impl Snapshot {
    /// Whether the effects of a transaction are seen, if it was committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// Reads the text form, `xmin:xmax:running,...`.
    ///
    /// # Errors
    /// 22P02.
    pub fn parse(text: &str) -> PgResult<Snapshot> {
        Self::parts(text).ok_or_else(|| {
            let message = format!("invalid input syntax for type pg_snapshot: \"{text}\"");
            PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
        })
    }

    fn parts(text: &str) -> Option<Snapshot> {
        let mut parts = text.split(':');
        let (xmin, xmax, list) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let number = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
        };
        let mut snapshot = Snapshot { xmin: number(xmin)?, xmax: number(xmax)?, running: Vec::new() };
        for xid in list.split(',').filter(|_| !list.is_empty()) {
            let xid = number(xid)?;
            if snapshot.running.last() != Some(&xid) {
                snapshot.running.push(xid);
            }
        }
        snapshot.is_valid().then_some(snapshot)
    }

    fn is_valid(&self) -> bool {
        let within = |xid: &u64| (self.xmin..self.xmax).contains(xid);
        self.xmin > 0
            && self.xmin <= self.xmax
            && self.xmax <= i64::MAX as u64
            && self.running.iter().all(within)
            && self.running.is_sorted_by(|a, b| a < b)
    }

    /// Appends the text form.
    pub fn output(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}:{}:", self.xmin, self.xmax).as_bytes());
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        out.extend_from_slice(running.join(",").as_bytes());
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + 8 * self.running.len());
        bytes.extend_from_slice(&(self.running.len() as u32).to_be_bytes());
        for xid in [self.xmin, self.xmax].iter().chain(&self.running) {
            bytes.extend_from_slice(&xid.to_be_bytes());
        }
        bytes
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// 22P03.
    pub fn recv(bytes: &[u8]) -> PgResult<Snapshot> {
        let read = || {
            let (count, rest) = bytes.split_first_chunk::<4>()?;
            let (numbers, []) = rest.as_chunks::<8>() else { return None };
            let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
            let (xmin, xmax) = (numbers.next()?, numbers.next()?);
            let snapshot = Snapshot { xmin, xmax, running: numbers.collect() };
            let is_whole = snapshot.running.len() == u32::from_be_bytes(*count) as usize;
            (is_whole && snapshot.is_valid()).then_some(snapshot)
        };
        read().ok_or_else(|| {
            PgError::new(SqlState::INVALID_BINARY_REPRESENTATION, "invalid external pg_snapshot data")
        })
    }
}

/// Reads an `xid8`: a number of 64 bits without sign, of which the sign is forgiven.
///
/// # Errors
/// 22P02, 22003.
pub fn xid8_in(text: &str) -> PgResult<u64> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("invalid input syntax for type xid8: \"{text}\"");
        return Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
    }
    let number: u64 = digits.parse().map_err(|_| {
        let message = format!("value \"{text}\" is out of range for type xid8");
        PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    })?;
    Ok(if trimmed.starts_with('-') { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_survive_both_forms_and_others_are_refused() {
        let snapshot = Snapshot::parse("10:20:10,14,14,15").unwrap();
        assert_eq!(snapshot.running, [10, 14, 15]);
        let mut text = Vec::new();
        snapshot.output(&mut text);
        assert_eq!(text, b"10:20:10,14,15");
        assert_eq!(Snapshot::recv(&snapshot.to_bytes()).unwrap(), snapshot);
        let seen: Vec<u64> = (8..22).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        for wrong in
            ["", "1", "1:2", "20:10:", "0:1:", "1:5:4,3", "1:5:5", "1:5:3,", "x:5:", "1:5:3:4", "-1:5:"]
        {
            assert!(Snapshot::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Snapshot::recv(&snapshot.to_bytes()[1..]).is_err());
    }

    #[test]
    fn ids_have_no_sign() {
        assert_eq!(xid8_in("18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(xid8_in("-1").unwrap(), u64::MAX);
        assert!(xid8_in("").is_err() && xid8_in("1x").is_err() && xid8_in("18446744073709551616").is_err());
    }
}
