//! The simulation finds what it is made to find: bugs that are switched on, one at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shardforge_simulation::mutations::Mutation;

use crate::cluster::run_cluster;
use crate::run::{Report, run};

/// As many seeds as every change is tested with.
const SEEDS: u64 = 200;

/// As many of clusters.
const CLUSTER_SEEDS: u64 = 40;

/// Asserts that one of the seeds shows a bug.
fn is_found(mutation: Mutation, seeds: u64, run: impl Fn(u64) -> Report) {
    let found = (0..seeds).find_map(|seed| {
        let report = catch_unwind(AssertUnwindSafe(|| run(seed)));
        // An assertion of the store itself is as good as one of ours.
        let shown = report.map_or(Some("a panic".to_owned()), |report| report.violations.first().cloned());
        shown.map(|shown| (seed, shown))
    });
    let (seed, shown) = found.unwrap_or_else(|| panic!("{seeds} seeds do not find {mutation:?}"));
    println!("{mutation:?} is found by seed {seed}: {shown}");
}

macro_rules! found {
    ($($test:ident: $mutation:ident;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Mutation::$mutation, SEEDS, |seed| run(seed, Some(Mutation::$mutation)));
            }
        )*
    };
}

macro_rules! found_by_clusters {
    ($($test:ident: $mutation:ident;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Mutation::$mutation, CLUSTER_SEEDS, |seed| {
                    run_cluster(seed, 3, Some(Mutation::$mutation))
                });
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

found_by_clusters! {
    a_proposal_of_any_term_is_found: ProposalsOfAnyTerm;
    a_lease_that_nobody_asks_for_is_found: LeaseUnchecked;
}
