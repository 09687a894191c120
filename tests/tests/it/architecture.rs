//! The invariants of `docs/architecture.md` that can be read off the sources: who may depend on whom, and what a
//! layer must not know or call.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of a crate's code proper, each with its place: no comments, and no tests.
fn code(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let mut lines = Vec::new();
    for path in sources(&root.join(folder)) {
        let place = path.strip_prefix(&root).expect("it is below the root").display().to_string();
        if place.contains("/tests") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            // Tests of a file are its last part.
            if line.trim() == "#[cfg(test)]" {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            if !code.trim().is_empty() {
                lines.push((format!("{place}:{}", number + 1), code.to_owned()));
            }
        }
    }
    assert!(!lines.is_empty(), "{folder} has no code");
    lines
}

/// The places in a crate's code where one of some words stands.
fn places(folder: &str, words: &[&str]) -> Vec<String> {
    let found = code(folder).into_iter().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    found.map(|(place, line)| format!("{place}: {}", line.trim())).collect()
}

/// The names in the table `[dependencies]` of a crate's manifest.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = read(&root().join(folder).join("Cargo.toml"));
    let table = manifest.split("\n[").find_map(|table| table.strip_prefix("dependencies]\n"));
    let lines = table.unwrap_or_default().lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_one_way() {
    for (folder, allowed) in [
        ("engine/types", &[][..]),
        ("consensus/runtime", &[]),
        ("consensus", &["runtime"]),
        ("transport", &["runtime"]),
        ("engine/kv", &["consensus", "runtime"]),
        ("engine/kv/simulation", &["consensus", "runtime"]),
        ("pgwire-frontend", &["types"]),
        ("engine/sql", &["types", "pgwire", "kv", "runtime"]),
    ] {
        for dependency in dependencies(folder) {
            if let Some(ours) = dependency.strip_prefix("shardforge-") {
                assert!(allowed.contains(&ours), "{folder} must not depend on {dependency}");
            }
        }
    }
}

/// The simulation compiles the sources of kv with bugs that can be switched on; they are for nobody else.
#[test]
fn bugs_can_be_switched_on_in_the_simulation_alone() {
    assert_eq!(dependencies("engine/kv"), dependencies("engine/kv/simulation"));
    for folder in ["consensus", "engine/sql", "pgwire-frontend", "server", "tests"] {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        assert!(!manifest.contains("mutations") && !manifest.contains("shardforge-simulation"), "{folder}");
    }
    assert!(!read(&root().join("engine/kv/Cargo.toml")).contains("default ="));
}

#[test]
fn each_engine_is_known_to_one_layer() {
    let folders = [
        "engine/types",
        "consensus/runtime",
        "consensus",
        "transport",
        "engine/kv",
        "pgwire-frontend",
        "engine/sql",
        "server",
    ];
    for (library, home) in [
        ("datafusion", "engine/sql"),
        ("arrow", "engine/sql"),
        ("openraft", "consensus"),
        ("rocksdb", "consensus"),
        ("pgwire", "pgwire-frontend"),
        ("tonic", "transport"),
        ("hyper", "transport"),
    ] {
        for folder in folders.into_iter().filter(|folder| *folder != home) {
            assert!(!dependencies(folder).iter().any(|name| name == library), "{folder} links {library}");
        }
    }
    let outside = places("engine/sql/src", &["datafusion::", "arrow::"]);
    let outside: Vec<_> = outside.into_iter().filter(|place| !place.contains("src/df/")).collect();
    assert!(outside.is_empty(), "DataFusion is known to engine/sql/src/df alone: {outside:#?}");
}

#[test]
fn consensus_and_kv_reach_the_world_through_the_runtime() {
    let banned = [
        "Instant::now",
        "SystemTime::now",
        "thread::spawn",
        "thread::sleep",
        "tokio::spawn",
        "task::spawn",
        "tokio::time",
        "tokio::net",
        "tokio::fs",
        "std::fs",
        "std::net",
        "rand::",
        "getrandom",
    ];
    for folder in ["consensus/src", "engine/kv/src"] {
        let mut found = places(folder, &banned);
        // RocksDB's own files: the engine in memory stands in for all of it.
        found.retain(|place| !place.starts_with("consensus/src/engine/rocks") || !place.contains("std::fs"));
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn layers_do_not_know_what_lies_above_them() {
    for (folder, words) in [
        ("consensus/src", &["mvcc", "Mvcc", "tuple", "Tuple", "intent", "Transaction", "Isolation"][..]),
        ("engine/kv/src", &["openraft", "rocksdb", "TableDesc", "Datum", "PgError", "SqlState"]),
        ("engine/types/src", &["tokio", "SystemTime", "Instant::now", "std::fs", "rand::"]),
        ("pgwire-frontend/src", &["Datum", "Planner", "sqlparser", "shardforge_sql", "shardforge_kv"]),
        ("engine/sql/src", &["shardforge_consensus", "openraft", "rocksdb", "raft"]),
    ] {
        let found = places(folder, words);
        assert!(found.is_empty(), "{found:#?}");
    }
    let lower = ["shardforge_consensus::", "shardforge_kv::", "shardforge_sql::", "shardforge_runtime::"];
    let found = places("server/src", &lower);
    let found: Vec<_> = found.into_iter().filter(|place| !place.contains("src/wiring/")).collect();
    assert!(found.is_empty(), "the layers meet in wiring/: {found:#?}");
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_skipped() {
    let words = ["todo!(", "unimplemented!(", "#[ignore", "dbg!("];
    for folder in ["consensus", "transport", "engine", "pgwire-frontend", "server"] {
        let found = places(folder, &words);
        assert!(found.is_empty(), "{found:#?}");
    }
}
