//! Many row locks at once.
//!
//! Under a row's lock its newest version is read. Row by row that is a seek each; rows that a statement changes in
//! bulk mostly lie side by side, so here all locks are taken first, and one cursor then passes over the rows:
//!
//! ```text
//!   lock a, lock b, lock c        waiting where somebody is in the way
//!   a -> b -> c                   one cursor, made when all locks are held
//! ```
//!
//! A cursor made under the locks sees all that was committed by their former holders, except for commits that have
//! their place in the log and are not applied yet: such a row is read again by itself.

use bytes::Bytes;

use crate::encoding;
use crate::error::Result;
use crate::locks::{LockMode, LockName, Request};
use crate::mvcc::{RowCursor, SeenVersion};
use crate::time::Timestamp;
use crate::txn::Transaction;
use crate::types::{LockOutcome, LockStrength, WaitPolicy};

impl Transaction {
    /// As [`Transaction::lock_for_write`] for each of the rows, in the order of the keys given; cheapest when that
    /// is their own order.
    ///
    /// # Errors
    /// As [`Transaction::lock`]; the locks taken before stay.
    pub async fn lock_many_for_write(
        &self,
        keys: &[Bytes],
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<Vec<LockOutcome>> {
        if let [key] = keys {
            return Ok(vec![self.lock_for_write(key, strength, policy).await?]);
        }
        self.spill_if_large().await?;
        let mut outcomes: Vec<Option<LockOutcome>> = Vec::with_capacity(keys.len());
        while outcomes.len() < keys.len() {
            let free = self.acquire_free(&keys[outcomes.len()..], strength)?;
            outcomes.resize(outcomes.len() + free, None);
            if let Some(taken) = keys.get(outcomes.len()) {
                outcomes.push(self.acquire_row(taken, strength, policy).await?);
            }
        }
        let read_ts = {
            let mut core = self.active()?;
            let is_written = !core.buffer.is_disjoint(keys.iter())
                || core.spilling.as_ref().is_some_and(|spilling| !spilling.is_disjoint(keys.iter()));
            for (key, outcome) in keys.iter().zip(&mut outcomes).filter(|_| is_written) {
                if let Some(current) = core.own_write(key, u32::MAX) {
                    *outcome = Some(LockOutcome { current, changed: false, own: true });
                }
            }
            self.locked_at(&mut core, keys.iter().map(|key| &key[..]))?
        };
        let mut from = 0;
        while let Some(first) = (from..keys.len()).find(|&index| outcomes[index].is_none()) {
            let read = self.newest_of_run(&keys[first..], &outcomes[first..])?;
            from = first + read.len();
            for (index, newest) in (first..from).zip(read) {
                if outcomes[index].is_some() {
                    continue;
                }
                let newest = match newest {
                    Newest::Stored(newest) => newest,
                    Newest::Unread => self.newest_under_lock(&keys[index], policy).await?,
                };
                let locked = self.outcome(newest, read_ts, strength)?;
                outcomes[index] = Some(self.unchanged(&keys[index], locked)?);
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Takes the locks of rows up to the first that somebody else has; returns of how many.
    fn acquire_free(&self, keys: &[Bytes], strength: LockStrength) -> Result<usize> {
        let mode = LockMode::Row(strength);
        let mut core = self.active()?;
        core.assigned |= strength >= LockStrength::NoKeyUpdate;
        for (free, key) in keys.iter().enumerate() {
            match self.shared.locks.acquire(LockName::row(key), mode, self.owner, None) {
                Request::Held => {}
                Request::Granted(lock) => core.push_lock(lock),
                Request::Refused(_) | Request::Waiting(_) => return Ok(free),
            }
        }
        Ok(keys.len())
    }

    /// The newest versions of as many of the rows, from the first on, as lie in its shard and in rising order.
    fn newest_of_run(&self, keys: &[Bytes], known: &[Option<LockOutcome>]) -> Result<Vec<Newest>> {
        let first = encoding::row_prefix(&keys[0]);
        let shard = self.shared.shard_for(&first)?;
        let mut run = vec![first];
        for key in &keys[1..] {
            let prefix = encoding::row_prefix(key);
            if prefix <= run[run.len() - 1] || !shard.range().contains(&prefix) {
                break;
            }
            run.push(prefix);
        }
        if run.len() < CURSOR_ROWS_MIN {
            return Ok(run.iter().map(|_| Newest::Unread).collect());
        }
        // Looked at before the stored versions: what leaves the list in between is found among those.
        let pending = &self.shared.pending;
        let under_way: Vec<_> = keys[..run.len()]
            .iter()
            .map(|key| pending.newest(key).map_or(Timestamp::MIN, |(_, version)| version.commit_ts))
            .collect();
        let (start, end) = (&run[0], encoding::prefix_end(&run[run.len() - 1]));
        self.shared.read(&shard, |stored| {
            let mut cursor = RowCursor::open_encoded(stored, self.newest_reader(), start, &end, false)?;
            let mut read = Vec::with_capacity(run.len());
            for ((prefix, under_way), known) in run.iter().zip(under_way).zip(known) {
                let stored = if known.is_none() { cursor.version_of(prefix)?.ok() } else { None };
                let newest = stored.filter(|stored| {
                    under_way <= stored.as_ref().map_or(Timestamp::MIN, |version| version.commit_ts)
                });
                read.push(newest.map_or(Newest::Unread, Newest::Stored));
            }
            Ok(read)
        })
    }
}

/// Fewer rows in a run are read one by one: making a cursor costs as much as some of these reads.
const CURSOR_ROWS_MIN: usize = 4;

/// What a cursor found of a row whose lock is held.
enum Newest {
    /// Its newest version, if it ever had one.
    Stored(Option<SeenVersion>),
    /// Somebody is on the way with a newer one, or the caller did not ask.
    Unread,
}
