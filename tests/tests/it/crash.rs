//! `kill -9` under load: see `shardforge_tests::kill`. `cargo run --example kill` does it at length.

use shardforge_tests::kill::{Fault, Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_transactions_survive_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        nodes: 1,
        rounds: 3,
        clients: 16,
        commits: 200..=500,
        splits: 4,
        bulk: true,
        histories: false,
        fault: Fault::Kill,
        seed: 1,
    };
    let report = run(&options, directory.path(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.counts.committed >= 3 * 150, "{report:?}");
    assert!(report.shards > 1, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_when_any_node_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        nodes: 3,
        rounds: 3,
        clients: 8,
        commits: 50..=150,
        splits: 1,
        bulk: false,
        histories: true,
        fault: Fault::Kill,
        seed: 1,
    };
    let report = run(&options, directory.path(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.counts.committed >= 3 * 50, "{report:?}");
    assert!(!report.failovers.is_empty() && report.looks > 0, "{report:?}");
    assert_eq!(report.replicas % 3, 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_wrong_stops_itself_and_the_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        nodes: 3,
        rounds: 2,
        clients: 6,
        commits: 50..=150,
        splits: 0,
        bulk: false,
        histories: true,
        fault: Fault::WrongClock,
        seed: 1,
    };
    let report = run(&options, directory.path(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.checked > 0 && report.looks > 0, "{report:?}");
    assert_eq!(report.recoveries.len(), 2, "{report:?}");
}
