//! What a SERIALIZABLE transaction has read, and whether it still holds at its commit.
//!
//! The transaction reads at its snapshot and commits later. It may commit if nothing that it read was changed
//! in between: then it is as if it had done everything at its commit timestamp, and the transactions are as if
//! they had run one after the other in the order of these.
//!
//! The check runs after the commit has registered its writes and taken its timestamp. Of two transactions that
//! each read what the other writes, the one with the later timestamp therefore finds the other one, under way
//! or applied, and fails; so no two can slip past each other.
//!
//! A prepared transaction is checked when it is prepared, and commits later; `watched.rs` tells what that takes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use shardforge_consensus::KeyRange;

use super::Transaction;
use crate::encoding;
use crate::error::{Conflict, KvError, Result};
use crate::limits::{EARLY_CHECK_ROWS_MAX, READ_SPANS_MAX};
use crate::mutations::{Mutation, is_on};
use crate::mvcc::{Obstacle, Reader, RowCursor, RowStep};
use crate::pending::PendingCommit;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::TxnId;

/// Key ranges that were read, rows that were looked for and not found included.
#[derive(Debug, Default)]
pub(super) struct ReadSpans {
    spans: Vec<Range<Bytes>>,
    /// How many rows they showed.
    rows: usize,
}

impl ReadSpans {
    pub(super) fn add_key(&mut self, key: &[u8]) {
        let mut end = BytesMut::with_capacity(key.len() + 1);
        end.put_slice(key);
        end.put_u8(0);
        let end = end.freeze();
        self.add_range(end.slice(..key.len())..end, 1);
    }

    /// A range, and how many rows were in it.
    pub(super) fn add_range(&mut self, range: Range<Bytes>, rows: usize) {
        self.rows = self.rows.saturating_add(rows);
        if let Some(last) = self.spans.last_mut()
            && last.start <= range.start
            && range.start <= last.end
        {
            if last.end < range.end {
                last.end = range.end;
            }
            return;
        }
        self.spans.push(range);
        if self.spans.len() > READ_SPANS_MAX {
            self.merge();
        }
    }

    pub(super) fn ranges(&self) -> &[Range<Bytes>] {
        &self.spans
    }

    /// Bytes of all bounds.
    pub(super) fn size_bytes(&self) -> usize {
        self.spans.iter().map(|span| span.start.len() + span.end.len() + 8).sum()
    }

    /// Joins what overlaps; when that does not help, neighbours, which claims to have read what lies between:
    /// a failure more than necessary is allowed, one less is not.
    fn merge(&mut self) {
        self.spans.sort_unstable_by(|left, right| left.start.cmp(&right.start));
        let mut merged: Vec<Range<Bytes>> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..) {
            match merged.last_mut() {
                Some(last) if span.start <= last.end => last.end = span.end.max(last.end.clone()),
                _ => merged.push(span),
            }
        }
        if merged.len() > READ_SPANS_MAX / 2 {
            merged = merged
                .chunks(2)
                .map(|pair| pair[0].start.clone()..pair[pair.len() - 1].end.clone())
                .collect();
        }
        self.spans = merged;
    }
}

impl Transaction {
    /// Looks whether something that a SERIALIZABLE transaction has read was changed since: what it writes cannot be
    /// committed then. The commit checks that in any case; this tells early, of a transaction that has not read much.
    ///
    /// # Errors
    /// `ReadWriteConflict`; those of the storage.
    pub fn check_reads(&self) -> Result<()> {
        // Every statement asks.
        if self.active()?.reads.rows > EARLY_CHECK_ROWS_MAX {
            return Ok(());
        }
        self.check_reads_where(|_| true)
    }

    /// Tells a SERIALIZABLE transaction that it has learned of a row's newest version, which its snapshot does not show,
    /// as by an error that names the row.
    ///
    /// # Errors
    /// `ReadWriteConflict` when it has read that there is no such row; those of the storage.
    pub async fn learn_of(&self, key: &[u8]) -> Result<()> {
        // The version may be of a commit under way.
        self.settle().await?;
        self.check_reads_where(|span| span.start[..] <= *key && *key < span.end[..])?;
        self.active()?.reads.add_key(key);
        Ok(())
    }

    /// Commits under way are not waited for, and of a long range only the beginning is looked at.
    fn check_reads_where(&self, wanted: impl Fn(&Range<Bytes>) -> bool) -> Result<()> {
        let core = self.active()?;
        let now = self.shared.clock.now();
        for span in core.reads.spans.iter().filter(|span| wanted(span)) {
            let _checked = self.shared.changed_in(self.id, &stored(span), core.read_ts, now)?;
        }
        Ok(())
    }
}

impl Shared {
    /// Checks that no other transaction changed what was read at `read_ts` before `commit_ts`.
    pub(super) async fn validate_reads(
        &self,
        txn: TxnId,
        reads: &ReadSpans,
        read_ts: Timestamp,
        commit_ts: Timestamp,
    ) -> Result<()> {
        let checked = if is_on(Mutation::MissedRefresh) { 1 } else { reads.spans.len() };
        for span in reads.spans.iter().take(checked) {
            // A commit under way below ours may fail yet; it waits for none above it, so this ends.
            let below = commit_ts.before();
            while let Some(commit) = self.pending.blocking_range(&span.start, &span.end, below) {
                commit.wait().await;
                self.check_running()?;
            }
            let mut rest = stored(span);
            loop {
                match self.changed_in(txn, &rest, read_ts, below)? {
                    Checked::Unchanged => break,
                    Checked::Blocked(commit) => {
                        commit.wait().await;
                        self.check_running()?;
                    }
                    Checked::UpTo(key) => {
                        rest.start = key;
                        self.runtime.yield_now().await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that a SERIALIZABLE transaction is not before a prepared one that was overtaken. `stands_at` is where it is to
    /// stand among all others.
    pub(super) fn check_watched(
        &self,
        txn: TxnId,
        reads: &ReadSpans,
        read_ts: Timestamp,
        stands_at: Timestamp,
    ) -> Result<()> {
        match self.watched.conflict(txn, &reads.spans, read_ts, stands_at) {
            Some(key) => {
                let conflict = Conflict { key, commit_ts: stands_at, deleted: false };
                Err(KvError::ReadWriteConflict(Arc::new(conflict)))
            }
            None => Ok(()),
        }
    }

    /// Fails when a version in a stored range was committed after `read_ts` and at or before `below`, as far as it looks.
    fn changed_in(
        &self,
        txn: TxnId,
        range: &Range<Bytes>,
        read_ts: Timestamp,
        below: Timestamp,
    ) -> Result<Checked> {
        for shard in self.node.shards().overlapping(&KeyRange::new(range.start.clone(), range.end.clone())) {
            let here = shard.range();
            let start = range.start.clone().max(here.start.clone());
            let end = here.end.iter().fold(range.end.clone(), |end, last| end.min(last.clone()));
            let reader = Reader { spilled: &self.spilled, read_ts: below, own: None, under_lock: false };
            let checked = self.read(shard, |stored| {
                let mut versions = RowCursor::open_encoded(stored, reader, &start, &end, false)?;
                loop {
                    match versions.next_change(txn, read_ts)? {
                        RowStep::End => return Ok(Checked::Unchanged),
                        RowStep::Pause => return Ok(Checked::UpTo(versions.key())),
                        RowStep::Row => {
                            return Err(KvError::ReadWriteConflict(Arc::new(versions.change()?)));
                        }
                        RowStep::Blocked(Obstacle::Commit(commit)) if commit.txn() != txn => {
                            return Ok(Checked::Blocked(commit));
                        }
                        // Its own provisional versions, which it is committing.
                        RowStep::Blocked(_) => {}
                    }
                }
            })?;
            if !matches!(checked, Checked::Unchanged) {
                return Ok(checked);
            }
        }
        Ok(Checked::Unchanged)
    }
}

/// Where the versions of a range's rows lie.
fn stored(span: &Range<Bytes>) -> Range<Bytes> {
    let bound = |key: &[u8]| Bytes::copy_from_slice(&encoding::row_bound(key));
    bound(&span.start)..bound(&span.end)
}

/// How far the check of a range that was read has come.
enum Checked {
    Unchanged,
    /// This commit is in the way, and has to be waited for.
    Blocked(Arc<PendingCommit>),
    /// It is long: no version before this key is a change.
    UpTo(Bytes),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stay_few_and_cover_what_was_read() {
        let mut reads = ReadSpans::default();
        for index in 0..20_000_u32 {
            reads.add_key(&index.wrapping_mul(2_654_435_761).to_be_bytes());
        }
        assert!(reads.spans.len() <= READ_SPANS_MAX);
        for index in 0..20_000_u32 {
            let key = Bytes::copy_from_slice(&index.wrapping_mul(2_654_435_761).to_be_bytes());
            assert!(reads.spans.iter().any(|span| span.contains(&key)));
        }
    }

    #[test]
    fn successive_pages_are_one_span() {
        let mut reads = ReadSpans::default();
        let key = |text: &'static str| Bytes::from_static(text.as_bytes());
        reads.add_range(key("a")..key("c"), 3);
        reads.add_range(key("c")..key("f"), 2);
        assert_eq!((&reads.spans[..], reads.rows), (&[key("a")..key("f")][..], 5));
    }
}
