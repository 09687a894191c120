//! Locks of rows and objects. Many rows at once: `lock/batch.rs`.

mod batch;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::{Core, Transaction};
use crate::error::{Conflict, KvError, Result};
use crate::locks::{HeldLock, LockMode, LockName, LockWait, Owner, Request};
use crate::moved::{Fate, Moment};
use crate::mutations::{Mutation, is_on};
use crate::mvcc::{Obstacle, Reader, SeenVersion};
use crate::pending::PendingCommit;
use crate::routing::row_holder;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::{IsolationLevel, LockOutcome, LockStrength, ObjectId, ObjectLockMode, WaitPolicy};

/// A row under its lock.
struct Locked {
    outcome: LockOutcome,
    /// When its newest version was committed; `Timestamp::MAX` for the transaction's own.
    commit_ts: Timestamp,
}

impl Transaction {
    /// Locks a row, whether it exists or not, and returns what it is now: the transaction's own newest write,
    /// or the newest committed value, which may be newer than the snapshot (`changed`). READ COMMITTED callers
    /// then check whether the row still qualifies. Held to the end of the transaction, or of the savepoint.
    ///
    /// # Errors
    /// `LockTimeout`, `LockNotAvailable` and `Deadlock` when the lock was not got; `SerializationFailure` under
    /// REPEATABLE READ and above when the row has changed since the snapshot; those of [`Transaction::get`].
    pub async fn lock(&self, key: &[u8], strength: LockStrength, policy: WaitPolicy) -> Result<LockOutcome> {
        let outcome = self.lock_for_write(key, strength, policy).await?;
        self.settle().await?;
        Ok(outcome)
    }

    /// As [`Transaction::lock`], for a row that the caller is about to overwrite and shows to nobody before
    /// [`Transaction::settle`] or the commit: the value may be of a commit that has its place in the log and is
    /// not durable yet. On rows that everybody updates, this lets commits share a sync.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    pub async fn lock_for_write(
        &self,
        key: &[u8],
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<LockOutcome> {
        let locked = self.lock_version(key, strength, policy).await?;
        self.unchanged(key, locked)
    }

    /// `SerializationFailure` for a row that is not as the transaction's only snapshot shows it.
    fn unchanged(&self, key: &[u8], locked: Locked) -> Result<LockOutcome> {
        let Locked { outcome, commit_ts } = locked;
        let refused = self.isolation() != IsolationLevel::ReadCommitted && !is_on(Mutation::LostUpdate);
        if outcome.changed && refused {
            let since = Moment::of_snapshot(self.active()?.read_ts);
            let fate = self.shared.moved.next(key, since).map(|(_, fate)| fate);
            let deleted = match fate {
                Some(fate) => fate == Fate::Gone,
                None => outcome.current.is_none(),
            };
            return Err(KvError::SerializationFailure(Arc::new(Conflict {
                key: Bytes::copy_from_slice(key),
                commit_ts,
                deleted,
            })));
        }
        Ok(outcome)
    }

    /// As [`Transaction::lock_for_write`], but a row that has changed since the snapshot is returned (`changed`) at
    /// every isolation level: for a caller to whom it is not a row that it has read, as to one that inserts a key.
    ///
    /// # Errors
    /// As [`Transaction::lock`], without `SerializationFailure`.
    pub async fn lock_newest(
        &self,
        key: &[u8],
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<LockOutcome> {
        Ok(self.lock_version(key, strength, policy).await?.outcome)
    }

    /// Goes after a row that was locked with [`Transaction::lock_for_write`] under READ COMMITTED and has `changed`: locks it
    /// where it is now, if others have changed its key, and says under which key, and what it is there. `None`: it is where
    /// it was.
    ///
    /// # Errors
    /// As [`Transaction::lock_for_write`]; `SerializationFailure` when so many rows were moved at once that it is not known
    /// where to.
    pub async fn follow(
        &self,
        key: &[u8],
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<Option<(Bytes, LockOutcome)>> {
        if self.isolation() != IsolationLevel::ReadCommitted {
            return Ok(None);
        }
        let read_ts = self.active()?.read_ts;
        let mut since = Moment::of_snapshot(read_ts);
        let mut found: Option<(Bytes, LockOutcome)> = None;
        loop {
            let at = found.as_ref().map_or(key, |(key, _)| key);
            match self.shared.moved.next(at, since) {
                None if self.shared.moved.has_cut_off() => {
                    let newest = self.newest_under_lock(at, policy).await?;
                    let commit_ts = newest.map_or(Timestamp::MIN, |version| version.commit_ts);
                    if commit_ts > read_ts && self.shared.moved.is_cut_off(commit_ts) {
                        let conflict =
                            Conflict { key: Bytes::copy_from_slice(at), commit_ts, deleted: false };
                        return Err(KvError::SerializationFailure(Arc::new(conflict)));
                    }
                    return Ok(found);
                }
                None => return Ok(found),
                Some((_, Fate::Gone)) => {
                    let gone = LockOutcome { current: None, changed: true, own: false };
                    return Ok(Some((Bytes::copy_from_slice(at), gone)));
                }
                Some((moment, Fate::MovedTo(next))) => {
                    since = moment;
                    let locked = self.lock_version(&next, strength, policy).await?;
                    let outcome = self.unchanged(&next, locked)?;
                    found = Some((next, outcome));
                }
            }
        }
    }

    /// Whether others have deleted or moved a row since the snapshot, whatever is under its key now.
    ///
    /// # Errors
    /// When the transaction has ended.
    pub fn is_elsewhere(&self, key: &[u8]) -> Result<bool> {
        let since = Moment::of_snapshot(self.active()?.read_ts);
        Ok(self.shared.moved.next(key, since).is_some())
    }

    async fn lock_version(&self, key: &[u8], strength: LockStrength, policy: WaitPolicy) -> Result<Locked> {
        self.spill_if_large().await?;
        if let Some(outcome) = self.acquire_row(key, strength, policy).await? {
            return Ok(Locked { outcome, commit_ts: Timestamp::MAX });
        }
        let (own, read_ts) = {
            let mut core = self.active()?;
            let read_ts = self.locked_at(&mut core, [key])?;
            (core.own_write(key, u32::MAX), read_ts)
        };
        if let Some(current) = own {
            let outcome = LockOutcome { current, changed: false, own: true };
            return Ok(Locked { outcome, commit_ts: Timestamp::MAX });
        }
        let newest = self.newest_under_lock(key, policy).await?;
        self.outcome(newest, read_ts, strength)
    }

    /// Takes a row's lock. The outcome, if the row is one that the transaction has spilled and somebody else waits
    /// with the lock for it to end.
    async fn acquire_row(
        &self,
        key: &[u8],
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<Option<LockOutcome>> {
        let mode = LockMode::Row(strength);
        let spilled = {
            let mut core = self.core.lock();
            // A writer is known by its id while it waits already.
            core.assigned |= strength >= LockStrength::NoKeyUpdate;
            core.spilled
        };
        if spilled.is_none() {
            self.acquire(LockName::row(key), mode, policy).await?;
            return Ok(None);
        }
        // Who is in the way may be waiting for this transaction, because it has spilled the row.
        match self.acquire(LockName::row(key), mode, WaitPolicy::NoWait).await {
            Ok(()) => Ok(None),
            Err(KvError::LockNotAvailable(_)) => match self.own_spilled(key)? {
                Some(outcome) => Ok(Some(outcome)),
                None => {
                    self.acquire(LockName::row(key), mode, policy).await?;
                    Ok(None)
                }
            },
            Err(error) => Err(error),
        }
    }

    /// Notes that row locks were taken; returns the snapshot that the newest versions are compared with.
    fn locked_at<'k>(&self, core: &mut Core, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<Timestamp> {
        for key in keys {
            self.touch(core, key)?;
        }
        core.assigned = true;
        if core.slot.is_none() {
            self.take_snapshot(core);
        }
        Ok(core.read_ts)
    }

    /// What a row's newest version, read under its lock, is to a statement with a snapshot at `read_ts`.
    fn outcome(
        &self,
        newest: Option<SeenVersion>,
        read_ts: Timestamp,
        strength: LockStrength,
    ) -> Result<Locked> {
        let (commit_ts, current) = newest.map_or((Timestamp::MIN, None), |seen| (seen.commit_ts, seen.value));
        let own = commit_ts == Timestamp::MAX;
        if !own && current.is_some() && strength >= LockStrength::NoKeyUpdate {
            self.active()?.replaces = true;
        }
        let outcome = LockOutcome { current, changed: !own && commit_ts > read_ts, own };
        Ok(Locked { outcome, commit_ts })
    }

    /// Waits until every value that [`Transaction::lock_for_write`] returned is durable.
    ///
    /// # Errors
    /// When one of them will never be: the transaction cannot be committed either.
    pub async fn settle(&self) -> Result<()> {
        loop {
            let Some(commit) = self.core.lock().depends.last().cloned() else { return Ok(()) };
            if !commit.wait().await {
                self.shared.check_running()?;
                return Err(KvError::LocksLost);
            }
            self.core.lock().depends.retain(|other| !Arc::ptr_eq(other, &commit));
        }
    }

    /// Locks an object in one of PostgreSQL's table lock modes. Taking a mode that is held costs next to
    /// nothing. Held to the end of the transaction, or of the savepoint.
    ///
    /// # Errors
    /// `LockTimeout`, `LockNotAvailable`, `Deadlock`.
    pub async fn lock_object(
        &self,
        object: ObjectId,
        mode: ObjectLockMode,
        policy: WaitPolicy,
    ) -> Result<()> {
        self.acquire(LockName::Object(object), LockMode::Object(mode), policy).await
    }

    /// As [`Transaction::lock_object`], where nobody has to be waited for; false, and nothing is done, where somebody
    /// has to.
    ///
    /// # Errors
    /// When the transaction has ended.
    pub fn try_lock_object(&self, object: ObjectId, mode: ObjectLockMode) -> Result<bool> {
        match self.shared.locks.acquire(LockName::Object(object), LockMode::Object(mode), self.owner, None) {
            Request::Held => Ok(true),
            Request::Granted(lock) => self.hold(lock).map(|()| true),
            Request::Refused(_) | Request::Waiting(_) => Ok(false),
        }
    }

    /// Whether the transaction has locked an object, in whatever mode.
    #[must_use]
    pub fn holds_object(&self, object: ObjectId) -> bool {
        self.core.lock().locks.iter().any(|lock| lock.name == LockName::Object(object))
    }

    async fn acquire(&self, name: LockName, mode: LockMode, policy: WaitPolicy) -> Result<()> {
        match self.shared.acquire(name, mode, self.owner, policy).await? {
            Some(lock) => self.hold(lock),
            None => Ok(()),
        }
    }

    /// Adds a lock to those that end with the transaction.
    fn hold(&self, lock: HeldLock) -> Result<()> {
        match self.active() {
            Ok(mut core) => {
                core.push_lock(lock);
                Ok(())
            }
            Err(ended) => {
                self.shared.locks.release(&lock, self.owner);
                Err(ended)
            }
        }
    }

    /// A row that the transaction itself has spilled stands for its lock.
    fn own_spilled(&self, key: &[u8]) -> Result<Option<LockOutcome>> {
        if let Some(current) = self.active()?.own_write(key, u32::MAX) {
            return Ok(Some(LockOutcome { current, changed: false, own: true }));
        }
        let map = self.shared.node.shards();
        let found =
            self.shared.read(row_holder(&map, key)?, |stored| self.newest_reader().get(stored, key))?;
        Ok(match found {
            Ok(Some(SeenVersion { commit_ts: Timestamp::MAX, value })) => {
                Some(LockOutcome { current: value, changed: false, own: true })
            }
            Ok(_) | Err(_) => None,
        })
    }

    fn newest_reader(&self) -> Reader<'_> {
        let spilled = self.core.lock().spilled.is_some();
        Reader {
            spilled: &self.shared.spilled,
            read_ts: Timestamp::MAX,
            own: spilled.then(|| self.own_spill(u32::MAX)),
            under_lock: true,
        }
    }

    /// Builds upon a commit under way, if it comes earlier in the log than this transaction can.
    fn depend_on(&self, commit: &Arc<PendingCommit>) -> Result<bool> {
        let mut core = self.active()?;
        if !commit.place().is_some_and(|place| core.touched.meets(place)) {
            return Ok(false);
        }
        core.depends.retain(|other| !other.is_applied() && !Arc::ptr_eq(other, commit));
        if !is_on(Mutation::DependencyForgotten) {
            core.depends.push(Arc::clone(commit));
        }
        Ok(true)
    }

    /// The newest version of a row whose lock is held. Who held it before has been applied, or has its place in
    /// the log: then the version is taken from the commit under way, and the transaction depends on that.
    async fn newest_under_lock(&self, key: &[u8], policy: WaitPolicy) -> Result<Option<SeenVersion>> {
        loop {
            // Looked at before the stored versions: what leaves the list in between is found among those.
            let under_way = self.shared.pending.newest(key);
            let found = {
                let map = self.shared.node.shards();
                self.shared.read(row_holder(&map, key)?, |stored| self.newest_reader().get(stored, key))?
            };
            match found {
                Ok(stored) => {
                    // The list may still hold a commit when the one after it has been applied and has left.
                    let stored_ts = stored.as_ref().map_or(Timestamp::MIN, |version| version.commit_ts);
                    let Some((commit, newer)) = under_way.filter(|(_, newer)| newer.commit_ts > stored_ts)
                    else {
                        return Ok(stored);
                    };
                    if self.depend_on(&commit)? {
                        return Ok(Some(newer));
                    }
                    commit.wait().await;
                }
                Err(Obstacle::Commit(commit)) => {
                    commit.wait().await;
                }
                Err(Obstacle::Transaction(txn)) => {
                    // It left the lock table when it spilled the row: wait for its end.
                    let name = LockName::Transaction(txn);
                    let ended = self.shared.acquire(name, LockMode::Ended, self.owner, policy).await?;
                    if let Some(lock) = ended {
                        self.shared.locks.release(&lock, self.owner);
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Takes a lock for an owner; `None` when the owner has it already.
    pub(crate) async fn acquire(
        &self,
        name: LockName,
        mode: LockMode,
        owner: Owner,
        policy: WaitPolicy,
    ) -> Result<Option<HeldLock>> {
        let limits = match policy {
            WaitPolicy::Wait(limits) => Some(limits),
            WaitPolicy::NoWait | WaitPolicy::SkipLocked => None,
        };
        match self.locks.acquire(name, mode, owner, limits) {
            Request::Held => Ok(None),
            Request::Granted(lock) => Ok(Some(lock)),
            Request::Refused(name) => Err(KvError::LockNotAvailable(name.target())),
            Request::Waiting(waiting) => {
                // Boxed: whoever takes locks should not have room for a wait, as most find their locks free.
                Box::pin(self.wait(waiting, limits.and_then(|limits| limits.timeout))).await.map(Some)
            }
        }
    }

    /// Waits for a lock, not longer than a limit.
    pub(crate) async fn wait(&self, waiting: LockWait, limit: Option<Duration>) -> Result<HeldLock> {
        self.counters.lock_waits.fetch_add(1, Ordering::Relaxed);
        // It has its place in the queue: when the tenure ends from here on, it is sent away.
        self.check_running()?;
        let Some(limit) = limit else { return waiting.await };
        let target = waiting.target();
        match self.runtime.timeout(limit, waiting).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(KvError::LockTimeout(target)),
        }
    }
}
