//! [`MergedRuns`]: the rows of a range that lies in several hash buckets, in the order of their keys' columns.
//!
//! ```text
//!   bucket 0    1  4  9 | ...            read so far, and more to come
//!   bucket 1    2  3 11 | ...
//!   bucket 2    5  6  8 | ...
//!                     ^ up to here, nothing can come in between: 1 2 3 4 5 6 8
//! ```
//!
//! Each bucket is a run in order. A page of each is read ahead; what is not past the end of any page that is followed by
//! more goes out, sorted, and the rest waits for the next pages. A run is read on when most of its page is gone.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::head::{KeyHead, Spread};
use super::scan::ScanRow;

/// The runs of a range.
pub(super) struct MergedRuns {
    head: KeyHead,
    reverse: bool,
    runs: Vec<Run>,
}

/// What a bucket has of the range.
struct Run {
    /// Rows that were read, in the order of the scan.
    rows: VecDeque<Placed>,
    /// What is still to be read.
    rest: Option<Range<Bytes>>,
}

/// A row, and the key that led to it: its own, or that of an index entry.
pub(super) struct Placed {
    pub(super) at: Bytes,
    pub(super) row: ScanRow,
}

/// What is to be read next of a run.
pub(super) struct Wanted {
    run: usize,
    pub(super) range: Range<Bytes>,
    pub(super) rows: usize,
}

impl MergedRuns {
    pub(super) fn new(span: &Spread, reverse: bool) -> MergedRuns {
        let runs = span.parts().map(|part| Run { rows: VecDeque::new(), rest: Some(part) }).collect();
        MergedRuns { head: span.head(), reverse, runs }
    }

    /// True when all rows have been handed out.
    pub(super) fn is_done(&self) -> bool {
        self.runs.iter().all(|run| run.rest.is_none() && run.rows.is_empty())
    }

    /// What to read before a page of about so many rows is taken.
    pub(super) fn wanted(&self, rows: usize) -> Vec<Wanted> {
        let share = rows.div_ceil(self.runs.len().max(1));
        let runs = self.runs.iter().enumerate().filter(|(_, run)| 2 * run.rows.len() < share);
        let wanted = |(run, of): (usize, &Run)| Some(Wanted { run, range: of.rest.clone()?, rows: share });
        runs.filter_map(wanted).collect()
    }

    /// What was read of a run, and what is left of it.
    pub(super) fn add(&mut self, read: &Wanted, rows: Vec<Placed>, rest: Option<Range<Bytes>>) {
        let run = &mut self.runs[read.run];
        run.rows.extend(rows);
        run.rest = rest;
    }

    /// Appends the rows that come next, as far as is known which these are.
    pub(super) fn take(&mut self, out: &mut Vec<ScanRow>) {
        let (head, reverse) = (self.head, self.reverse);
        let order = |a: &Placed, b: &Placed| {
            let order = head.columns(&a.at).cmp(head.columns(&b.at));
            if reverse { order.reverse() } else { order }
        };
        let unfinished = || self.runs.iter().filter(|run| run.rest.is_some());
        if unfinished().any(|run| run.rows.is_empty()) {
            return;
        }
        let last = unfinished().filter_map(|run| run.rows.back()).min_by(|a, b| order(a, b));
        let known: Vec<usize> = match last {
            None => self.runs.iter().map(|run| run.rows.len()).collect(),
            Some(last) => {
                let is_known = |row: &Placed| order(row, last) != Ordering::Greater;
                self.runs.iter().map(|run| run.rows.partition_point(is_known)).collect()
            }
        };
        let mut next: Vec<Placed> = Vec::with_capacity(known.iter().sum());
        for (run, known) in self.runs.iter_mut().zip(known) {
            next.extend(run.rows.drain(..known));
        }
        // A few runs in order: the sort finds and merges them.
        next.sort_by(order);
        out.extend(next.into_iter().map(|placed| placed.row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Buckets, StorageId};
    use crate::storage::KeySpan;

    /// Merges what is stored in pages of so many rows.
    fn merged(head: KeyHead, stored: &[Vec<u8>], reverse: bool, page: usize) -> Vec<Vec<u8>> {
        let KeySpan::Spread(span) = head.whole() else { panic!("not spread") };
        let mut runs = MergedRuns::new(&span, reverse);
        let mut out = Vec::new();
        while !runs.is_done() {
            let before = out.len();
            for wanted in runs.wanted(page) {
                let is_in =
                    |key: &&Vec<u8>| key[..] >= wanted.range.start[..] && key[..] < wanted.range.end[..];
                let mut keys: Vec<Bytes> =
                    stored.iter().filter(is_in).map(|key| Bytes::copy_from_slice(key)).collect();
                keys.sort();
                if reverse {
                    keys.reverse();
                }
                let more = keys.len() > wanted.rows;
                keys.truncate(wanted.rows);
                let rest = keys.last().filter(|_| more).map(|last| match reverse {
                    true => wanted.range.start.clone()..last.clone(),
                    false => Bytes::from([&last[..], b"\0"].concat())..wanted.range.end.clone(),
                });
                let row = |key: Bytes| ScanRow { key: key.clone(), value: Bytes::new() };
                runs.add(
                    &wanted,
                    keys.into_iter().map(|key| Placed { at: key.clone(), row: row(key) }).collect(),
                    rest,
                );
            }
            runs.take(&mut out);
            assert!(out.len() > before || runs.is_done());
        }
        out.into_iter().map(|row| row.key.to_vec()).collect()
    }

    #[test]
    fn runs_come_out_in_order_whatever_the_pages() {
        let head = KeyHead::new(StorageId(3), Buckets::new(5).unwrap());
        let mut stored = Vec::new();
        for number in 0..500u32 {
            let mut key = head.begin(4);
            key.extend_from_slice(&(number.wrapping_mul(2_654_435_761)).to_be_bytes());
            head.seal(&mut key);
            stored.push(key);
        }
        let mut expected = stored.clone();
        expected.sort_by(|a, b| head.columns(a).cmp(head.columns(b)));
        for page in [1, 2, 3, 7, 50, 499, 500, 5_000] {
            assert_eq!(merged(head, &stored, false, page), expected, "{page}");
        }
        expected.reverse();
        for page in [1, 4, 100, 5_000] {
            assert_eq!(merged(head, &stored, true, page), expected, "{page}");
        }
        assert!(merged(head, &[], false, 10).is_empty());
    }
}
