//! Transactions in a simulated world: one thread, one seed, no clock but its own. See the README beside this folder.

mod bugs;
mod cluster;
mod histories;
mod oracle;
mod recorder;
mod run;
mod workloads;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use run::{Report, run};

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

/// Runs seeds on as many threads as there are processors, each in a world of its own.
fn each_seed(seeds: u64, run: impl Fn(u64) -> Report + Sync, visit: impl Fn(u64, Report) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    visit(seed, run(seed));
                }
            });
        }
    });
}

/// What a seed shows that should not be, and how to see it again.
fn describe(seed: u64, report: &Report) -> String {
    let shown = report.violations.join("\n");
    format!("seed {seed}; SHARDFORGE_SEED={seed} runs it alone\n{shown}\n{:#?}", run::Plan::new(seed))
}

#[test]
fn no_seed_shows_a_violation() {
    if let Some(seed) = setting("SHARDFORGE_SEED") {
        let report = run(seed, None);
        println!("{report:#?}");
        assert!(report.violations.is_empty(), "{}", describe(seed, &report));
        return;
    }
    let seeds = setting("SHARDFORGE_SEEDS").unwrap_or(200);
    let totals = [const { AtomicU64::new(0) }; 6];
    let wrong = Mutex::new(BTreeMap::new());
    each_seed(
        seeds,
        |seed| run(seed, None),
        |seed, report| {
            let stats = &report.stats;
            let counts = [report.committed as u64, report.aborted as u64, report.epochs as u64];
            let inside = [stats.lock_waits, stats.deadlocks, stats.spills];
            for (total, count) in totals.iter().zip(counts.into_iter().chain(inside)) {
                total.fetch_add(count, Ordering::Relaxed);
            }
            if !report.violations.is_empty() {
                wrong.lock().insert(seed, report);
            }
        },
    );
    let wrong = wrong.into_inner();
    if let Some((seed, report)) = wrong.first_key_value() {
        panic!("of {seeds} seeds {:?} are wrong\n{}", wrong.keys(), describe(*seed, report));
    }
    let [committed, aborted, epochs, waits, deadlocks, spills] = totals.map(AtomicU64::into_inner);
    println!(
        "{seeds} seeds: {committed} transactions committed, {aborted} did not; {epochs} starts, \
         {waits} lock waits, {deadlocks} deadlocks, {spills} spills"
    );
    assert!(committed > seeds * 50 && waits > seeds && deadlocks > 0 && spills > 0, "the runs do too little");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..12 {
        let (first, again) = (run(seed, None), run(seed, None));
        assert_eq!(
            (first.trace, first.committed, first.aborted),
            (again.trace, again.committed, again.aborted),
            "seed {seed}"
        );
    }
    assert_ne!(run(0, None).trace, run(1, None).trace);
}

/// Three nodes mostly; five and seven now and then.
fn nodes_of(seed: u64) -> u64 {
    [3, 3, 3, 5, 3, 3, 7][(seed % 7) as usize]
}

#[test]
fn no_seed_shows_a_violation_on_several_nodes() {
    let run = |seed| cluster::run_cluster(seed, nodes_of(seed), None);
    if let Some(seed) = setting("SHARDFORGE_CLUSTER_SEED") {
        let report = run(seed);
        println!("{report:#?}");
        assert!(report.violations.is_empty(), "cluster seed {seed}: {}", report.violations.join("\n"));
        return;
    }
    let seeds = setting("SHARDFORGE_CLUSTER_SEEDS").unwrap_or(20);
    let totals = [const { AtomicU64::new(0) }; 3];
    let wrong = Mutex::new(BTreeMap::new());
    each_seed(seeds, run, |seed, report| {
        let counts = [report.committed as u64, report.aborted as u64, report.epochs as u64];
        for (total, count) in totals.iter().zip(counts) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        if !report.violations.is_empty() {
            wrong.lock().insert(seed, report.violations);
        }
    });
    let wrong = wrong.into_inner();
    if let Some((seed, violations)) = wrong.first_key_value() {
        let shown = violations.join("\n");
        panic!(
            "of {seeds} seeds {:?} are wrong; SHARDFORGE_CLUSTER_SEED={seed} runs one alone\n{shown}",
            wrong.keys()
        );
    }
    let [committed, aborted, stores] = totals.map(AtomicU64::into_inner);
    println!("{seeds} clusters: {committed} transactions committed, {aborted} did not; {stores} stores");
    assert!(committed > seeds * 100 && stores > seeds * 3, "the runs do too little");
}

#[test]
fn the_same_seed_is_the_same_run_on_several_nodes() {
    for seed in 0..2 {
        let (first, again) = (cluster::run_cluster(seed, 3, None), cluster::run_cluster(seed, 3, None));
        assert_eq!((first.trace, first.committed), (again.trace, again.committed), "seed {seed}");
    }
}
