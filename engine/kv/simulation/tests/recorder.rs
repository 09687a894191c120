//! What clients did and saw.
//!
//! Workloads use [`Txn`] in the place of a transaction of the store. It passes every call on, and notes what came of it
//! in the [`Run`], where `oracle.rs` and `histories.rs` find it when the run is over. Nothing is judged here but what
//! can be told at once.
//!
//! Every transaction that writes also writes a row of its own, its *marker*. When the reply to a commit was lost, the
//! marker tells after the next start whether it took effect, and, by looking into the past, when.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use shardforge_runtime::Runtime;
use shardforge_simulation::{
    HeldSnapshot, IsolationLevel, KvError, LockOutcome, LockStrength, Savepoint, ScanRequest, Snapshot,
    Store, Timestamp, Transaction, TxnOptions, Visibility, WaitLimits, WaitPolicy,
};

use crate::run::{Run, Workload};

/// A row and its value; no value: there is no such row.
pub type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing of it may ever be seen.
    Aborted,
    /// Its commit was under way when the client stopped listening.
    Unknown,
    Committed(Timestamp),
}

/// A read, and what of it came from the transaction's own writes.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Timestamp,
    pub range: Range<Bytes>,
    pub own: Rows,
    pub found: Vec<(Bytes, Bytes)>,
}

/// A lock that was held to the end, and the row that was found under it.
#[derive(Clone, Debug)]
pub struct Locked {
    pub key: Bytes,
    pub strength: LockStrength,
    pub found: Option<Bytes>,
    /// Whether what was found could be shown to somebody at once.
    pub settled: bool,
}

/// A micro-operation of a history, for the checker of histories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Append(String, u64),
    ReadList(String, Vec<u64>),
    Write(String, u64),
    Read(String, Option<u64>),
}

/// A transaction, as its client remembers it.
#[derive(Clone, Debug)]
pub struct TxnLog {
    pub workload: Workload,
    pub isolation: IsolationLevel,
    /// Starts of the node before it.
    pub epoch: u32,
    pub began: Timestamp,
    pub outcome: Outcome,
    /// When it was about to be prepared, if it was.
    pub prepared: Option<Timestamp>,
    pub seen: Vec<Seen>,
    pub locked: Vec<Locked>,
    pub writes: Rows,
    pub steps: Vec<Step>,
    /// When it began and ended, in the order of all such events.
    pub invoked: u64,
    pub completed: Option<u64>,
}

/// The row that a transaction leaves to be known by.
pub fn marker(txn: usize) -> Bytes {
    Bytes::from(format!("~/{txn:06}"))
}

/// The keys that begin with a prefix of ASCII.
pub fn prefixed(prefix: &str) -> Range<Bytes> {
    Bytes::from(prefix.to_owned())..Bytes::from(format!("{prefix}\x7f"))
}

/// One client's hands: the store, and the world to draw from.
#[derive(Clone)]
pub struct Client {
    pub run: Arc<Run>,
    pub store: Store,
    pub runtime: Runtime,
}

impl Client {
    /// A number from zero to before `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.runtime.next_u64() % end
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Waits up to a time of the simulation.
    pub async fn pause(&self, micros_max: u64) {
        let micros = self.below(micros_max.max(1));
        self.runtime.sleep(std::time::Duration::from_micros(micros)).await;
    }

    pub fn policy(&self) -> WaitPolicy {
        match self.below(100) {
            0..70 => WaitPolicy::Wait(WaitLimits::NONE),
            70..90 => WaitPolicy::Wait(WaitLimits {
                timeout: Some(std::time::Duration::from_micros(1 + self.below(20_000))),
                ..WaitLimits::NONE
            }),
            90..96 => WaitPolicy::NoWait,
            _ => WaitPolicy::SkipLocked,
        }
    }

    /// Begins a transaction of the run's isolation level.
    pub fn begin(&self, workload: Workload) -> Txn {
        let isolation = self.run.plan.levels[self.below(self.run.plan.levels.len() as u64) as usize];
        let inner = self.store.begin(TxnOptions { isolation, ..TxnOptions::default() });
        let id = self.run.began(TxnLog {
            workload,
            isolation,
            epoch: self.run.epoch(),
            began: self.store.now(),
            outcome: Outcome::Aborted,
            prepared: None,
            seen: Vec::new(),
            locked: Vec::new(),
            writes: Rows::new(),
            steps: Vec::new(),
            invoked: 0,
            completed: None,
        });
        let (run, client) = (Arc::clone(&self.run), self.clone());
        Txn { run, client, id, inner, isolation, snapshot: None, visible: Rows::new() }
    }
}

/// A transaction that notes what it does.
pub struct Txn {
    run: Arc<Run>,
    client: Client,
    id: usize,
    inner: Transaction,
    isolation: IsolationLevel,
    snapshot: Option<Snapshot>,
    /// Own writes of earlier statements.
    visible: Rows,
}

/// Where to go back to.
pub struct Mark {
    savepoint: Savepoint,
    writes: Rows,
    locks: usize,
    steps: usize,
}

/// A statement's view, kept for later.
pub struct Held {
    held: HeldSnapshot,
    own: Rows,
}

impl Txn {
    pub fn id(&self) -> usize {
        self.id
    }

    fn note<T>(&self, note: impl FnOnce(&mut TxnLog) -> T) -> T {
        self.run.note(self.id, note)
    }

    /// Begins a statement.
    pub fn statement(&mut self) {
        let floor = self.run.newest_acknowledged();
        let before = self.snapshot;
        let snapshot = self.inner.begin_statement();
        self.snapshot = Some(snapshot);
        self.visible = self.note(|log| log.writes.clone());
        match before {
            Some(before) if self.isolation != IsolationLevel::ReadCommitted => {
                self.run.check(before.read_ts == snapshot.read_ts, || {
                    format!("transaction {}: the snapshot changed from {before:?} to {snapshot:?}", self.id)
                });
            }
            // What is begun in a store that serves no more comes to nothing.
            _ => self.run.check(snapshot.read_ts >= floor || self.client.store.has_stopped(), || {
                format!(
                    "transaction {}: the snapshot {snapshot:?} lies below the acknowledged commit {floor}",
                    self.id
                )
            }),
        }
    }

    pub async fn get(&mut self, key: &str) -> Result<Option<Bytes>, KvError> {
        let found = self.inner.get(key.as_bytes(), Visibility::Statement).await?;
        let key = Bytes::from(key.to_owned());
        let end = Bytes::from([&key[..], &[0]].concat());
        let (at, own) = (self.inner.snapshot().read_ts, overlay(&self.visible, &(key.clone()..end.clone())));
        let rows = found.iter().map(|value| (key.clone(), value.clone())).collect();
        self.note(|log| log.seen.push(Seen { at, range: key.clone()..end, own, found: rows }));
        Ok(found)
    }

    /// All rows of a range, in the order of their keys.
    pub async fn scan(
        &mut self,
        client: &Client,
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Bytes)>, KvError> {
        let at = self.inner.snapshot().read_ts;
        let own = self.visible.clone();
        self.scan_with(client, range, Visibility::Statement, at, &own).await
    }

    /// As [`Txn::scan`], as an earlier statement saw it.
    pub async fn scan_at(
        &mut self,
        client: &Client,
        range: Range<Bytes>,
        held: &Held,
    ) -> Result<Vec<(Bytes, Bytes)>, KvError> {
        let snapshot = held.held.snapshot();
        self.scan_with(client, range, Visibility::At(snapshot), snapshot.read_ts, &held.own).await
    }

    async fn scan_with(
        &mut self,
        client: &Client,
        range: Range<Bytes>,
        visibility: Visibility,
        at: Timestamp,
        own: &Rows,
    ) -> Result<Vec<(Bytes, Bytes)>, KvError> {
        let mut request = ScanRequest { visibility, ..ScanRequest::new(range.clone()) };
        request.reverse = client.chance(30);
        request.limit_rows = if client.chance(50) { 0 } else { 1 + client.below(3) as usize };
        let mut rows = Vec::new();
        loop {
            let page = self.inner.scan(request.clone()).await?;
            rows.extend(page.rows);
            let Some(resume) = page.resume else { break };
            request = request.resumed(resume);
        }
        if request.reverse {
            rows.reverse();
        }
        let own = overlay(own, &range);
        self.note(|log| log.seen.push(Seen { at, range, own, found: rows.clone() }));
        Ok(rows)
    }

    /// Whether a range has no rows at this moment, whatever the snapshot.
    pub async fn is_empty_now(&mut self, range: Range<Bytes>) -> Result<bool, KvError> {
        let request = ScanRequest { visibility: Visibility::Latest, ..ScanRequest::new(range) };
        let page = self.inner.scan(request).await?;
        Ok(page.rows.is_empty() && page.resume.is_none())
    }

    /// Keeps what this statement sees.
    pub fn hold(&mut self) -> Held {
        Held { held: self.inner.hold_snapshot(), own: self.visible.clone() }
    }

    pub async fn lock(
        &mut self,
        client: &Client,
        key: &str,
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<Option<Bytes>, KvError> {
        // What is not settled may be overwritten, but not be shown: that is for writers.
        let settled = strength < LockStrength::NoKeyUpdate || client.chance(50);
        let outcome = if settled {
            self.inner.lock(key.as_bytes(), strength, policy).await?
        } else {
            self.inner.lock_for_write(key.as_bytes(), strength, policy).await?
        };
        Ok(self.locked(Bytes::from(key.to_owned()), strength, settled, outcome))
    }

    /// Locks several rows at once, to write over them.
    pub async fn lock_many(
        &mut self,
        keys: Vec<Bytes>,
        strength: LockStrength,
        policy: WaitPolicy,
    ) -> Result<(), KvError> {
        let outcomes = self.inner.lock_many_for_write(&keys, strength, policy).await?;
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            self.locked(key, strength, false, outcome);
        }
        Ok(())
    }

    fn locked(
        &mut self,
        key: Bytes,
        strength: LockStrength,
        settled: bool,
        outcome: LockOutcome,
    ) -> Option<Bytes> {
        let own = self.note(|log| log.writes.get(&key).cloned());
        if outcome.own || own.is_some() {
            self.run.check(outcome.own && own.as_ref() == Some(&outcome.current), || {
                format!("transaction {} locked {key:?}: wrote {own:?}, found {outcome:?}", self.id)
            });
        } else {
            let found = outcome.current.clone();
            self.note(|log| log.locked.push(Locked { key, strength, found, settled }));
        }
        outcome.current
    }

    pub fn put(&mut self, key: &str, value: impl Into<Bytes>) {
        self.write(key, Some(value.into()));
    }

    pub fn delete(&mut self, key: &str) {
        self.write(key, None);
    }

    fn write(&mut self, key: &str, value: Option<Bytes>) {
        let key = Bytes::from(key.to_owned());
        match &value {
            Some(value) => self.inner.put(key.clone(), value.clone()),
            None => self.inner.delete(key.clone()),
        }
        self.note(|log| log.writes.insert(key, value));
    }

    /// Locks objects as tables are locked.
    pub fn inner(&self) -> &Transaction {
        &self.inner
    }

    /// Notes a micro-operation for the history.
    pub fn step(&mut self, step: Step) {
        self.note(|log| log.steps.push(step));
    }

    pub fn savepoint(&mut self) -> Mark {
        let savepoint = self.inner.savepoint();
        self.note(|log| Mark {
            savepoint,
            writes: log.writes.clone(),
            locks: log.locked.len(),
            steps: log.steps.len(),
        })
    }

    pub fn rollback_to(&mut self, mark: &Mark) -> Result<(), KvError> {
        self.inner.rollback_to(&mark.savepoint)?;
        self.note(|log| {
            log.writes.clone_from(&mark.writes);
            log.locked.truncate(mark.locks);
            log.steps.truncate(mark.steps);
        });
        // What was undone is not seen by the rest of the statement either.
        self.statement();
        Ok(())
    }

    pub fn release(&mut self, mark: Mark) -> Result<(), KvError> {
        self.inner.release(mark.savepoint)
    }

    pub async fn rollback(self) -> Result<(), KvError> {
        self.inner.rollback().await
    }

    pub async fn commit(self) -> Result<(), KvError> {
        let writes = self.note(|log| !log.writes.is_empty());
        if writes {
            let (key, value) = (marker(self.id), Bytes::from_static(b"1"));
            self.inner.put(key.clone(), value.clone());
            self.note(|log| log.writes.insert(key, Some(value)));
        }
        if self.client.chance(self.run.plan.slowness) {
            self.client.pause(3_000_000).await;
        }
        self.run.committing(self.id);
        if self.run.may_prepare.load(Ordering::Relaxed) && self.client.chance(TWO_PHASES_PERCENT) {
            return self.end_in_two_phases().await;
        }
        match self.inner.commit().await {
            Ok(info) => {
                self.run.ended(self.id, Outcome::Committed(info.commit_ts));
                Ok(())
            }
            Err(error) if error.is_ambiguous() => Err(error),
            Err(error) => {
                self.run.ended(self.id, Outcome::Aborted);
                Err(error)
            }
        }
    }
}

impl Txn {
    /// Prepares the transaction, and ends it some time later, be the client there or not.
    async fn end_in_two_phases(self) -> Result<(), KvError> {
        let Self { run, client, id, inner, .. } = self;
        run.two_phases.fetch_add(1, Ordering::Relaxed);
        let runtime = client.runtime.clone();
        let work = async move {
            let ended = two_phases(&client, id, &inner).await;
            let outcome = *ended.as_ref().unwrap_or(&Outcome::Aborted);
            run.ended(id, outcome);
            run.two_phases.fetch_sub(1, Ordering::Relaxed);
            ended.map(drop)
        };
        runtime.spawn("two phases", work).await.unwrap_or(Err(KvError::ShuttingDown))
    }
}

async fn two_phases(client: &Client, id: usize, txn: &Transaction) -> Result<Outcome, KvError> {
    client.run.note(id, |log| log.prepared = Some(client.store.now()));
    let name = Bytes::from(id.to_string());
    txn.prepare(name.clone(), Bytes::new()).await?;
    client.pause(3_000).await;
    let claimed = client.store.claim_prepared(&name)?;
    // To its workload, one that is rolled back is a transaction that has to be run again: there is no reason to that for
    // one that only looks.
    let writes = client.run.note(id, |log| !log.writes.is_empty());
    if writes && client.chance(20) {
        claimed.rollback().await?;
        return Err(KvError::LocksLost);
    }
    Ok(Outcome::Committed(claimed.commit_with(|_| ()).await?.commit_ts))
}

/// Of the transactions that are committed where none is lost, how many are prepared first.
const TWO_PHASES_PERCENT: u64 = 15;

fn overlay(rows: &Rows, range: &Range<Bytes>) -> Rows {
    rows.range(range.clone()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// When the marker of a transaction appeared, if it did.
pub async fn resolve(store: &Store, txn: usize, began: Timestamp) -> Result<Outcome, KvError> {
    let reader = store.begin(TxnOptions::default());
    let sees = async |at: u64| {
        let snapshot = Snapshot { read_ts: Timestamp::from_u64(at), command: 0 };
        reader.get(&marker(txn), Visibility::At(snapshot)).await.map(|found| found.is_some())
    };
    let (mut before, mut at) = (began.as_u64(), store.now().as_u64());
    if !sees(at).await? {
        return Ok(Outcome::Aborted);
    }
    while at - before > 1 {
        let middle = before + (at - before) / 2;
        if sees(middle).await? {
            at = middle;
        } else {
            before = middle;
        }
    }
    Ok(Outcome::Committed(Timestamp::from_u64(at)))
}
