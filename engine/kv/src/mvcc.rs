//! Reading versions: which one of a row's versions a reader sees.
//!
//! ```text
//!   row "k":   k ~90   k ~70   k ~40          newest first
//!              |       |
//!   reader at 80: too new; this one
//! ```
//!
//! A committed version is seen by readers at or above the timestamp in its key. A provisional one counts as
//! `spilled.rs` says of its transaction; that one itself sees it by command number. A reader may hold a provisional
//! version that has just been rewritten as an ordinary one, and find its transaction forgotten: it looks again.
//!
//! Everything here is synchronous. Where a reader has to wait for somebody (a spilled transaction that is just
//! being committed; under a lock, one that is still running) it gets an [`Obstacle`] and comes again.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::{Cursor, CursorOptions, ReadView};

use crate::encoding::{self, EncodedKey, StoredVersion};
use crate::error::{Conflict, Result};
use crate::limits::{SCAN_PAGE_STEPS_MAX, VERSION_STEPS_BEFORE_SEEK};
use crate::mutations::{Mutation, is_on};
use crate::pending::PendingCommit;
use crate::record::IgnoredCommands;
use crate::spilled::{SpillStatus, SpilledTransactions};
use crate::time::Timestamp;
use crate::types::TxnId;

/// What a read has to wait for.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// A commit under way.
    Commit(Arc<PendingCommit>),
    /// A transaction that holds the row, though its lock is no longer in the table.
    Transaction(TxnId),
}

/// The spilled writes of the reading transaction itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnSpill {
    pub(crate) txn: TxnId,
    /// Commands below it are seen.
    pub(crate) command: u32,
    pub(crate) ignored: IgnoredCommands,
}

/// How a reader sees versions.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) spilled: &'a SpilledTransactions,
    pub(crate) read_ts: Timestamp,
    pub(crate) own: Option<OwnSpill>,
    /// The reader holds the row's lock and wants its newest version: it waits for running transactions.
    pub(crate) under_lock: bool,
}

/// A version that a reader sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SeenVersion {
    /// When it was committed; `Timestamp::MAX` for an own, uncommitted one.
    pub(crate) commit_ts: Timestamp,
    /// No value: the row is deleted.
    pub(crate) value: Option<Bytes>,
}

/// What a version is to a reader.
enum Verdict {
    Seen(Timestamp),
    Unseen,
    Blocked(Obstacle),
}

impl Reader<'_> {
    /// The timestamp from which on older versions are looked at.
    fn seek_ts(&self) -> Timestamp {
        // Own provisional versions lie above the snapshot.
        if self.own.is_some() { Timestamp::MAX } else { self.read_ts }
    }

    /// What the version under an encoded key is to the reader.
    fn judge(&self, view: ReadView<'_>, key: &[u8], version: StoredVersion<'_>) -> Result<Verdict> {
        let key_ts = encoding::split_version(key)?.1;
        let committed_at = |ts| if ts <= self.read_ts { Verdict::Seen(ts) } else { Verdict::Unseen };
        let StoredVersion::Provisional { txn, command, .. } = version else {
            return Ok(committed_at(key_ts));
        };
        if let Some(own) = self.own.as_ref().filter(|own| own.txn == txn) {
            let seen = command < own.command && !own.ignored.contains(command);
            return Ok(if seen { Verdict::Seen(Timestamp::MAX) } else { Verdict::Unseen });
        }
        Ok(match self.spilled.status(txn, command) {
            Some(SpillStatus::Committed(ts) | SpillStatus::Resolving(ts)) => committed_at(ts),
            Some(SpillStatus::Committing(commit))
                if self.under_lock || commit.is_at_or_below(self.read_ts) =>
            {
                Verdict::Blocked(Obstacle::Commit(commit))
            }
            Some(SpillStatus::Live) if self.under_lock => Verdict::Blocked(Obstacle::Transaction(txn)),
            Some(SpillStatus::Live) if is_on(Mutation::DirtyRead) => committed_at(key_ts),
            // Who holds a row's lock beside a prepared transaction goes by the row as it was.
            Some(SpillStatus::Live | SpillStatus::Prepared | SpillStatus::Committing(_)) => Verdict::Unseen,
            None if is_rewritten(view, key, command)? => committed_at(key_ts),
            None => Verdict::Unseen,
        })
    }

    /// The version of `key` that the reader sees. `Ok(Err(_))` when it has to wait.
    pub(crate) fn get(
        &self,
        view: ReadView<'_>,
        key: &[u8],
    ) -> Result<std::result::Result<Option<SeenVersion>, Obstacle>> {
        enum Step {
            Done(SeenVersion),
            Older(Timestamp),
            Blocked(Obstacle),
        }
        let mut from = encoding::row_prefix(key);
        let prefix_bytes = from.len();
        let end = encoding::prefix_end(&from);
        let mut ts = self.seek_ts();
        loop {
            from.truncate(prefix_bytes);
            encoding::push_suffix(&mut from, ts);
            let step = view.seek_first(&from, &end, |key, value| -> Result<Step> {
                let (_, key_ts) = encoding::split_version(key)?;
                let version = encoding::decode_version(value)?;
                Ok(match self.judge(view, key, version)? {
                    Verdict::Seen(commit_ts) => {
                        let value = data_of(version).map(Bytes::copy_from_slice);
                        Step::Done(SeenVersion { commit_ts, value })
                    }
                    Verdict::Unseen => Step::Older(key_ts),
                    Verdict::Blocked(obstacle) => Step::Blocked(obstacle),
                })
            })?;
            match step.transpose()? {
                None => return Ok(Ok(None)),
                Some(Step::Done(version)) => return Ok(Ok(Some(version))),
                Some(Step::Blocked(obstacle)) => return Ok(Err(obstacle)),
                Some(Step::Older(Timestamp::MIN)) => return Ok(Ok(None)),
                Some(Step::Older(key_ts)) => ts = key_ts.before(),
            }
        }
    }
}

/// Whether a provisional version whose transaction is not known has become an ordinary one since it was read. The
/// transaction is forgotten only when all of its versions have.
pub(crate) fn is_rewritten(view: ReadView<'_>, key: &[u8], command: u32) -> Result<bool> {
    if command != encoding::AT_COMMIT {
        return Ok(false);
    }
    let Some(now) = view.get(key)? else { return Ok(false) };
    Ok(matches!(encoding::decode_version(&now)?, StoredVersion::Committed(_)))
}

fn data_of(version: StoredVersion<'_>) -> Option<&[u8]> {
    match version {
        StoredVersion::Committed(data) | StoredVersion::Provisional { data, .. } => data,
    }
}

/// What [`RowCursor::next_row`] arrived at.
pub(crate) enum RowStep {
    /// A row: its key and value were handed to the caller.
    Row,
    /// The range is at its end.
    End,
    /// The page has taken too many steps; the key to go on from was handed out as a row's would be.
    Pause,
    /// The reader has to wait.
    Blocked(Obstacle),
}

/// The rows of a range, one after the other, in either direction.
pub(crate) struct RowCursor<'a> {
    view: ReadView<'a>,
    cursor: Box<dyn Cursor + 'a>,
    reader: Reader<'a>,
    reverse: bool,
    /// The row being looked at.
    prefix: EncodedKey,
    /// Scratch for seeks.
    target: EncodedKey,
    steps: usize,
}

impl<'a> RowCursor<'a> {
    /// A cursor over the rows with keys from `start` to before `end`, both as the caller knows them.
    pub(crate) fn open(
        view: ReadView<'a>,
        reader: Reader<'a>,
        start: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Result<Self> {
        Self::open_encoded(view, reader, &encoding::row_bound(start), &encoding::row_bound(end), reverse)
    }

    /// As [`Self::open`], with the bounds as they are stored.
    pub(crate) fn open_encoded(
        view: ReadView<'a>,
        reader: Reader<'a>,
        start: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Result<Self> {
        let (lower, upper) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        let mut cursor = view.cursor(CursorOptions::range(lower, upper))?;
        if reverse {
            cursor.seek_to_last()?;
        } else {
            cursor.seek_to_first()?;
        }
        Ok(Self {
            view,
            cursor,
            reader,
            reverse,
            prefix: EncodedKey::new(),
            target: EncodedKey::new(),
            steps: 0,
        })
    }

    /// Moves to the next row that the reader sees, and calls `take` with its encoded prefix and its value.
    pub(crate) fn next_row(&mut self, take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<RowStep> {
        if self.reverse { self.next_backward(take) } else { self.next_forward(take) }
    }

    fn next_forward(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<RowStep> {
        // Versions of the row `prefix` are behind us unless the cursor stands on one of them unjudged.
        let mut steps_in_row = 0;
        while self.cursor.valid() {
            let (prefix, key_ts) = encoding::split_version(self.cursor.key())?;
            if prefix != self.prefix.as_slice() {
                self.prefix.clear();
                self.prefix.extend_from_slice(prefix);
                steps_in_row = 0;
            }
            self.steps += 1;
            if self.steps > SCAN_PAGE_STEPS_MAX {
                take(&self.prefix, &[])?;
                return Ok(RowStep::Pause);
            }
            let version = encoding::decode_version(self.cursor.value())?;
            match self.reader.judge(self.view, self.cursor.key(), version)? {
                Verdict::Blocked(obstacle) => return Ok(RowStep::Blocked(obstacle)),
                Verdict::Seen(_) => {
                    let found = data_of(version).map(|data| take(&self.prefix, data)).transpose()?.is_some();
                    self.leave_row()?;
                    if found {
                        return Ok(RowStep::Row);
                    }
                }
                Verdict::Unseen => {
                    steps_in_row += 1;
                    let seek_ts = self.reader.seek_ts();
                    if steps_in_row == VERSION_STEPS_BEFORE_SEEK && key_ts > seek_ts {
                        self.target.clear();
                        self.target.extend_from_slice(&self.prefix);
                        encoding::push_suffix(&mut self.target, seek_ts);
                        self.cursor.seek(&self.target)?;
                    } else {
                        self.cursor.next()?;
                    }
                }
            }
        }
        Ok(RowStep::End)
    }

    /// Moves to the next version that another transaction than `txn` committed after `since`, and at or before
    /// the reader's timestamp: [`RowStep::Row`] when there is one, and [`Self::change`] tells of it. After
    /// [`RowStep::Pause`] a cursor from [`Self::key`] goes on. Forward cursors only.
    pub(crate) fn next_change(&mut self, txn: TxnId, since: Timestamp) -> Result<RowStep> {
        while self.cursor.valid() {
            self.steps += 1;
            if self.steps > SCAN_PAGE_STEPS_MAX {
                return Ok(RowStep::Pause);
            }
            let version = encoding::decode_version(self.cursor.value())?;
            let own = matches!(version, StoredVersion::Provisional { txn: by, .. } if by == txn);
            let verdict = if own {
                Verdict::Unseen
            } else {
                self.reader.judge(self.view, self.cursor.key(), version)?
            };
            if matches!(verdict, Verdict::Seen(commit_ts) if commit_ts > since) {
                return Ok(RowStep::Row);
            }
            self.cursor.next()?;
            if let Verdict::Blocked(obstacle) = verdict {
                return Ok(RowStep::Blocked(obstacle));
            }
        }
        Ok(RowStep::End)
    }

    /// The version of one row that the reader sees, `prefix` being what all the row's versions start with. Rows are
    /// asked for in rising order, on a forward cursor: those that lie close together cost a step each, not a seek.
    pub(crate) fn version_of(
        &mut self,
        prefix: &[u8],
    ) -> Result<std::result::Result<Option<SeenVersion>, Obstacle>> {
        let mut steps = 0;
        while self.cursor.valid() && encoding::split_version(self.cursor.key())?.0 < prefix {
            if steps == VERSION_STEPS_BEFORE_SEEK {
                self.cursor.seek(prefix)?;
            } else {
                steps += 1;
                self.cursor.next()?;
            }
        }
        while self.cursor.valid() {
            let (found, _) = encoding::split_version(self.cursor.key())?;
            if found != prefix {
                break;
            }
            let version = encoding::decode_version(self.cursor.value())?;
            match self.reader.judge(self.view, self.cursor.key(), version)? {
                Verdict::Blocked(obstacle) => return Ok(Err(obstacle)),
                Verdict::Seen(commit_ts) => {
                    let value = data_of(version).map(Bytes::copy_from_slice);
                    return Ok(Ok(Some(SeenVersion { commit_ts, value })));
                }
                Verdict::Unseen => {
                    self.cursor.next()?;
                }
            }
        }
        Ok(Ok(None))
    }

    /// The key of the version that it stands on, as it is stored.
    pub(crate) fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.cursor.key())
    }

    /// The change that [`Self::next_change`] has moved to.
    pub(crate) fn change(&self) -> Result<Conflict> {
        let (prefix, key_ts) = encoding::split_version(self.cursor.key())?;
        let mut key = Vec::new();
        encoding::decode_prefix(prefix, |part| key.extend_from_slice(part))?;
        let version = encoding::decode_version(self.cursor.value())?;
        let commit_ts = match self.reader.judge(self.view, self.cursor.key(), version)? {
            Verdict::Seen(commit_ts) => commit_ts,
            Verdict::Unseen | Verdict::Blocked(_) => key_ts,
        };
        Ok(Conflict { key: key.into(), commit_ts, deleted: data_of(version).is_none() })
    }

    /// Moves from a version to the first one of the next row.
    fn leave_row(&mut self) -> Result<()> {
        for _ in 0..VERSION_STEPS_BEFORE_SEEK {
            if !self.cursor.next()? || !self.cursor.key().starts_with(&self.prefix) {
                return Ok(());
            }
            self.steps += 1;
        }
        self.target = encoding::prefix_end(&self.prefix);
        self.cursor.seek(&self.target)?;
        Ok(())
    }

    /// Going back, a row's oldest version comes first; the last one seen before the row ends is its newest.
    fn next_backward(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<RowStep> {
        while self.cursor.valid() {
            let (prefix, _) = encoding::split_version(self.cursor.key())?;
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
            if self.steps > SCAN_PAGE_STEPS_MAX {
                take(&self.prefix, &[])?;
                return Ok(RowStep::Pause);
            }
            let mut newest: Option<Option<Bytes>> = None;
            let mut versions = 0;
            let mut done = false;
            while !done && self.cursor.valid() && self.cursor.key().starts_with(&self.prefix) {
                let version = encoding::decode_version(self.cursor.value())?;
                match self.reader.judge(self.view, self.cursor.key(), version)? {
                    Verdict::Blocked(obstacle) => return Ok(RowStep::Blocked(obstacle)),
                    Verdict::Seen(_) => newest = Some(data_of(version).map(Bytes::copy_from_slice)),
                    Verdict::Unseen => {}
                }
                self.steps += 1;
                versions += 1;
                if versions == VERSION_STEPS_BEFORE_SEEK {
                    match self.newest_from_the_front()? {
                        Ok(found) => newest = found,
                        Err(obstacle) => return Ok(RowStep::Blocked(obstacle)),
                    }
                    done = true;
                } else {
                    self.cursor.prev()?;
                }
            }
            if done {
                self.cursor.seek_for_prev(&self.prefix)?;
            }
            if let Some(Some(value)) = newest {
                take(&self.prefix, &value)?;
                return Ok(RowStep::Row);
            }
        }
        Ok(RowStep::End)
    }

    /// The version of the row at hand that the reader sees, looked for from the newest on.
    fn newest_from_the_front(&mut self) -> Result<std::result::Result<Option<Option<Bytes>>, Obstacle>> {
        self.target.clear();
        self.target.extend_from_slice(&self.prefix);
        encoding::push_suffix(&mut self.target, self.reader.seek_ts());
        self.cursor.seek(&self.target)?;
        while self.cursor.valid() && self.cursor.key().starts_with(&self.prefix) {
            let version = encoding::decode_version(self.cursor.value())?;
            match self.reader.judge(self.view, self.cursor.key(), version)? {
                Verdict::Blocked(obstacle) => return Ok(Err(obstacle)),
                Verdict::Seen(_) => return Ok(Ok(Some(data_of(version).map(Bytes::copy_from_slice)))),
                Verdict::Unseen => {}
            }
            self.cursor.next()?;
        }
        Ok(Ok(None))
    }
}
