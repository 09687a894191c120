//! Reads: the transaction's own writes over its snapshot.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::{Shard, ShardMap};

use super::{Transaction, View};
use crate::encoding;
use crate::error::{KvError, Result};
use crate::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ROWS_MAX};
use crate::mutations::{Mutation, is_on};
use crate::mvcc::{Obstacle, OwnSpill, Reader, RowCursor, SeenVersion};
use crate::page::{PageLimits, read_page};
use crate::routing::{MISSING, row_holder};
use crate::types::{IsolationLevel, ScanPage, ScanRequest, Visibility};

impl Transaction {
    /// The value of a row.
    ///
    /// Does not yield unless a commit at or below the snapshot is just being applied to this row, or the row is
    /// an own write and [`Transaction::settle`] has to wait.
    ///
    /// # Errors
    /// When the transaction has ended or the storage fails.
    pub async fn get(&self, key: &[u8], visibility: Visibility) -> Result<Option<Bytes>> {
        let (view, own) = {
            let mut core = self.active()?;
            let view = self.view(&mut core, visibility);
            let own = core.own_write(key, view.command);
            if own.is_none() && self.isolation() == IsolationLevel::Serializable {
                core.reads.add_key(key);
            }
            (view, own)
        };
        if let Some(own) = own {
            // It may have been made of a value that is not durable yet.
            self.settle().await?;
            return Ok(own);
        }
        Ok(self.get_stored(key, view).await?.and_then(|version| version.value))
    }

    /// The newest value of a row, its own or committed, for a look that no result rests on: SERIALIZABLE does not count
    /// it as read.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn peek(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let (view, own) = {
            let mut core = self.active()?;
            let view = self.view(&mut core, Visibility::Latest);
            (view, core.own_write(key, view.command))
        };
        match own {
            Some(own) => Ok(own),
            None => Ok(self.get_stored(key, view).await?.and_then(|version| version.value)),
        }
    }

    /// The values of several rows, in the order of the keys.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn multi_get(&self, keys: &[Bytes], visibility: Visibility) -> Result<Vec<Option<Bytes>>> {
        let mut values = Vec::with_capacity(keys.len());
        // One state for all of them, also where "latest" would move on.
        let visibility = match visibility {
            Visibility::Latest => {
                let view = self.view(&mut *self.active()?, visibility);
                Visibility::At(crate::types::Snapshot { read_ts: view.read_ts, command: view.command })
            }
            other => other,
        };
        for key in keys {
            values.push(self.get(key, visibility).await?);
        }
        Ok(values)
    }

    /// A page of the rows in a range, with the transaction's own writes merged in.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn scan(&self, request: ScanRequest) -> Result<ScanPage> {
        let (start, end) = (&request.range.start, &request.range.end);
        if start >= end {
            return Ok(ScanPage::default());
        }
        let limits = PageLimits {
            rows: if request.limit_rows == 0 { SCAN_PAGE_ROWS_MAX } else { request.limit_rows },
            bytes: if request.limit_bytes == 0 { SCAN_PAGE_BYTES_MAX } else { request.limit_bytes },
        };
        // Own writes may have been made of values that are not durable yet.
        self.settle().await?;
        let view = self.view(&mut *self.active()?, request.visibility);
        let page = loop {
            if let Some(commit) = self.shared.pending.blocking_range(start, end, view.read_ts)
                && !is_on(Mutation::ScanOvertakesCommit)
            {
                commit.wait().await;
                self.shared.check_running()?;
                continue;
            }
            match self.read_pieces(&request, view, limits)? {
                Ok(page) => break page,
                Err(obstacle) => self.wait_for(obstacle).await?,
            }
        };
        if self.isolation() == IsolationLevel::Serializable {
            let read = match &page.resume {
                None => start.clone()..end.clone(),
                Some(resume) if request.reverse => resume.clone()..end.clone(),
                Some(resume) => start.clone()..resume.clone(),
            };
            self.active()?.reads.add_range(read, page.rows.len());
        }
        Ok(page)
    }

    /// A page from one shard after the other, until it is full.
    fn read_pieces(
        &self,
        request: &ScanRequest,
        view: View,
        limits: PageLimits,
    ) -> Result<std::result::Result<ScanPage, Obstacle>> {
        let map = self.shared.node.shards();
        let (mut range, mut left) = (request.range.clone(), limits);
        let mut page = ScanPage::default();
        loop {
            let (shard, piece) = next_piece(&map, &range, request.reverse)?;
            let mut next = match self.read_piece(shard, &piece, request.reverse, view, left)? {
                Ok(next) => next,
                // What is complete can be handed out; the next page meets the obstacle again.
                Err(_) if !page.rows.is_empty() => return Ok(Ok(page)),
                Err(obstacle) => return Ok(Err(obstacle)),
            };
            let bytes: usize = next.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            left.rows = left.rows.saturating_sub(next.rows.len());
            left.bytes = left.bytes.saturating_sub(bytes);
            page.rows.append(&mut next.rows);
            let is_last = piece == range;
            if next.resume.is_some() || is_last {
                return Ok(Ok(ScanPage { resume: next.resume, ..page }));
            }
            range = if request.reverse { range.start..piece.start } else { piece.end..range.end };
            page.resume = Some(if request.reverse { range.end.clone() } else { range.start.clone() });
            if left.rows == 0 || left.bytes == 0 {
                return Ok(Ok(page));
            }
        }
    }

    /// A page of the rows in a range that lies in one shard.
    fn read_piece(
        &self,
        shard: &Shard,
        range: &Range<Bytes>,
        reverse: bool,
        view: View,
        limits: PageLimits,
    ) -> Result<std::result::Result<ScanPage, Obstacle>> {
        let (start, end) = (&range.start[..], &range.end[..]);
        // The mutex is held for the page: its other users are calls of the same session. It is taken before the cursor
        // is made, so that what leaves memory in between is found in the store.
        let core = self.active()?;
        let spilling = core.spilling.as_ref().and_then(|spilling| spilling.seen_by(view.command));
        let buffered = core.buffer.range(start, end, view.command);
        let under_way = spilling.iter().flat_map(|(writes, command)| writes.range(start, end, *command));
        let view = View { spilled: core.spilled.is_some(), ..view };
        self.shared.read(shard, |stored| {
            let stored = RowCursor::open(stored, self.reader(view), start, end, reverse)?;
            if reverse {
                read_page(stored, overlay(buffered.rev(), under_way.rev(), true), true, limits)
            } else {
                read_page(stored, overlay(buffered, under_way, false), false, limits)
            }
        })
    }

    /// The stored version of a row that a view shows: the snapshot's, or an own spilled one.
    async fn get_stored(&self, key: &[u8], view: View) -> Result<Option<SeenVersion>> {
        loop {
            match self.look_up(key, view)? {
                Ok(version) => return Ok(version),
                Err(obstacle) => self.wait_for(obstacle).await?,
            }
        }
    }

    fn look_up(&self, key: &[u8], view: View) -> Result<std::result::Result<Option<SeenVersion>, Obstacle>> {
        if let Some(commit) = self.shared.pending.blocking(key, view.read_ts) {
            return Ok(Err(Obstacle::Commit(commit)));
        }
        let map = self.shared.node.shards();
        self.shared.read(row_holder(&map, key)?, |stored| self.reader(view).get(stored, key))
    }

    fn reader(&self, view: View) -> Reader<'_> {
        Reader {
            spilled: &self.shared.spilled,
            read_ts: view.read_ts,
            own: view.spilled.then(|| self.own_spill(view.command)),
            under_lock: false,
        }
    }

    /// How the transaction sees its own spilled writes of commands below `command`.
    pub(super) fn own_spill(&self, command: u32) -> OwnSpill {
        OwnSpill { txn: self.id, command, ignored: self.shared.spilled.ignored(self.id) }
    }

    /// Waits for what a read without a lock can meet: a commit.
    async fn wait_for(&self, obstacle: Obstacle) -> Result<()> {
        match obstacle {
            Obstacle::Commit(commit) => {
                commit.wait().await;
                self.shared.check_running()
            }
            Obstacle::Transaction(_) => {
                Err(KvError::InvalidState("a read without a lock met a running transaction"))
            }
        }
    }
}

/// Writes with older ones below them, both in the order of a scan.
fn overlay<'a>(
    newer: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    older: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    reverse: bool,
) -> impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)> {
    let (mut newer, mut older) = (newer.peekable(), older.peekable());
    std::iter::from_fn(move || {
        let order = match (newer.peek(), older.peek()) {
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((newer, _)), Some((older, _))) if reverse => older.cmp(newer),
            (Some((newer, _)), Some((older, _))) => newer.cmp(older),
        };
        if order.is_ge() {
            let below = older.next();
            return if order.is_eq() { newer.next() } else { below };
        }
        newer.next()
    })
}

/// The first part of a range, in the order of a scan, that lies in one shard.
fn next_piece<'a>(
    map: &'a ShardMap,
    range: &Range<Bytes>,
    reverse: bool,
) -> Result<(&'a Arc<Shard>, Range<Bytes>)> {
    if let [only] = map.data() {
        return Ok((only, range.clone()));
    }
    let mut piece = range.clone();
    if reverse {
        let end = encoding::row_bound(&range.end);
        let shard = map.data().iter().rfind(|shard| shard.range().start[..] < end[..]).ok_or(MISSING)?;
        if let Some(first) = encoding::decode_bound(&shard.range().start) {
            piece.start = piece.start.max(first);
        }
        return Ok((shard, piece));
    }
    let shard = map.holder(&encoding::row_bound(&range.start)).ok_or(MISSING)?;
    if let Some(end) = shard.range().end.as_deref().and_then(encoding::decode_bound) {
        piece.end = piece.end.min(end);
    }
    Ok((shard, piece))
}
