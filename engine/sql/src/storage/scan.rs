//! [`TableScan`]: reads the rows of an access path, page by page.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::{ScanRequest, Transaction, Visibility};
use shardforge_types::{Datum, PgError, PgResult};

use super::access::KeySpan;
use super::merge::{MergedRuns, Placed};
use super::{AccessPath, PREFIX_LEN, TableLayout};
use crate::exec::env::EvalEnv;
use crate::session::error::from_kv;

/// Rows read at a time by a scan without a limit.
const PAGE_ROWS_MAX: usize = 1000;
/// Bytes read at a time.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes read at a time of one of many buckets.
const RUN_BYTES_MIN: usize = 64 << 10;

/// A stored row.
#[derive(Clone, Debug)]
pub struct ScanRow {
    /// Its full key.
    pub key: Bytes,
    /// Its stored form.
    pub value: Bytes,
}

/// A scan in progress.
pub struct TableScan {
    layout: Arc<TableLayout>,
    spans: VecDeque<KeySpan>,
    /// The span before these, if it lies in several buckets and has been begun.
    merged: Option<MergedRuns>,
    index: Option<usize>,
    reverse: bool,
    visibility: Visibility,
}

impl TableScan {
    /// A scan of an access path, whose values are computed now.
    ///
    /// # Errors
    /// What the path's value expressions raise.
    pub fn start(
        layout: &Arc<TableLayout>,
        path: &AccessPath,
        reverse: bool,
        visibility: Visibility,
        params: &[Datum],
        env: &EvalEnv,
    ) -> PgResult<TableScan> {
        let mut spans = VecDeque::from(path.spans(layout, params, env)?);
        if reverse {
            spans.make_contiguous().reverse();
        }
        Ok(TableScan { reverse, ..TableScan::of_spans(layout, path.index, spans.into(), visibility) })
    }

    /// A scan of the whole table in key order.
    pub fn whole(layout: &Arc<TableLayout>, visibility: Visibility) -> TableScan {
        TableScan::of_spans(layout, None, vec![layout.head.whole()], visibility)
    }

    /// A scan of spans of an index (by position in [`TableLayout::indexes`]), or of the rows themselves.
    pub fn of_spans(
        layout: &Arc<TableLayout>,
        index: Option<usize>,
        spans: Vec<KeySpan>,
        visibility: Visibility,
    ) -> TableScan {
        let spans = spans.into();
        TableScan { layout: layout.clone(), spans, merged: None, index, reverse: false, visibility }
    }

    /// The only key that this scan will read, if the path is a point on the rows themselves.
    pub fn single_key(&self) -> Option<Bytes> {
        match (self.index, self.spans.len(), self.spans.front()) {
            (None, 1, Some(KeySpan::Key(key))) => Some(Bytes::copy_from_slice(key)),
            _ => None,
        }
    }

    /// True when nothing is left to read.
    pub fn is_done(&self) -> bool {
        self.spans.is_empty() && self.merged.is_none()
    }

    /// Appends the next rows, about `wanted` of them, to `out`. May add none although more follow.
    ///
    /// # Errors
    /// What the store raises, as SQL errors.
    pub async fn next_page(
        &mut self,
        txn: &Transaction,
        wanted: usize,
        out: &mut Vec<ScanRow>,
    ) -> PgResult<()> {
        let wanted = wanted.clamp(1, PAGE_ROWS_MAX);
        // One state for an index and its rows, also where "latest" would move on between the two.
        let visibility = match self.visibility {
            Visibility::Latest => Visibility::At(txn.latest()),
            other => other,
        };
        if let Some(runs) = self.merged.take() {
            return self.next_of_runs(runs, txn, (wanted, visibility), out).await;
        }
        let mut keys = Vec::new();
        while keys.len() < wanted
            && let Some(KeySpan::Key(_)) = self.spans.front()
            && let Some(KeySpan::Key(key)) = self.spans.pop_front()
        {
            keys.push(Bytes::from(key));
        }
        if !keys.is_empty() {
            return match self.index {
                None => self.fetch(txn, keys, visibility, out).await,
                Some(_) => {
                    let entries = get_all(txn, &keys, visibility).await?;
                    let rows = entries.into_iter().flatten().map(|v| self.layout.key_of_entry(&v)).collect();
                    self.fetch_indexed(txn, rows, visibility, out).await
                }
            };
        }
        match self.spans.pop_front() {
            Some(KeySpan::Range(start, end)) => {
                let range = Range { start: Bytes::from(start), end: Bytes::from(end) };
                let page = self.request(range, wanted, PAGE_BYTES_MAX, visibility);
                let (found, rest) = read(txn, page).await?;
                if let Some(rest) = rest {
                    self.spans.push_front(KeySpan::Range(rest.start.to_vec(), rest.end.to_vec()));
                }
                if self.index.is_none() {
                    out.extend(found.into_iter().map(|(key, value)| ScanRow { key, value }));
                    return Ok(());
                }
                let rows = found.iter().map(|(_, value)| self.layout.key_of_entry(value)).collect();
                self.fetch_indexed(txn, rows, visibility, out).await
            }
            Some(KeySpan::Spread(span)) => {
                let runs = MergedRuns::new(&span, self.reverse);
                self.next_of_runs(runs, txn, (wanted, visibility), out).await
            }
            Some(KeySpan::Key(_)) | None => Ok(()),
        }
    }

    fn request(&self, range: Range<Bytes>, rows: usize, bytes: usize, visibility: Visibility) -> ScanRequest {
        let mut request = ScanRequest::new(range);
        request.reverse = self.reverse;
        request.limit_rows = rows;
        request.limit_bytes = bytes;
        request.visibility = visibility;
        request
    }

    /// The next page of a span that lies in several buckets. What an index leads to is read together with its entry, so
    /// that both are of one moment.
    async fn next_of_runs(
        &mut self,
        mut runs: MergedRuns,
        txn: &Transaction,
        (wanted, visibility): (usize, Visibility),
        out: &mut Vec<ScanRow>,
    ) -> PgResult<()> {
        let to_read = runs.wanted(wanted);
        let bytes = (PAGE_BYTES_MAX / to_read.len().max(1)).max(RUN_BYTES_MIN);
        for part in to_read {
            let page = self.request(part.range.clone(), part.rows, bytes, visibility);
            let (found, rest) = read(txn, page).await?;
            let placed = if self.index.is_none() {
                let placed =
                    |(key, value): (Bytes, Bytes)| Placed { at: key.clone(), row: ScanRow { key, value } };
                found.into_iter().map(placed).collect()
            } else {
                let mut rows = Vec::with_capacity(found.len());
                let keys = found.iter().map(|(_, value)| self.layout.key_of_entry(value)).collect();
                self.fetch_indexed(txn, keys, visibility, &mut rows).await?;
                found.into_iter().zip(rows).map(|((at, _), row)| Placed { at, row }).collect()
            };
            runs.add(&part, placed, rest);
        }
        runs.take(out);
        if !runs.is_done() {
            self.merged = Some(runs);
        }
        Ok(())
    }

    async fn fetch(
        &self,
        txn: &Transaction,
        keys: Vec<Bytes>,
        visibility: Visibility,
        out: &mut Vec<ScanRow>,
    ) -> PgResult<()> {
        let values = get_all(txn, &keys, visibility).await?;
        for (key, value) in keys.into_iter().zip(values) {
            if let Some(value) = value {
                out.push(ScanRow { key, value });
            }
        }
        Ok(())
    }

    /// As [`Self::fetch`], for keys that an index gave: a row that is missing means a damaged index.
    async fn fetch_indexed(
        &self,
        txn: &Transaction,
        keys: Vec<Bytes>,
        visibility: Visibility,
        out: &mut Vec<ScanRow>,
    ) -> PgResult<()> {
        let before = out.len();
        let expected = keys.len();
        self.fetch(txn, keys, visibility, out).await?;
        if out.len() - before != expected {
            let table = &self.layout.table;
            let index =
                self.index.map_or("", |i| self.layout.index_desc(&self.layout.indexes[i]).name.as_str());
            return Err(PgError::corrupted(format!(
                "index \"{index}\" points to a row that table \"{}\" does not have",
                table.name
            )));
        }
        Ok(())
    }
}

/// A page, and what is left of its range.
async fn read(
    txn: &Transaction,
    request: ScanRequest,
) -> PgResult<(Vec<(Bytes, Bytes)>, Option<Range<Bytes>>)> {
    let page = txn.scan(request.clone()).await.map_err(from_kv)?;
    let rest = page.resume.map(|resume| request.resumed(resume).range);
    Ok((page.rows, rest))
}

async fn get_all(txn: &Transaction, keys: &[Bytes], visibility: Visibility) -> PgResult<Vec<Option<Bytes>>> {
    match keys {
        [key] => Ok(vec![txn.get(key, visibility).await.map_err(from_kv)?]),
        _ => txn.multi_get(keys, visibility).await.map_err(from_kv),
    }
}

/// The part of a row's key that index entries store.
pub fn entry_value(row_key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&row_key[PREFIX_LEN..])
}
