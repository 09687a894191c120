//! Transactions in a simulated world: one thread, one seed, no clock but its own. See the README beside this folder.

mod bugs;
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
fn each_seed(seeds: u64, visit: impl Fn(u64, Report) + Sync) {
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
                    visit(seed, run(seed, None));
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
    each_seed(seeds, |seed, report| {
        let stats = &report.stats;
        let counts = [report.committed as u64, report.aborted as u64, report.epochs as u64];
        let inside = [stats.lock_waits, stats.deadlocks, stats.spills];
        for (total, count) in totals.iter().zip(counts.into_iter().chain(inside)) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        if !report.violations.is_empty() {
            wrong.lock().insert(seed, report);
        }
    });
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
