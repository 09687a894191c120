//! One seed, from its plan to its report.
//!
//! ```text
//!   seed -> Plan: levels, clients, options of the store, how slow the disk is, faults
//!
//!   epoch 0   open, fill, clients ... fault       each epoch is a world of its own: what was running when it
//!   epoch 1   open, resolve, audit, clients ...   ends stops where it is, as in a power failure
//!   ...
//!   at the end: oracle.rs, histories.rs, the workloads' own checks
//! ```
//!
//! All clients of an epoch are tasks of one thread, and every choice, theirs included, follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{Either, join_all, select};
use parking_lot::Mutex;
use shardforge_consensus::{MemoryStorage, Node, Storage};
use shardforge_runtime::{Runtime, Simulation};
use shardforge_simulation::mutations::{Mutation, switch_on};
use shardforge_simulation::{IsolationLevel, KvError, KvOptions, Store, StoreStats, Timestamp};

use crate::recorder::{Client, Outcome, TxnLog, resolve};
use crate::{histories, oracle, workloads};

/// What a transaction is about; see `workloads.rs`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Workload {
    Lists,
    Registers,
    Predicates,
    Bank,
    Monotonic,
    LongFork,
    UniqueKeys,
    Index,
    Families,
    Turnstile,
    Audit,
}

/// How an epoch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The clients finish, and the node is shut down in order.
    None,
    /// The power fails at some moment.
    PowerFailure,
    /// A sync of the log fails at some moment, and the node stops; what it was to sync may survive or not.
    FailedSync { kept: bool },
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    pub levels: Vec<IsolationLevel>,
    pub clients: u64,
    /// Transactions of all clients, over all epochs.
    pub transactions: u64,
    pub options: KvOptions,
    pub sync_time_max: Duration,
    pub faults: Vec<(Fault, Duration)>,
    /// Chance in percent that the caretaker splits a shard when it wakes.
    pub splits: u64,
    /// Chance in percent that a client goes away in the middle of a transaction.
    pub impatience: u64,
    /// Chance in percent that a client takes its time before it commits, so that much may happen to its node.
    pub slowness: u64,
    /// How long a client pauses at most between two transactions.
    pub pause_micros_max: u64,
    /// How many nodes there are.
    pub nodes: u64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        // A world that does nothing but draw.
        let dice = Simulation::new(seed ^ 0x5eed_0000_0000_0000).runtime();
        let below = |end: u64| dice.next_u64() % end;
        let all =
            [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable];
        let levels = match below(4) {
            3 => all.to_vec(),
            one => vec![all[one as usize]],
        };
        let options = KvOptions {
            gc_ttl: Duration::from_micros([0, 0, 500, 20_000][below(4) as usize]),
            gc_interval: Duration::from_micros(200 + below(4_000)),
            transaction_memory_bytes_max: [64 << 20, 64 << 20, 600, 150][below(4) as usize],
            early_lock_release: below(4) > 0,
            ..KvOptions::default()
        };
        let sync_time_max = Duration::from_micros([0, 50, 1_000, 8_000][below(4) as usize]);
        let mut faults = Vec::new();
        for _ in 0..below(4) {
            let fault = match below(5) {
                0 => Fault::FailedSync { kept: below(2) == 0 },
                1 => Fault::None,
                _ => Fault::PowerFailure,
            };
            faults.push((fault, Duration::from_micros(500 + below(60_000))));
        }
        faults.push((Fault::None, Duration::MAX));
        Self {
            levels,
            clients: 3 + below(8),
            transactions: 300,
            options,
            sync_time_max,
            faults,
            splits: [0, 0, 20, 60][below(4) as usize],
            impatience: [0, 0, 3, 10][below(4) as usize],
            slowness: 0,
            pause_micros_max: 1_000,
            nodes: 1,
        }
    }

    /// What a seed decides for a cluster of so many nodes; see `cluster.rs`. The faults are drawn as it goes on.
    pub fn of_cluster(seed: u64, nodes: u64) -> Self {
        Self {
            faults: Vec::new(),
            transactions: 400,
            slowness: 15,
            pause_micros_max: 2_000_000,
            nodes,
            ..Self::new(seed)
        }
    }

    /// The weakest level among those of the plan.
    pub fn weakest(&self) -> IsolationLevel {
        self.levels[0]
    }
}

/// What workloads check beside the oracle.
#[derive(Default)]
pub struct Notes {
    /// The highest value of the counter whose commit was acknowledged.
    pub counter: u64,
    /// Per group of the long fork: which of its keys each reader saw.
    pub forks: BTreeMap<String, BTreeSet<u8>>,
    /// Who inserted a unique key.
    pub inserted: BTreeMap<String, Vec<usize>>,
    /// Values that the sequence gave out.
    pub sequence: BTreeSet<i64>,
    /// Who is behind which turnstile: how many, and whether alone.
    pub inside: BTreeMap<u64, (u32, bool)>,
}

/// A run under way: what all its clients share.
pub struct Run {
    pub plan: Plan,
    log: Mutex<Vec<TxnLog>>,
    pub notes: Mutex<Notes>,
    violations: Mutex<Vec<String>>,
    epoch: AtomicU64,
    events: AtomicU64,
    left: AtomicU64,
    values: AtomicU64,
    acknowledged: AtomicU64,
    /// Transactions that are being prepared, or are prepared.
    pub two_phases: AtomicU64,
    /// Whether transactions may be prepared: what is found prepared after a power failure, the crate's own tests look at.
    pub may_prepare: AtomicBool,
}

impl Run {
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(plan.transactions),
            plan,
            log: Mutex::default(),
            notes: Mutex::default(),
            violations: Mutex::default(),
            epoch: AtomicU64::new(0),
            events: AtomicU64::new(0),
            values: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            two_phases: AtomicU64::new(0),
            may_prepare: AtomicBool::new(false),
        })
    }

    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed) as u32
    }

    /// A number that no other call returns.
    pub fn fresh(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How far the run has come: keys are named after it, so that histories of one key stay short.
    pub fn round(&self) -> u64 {
        (self.plan.transactions - self.left.load(Ordering::Relaxed)) / 50
    }

    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Whether all transactions have been begun.
    pub fn is_done(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    pub fn began(&self, mut txn: TxnLog) -> usize {
        txn.invoked = self.event();
        let mut log = self.log.lock();
        log.push(txn);
        log.len() - 1
    }

    pub fn note<T>(&self, txn: usize, note: impl FnOnce(&mut TxnLog) -> T) -> T {
        note(&mut self.log.lock()[txn])
    }

    pub fn committing(&self, txn: usize) {
        self.log.lock()[txn].outcome = Outcome::Unknown;
    }

    pub fn ended(&self, txn: usize, outcome: Outcome) {
        let event = self.event();
        let mut log = self.log.lock();
        if let Outcome::Committed(ts) = outcome
            && !log[txn].writes.is_empty()
        {
            self.acknowledged.fetch_max(ts.as_u64(), Ordering::Relaxed);
        }
        (log[txn].outcome, log[txn].completed) = (outcome, Some(event));
    }

    pub fn newest_acknowledged(&self) -> Timestamp {
        Timestamp::from_u64(self.acknowledged.load(Ordering::Relaxed))
    }

    pub fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.lock().push(what());
        }
    }
}

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    /// Stands for every step of the run: two runs of a seed have the same one.
    pub trace: u64,
    pub violations: Vec<String>,
    pub committed: usize,
    pub aborted: usize,
    pub epochs: usize,
    pub stats: StoreStats,
}

/// Runs a seed, with a bug switched on or without.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Report {
    switch_on(mutation);
    let run = Run::new(Plan::new(seed));
    let storage = MemoryStorage::new();
    let (mut trace, mut stats) = (0_u64, StoreStats::default());
    for (epoch, (fault, after)) in run.plan.faults.clone().into_iter().enumerate() {
        run.epoch.store(epoch as u64, Ordering::Relaxed);
        let simulation = Simulation::new(seed.wrapping_mul(64).wrapping_add(epoch as u64));
        simulation.slow_the_disk(run.plan.sync_time_max);
        let world = simulation.runtime();
        let main = run_epoch(Arc::clone(&run), storage.clone(), world, fault, after);
        let counted = simulation.block_on(main);
        trace = trace.rotate_left(7) ^ simulation.trace();
        stats = add(stats, counted);
        drop(simulation);
        storage.crash();
    }
    switch_on(None);
    run.report(trace, run.plan.faults.len(), stats)
}

impl Run {
    /// Judges what was noted, when all is over.
    pub fn report(&self, trace: u64, epochs: usize, stats: StoreStats) -> Report {
        let log = self.log.lock();
        let mut violations = std::mem::take(&mut *self.violations.lock());
        violations.extend(oracle::violations(&log));
        violations.extend(histories::violations(&log, self.plan.weakest()));
        violations.extend(workloads::violations(self, &log));
        let committed = log.iter().filter(|txn| matches!(txn.outcome, Outcome::Committed(_))).count();
        Report { trace, violations, committed, aborted: log.len() - committed, epochs, stats }
    }
}

pub fn add(one: StoreStats, other: StoreStats) -> StoreStats {
    StoreStats {
        commits: one.commits + other.commits,
        rollbacks: one.rollbacks + other.rollbacks,
        lock_waits: one.lock_waits + other.lock_waits,
        deadlocks: one.deadlocks + other.deadlocks,
        spills: one.spills + other.spills,
        versions_collected: one.versions_collected + other.versions_collected,
        waiting_now: 0,
    }
}

/// Nothing may take longer than this; what does is waiting for something that will not come.
const PATIENCE: Duration = Duration::from_secs(120);

async fn run_epoch(
    run: Arc<Run>,
    storage: MemoryStorage,
    runtime: Runtime,
    fault: Fault,
    after: Duration,
) -> StoreStats {
    let mut options = Store::node_options(Storage::Memory(storage.clone()));
    options.row_cache_bytes = 1 << 20;
    let node = Node::open(options, runtime.clone()).await.expect("the node opens");
    let store =
        Store::open(Arc::clone(&node), runtime.clone(), run.plan.options.clone()).expect("the store opens");
    let client = Client { run: Arc::clone(&run), store: store.clone(), runtime: runtime.clone() };
    if run.epoch() == 0 {
        workloads::fill(&client).await.expect("the first rows are written");
    } else {
        resolve_unknown(&client).await;
    }
    run.may_prepare.store(fault == Fault::None, Ordering::Relaxed);
    audit(&client).await;
    let clients = (0..run.plan.clients).map(|_| {
        let client = client.clone();
        runtime.spawn("client", async move { client.work().await })
    });
    let clients = join_all(clients.collect::<Vec<_>>());
    let caretaker = runtime.spawn("caretaker", care(client.clone(), Arc::clone(&node)));
    let world = runtime.clone();
    let patience = async move {
        match fault {
            Fault::None => world.sleep(PATIENCE).await,
            Fault::PowerFailure => world.sleep(after).await,
            Fault::FailedSync { kept } => {
                world.sleep(after).await;
                storage.fail_next_sync(kept);
                world.sleep(PATIENCE).await;
            }
        }
    };
    let finished = match select(clients, std::pin::pin!(patience)).await {
        Either::Left((ends, _)) => {
            run.check(ends.iter().all(Result::is_ok), || "a client was cut off".to_owned());
            true
        }
        Either::Right(_) => false,
    };
    caretaker.abort();
    if finished && node.failure().is_none() {
        while run.two_phases.load(Ordering::Relaxed) > 0 {
            runtime.sleep(Duration::from_millis(1)).await;
        }
        resolve_unknown(&client).await;
        audit(&client).await;
        run.check(store.locks().is_empty(), || format!("locks are left: {:?}", store.locks()));
        if fault == Fault::None {
            store.close().await.expect("the store closes");
            node.shutdown().await.expect("the node shuts down");
        }
    } else if !finished && fault != Fault::PowerFailure {
        let waiting = store.locks();
        run.check(false, || format!("clients are stuck; locks: {waiting:?}"));
    }
    store.stats()
}

/// Learns what became of commits whose clients did not hear of it.
pub async fn resolve_unknown(client: &Client) {
    let unknown: Vec<_> = {
        let log = client.run.log.lock();
        let unknown = log.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Unknown);
        unknown.map(|(id, txn)| (id, txn.began, txn.writes.is_empty())).collect()
    };
    for (id, began, empty) in unknown {
        let outcome = if empty {
            Outcome::Aborted
        } else {
            // A commit may still be on its way: it ends before a snapshot that is taken now is read.
            resolve(&client.store, id, began).await.expect("the past can be read")
        };
        client.run.ended(id, outcome);
    }
}

/// Reads everything, which the oracle then checks.
pub async fn audit(client: &Client) {
    if let Err(error) = workloads::audit(client).await {
        client.run.check(false, || format!("an audit failed: {error}"));
    }
}

/// Flushes, collects, and splits shards now and then.
async fn care(client: Client, node: Arc<Node>) {
    loop {
        client.pause(20_000).await;
        if client.chance(client.run.plan.splits) {
            let at = workloads::some_key(&client);
            if client.store.split(at.as_bytes()).await.is_err() {
                return;
            }
        }
        let done = match client.below(3) {
            0 => node.flush().await.map_err(KvError::from),
            _ => client.store.collect_garbage().await.map(|_removed| ()),
        };
        if done.is_err() {
            return;
        }
    }
}

impl Client {
    /// Works until the run's transactions are done, or the store serves no more.
    pub async fn work(&self) {
        while self.run.take_one() {
            let transaction = workloads::transaction(self);
            let ended = if self.chance(self.run.plan.impatience) {
                let limit = Duration::from_micros(self.below(4_000));
                self.runtime.timeout(limit, transaction).await.unwrap_or(Ok(()))
            } else {
                transaction.await
            };
            match ended {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {}
                Err(KvError::LockTimeout(_) | KvError::LockNotAvailable(_)) => {}
                Err(KvError::Ambiguous | KvError::ShuttingDown | KvError::Storage(_)) => return,
                Err(error) => self.run.check(false, || format!("no transaction may fail so: {error}")),
            }
            if self.chance(50) {
                self.pause(self.run.plan.pause_micros_max).await;
            }
        }
    }
}
