//! Random transactions against a naive model: a list of committed states, and for each transaction the state
//! it began with and a copy that it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use shardforge_consensus::MemoryStorage;
use shardforge_runtime::Simulation;

use super::{bytes, open, text};
use crate::{
    IsolationLevel, KvError, KvOptions, LockStrength, Savepoint, ScanRequest, Store, Transaction, TxnOptions,
    Visibility, WaitPolicy,
};

const TRANSACTIONS: usize = 3;
const KEYS: u8 = 6;

type State = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Statement,
    Put(u8, u8),
    Delete(u8),
    Get(u8),
    Scan { from: u8, to: u8, reverse: bool, limit: usize, current: bool },
    Savepoint,
    RollbackTo,
    Spill,
    SpillPiece,
    Commit,
    Rollback,
    Prepare,
    CommitPrepared,
    RollbackPrepared,
    Gc,
    Split(u8),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        4 => Just(Step::Statement),
        8 => (0..KEYS, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..KEYS).prop_map(Step::Delete),
        6 => (0..KEYS).prop_map(Step::Get),
        6 => (0..KEYS, 0..=KEYS, any::<bool>(), 0..4_usize, any::<bool>())
            .prop_map(|(from, to, reverse, limit, current)| Step::Scan { from, to, reverse, limit, current }),
        2 => Just(Step::Savepoint),
        2 => Just(Step::RollbackTo),
        2 => Just(Step::Spill),
        3 => Just(Step::SpillPiece),
        4 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        2 => Just(Step::Prepare),
        2 => Just(Step::CommitPrepared),
        1 => Just(Step::RollbackPrepared),
        2 => Just(Step::Gc),
        2 => (0..=KEYS).prop_map(Step::Split),
        1 => Just(Step::Crash),
    ]
}

/// A transaction, and what the model thinks of it. REPEATABLE READ, so that its snapshot stands still.
struct Running {
    txn: Transaction,
    snapshot: State,
    /// Own writes up to the current statement, and with it.
    before: BTreeMap<String, Option<String>>,
    written: BTreeMap<String, Option<String>>,
    savepoints: Vec<(Savepoint, BTreeMap<String, Option<String>>)>,
    doomed: bool,
}

impl Running {
    fn sees(&self, current: bool) -> State {
        let mut state = self.snapshot.clone();
        for (key, value) in if current { &self.written } else { &self.before } {
            match value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
        }
        state
    }

    fn statement(&mut self) {
        self.txn.begin_statement();
        self.before = self.written.clone();
    }

    /// Locks and writes; a row that is taken or has changed ends the transaction.
    async fn write(&mut self, committed: &State, key: String, value: Option<String>) {
        let locked = self.txn.lock(key.as_bytes(), LockStrength::Update, WaitPolicy::NoWait).await;
        let changed = committed.get(&key) != self.snapshot.get(&key);
        match locked {
            Ok(outcome) => {
                let expected = self.sees(true).get(&key).cloned();
                assert_eq!(outcome.current.map(|value| text(&value)), expected, "lock of {key}");
                let own = self.written.contains_key(&key);
                assert!(own || !changed, "{key} changed and nobody said so");
            }
            Err(KvError::SerializationFailure(_) | KvError::LockNotAvailable(_)) => {
                self.doomed = true;
                return;
            }
            Err(error) => panic!("{error}"),
        }
        match &value {
            Some(value) => self.txn.put(bytes(&key), bytes(value)),
            None => self.txn.delete(bytes(&key)),
        }
        self.written.insert(key, value);
    }
}

fn name(key: u8) -> String {
    // Keys that are beginnings of each other, and hold zeros.
    ["a", "a\0", "aa", "b", "b\0c", "c", "d"][usize::from(key)].to_owned()
}

async fn scan_all(txn: &Transaction, mut request: ScanRequest) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    loop {
        let page = txn.scan(request.clone()).await.unwrap();
        rows.extend(page.rows.iter().map(|(key, value)| (text(key), text(value))));
        match page.resume {
            Some(resume) => request = request.resumed(resume),
            None => return rows,
        }
    }
}

async fn play(seed: &Simulation, steps: Vec<(usize, Step)>) {
    let runtime = seed.runtime();
    let storage = MemoryStorage::new();
    let options = || KvOptions {
        gc_ttl: Duration::ZERO,
        gc_interval: Duration::from_millis(1),
        ..KvOptions::default()
    };
    let (_, mut store) = open(&storage, &runtime, options()).await;
    let mut committed = State::new();
    let mut running: [Option<Running>; TRANSACTIONS] = Default::default();
    // What the prepared ones have written.
    let mut prepared: [Option<BTreeMap<String, Option<String>>>; TRANSACTIONS] = Default::default();
    for (index, step) in steps {
        match step {
            Step::Begin => running[index] = Some(begin(&store, &committed)),
            Step::Gc => drop(store.collect_garbage().await.unwrap()),
            Step::Split(key) => store.split(name(key).as_bytes()).await.unwrap(),
            Step::Crash => {
                running = Default::default();
                drop(store);
                runtime.sleep(Duration::from_secs(3)).await;
                storage.crash();
                (_, store) = open(&storage, &runtime, options()).await;
            }
            Step::Prepare => {
                let Some(own) = running[index].take().filter(|own| !own.doomed) else { continue };
                let outcome = own.txn.prepare(bytes(&index.to_string()), Bytes::new()).await;
                match &prepared[index] {
                    Some(_) => assert!(matches!(outcome, Err(KvError::NameInUse))),
                    None => {
                        outcome.unwrap();
                        prepared[index] = Some(own.written);
                    }
                }
            }
            Step::CommitPrepared | Step::RollbackPrepared => {
                let claimed = store.claim_prepared(index.to_string().as_bytes());
                let Some(written) = prepared[index].take() else {
                    assert!(matches!(claimed, Err(KvError::NotPrepared)));
                    continue;
                };
                let claimed = claimed.unwrap();
                if matches!(step, Step::CommitPrepared) {
                    claimed.commit_with(|_| ()).await.unwrap();
                    apply(&mut committed, written);
                } else {
                    claimed.rollback().await.unwrap();
                }
            }
            step => {
                let Some(mut own) = running[index].take().filter(|own| !own.doomed) else { continue };
                if carry_out(&mut own, &mut committed, step).await {
                    running[index] = Some(own);
                }
            }
        }
        // Lets the background collector run at times.
        if index == 0 {
            runtime.sleep(Duration::from_millis(1)).await;
        }
    }
    let check = begin(&store, &committed);
    let rows = scan_all(&check.txn, ScanRequest::new(bytes("")..bytes("z"))).await;
    assert_eq!(rows, committed.into_iter().collect::<Vec<_>>());
}

fn begin(store: &Store, committed: &State) -> Running {
    let options = TxnOptions { isolation: IsolationLevel::RepeatableRead, ..TxnOptions::default() };
    let txn = store.begin(options);
    txn.begin_statement();
    Running {
        txn,
        snapshot: committed.clone(),
        before: BTreeMap::new(),
        written: BTreeMap::new(),
        savepoints: Vec::new(),
        doomed: false,
    }
}

/// Only the rows written: another transaction may have committed others.
fn apply(committed: &mut State, written: BTreeMap<String, Option<String>>) {
    for (key, value) in written {
        match value {
            Some(value) => committed.insert(key, value),
            None => committed.remove(&key),
        };
    }
}

/// Carries a step out on both sides; false when the transaction has ended.
async fn carry_out(own: &mut Running, committed: &mut State, step: Step) -> bool {
    match step {
        Step::Statement => own.statement(),
        Step::Put(key, value) => own.write(committed, name(key), Some(value.to_string())).await,
        Step::Delete(key) => own.write(committed, name(key), None).await,
        Step::Get(key) => {
            let key = name(key);
            for (visibility, current) in [(Visibility::Statement, false), (Visibility::Current, true)] {
                let found = own.txn.get(key.as_bytes(), visibility).await.unwrap().map(|value| text(&value));
                assert_eq!(found, own.sees(current).get(&key).cloned(), "get of {key}");
            }
        }
        Step::Scan { from, to, reverse, limit, current } => {
            let (from, to) = (name(from), name(to));
            let mut request = ScanRequest::new(bytes(&from)..bytes(&to));
            request.reverse = reverse;
            request.limit_rows = limit;
            request.visibility = if current { Visibility::Current } else { Visibility::Statement };
            let rows = scan_all(&own.txn, request).await;
            let mut expected: Vec<_> =
                own.sees(current).into_iter().filter(|(key, _)| *key >= from && *key < to).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(rows, expected);
        }
        Step::Savepoint => {
            own.savepoints.push((own.txn.savepoint(), own.written.clone()));
            own.statement();
        }
        Step::RollbackTo => {
            if let Some((savepoint, written)) = own.savepoints.last() {
                own.txn.rollback_to(savepoint).unwrap();
                own.written = written.clone();
                own.statement();
            }
        }
        Step::Spill => own.txn.spill_all().await.unwrap(),
        Step::SpillPiece => own.txn.spill_piece().await.unwrap(),
        Step::Commit => {
            own.txn.commit().await.unwrap();
            apply(committed, std::mem::take(&mut own.written));
            return false;
        }
        Step::Rollback => {
            own.txn.rollback().await.unwrap();
            return false;
        }
        Step::Begin
        | Step::Prepare
        | Step::CommitPrepared
        | Step::RollbackPrepared
        | Step::Gc
        | Step::Split(_)
        | Step::Crash => {}
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_behave_as_the_model_does(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..TRANSACTIONS, step()), 1..80),
    ) {
        let simulation = std::sync::Arc::new(Simulation::new(seed));
        let world = std::sync::Arc::clone(&simulation);
        simulation.block_on(async move { play(&world, steps).await });
    }
}
