//! Transactions.
//!
//! ```text
//!   mod.rs            the transaction: statements, writes, savepoints, its end
//!   read.rs           get, multi_get, scan
//!   lock.rs           row and object locks
//!   commit.rs         one-round commit, of one shard or of several
//!   prepare.rs        transactions that wait for the word whether they are committed
//!   touched.rs        the shards that the transaction has locked or written in
//!   spill.rs          writes that outgrow memory
//!   serializable.rs   what a SERIALIZABLE transaction has read, and whether it still holds at commit
//! ```
//!
//! A transaction belongs to one session, which uses it one call at a time; all methods take `&self`, so that
//! it can be shared with the operators of a plan. Its state is behind a mutex of its own, never held across
//! an `.await`.
//!
//! Commands number what the transaction does: each statement is a command, and each savepoint starts one. Own
//! writes are seen, undone and ignored by command number.

mod commit;
mod lock;
mod prepare;
mod read;
mod serializable;
mod spill;
mod touched;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use shardforge_consensus::ShardId;
use smallvec::SmallVec;

use crate::buffer::WriteBuffer;
use crate::error::{KvError, Result};
use crate::gc::Abandoned;
use crate::limits::KEY_BYTES_MAX;
use crate::locks::{HeldLock, Owner};
use crate::moved::{Fate, OwnMoves};
use crate::mutations::{Mutation, is_on};
use crate::pending::PendingCommit;
use crate::snapshots::SnapshotSlot;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::{IsolationLevel, Snapshot, TxnId, TxnOptions, Visibility};
pub(crate) use commit::RECEIPT_FORMAT;
use serializable::ReadSpans;
use spill::Spilling;
use touched::TouchedShards;

const ENDED: KvError = KvError::InvalidState("the transaction has ended");

/// A transaction. Dropping it rolls it back.
pub struct Transaction {
    shared: Arc<Shared>,
    id: TxnId,
    options: TxnOptions,
    /// The isolation level, as a number: it can be changed before the first snapshot.
    isolation: AtomicU8,
    /// Whether writing is an error of the caller.
    read_only: AtomicBool,
    owner: Owner,
    core: Mutex<Core>,
}

/// Where [`Transaction::rollback_to`] goes back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint {
    id: u64,
}

/// A snapshot kept alive for a cursor or a suspended portal; see [`Transaction::hold_snapshot`].
pub struct HeldSnapshot {
    shared: Arc<Shared>,
    snapshot: Snapshot,
    slot: Option<SnapshotSlot>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Active,
    Ended,
}

struct SavepointMark {
    id: u64,
    /// The first command after it.
    command: u32,
    /// The first lock after it.
    lock_position: u64,
}

struct Core {
    phase: Phase,
    slot: Option<SnapshotSlot>,
    read_ts: Timestamp,
    command: u32,
    buffer: WriteBuffer,
    /// In the order they were taken.
    locks: Vec<HeldLock>,
    next_lock_position: u64,
    savepoints: Vec<SavepointMark>,
    next_savepoint: u64,
    /// Whether some of its writes are provisional versions in the store; the shard that has its record then.
    spilled: Option<ShardId>,
    /// Writes on their way there.
    spilling: Option<Spilling>,
    touched: TouchedShards,
    /// Commands before which a held snapshot looks.
    held_commands: Vec<u32>,
    reads: ReadSpans,
    /// Whether others may know of it: it has written, locked a row, or shown its id.
    assigned: bool,
    /// Whether it replaced or deleted rows that were there: then its commit leaves garbage.
    replaces: bool,
    /// Commits under way whose values were taken over under a lock.
    depends: SmallVec<[Arc<PendingCommit>; 2]>,
    /// Rows whose keys it has changed.
    moves: OwnMoves,
    /// A write that could not be.
    failed: Option<KvError>,
}

/// What a read sees: commits up to a timestamp, own writes of commands below a number.
#[derive(Clone, Copy, Debug)]
struct View {
    read_ts: Timestamp,
    command: u32,
    spilled: bool,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Transaction {
    pub(crate) fn new(shared: Arc<Shared>, options: TxnOptions) -> Self {
        let id = TxnId(shared.clock.now().as_u64());
        // Without a session of its own a transaction is one; ids lie far above sessions' numbers.
        let session = if options.session == 0 { id.0 } else { options.session };
        let core = Core {
            phase: Phase::Active,
            slot: None,
            read_ts: Timestamp::MIN,
            command: 0,
            buffer: WriteBuffer::default(),
            locks: Vec::new(),
            // 0 is the position of the lock that a spilled transaction holds on itself.
            next_lock_position: 1,
            savepoints: Vec::new(),
            next_savepoint: 0,
            spilled: None,
            spilling: None,
            touched: TouchedShards::default(),
            held_commands: Vec::new(),
            reads: ReadSpans::default(),
            assigned: false,
            replaces: false,
            depends: SmallVec::new(),
            moves: OwnMoves::default(),
            failed: None,
        };
        Self {
            shared,
            id,
            options,
            isolation: AtomicU8::new(options.isolation as u8),
            read_only: AtomicBool::new(options.read_only),
            owner: Owner { session, txn: Some(id) },
            core: Mutex::new(core),
        }
    }

    /// A transaction that sees the state as of a timestamp.
    pub(crate) fn at(shared: Arc<Shared>, options: TxnOptions, at: Timestamp) -> Result<Self> {
        // Commits yet to come lie above any timestamp taken before.
        if at > shared.clock.now() {
            return Err(KvError::SnapshotInFuture);
        }
        let txn = Self::new(shared, options);
        {
            let mut core = txn.core.lock();
            core.slot = Some(txn.shared.snapshots.share(txn.id.0 ^ txn.owner.session, at));
            core.read_ts = at;
        }
        // Registered first: either the collector has seen that, or what it is about to do is seen here.
        let oldest = Timestamp::from_u64(txn.shared.history_from.load(Ordering::SeqCst));
        if at < oldest { Err(KvError::SnapshotTooOld { oldest }) } else { Ok(txn) }
    }

    /// The transaction's id.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// What it was begun with.
    #[must_use]
    pub fn options(&self) -> TxnOptions {
        let read_only = self.read_only.load(Ordering::Relaxed);
        TxnOptions { isolation: self.isolation(), read_only, ..self.options }
    }

    /// The isolation level.
    #[must_use]
    pub fn isolation(&self) -> IsolationLevel {
        match self.isolation.load(Ordering::Relaxed) {
            0 => IsolationLevel::ReadCommitted,
            1 => IsolationLevel::RepeatableRead,
            _ => IsolationLevel::Serializable,
        }
    }

    /// Whether writing is an error of the caller.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Says whether writing is an error of the caller from now on.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Changes the isolation level of a transaction that has read and written nothing. Its locks stay.
    ///
    /// # Errors
    /// `InvalidState` when it has written something, or has ended.
    pub fn set_isolation(&self, isolation: IsolationLevel) -> Result<()> {
        self.start_anew(|_| None)?;
        self.isolation.store(isolation as u8, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a transaction that has read and written nothing read what a held snapshot sees, but for what that
    /// one's transaction has not committed. READ COMMITTED takes new snapshots all the same.
    ///
    /// # Errors
    /// `InvalidState` when it has written something, or has ended.
    pub fn adopt_snapshot(&self, held: &HeldSnapshot) -> Result<()> {
        self.start_anew(|shared| {
            let read_ts = held.snapshot.read_ts;
            Some((shared.snapshots.share(self.id.0, read_ts), read_ts))
        })
    }

    /// Gives up the snapshot, if there is one, for another.
    fn start_anew(&self, snapshot: impl FnOnce(&Shared) -> Option<(SnapshotSlot, Timestamp)>) -> Result<()> {
        let mut core = self.active()?;
        if core.spilled.is_some() || !core.buffer.is_empty() {
            return Err(KvError::InvalidState("the transaction has written something"));
        }
        if let Some(slot) = core.slot.take() {
            self.shared.snapshots.release(slot);
        }
        if let Some((slot, read_ts)) = snapshot(&self.shared) {
            core.slot = Some(slot);
            core.read_ts = read_ts;
        }
        Ok(())
    }

    /// Whether a savepoint is open.
    #[must_use]
    pub fn in_savepoint(&self) -> bool {
        !self.core.lock().savepoints.is_empty()
    }

    /// Whether it has written anything.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        let core = self.core.lock();
        core.spilled.is_some() || !core.buffer.is_empty()
    }

    /// Whether others may know its id: it has written something, locked a row, or was told to [`Self::assign`].
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        self.core.lock().assigned
    }

    /// Notes that its id has been shown to somebody.
    pub fn assign(&self) {
        self.core.lock().assigned = true;
    }

    /// The snapshot that it keeps from garbage collection, if it has taken one.
    #[must_use]
    pub fn read_timestamp(&self) -> Option<Timestamp> {
        let core = self.core.lock();
        core.slot.is_some().then_some(core.read_ts)
    }

    /// Begins a statement: a new command, and under READ COMMITTED a new snapshot. Returns what it sees.
    pub fn begin_statement(&self) -> Snapshot {
        let mut core = self.core.lock();
        core.command = core.command.saturating_add(1);
        match &core.slot {
            Some(slot) if self.isolation() == IsolationLevel::ReadCommitted => {
                core.read_ts = self.shared.snapshots.renew(slot, &self.shared.clock);
            }
            Some(_) => {}
            None => self.take_snapshot(&mut core),
        }
        Snapshot { read_ts: core.read_ts, command: core.command }
    }

    /// What the current statement sees.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut core = self.core.lock();
        if core.slot.is_none() {
            self.take_snapshot(&mut core);
        }
        Snapshot { read_ts: core.read_ts, command: core.command }
    }

    /// What is committed at this moment, and all that the transaction wrote: for reads that belong together and are
    /// done within [`crate::KvOptions::gc_ttl`], as nothing keeps this state.
    #[must_use]
    pub fn latest(&self) -> Snapshot {
        Snapshot { read_ts: self.shared.clock.now(), command: u32::MAX }
    }

    /// Keeps what the current statement sees readable after it, by [`Visibility::At`]: for cursors and
    /// suspended portals.
    #[must_use]
    pub fn hold_snapshot(&self) -> HeldSnapshot {
        let snapshot = self.snapshot();
        let mut core = self.core.lock();
        if core.held_commands.last() != Some(&snapshot.command) {
            core.held_commands.push(snapshot.command);
        }
        let slot = self.shared.snapshots.share(self.id.0, snapshot.read_ts);
        HeldSnapshot { shared: Arc::clone(&self.shared), snapshot, slot: Some(slot) }
    }

    /// Sets a row. The caller holds the lock that guards it: the row's own, or the one of the row that it is
    /// derived from. Buffered until commit.
    ///
    /// A row that is replaced without [`Transaction::lock`] leaves its old version to the next full collection
    /// ([`crate::Store::collect_garbage`]).
    ///
    /// A write that cannot be (the transaction is read only or has ended, the key is too long) makes all that
    /// follows fail, the commit above all, up to the next [`Transaction::rollback_to`].
    pub fn put(&self, key: Bytes, value: Bytes) {
        self.write(key, Some(value));
    }

    /// Deletes a row; otherwise as [`Transaction::put`].
    pub fn delete(&self, key: Bytes) {
        self.write(key, None);
    }

    /// Sets a row under another key than it has had: who waits for it can follow it there ([`Transaction::follow`]).
    /// Otherwise as [`Transaction::put`].
    pub fn move_row(&self, from: Bytes, to: Bytes, value: Bytes) {
        self.write(from.clone(), None);
        // First, as another row may have been there: that one is gone.
        self.write(to.clone(), Some(value));
        let mut core = self.core.lock();
        let command = core.command;
        core.moves.note(command, from, Fate::MovedTo(to));
    }

    fn write(&self, key: Bytes, value: Option<Bytes>) {
        let mut core = self.core.lock();
        if let Err(error) = self.check_write(&mut core, &key) {
            core.failed.get_or_insert(error);
            return;
        }
        core.assigned = true;
        core.replaces |= value.is_none();
        let Core { buffer, savepoints, held_commands, command, moves, .. } = &mut *core;
        let mut boundaries: SmallVec<[u32; 8]> = savepoints.iter().map(|mark| mark.command).collect();
        boundaries.extend_from_slice(held_commands);
        boundaries.push(*command);
        if let Some(key) = buffer.write(key, value, *command, &boundaries) {
            // Who waits for the row that was there does not find it again.
            moves.note(*command, key, Fate::Gone);
        }
    }

    fn check_write(&self, core: &mut Core, key: &[u8]) -> Result<()> {
        if core.phase == Phase::Ended {
            return Err(ENDED);
        }
        if self.read_only.load(Ordering::Relaxed) {
            return Err(KvError::InvalidState("a read-only transaction cannot write"));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(KvError::KeyTooLong(key.len()));
        }
        self.touch(core, key)
    }

    /// Marks a point to which [`Transaction::rollback_to`] can go back. Between statements: what a statement
    /// wrote before it is then seen by the rest of the statement.
    pub fn savepoint(&self) -> Savepoint {
        let mut core = self.core.lock();
        core.command = core.command.saturating_add(1);
        core.buffer.start_journal();
        core.next_savepoint += 1;
        let mark = SavepointMark {
            id: core.next_savepoint,
            command: core.command,
            lock_position: core.next_lock_position,
        };
        let savepoint = Savepoint { id: mark.id };
        core.savepoints.push(mark);
        savepoint
    }

    /// Undoes all writes since the savepoint, releases the locks taken since, and forgets later savepoints. The
    /// savepoint itself stays.
    ///
    /// # Errors
    /// When the savepoint is gone or the transaction has ended.
    pub fn rollback_to(&self, savepoint: &Savepoint) -> Result<()> {
        let mut core = self.core.lock();
        if core.phase == Phase::Ended {
            return Err(ENDED);
        }
        let index = core.savepoint_index(savepoint)?;
        core.failed = None;
        core.savepoints.truncate(index + 1);
        let SavepointMark { command, lock_position, .. } = core.savepoints[index];
        core.buffer.undo_from(command);
        core.moves.undo_from(command);
        if core.spilled.is_some() && !is_on(Mutation::SpillSurvivesRollback) {
            self.shared.spilled.ignore(self.id, command, core.command);
            if let Some(spilling) = &mut core.spilling {
                spilling.undo_from(command);
            }
        }
        core.command = core.command.saturating_add(1);
        // Writes from here on must be undone by the next rollback to the same savepoint.
        let kept = match core.locks.partition_point(|lock| lock.position < lock_position) {
            kept if is_on(Mutation::SavepointLosesLocks) && core.spilled.is_none() => kept.saturating_sub(1),
            kept => kept,
        };
        let mut released = core.locks.split_off(kept);
        if let Some(spilling) = &core.spilling {
            released.append(&mut spilling.locks_from(lock_position));
        }
        drop(core);
        self.release_locks(&released);
        Ok(())
    }

    /// Forgets the savepoint and all later ones; what was done since stays.
    ///
    /// # Errors
    /// When the savepoint is gone or the transaction has ended.
    pub fn release(&self, savepoint: Savepoint) -> Result<()> {
        let mut core = self.active()?;
        let index = core.savepoint_index(&savepoint)?;
        core.savepoints.truncate(index);
        if core.savepoints.is_empty() {
            core.buffer.end_journal();
        }
        Ok(())
    }

    /// Rolls the transaction back: its writes are gone, its locks released.
    ///
    /// # Errors
    /// None today; a transaction with parts on other nodes will have to tell them.
    #[allow(clippy::unused_async, reason = "parts of the transaction on other nodes will have to be told")]
    pub async fn rollback(&self) -> Result<()> {
        self.abandon();
        Ok(())
    }

    /// The transaction's state, if it has not ended.
    fn active(&self) -> Result<MutexGuard<'_, Core>> {
        let core = self.core.lock();
        match (core.phase, &core.failed) {
            (Phase::Active, None) => Ok(core),
            (Phase::Active, Some(error)) => Err(error.clone()),
            (Phase::Ended, _) => Err(ENDED),
        }
    }

    fn take_snapshot(&self, core: &mut Core) {
        let (slot, read_ts) =
            self.shared.snapshots.acquire(self.id.0 ^ self.owner.session, &self.shared.clock);
        core.slot = Some(slot);
        core.read_ts = read_ts;
    }

    /// Notes the shard of a row that is locked or written.
    fn touch(&self, core: &mut Core, key: &[u8]) -> Result<()> {
        core.touched.touch(key, || self.shared.node.shards())
    }

    /// What a read with this visibility sees.
    fn view(&self, core: &mut Core, visibility: Visibility) -> View {
        if core.slot.is_none() {
            self.take_snapshot(core);
        }
        let (read_ts, command) = match visibility {
            Visibility::Statement => (core.read_ts, core.command),
            Visibility::Current => (core.read_ts, u32::MAX),
            Visibility::Latest => (self.shared.clock.now(), u32::MAX),
            Visibility::At(snapshot) => (snapshot.read_ts, snapshot.command),
        };
        View { read_ts, command, spilled: core.spilled.is_some() }
    }

    fn release_locks(&self, locks: &[HeldLock]) {
        for lock in locks {
            self.shared.locks.release(lock, self.owner);
        }
    }

    /// Ends the transaction without a commit.
    fn abandon(&self) {
        let mut core = self.core.lock();
        if core.phase == Phase::Ended {
            return;
        }
        core.phase = Phase::Ended;
        let (slot, mut locks, spilled) = (core.slot.take(), std::mem::take(&mut core.locks), core.spilled);
        let spilling = core.spilling.take();
        core.buffer = WriteBuffer::default();
        drop(core);
        if let Some(spilling) = spilling {
            locks.append(&mut spilling.locks_from(0));
        }
        self.shared.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
        if let Some(anchor) = spilled {
            self.shared.spilled.remove(self.id);
            self.shared.garbage.abandoned(Abandoned { txn: self.id, anchor, shards: Vec::new() });
        }
        if let Some(slot) = slot {
            self.shared.snapshots.release(slot);
        }
        self.release_locks(&locks);
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Core {
    /// What commands below `command` last wrote to a row, of all that is still in memory; the inner `None` is a
    /// deletion.
    fn own_write(&self, key: &[u8], command: u32) -> Option<Option<Bytes>> {
        let buffered = self.buffer.get(key, command).cloned();
        buffered.or_else(|| self.spilling.as_ref()?.get(key, command))
    }

    /// The next lock in the order they are taken.
    fn push_lock(&mut self, mut lock: HeldLock) {
        lock.position = self.next_lock_position;
        self.next_lock_position += 1;
        self.locks.push(lock);
    }

    fn savepoint_index(&self, savepoint: &Savepoint) -> Result<usize> {
        let found = self.savepoints.iter().position(|mark| mark.id == savepoint.id);
        found.ok_or(KvError::InvalidState("the savepoint does not exist"))
    }
}

impl HeldSnapshot {
    /// What it sees; pass it as [`Visibility::At`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot
    }
}

impl std::fmt::Debug for HeldSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldSnapshot").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.snapshots.release(slot);
        }
    }
}
