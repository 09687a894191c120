//! The lock table.
//!
//! ```text
//!   partition (by hash of the name, a mutex each)
//!     name -> holders: [(owner, set of modes)]
//!             queue:   [request, request, ...]      first come, first served
//! ```
//!
//! A request is granted when its mode conflicts with no mode that others hold, and with none that a request
//! ahead of it in the queue asks for: so nobody is overtaken by who conflicts with them. Who already holds a
//! lock on the name goes to the front when they ask for more, since those behind wait for them anyway. The queue of a
//! row, as in PostgreSQL, is for those alone whom a holder keeps from it: a row that some share is shared with others
//! also while somebody waits to have it for himself.
//!
//! Hand-over is direct: who releases a lock grants it to the next in the queue, under the same mutex, and then
//! wakes them. A woken waiter owns the lock; nobody can slip in between.
//!
//! Locks of one session never conflict with each other, whichever of its transactions took them.
//!
//! A request may also ask for nothing but that those who hold the lock at this moment give it back
//! ([`LockTable::wait_for_holders`]): it stands in the queue, and in nobody's way.

use std::collections::VecDeque;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::oneshot;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use shardforge_runtime::{Instant, Runtime};
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::mode::LockMode;
use crate::error::{DeadlockReport, KvError, Result};
use crate::limits::{LOCK_PARTITION_ROOM_MIN, LOCK_TABLE_PARTITIONS};
use crate::mutations::{Mutation, is_on};
use crate::types::{LockInfo, LockTarget, ObjectId, TxnId, WaitLimits};

/// What a lock is on. Short keys are kept in place.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(crate) enum LockName {
    Row(SmallVec<[u8; 40]>),
    Object(ObjectId),
    Transaction(TxnId),
}

impl Clone for LockName {
    fn clone(&self) -> Self {
        match self {
            // At once: a clone of the list would go byte by byte.
            Self::Row(key) => Self::row(key),
            Self::Object(id) => Self::Object(*id),
            Self::Transaction(txn) => Self::Transaction(*txn),
        }
    }
}

impl LockName {
    pub(crate) fn row(key: &[u8]) -> Self {
        Self::Row(SmallVec::from_slice(key))
    }

    /// The name of what a target tells of.
    pub(crate) fn of(target: &LockTarget) -> Self {
        match target {
            LockTarget::Row(key) => Self::row(key),
            LockTarget::Object(id) => Self::Object(*id),
            LockTarget::Transaction(txn) => Self::Transaction(*txn),
        }
    }

    pub(crate) fn target(&self) -> LockTarget {
        match self {
            Self::Row(key) => LockTarget::Row(Bytes::copy_from_slice(key)),
            Self::Object(id) => LockTarget::Object(*id),
            Self::Transaction(txn) => LockTarget::Transaction(*txn),
        }
    }
}

/// Who holds or wants a lock: a transaction of a session, or (no transaction) the session itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) session: u64,
    pub(crate) txn: Option<TxnId>,
}

/// A lock that its owner has to release, once.
#[derive(Clone, Debug)]
pub(crate) struct HeldLock {
    hash: u64,
    pub(crate) name: LockName,
    /// Position among its transaction's locks; savepoints remember one.
    pub(crate) position: u64,
    pub(crate) modes: u8,
}

/// What became of a request.
pub(crate) enum Request {
    /// The owner had it already.
    Held,
    /// Granted now.
    Granted(HeldLock),
    /// In the queue.
    Waiting(LockWait),
    /// Somebody is in the way, and the caller did not want to wait.
    Refused(LockName),
}

struct Holder {
    owner: Owner,
    modes: u8,
}

struct Waiter {
    wait_id: u64,
    owner: Owner,
    mode: LockMode,
    since: WaitBegin,
    /// It was moved ahead once, to undo a deadlock.
    moved: bool,
    /// It wants these to give the lock back, in modes that conflict with its own, and nothing more.
    leaving: Option<Box<[Owner]>>,
    outcome: oneshot::Sender<Result<()>>,
}

impl Waiter {
    /// Whether what is held in these modes by this owner is in its way.
    fn minds(&self, owner: Owner, modes: u8) -> bool {
        let meets = self.leaving.as_deref().is_none_or(|leaving| leaving.contains(&owner));
        meets && owner.session != self.owner.session && self.mode.conflicts() & modes != 0
    }
}

struct Slot {
    hash: u64,
    name: LockName,
    /// Any mode of the slot's kind, to name modes by.
    kind: LockMode,
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

impl Slot {
    fn held_by_others(&self, owner: Owner) -> u8 {
        let others = self.holders.iter().filter(|holder| holder.owner.session != owner.session);
        others.fold(0, |set, holder| set | holder.modes)
    }

    fn held_by(&self, owner: Owner) -> u8 {
        self.holders.iter().find(|holder| holder.owner == owner).map_or(0, |holder| holder.modes)
    }

    fn wanted_by_others(&self, owner: Owner) -> u8 {
        let others = self.queue.iter().filter(|waiter| waiter.owner.session != owner.session);
        others.filter(|waiter| waiter.leaving.is_none()).fold(0, |set, waiter| set | waiter.mode.bit())
    }

    fn add(&mut self, owner: Owner, modes: u8) {
        match self.holders.iter_mut().find(|holder| holder.owner == owner) {
            Some(holder) => holder.modes |= modes,
            None => self.holders.push(Holder { owner, modes }),
        }
    }

    fn remove(&mut self, owner: Owner, modes: u8) {
        if let Some(index) = self.holders.iter().position(|holder| holder.owner == owner) {
            self.holders[index].modes &= !modes;
            if self.holders[index].modes == 0 {
                self.holders.swap_remove(index);
            }
        }
    }

    /// Grants what can be granted, front to back. A waiter that is gone releases its grant itself.
    fn grant(&mut self, granted: &mut SmallVec<[oneshot::Sender<Result<()>>; 2]>) {
        let mut index = 0;
        // Per session, since a session does not stand in its own way.
        let mut ahead: SmallVec<[(u64, u8); 4]> = SmallVec::new();
        while index < self.queue.len() {
            if self.queue[index].leaving.is_some() {
                let waiter = &self.queue[index];
                if self.holders.iter().any(|holder| waiter.minds(holder.owner, holder.modes)) {
                    index += 1;
                } else if let Some(waiter) = self.queue.remove(index) {
                    granted.push(waiter.outcome);
                }
                continue;
            }
            let Waiter { owner, mode, .. } = self.queue[index];
            let wanted = ahead.iter().filter(|(session, _)| *session != owner.session);
            let blocking = wanted.fold(self.held_by_others(owner), |set, (_, modes)| set | modes);
            if mode.conflicts() & blocking == 0
                && let Some(waiter) = self.queue.remove(index)
            {
                if !is_on(Mutation::LockLostOnTransfer) {
                    self.add(owner, mode.bit());
                }
                granted.push(waiter.outcome);
            } else {
                ahead.push((owner.session, mode.bit()));
                index += 1;
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }
}

/// When a wait began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitBegin {
    pub(crate) at: Instant,
    /// By the wall clock: microseconds since 1970.
    pub(crate) wall_micros: u64,
    /// When it would be searched for deadlocks, if that were not done all the time.
    pub(crate) deadline: Instant,
}

/// A wait, and one of those it waits for.
#[derive(Clone, Debug)]
pub(crate) struct WaitEdge {
    pub(crate) wait_id: u64,
    pub(crate) waiter: Owner,
    pub(crate) blocker: Owner,
    pub(crate) name: LockName,
    pub(crate) mode: LockMode,
    pub(crate) since: WaitBegin,
    /// The blocker does not hold the lock: it stands ahead in the queue.
    pub(crate) ahead: bool,
    /// The blocker is to give the lock back, and that is all.
    pub(crate) leaving: bool,
}

/// See the module's essay.
pub(crate) struct LockTable {
    /// For the time at which waits begin.
    runtime: Runtime,
    partitions: Box<[Mutex<HashTable<Slot>>]>,
    hasher: foldhash::fast::FixedState,
    next_wait: AtomicU64,
    waiting: AtomicUsize,
    /// Told when somebody begins to wait; the deadlock detector sleeps on it.
    pub(crate) wait_began: Notify,
}

impl LockTable {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            partitions: (0..LOCK_TABLE_PARTITIONS).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::FixedState::default(),
            next_wait: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            wait_began: Notify::new(),
        }
    }

    /// Takes a lock if nobody is in the way; else queues for it, if the caller wants to `wait`. Only the limits'
    /// part in deadlocks is looked at here.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        name: LockName,
        mode: LockMode,
        owner: Owner,
        wait: Option<WaitLimits>,
    ) -> Request {
        let hash = self.hash(&name);
        let mut partition = self.partition(hash).lock();
        let slot = match partition.entry(hash, |slot| slot.name == name, |slot| slot.hash) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut holders = SmallVec::new();
                holders.push(Holder { owner, modes: mode.bit() });
                entry.insert(Slot { hash, name: name.clone(), kind: mode, holders, queue: VecDeque::new() });
                return Request::Granted(HeldLock { hash, name, position: 0, modes: mode.bit() });
            }
        };
        let held = slot.held_by(owner);
        if held & mode.implied_by() != 0 {
            return Request::Held;
        }
        let upgrade = held != 0;
        let queues = !upgrade && !matches!(mode, LockMode::Row(_));
        let blocking = slot.held_by_others(owner) | if queues { slot.wanted_by_others(owner) } else { 0 };
        if mode.conflicts() & blocking == 0 {
            slot.add(owner, mode.bit());
            return Request::Granted(HeldLock { hash, name, position: 0, modes: mode.bit() });
        }
        let Some(limits) = wait else { return Request::Refused(name) };
        let wait_id = self.next_wait.fetch_add(1, Ordering::Relaxed);
        let (outcome, receiver) = oneshot::channel();
        let at = self.runtime.now();
        let wall_micros = self.runtime.wall_micros();
        let since = WaitBegin { at, wall_micros, deadline: at + limits.deadlock };
        let waiter = Waiter { wait_id, owner, mode, since, moved: false, leaving: None, outcome };
        if upgrade {
            slot.queue.push_front(waiter);
        } else {
            slot.queue.push_back(waiter);
        }
        drop(partition);
        self.one_more_waits();
        let lock = HeldLock { hash, name, position: 0, modes: mode.bit() };
        Request::Waiting(LockWait { table: Arc::clone(self), wait_id, owner, lock: Some(lock), receiver })
    }

    /// Waits for those who hold a lock in a mode that conflicts with `mode` to give it back, whoever takes it
    /// meanwhile, and takes nothing; `None` if nobody does.
    pub(crate) fn wait_for_holders(
        self: &Arc<Self>,
        name: LockName,
        mode: LockMode,
        owner: Owner,
        limits: WaitLimits,
    ) -> Option<LockWait> {
        let hash = self.hash(&name);
        let mut partition = self.partition(hash).lock();
        let slot = partition.find_mut(hash, |slot| slot.name == name)?;
        let in_the_way =
            |holder: &&Holder| holder.owner.session != owner.session && mode.conflicts() & holder.modes != 0;
        let leaving: Box<[Owner]> =
            slot.holders.iter().filter(in_the_way).map(|holder| holder.owner).collect();
        if leaving.is_empty() {
            return None;
        }
        let wait_id = self.next_wait.fetch_add(1, Ordering::Relaxed);
        let (outcome, receiver) = oneshot::channel();
        let at = self.runtime.now();
        let since = WaitBegin { at, wall_micros: self.runtime.wall_micros(), deadline: at + limits.deadlock };
        let leaving = Some(leaving);
        slot.queue.push_back(Waiter { wait_id, owner, mode, since, moved: false, leaving, outcome });
        drop(partition);
        self.one_more_waits();
        let lock = Some(HeldLock { hash, name, position: 0, modes: 0 });
        Some(LockWait { table: Arc::clone(self), wait_id, owner, lock, receiver })
    }

    fn one_more_waits(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.wait_began.notify_one();
    }

    /// Gives a lock back and hands it to those who wait for it.
    pub(crate) fn release(&self, lock: &HeldLock, owner: Owner) {
        let mut granted = SmallVec::new();
        let mut partition = self.partition(lock.hash).lock();
        let Ok(mut entry) = partition.find_entry(lock.hash, |slot| slot.name == lock.name) else { return };
        let slot = entry.get_mut();
        slot.remove(owner, lock.modes);
        slot.grant(&mut granted);
        if slot.is_unused() {
            entry.remove();
            give_back_room(&mut partition);
        }
        drop(partition);
        wake(granted);
    }

    /// Passes a lock on to another owner, who holds nothing that others want yet.
    pub(crate) fn hand_over(&self, lock: &HeldLock, from: Owner, to: Owner) {
        let mut partition = self.partition(lock.hash).lock();
        if let Ok(entry) = partition.find_entry(lock.hash, |slot| slot.name == lock.name) {
            let slot = entry.into_mut();
            slot.remove(from, lock.modes);
            slot.add(to, lock.modes);
        }
    }

    /// Who holds a lock.
    pub(crate) fn holders(&self, name: &LockName) -> Vec<Owner> {
        let hash = self.hash(name);
        let partition = self.partition(hash).lock();
        let slot = partition.find(hash, |slot| slot.name == *name);
        slot.map_or_else(Vec::new, |slot| slot.holders.iter().map(|holder| holder.owner).collect())
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Every wait with each of its blockers. The partitions are looked at one after the other: the picture
    /// may be of no single moment, so a circle in it counts only if the next picture shows it too.
    pub(crate) fn wait_edges(&self) -> Vec<WaitEdge> {
        let mut edges = Vec::new();
        for partition in &self.partitions {
            for slot in partition.lock().iter().filter(|slot| !slot.queue.is_empty()) {
                for (index, waiter) in slot.queue.iter().enumerate() {
                    let holders = slot.holders.iter().map(|holder| (holder.owner, holder.modes, false));
                    let leaves = waiter.leaving.is_some();
                    let ahead = slot.queue.iter().take(index);
                    let ahead = ahead.filter(|ahead| !leaves && ahead.leaving.is_none());
                    let ahead = ahead.map(|ahead| (ahead.owner, ahead.mode.bit(), true));
                    for (blocker, modes, ahead) in holders.chain(ahead) {
                        if waiter.minds(blocker, modes) {
                            edges.push(WaitEdge {
                                wait_id: waiter.wait_id,
                                waiter: waiter.owner,
                                blocker,
                                name: slot.name.clone(),
                                mode: waiter.mode,
                                since: waiter.since,
                                ahead,
                                leaving: leaves,
                            });
                        }
                    }
                }
            }
        }
        edges
    }

    /// Moves a request ahead of those that stand in its way by their place in the queue alone; false when there are
    /// none any more, or when it was moved before: two requests must not overtake each other for ever.
    pub(crate) fn move_ahead(&self, edge: &WaitEdge) -> bool {
        let mut granted = SmallVec::new();
        let hash = self.hash(&edge.name);
        let mut partition = self.partition(hash).lock();
        let Ok(entry) = partition.find_entry(hash, |slot| slot.name == edge.name) else { return false };
        let slot = entry.into_mut();
        let place = |found: &dyn Fn(&Waiter) -> bool| slot.queue.iter().position(found);
        let (Some(from), Some(to)) =
            (place(&|waiter| waiter.wait_id == edge.wait_id), place(&|waiter| waiter.owner == edge.blocker))
        else {
            return false;
        };
        if from < to || slot.queue[from].moved {
            return false;
        }
        let Some(mut waiter) = slot.queue.remove(from) else { return false };
        waiter.moved = true;
        slot.queue.insert(to, waiter);
        slot.grant(&mut granted);
        drop(partition);
        wake(granted);
        true
    }

    /// Ends a wait with a deadlock; false when it has ended meanwhile.
    pub(crate) fn abort_wait(&self, edge: &WaitEdge, report: Arc<DeadlockReport>) -> bool {
        match self.take_waiter(self.hash(&edge.name), &edge.name, edge.wait_id) {
            Some(waiter) => waiter.outcome.send(Err(KvError::Deadlock(report))).is_ok(),
            None => false,
        }
    }

    /// Sends everybody away who waits.
    pub(crate) fn abort_all(&self) {
        for partition in &self.partitions {
            let mut partition = partition.lock();
            // A request without its sender is answered with `ShuttingDown`; nobody is granted anything any more.
            partition.iter_mut().for_each(|slot| slot.queue.clear());
            partition.retain(|slot| !slot.is_unused());
        }
    }

    /// The locks on what `wanted` picks, held and waited for.
    pub(crate) fn list(&self, wanted: impl Fn(&LockName) -> bool) -> Vec<LockInfo> {
        let mut all = Vec::new();
        for partition in &self.partitions {
            for slot in partition.lock().iter().filter(|slot| wanted(&slot.name)) {
                let mut push = |owner: Owner, mode, granted| {
                    let target = slot.name.target();
                    all.push(LockInfo {
                        session: owner.session,
                        transaction: owner.txn,
                        target,
                        mode,
                        granted,
                    });
                };
                for holder in &slot.holders {
                    slot.kind
                        .names_of(holder.modes)
                        .into_iter()
                        .for_each(|mode| push(holder.owner, mode, true));
                }
                let wanting = slot.queue.iter().filter(|waiter| waiter.leaving.is_none());
                wanting.for_each(|waiter| push(waiter.owner, waiter.mode.name(), false));
            }
        }
        all
    }

    fn take_waiter(&self, hash: u64, name: &LockName, wait_id: u64) -> Option<Waiter> {
        let mut granted = SmallVec::new();
        let mut partition = self.partition(hash).lock();
        let mut entry = partition.find_entry(hash, |slot| slot.name == *name).ok()?;
        let slot = entry.get_mut();
        let index = slot.queue.iter().position(|waiter| waiter.wait_id == wait_id)?;
        let waiter = slot.queue.remove(index);
        // Those behind may have waited for this request only.
        slot.grant(&mut granted);
        if slot.is_unused() {
            entry.remove();
        }
        drop(partition);
        wake(granted);
        waiter
    }

    /// Rows whose keys differ in the last byte alone lie side by side: who locks many takes them mostly in the order of
    /// their keys, and would find each in a part of memory of its own.
    fn hash(&self, name: &LockName) -> u64 {
        let LockName::Row(key) = name else { return self.hasher.hash_one(name) };
        let Some((last, rest)) = key.split_last() else { return self.hasher.hash_one(name) };
        // A table finds a slot by the lowest bits, and tells neighbours apart by the uppermost seven.
        let last = u64::from(*last);
        self.hasher.hash_one(rest) ^ last ^ (last << 57)
    }

    fn partition(&self, hash: u64) -> &Mutex<HashTable<Slot>> {
        // The table within uses the lower and the uppermost bits.
        &self.partitions[(hash >> 32) as usize % self.partitions.len()]
    }
}

fn wake(granted: SmallVec<[oneshot::Sender<Result<()>>; 2]>) {
    for outcome in granted {
        // When the waiter has gone, its `LockWait` gives the lock back.
        let _gone = outcome.send(Ok(()));
    }
}

/// A partition that was large once would keep its memory, and the few locks in it would lie far apart.
fn give_back_room(partition: &mut HashTable<Slot>) {
    let (locks, room) = (partition.len(), partition.capacity());
    if room > LOCK_PARTITION_ROOM_MIN && locks < room / 8 {
        partition.shrink_to(locks * 2, |slot| slot.hash);
    }
}

/// A place in a queue: a future of the lock. Dropping it leaves the queue, or gives back what was granted.
pub(crate) struct LockWait {
    table: Arc<LockTable>,
    wait_id: u64,
    owner: Owner,
    /// Taken when the wait is over and the outcome has been handed out.
    lock: Option<HeldLock>,
    receiver: oneshot::Receiver<Result<()>>,
}

impl LockWait {
    /// What is waited for.
    pub(crate) fn target(&self) -> LockTarget {
        self.lock.as_ref().map_or(LockTarget::Transaction(TxnId(0)), |lock| lock.name.target())
    }
}

impl Future for LockWait {
    type Output = Result<HeldLock>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match Pin::new(&mut self.receiver).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(outcome)) => outcome,
            Poll::Ready(Err(oneshot::Canceled)) => Err(KvError::ShuttingDown),
        };
        let lock = self.lock.take();
        self.table.waiting.fetch_sub(1, Ordering::SeqCst);
        Poll::Ready(outcome.and_then(|()| lock.ok_or(KvError::InvalidState("a lock was waited for twice"))))
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.table.waiting.fetch_sub(1, Ordering::SeqCst);
        let left = self.table.take_waiter(lock.hash, &lock.name, self.wait_id).is_some();
        if !left && matches!(self.receiver.try_recv(), Ok(Some(Ok(())))) {
            self.table.release(&lock, self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use shardforge_runtime::Simulation;

    use super::*;
    use crate::types::{LockStrength, ObjectLockMode};

    fn table() -> Arc<LockTable> {
        Arc::new(LockTable::new(Simulation::new(1).runtime()))
    }

    fn owner(session: u64) -> Owner {
        Owner { session, txn: Some(TxnId(session)) }
    }

    fn row(table: &Arc<LockTable>, session: u64, strength: LockStrength) -> Request {
        table.acquire(
            LockName::row(b"k"),
            LockMode::Row(strength),
            owner(session),
            Some(WaitLimits::default()),
        )
    }

    const TABLE: LockName = LockName::Object(ObjectId { class: 1, kind: 0, id: 7 });

    fn object(table: &Arc<LockTable>, session: u64, mode: ObjectLockMode) -> Request {
        table.acquire(TABLE, LockMode::Object(mode), owner(session), Some(WaitLimits::default()))
    }

    fn granted(request: Request) -> HeldLock {
        match request {
            Request::Granted(lock) => lock,
            _ => panic!("not granted"),
        }
    }

    fn waiting(request: Request) -> LockWait {
        match request {
            Request::Waiting(wait) => wait,
            _ => panic!("not waiting"),
        }
    }

    #[test]
    fn who_waits_for_holders_is_in_nobodys_way() {
        let table = table();
        let name = LockName::Object(ObjectId { class: 1, kind: 0, id: 1 });
        let writes = |session| {
            let mode = LockMode::Object(ObjectLockMode::RowExclusive);
            table.acquire(name.clone(), mode, owner(session), None)
        };
        let wait = |mode| {
            table.wait_for_holders(name.clone(), LockMode::Object(mode), owner(9), WaitLimits::default())
        };
        assert!(wait(ObjectLockMode::Share).is_none());
        let [first, second] = [1, 2].map(|session| granted(writes(session)));
        assert!(wait(ObjectLockMode::AccessShare).is_none());
        let mut waiting = wait(ObjectLockMode::Share).expect("two hold it");
        let third = granted(writes(3));
        let blockers = || table.wait_edges().iter().map(|edge| edge.blocker.session).collect::<Vec<_>>();
        assert_eq!(blockers(), [1, 2]);
        table.release(&first, owner(1));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(blockers(), [2]);
        // Taken anew is not what was waited for, but the owner is the same: it waits for that, too.
        let first = granted(writes(1));
        table.release(&second, owner(2));
        assert!((&mut waiting).now_or_never().is_none());
        table.release(&first, owner(1));
        assert!(waiting.now_or_never().expect("all have left").is_ok());
        table.release(&third, owner(3));
        assert_eq!(table.waiting(), 0);
    }

    #[test]
    fn a_lock_passes_from_hand_to_hand_in_order() {
        let table = table();
        let first = granted(row(&table, 1, LockStrength::Update));
        assert!(matches!(row(&table, 1, LockStrength::KeyShare), Request::Held));
        let mut second = waiting(row(&table, 2, LockStrength::Update));
        let mut third = waiting(row(&table, 3, LockStrength::KeyShare));
        assert!((&mut second).now_or_never().is_none());
        table.release(&first, owner(1));
        let second = (&mut second).now_or_never().unwrap().unwrap();
        assert!((&mut third).now_or_never().is_none());
        table.release(&second, owner(2));
        let third = (&mut third).now_or_never().unwrap().unwrap();
        table.release(&third, owner(3));
        assert!(table.list(|_| true).is_empty() && table.waiting() == 0);
    }

    #[test]
    fn nobody_overtakes_a_conflicting_request() {
        let table = table();
        let reader = granted(object(&table, 1, ObjectLockMode::Share));
        let mut writer = waiting(object(&table, 2, ObjectLockMode::AccessExclusive));
        let late = waiting(object(&table, 3, ObjectLockMode::Share));
        // The queue's members stand in the way of newcomers, whether these want to wait or not.
        let hasty = table.acquire(TABLE, LockMode::Object(ObjectLockMode::Share), owner(4), None);
        assert!(matches!(hasty, Request::Refused(_)));
        table.release(&reader, owner(1));
        let writer = (&mut writer).now_or_never().unwrap().unwrap();
        drop(late);
        table.release(&writer, owner(2));
        assert!(table.list(|_| true).is_empty() && table.waiting() == 0);
    }

    #[test]
    fn a_row_is_shared_past_those_who_want_it_alone() {
        let table = table();
        let first = granted(row(&table, 1, LockStrength::Share));
        let mut writer = waiting(row(&table, 2, LockStrength::Update));
        let second = granted(row(&table, 3, LockStrength::KeyShare));
        table.release(&first, owner(1));
        assert!((&mut writer).now_or_never().is_none());
        table.release(&second, owner(3));
        let writer = (&mut writer).now_or_never().unwrap().unwrap();
        assert!(matches!(row(&table, 3, LockStrength::KeyShare), Request::Waiting(_)));
        table.release(&writer, owner(2));
    }

    #[test]
    fn a_wait_tells_who_is_in_its_way() {
        let table = table();
        let reader = granted(object(&table, 1, ObjectLockMode::Share));
        let writer = waiting(object(&table, 2, ObjectLockMode::AccessExclusive));
        let late = waiting(object(&table, 3, ObjectLockMode::Share));
        let waits = super::super::waits(table.wait_edges());
        let found: Vec<_> = waits
            .iter()
            .map(|wait| {
                let blockers = wait.blockers.iter().map(|blocker| (blocker.session, blocker.ahead));
                (wait.session, wait.mode, blockers.collect::<Vec<_>>())
            })
            .collect();
        // Shared locks do not conflict: the last one waits for the one ahead of it alone.
        assert_eq!(found, [(2, "AccessExclusiveLock", vec![(1, false)]), (3, "ShareLock", vec![(2, true)])]);
        drop((late, writer));
        table.release(&reader, owner(1));
        assert!(table.wait_edges().is_empty());
    }

    #[test]
    fn a_request_may_be_moved_ahead_once() {
        let table = table();
        let held = granted(object(&table, 1, ObjectLockMode::Share));
        let mut writer = waiting(object(&table, 2, ObjectLockMode::AccessExclusive));
        let mut reader = waiting(object(&table, 3, ObjectLockMode::Share));
        let edges = table.wait_edges();
        let behind = edges.iter().find(|edge| edge.ahead).unwrap();
        assert!(table.move_ahead(behind));
        // It waited for its place alone.
        let reader = (&mut reader).now_or_never().unwrap().unwrap();
        assert!(!table.move_ahead(behind));
        table.release(&held, owner(1));
        table.release(&reader, owner(3));
        let writer = (&mut writer).now_or_never().unwrap().unwrap();
        table.release(&writer, owner(2));
        assert!(table.list(|_| true).is_empty() && table.waiting() == 0);
    }

    #[test]
    fn an_upgrade_goes_first_and_a_dropped_grant_goes_on() {
        let table = table();
        let weak = granted(row(&table, 1, LockStrength::KeyShare));
        let other = granted(row(&table, 2, LockStrength::KeyShare));
        let late = waiting(row(&table, 3, LockStrength::Update));
        let mut upgrade = waiting(row(&table, 1, LockStrength::Update));
        table.release(&other, owner(2));
        let strong = (&mut upgrade).now_or_never().unwrap().unwrap();
        table.release(&weak, owner(1));
        assert_eq!(table.list(|_| true).len(), 2);
        table.release(&strong, owner(1));
        // Granted by now, but given up before it was looked at.
        drop(late);
        assert!(table.list(|_| true).is_empty() && table.waiting() == 0);
    }

    #[test]
    fn one_session_is_never_in_its_own_way() {
        let table = table();
        let name = TABLE;
        let session = Owner { session: 1, txn: None };
        let exclusive = LockMode::Object(ObjectLockMode::Exclusive);
        let held = granted(table.acquire(name.clone(), exclusive, session, None));
        let inner = granted(table.acquire(name.clone(), exclusive, owner(1), None));
        assert!(matches!(table.acquire(name.clone(), exclusive, owner(2), None), Request::Refused(_)));
        table.release(&inner, owner(1));
        assert!(matches!(table.acquire(name, exclusive, owner(2), None), Request::Refused(_)));
        table.release(&held, session);
        assert!(table.list(|_| true).is_empty());
    }
}
