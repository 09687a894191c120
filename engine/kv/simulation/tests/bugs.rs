//! The simulation finds what it is made to find: bugs that are switched on, one at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shardforge_simulation::mutations::Mutation;

use crate::run::run;

/// As many seeds as every change is tested with.
const SEEDS: u64 = 200;

/// The first seed that shows a bug.
fn first_seed_that_finds(mutation: Mutation) -> u64 {
    let found = (0..SEEDS).find(|seed| {
        // An assertion of the store itself is as good as one of ours.
        let report = catch_unwind(AssertUnwindSafe(|| run(*seed, Some(mutation))));
        report.map_or(true, |report| !report.violations.is_empty())
    });
    let seed = found.unwrap_or_else(|| panic!("{SEEDS} seeds do not find {mutation:?}"));
    println!("{mutation:?} is found by seed {seed}");
    seed
}

macro_rules! found {
    ($($test:ident: $mutation:ident;)*) => {
        $(
            #[test]
            fn $test() {
                first_seed_that_finds(Mutation::$mutation);
            }
        )*
    };
}

found! {
    a_lock_lost_on_transfer_is_found: LockLostOnTransfer;
    pending_commits_that_collide_are_found: PendingCommitsCollide;
    a_missed_refresh_is_found: MissedRefresh;
    a_dirty_read_is_found: DirtyRead;
    a_doubled_apply_is_found: DoubledApply;
    a_commit_acknowledged_too_early_is_found: AcknowledgedTooEarly;
    a_forgotten_dependency_is_found: DependencyForgotten;
    a_collection_under_a_snapshot_is_found: CollectedUnderSnapshot;
    a_spill_that_survives_rollback_is_found: SpillSurvivesRollback;
    a_clock_that_starts_behind_is_found: ClockStartsBehind;
    a_scan_that_overtakes_a_commit_is_found: ScanOvertakesCommit;
    a_lost_update_is_found: LostUpdate;
    a_savepoint_that_loses_locks_is_found: SavepointLosesLocks;
    unwatched_reads_of_prepared_transactions_are_found: PreparedReadsUnwatched;
}
