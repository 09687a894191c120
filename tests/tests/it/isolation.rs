//! Isolation specs, against what was recorded from PostgreSQL 18.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardforge_tests::isolation::{Database, Spec, run};

use crate::server::Server;

/// How long a step may run that waits for nobody.
pub const STEP_MAX: Duration = Duration::from_secs(15);

/// The same for the specs of `todo.txt`, some of which end only by it.
const TODO_STEP_MAX: Duration = Duration::from_secs(1);

/// Where the specs are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/isolation")
}

/// A file of theirs.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The specs' names, in order.
fn specs() -> Vec<String> {
    let entries = std::fs::read_dir(directory().join("specs")).expect("there are specs");
    let path = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").path();
    let name = |path: PathBuf| path.file_stem().expect("a name").to_str().expect("in UTF-8").to_owned();
    let mut names: Vec<String> = entries.map(|entry| name(path(entry))).collect();
    names.sort();
    names
}

/// What `todo.txt` lists: specs that do not agree yet, each with the reason.
fn todo() -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, reason) = line.split_once(':').unwrap_or_else(|| panic!("no reason: {line}"));
        (name.trim().to_owned(), reason.trim().to_owned())
    };
    let text = read(directory().join("todo.txt"));
    text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(line).collect()
}

/// `NAME.out` as recorded, and `NAME_1.out` and so on for outcomes that are as right.
fn expected(name: &str) -> Vec<String> {
    let directory = directory().join("expected");
    let mut all = vec![read(directory.join(format!("{name}.out")))];
    while let Ok(text) = std::fs::read_to_string(directory.join(format!("{name}_{}.out", all.len()))) {
        all.push(text);
    }
    all
}

/// The permutation and the first line in it that differ.
fn difference(got: &str, expected: &str) -> String {
    let mut permutation = "";
    let mut expected = expected.lines();
    for line in got.lines() {
        if line.starts_with("starting permutation") {
            permutation = line;
        }
        match expected.next() {
            Some(e) if e == line => {}
            e => return format!("{permutation}\n  expected: {}\n  got:      {line}", e.unwrap_or("the end")),
        }
    }
    format!("{permutation}\n  expected: {}\n  got:      the end", expected.next().unwrap_or(""))
}

/// Nothing, or how a spec's outcome differs from every expected one.
async fn disagreement(server: &Server, name: &str, step_max: Duration) -> Option<String> {
    let spec = Spec::parse(&read(directory().join(format!("specs/{name}.spec"))));
    let spec = spec.unwrap_or_else(|e| panic!("{name}: {e}"));
    let database = Database::create(server.dsn()).await.expect("a database can be created");
    match run(&spec, database.dsn(), step_max).await {
        Ok(transcript) if expected(name).contains(&transcript.text) => None,
        Ok(transcript) => Some(difference(&transcript.text, &expected(name)[0])),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn specs_give_what_postgresql_gives() {
    let directory = tempfile::tempdir().expect("a directory");
    // As many as a spec prepares at once, and more.
    let settings = [("SHARDFORGE_MAX_PREPARED_TRANSACTIONS", "10")];
    let server = Server::start_with(directory.path(), &settings);
    let todo = todo();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut wrong = Vec::new();
    for name in specs() {
        let listed = todo.get(&name);
        let step_max = if listed.is_some() { TODO_STEP_MAX } else { STEP_MAX };
        match (runtime.block_on(disagreement(&server, &name, step_max)), listed) {
            (Some(how), None) => wrong.push(format!("{name}: {how}")),
            (None, Some(reason)) => wrong.push(format!("{name} agrees, and is in todo.txt: {reason}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} specs:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_listed_spec_is_there() {
    let specs = specs();
    for name in todo().keys() {
        assert!(specs.contains(name), "todo.txt lists {name}, which is not there");
    }
    for entry in std::fs::read_dir(directory().join("expected")).expect("there are expected results") {
        let file = entry.expect("an entry").file_name().into_string().expect("in UTF-8");
        let name = file.trim_end_matches(".out");
        let of = name.rsplit_once('_').filter(|(_, n)| n.parse::<u32>().is_ok()).map_or(name, |(of, _)| of);
        assert!(specs.iter().any(|s| s == of), "{file} belongs to no spec");
    }
}
