//! One page of a scan: stored rows merged with the transaction's own buffered writes.
//!
//! ```text
//!   stored   a=1  b=1       d=1
//!   buffer        b=2  c=2  d deleted
//!   page     a=1  b=2  c=2
//! ```
//!
//! Stored rows are copied once, into one allocation a page, of which the rows of the result are slices.

use std::cmp::Ordering;

use bytes::{Bytes, BytesMut};

use crate::encoding;
use crate::error::Result;
use crate::mvcc::{Obstacle, RowCursor, RowStep};
use crate::types::ScanPage;

/// Where a page ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Reads a page. `own` are the buffered writes in the scan's range and direction.
pub(crate) fn read_page<'b>(
    mut stored: RowCursor<'_>,
    own: impl Iterator<Item = (&'b Bytes, &'b Option<Bytes>)>,
    reverse: bool,
    limits: PageLimits,
) -> Result<std::result::Result<ScanPage, Obstacle>> {
    let mut own = own.peekable();
    let mut page = Page::default();
    // Not looked for before it is needed: a scan that wants one row reads one row.
    let mut ahead = None;
    loop {
        if page.rows.len() >= limits.rows || page.bytes >= limits.bytes {
            return Ok(Ok(page.finish(reverse, true)));
        }
        let at = match ahead {
            Some(at) => at,
            None => match page.pull(&mut stored)? {
                // What is complete can be handed out; the next page meets the obstacle again.
                Pulled::Blocked(_) if !page.rows.is_empty() => return Ok(Ok(page.finish(reverse, true))),
                Pulled::Blocked(obstacle) => return Ok(Err(obstacle)),
                Pulled::At(at) => at,
            },
        };
        ahead = Some(at);
        let stored_key = match at {
            At::Row(row) => Some(&page.arena[row.key_start..row.value_start]),
            At::Pause(key_start) => Some(&page.arena[key_start..]),
            At::End => None,
        };
        let order = match (stored_key, own.peek()) {
            (None, None) => return Ok(Ok(page.finish(reverse, false))),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some((own, _))) if reverse => own[..].cmp(stored),
            (Some(stored), Some((own, _))) => stored.cmp(&own[..]),
        };
        if order.is_le() {
            match at {
                At::Pause(key_start) => return Ok(Ok(page.finish_at(key_start, reverse))),
                At::Row(row) if order.is_lt() => {
                    page.bytes += row.end - row.key_start;
                    page.rows.push(PageRow::Stored(row));
                }
                At::Row(_) | At::End => {}
            }
            ahead = None;
        }
        if order.is_ge()
            && let Some((key, Some(value))) = own.next()
        {
            page.bytes += key.len() + value.len();
            page.rows.push(PageRow::Own(key.clone(), value.clone()));
        }
    }
}

/// A stored row's place in the arena: the key, and behind it the value.
#[derive(Clone, Copy)]
struct StoredRow {
    key_start: usize,
    value_start: usize,
    end: usize,
}

enum PageRow {
    Stored(StoredRow),
    Own(Bytes, Bytes),
}

/// Where the stored rows have got to.
#[derive(Clone, Copy)]
enum At {
    Row(StoredRow),
    /// The key to go on from lies at the arena's end, from here on.
    Pause(usize),
    End,
}

enum Pulled {
    At(At),
    Blocked(Obstacle),
}

#[derive(Default)]
struct Page {
    arena: BytesMut,
    rows: Vec<PageRow>,
    bytes: usize,
}

impl Page {
    fn pull(&mut self, stored: &mut RowCursor<'_>) -> Result<Pulled> {
        let arena = &mut self.arena;
        let key_start = arena.len();
        let mut value_start = key_start;
        let step = stored.next_row(|prefix, value| {
            encoding::decode_prefix(prefix, |part| arena.extend_from_slice(part))?;
            value_start = arena.len();
            arena.extend_from_slice(value);
            Ok(())
        })?;
        Ok(match step {
            RowStep::Row => Pulled::At(At::Row(StoredRow { key_start, value_start, end: self.arena.len() })),
            RowStep::Pause => Pulled::At(At::Pause(key_start)),
            RowStep::End => Pulled::At(At::End),
            RowStep::Blocked(obstacle) => Pulled::Blocked(obstacle),
        })
    }

    /// The page, cut before the key in the arena from `key_start` on.
    fn finish_at(self, key_start: usize, reverse: bool) -> ScanPage {
        let key = Bytes::copy_from_slice(&self.arena[key_start..]);
        let mut page = self.finish(reverse, false);
        // In reverse the end of the range is excluded, so it lies behind the key.
        page.resume = Some(if reverse { successor(&key) } else { key });
        page
    }

    fn finish(self, reverse: bool, more: bool) -> ScanPage {
        let arena = self.arena.freeze();
        let slice = |row| match row {
            PageRow::Own(key, value) => (key, value),
            PageRow::Stored(StoredRow { key_start, value_start, end }) => {
                (arena.slice(key_start..value_start), arena.slice(value_start..end))
            }
        };
        let rows: Vec<_> = self.rows.into_iter().map(slice).collect();
        let last = rows.last().filter(|_| more).map(|(key, _)| key);
        let resume = last.map(|key| if reverse { key.clone() } else { successor(key) });
        ScanPage { rows, resume }
    }
}

/// The least key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.extend_from_slice(&[0]);
    next.freeze()
}
