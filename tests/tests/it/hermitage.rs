//! The anomalies of the Hermitage suite, at three levels: which are prevented, and that nobody fails who does not have to.
//! The specs are `compat-tests/isolation/specs/hermitage-*.spec`; each has a permutation for READ COMMITTED, one for
//! REPEATABLE READ and one for SERIALIZABLE.

use shardforge_tests::isolation::{Database, PermutationRun, Spec, run};

use crate::isolation::{STEP_MAX, directory, read};
use crate::server::Server;

/// Whether a permutation shows the anomaly.
type Anomaly = fn(&PermutationRun) -> bool;

/// An anomaly, how it shows, and what PostgreSQL documents: at how many of the levels, from READ COMMITTED up, it occurs,
/// and how many transactions fail at each level.
const TABLE: [(&str, Anomaly, usize, [usize; 3]); 15] = [
    ("g0", |p| mixed(&rows(p, "all", 0)), 0, [0, 1, 1]),
    ("g1a", |p| sees(p, "t2all", "101"), 0, [0, 0, 0]),
    ("g1b", |p| sees(p, "t2all", "101"), 0, [0, 0, 0]),
    ("g1c", |p| sees(p, "t1r2", "22") || sees(p, "t2r1", "11"), 0, [0, 0, 1]),
    ("otv", |p| value(p, "t3r1", 0) == "12" && value(p, "t3r2", 0) == "19", 0, [0, 1, 1]),
    ("pmp", |p| !rows(p, "t1p3", 0).is_empty(), 1, [0, 0, 0]),
    ("pmp-write", |p| failures(p) == 0 && sees(p, "all", "20"), 1, [0, 1, 1]),
    ("p4", |p| failures(p) == 0, 1, [0, 1, 1]),
    ("g-single", |p| sees(p, "t1r2", "18"), 1, [0, 0, 0]),
    ("g-single-predicate", |p| !rows(p, "t1p3", 0).is_empty(), 1, [0, 0, 0]),
    ("g-single-write", |p| failures(p) == 0, 1, [0, 1, 1]),
    ("g-single-interleaved", |p| !sees(p, "all", "18"), 0, [0, 0, 0]),
    ("g2-item", |p| failures(p) == 0, 2, [0, 0, 1]),
    ("g2", |p| failures(p) == 0, 2, [0, 0, 1]),
    ("g2-three", |p| failures(p) == 0, 2, [0, 0, 1]),
];

/// The rows of a step, the `nth` time it is taken.
fn rows(permutation: &PermutationRun, step: &str, nth: usize) -> Vec<Vec<String>> {
    let mut steps = permutation.steps.iter().filter(|s| s.name == step);
    let step = steps.nth(nth).unwrap_or_else(|| panic!("no step {step}"));
    step.results.first().cloned().unwrap_or_default()
}

/// The second column of a step's only row.
fn value(permutation: &PermutationRun, step: &str, nth: usize) -> String {
    rows(permutation, step, nth)[0][1].clone()
}

/// Whether a step, any time it is taken, has a row with that value.
fn sees(permutation: &PermutationRun, step: &str, value: &str) -> bool {
    let steps = permutation.steps.iter().filter(|s| s.name == step);
    steps.flat_map(|s| s.results.iter().flatten()).any(|row| row[1] == value)
}

/// Whether one row is the first transaction's and the other the second one's.
fn mixed(rows: &[Vec<String>]) -> bool {
    let values: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    values != ["11", "21"] && values != ["12", "22"]
}

/// How many transactions failed.
fn failures(permutation: &PermutationRun) -> usize {
    permutation.steps.iter().filter(|s| s.sqlstate.as_deref() == Some("40001")).count()
}

#[test]
fn the_ten_anomalies_at_three_levels() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut wrong = Vec::new();
    for (name, anomaly, occurs_below, failing) in TABLE {
        let spec =
            Spec::parse(&read(directory().join(format!("specs/hermitage-{name}.spec")))).expect("a spec");
        let transcript = runtime.block_on(async {
            let database = Database::create(server.dsn()).await.expect("a database can be created");
            run(&spec, database.dsn(), STEP_MAX).await.unwrap_or_else(|e| panic!("{name}: {e}"))
        });
        assert_eq!(transcript.permutations.len(), 3, "{name} has a permutation for each level");
        for (level, permutation) in transcript.permutations.iter().enumerate() {
            let got = (anomaly(permutation), failures(permutation));
            let documented = (level < occurs_below, failing[level]);
            if got != documented {
                wrong.push(format!(
                    "{name} at level {level}: (occurs, failures) is {got:?}, not {documented:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
