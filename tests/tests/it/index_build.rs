//! CREATE INDEX CONCURRENTLY and its kin, beside sessions that write.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::locks::Session;
use crate::server::Server;

const STATE: &str = "select indisvalid, indisready from pg_index where indexrelid = 'i'::regclass";

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Writes all kinds of changes until told to stop.
fn write(server: &Server, seed: u64, stop: &AtomicBool) {
    let mut session = Session::connect(server);
    let mut numbers = Numbers(seed);
    while !stop.load(Ordering::Relaxed) {
        // In the order of their keys, so that writers do not run into each other.
        let (a, b, k) = (numbers.below(3_000), numbers.below(3_000), numbers.below(500));
        let (id, other) = (a.min(b), a.max(b));
        let sql = match numbers.below(7) {
            0 => format!("insert into t values ({id}, {k}) on conflict (id) do update set k = excluded.k"),
            1 => format!("delete from t where id = {id}"),
            2 => format!("update t set k = {k} where id = {id}"),
            3 => format!("update t set k = k where id between {id} and {}", id + 3),
            4 => format!(
                "update t set id = {other} where id = {id} and not exists (select from t where id = {other})"
            ),
            5 => format!(
                "begin; update t set k = {k} where id = {id}; delete from t where id = {other}; rollback"
            ),
            _ => format!(
                "begin; update t set k = {k} where id = {id}; savepoint s; delete from t where id = {other}; \
                 rollback to s; commit"
            ),
        };
        let answers = session.run(&sql);
        // Two may want to give rows the same key.
        let failed = answers.iter().any(|line| line.starts_with("ERROR") && !line.contains("23505"));
        assert!(!failed, "{sql}: {answers:?}");
        if answers.last().is_some_and(|line| line != "ready I") {
            session.run("rollback");
        }
    }
}

#[test]
fn an_index_that_is_built_beside_writers_has_every_row_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Session::connect(&server);
    c.run("create table t (id int primary key, k int not null)");
    c.run("insert into t select g, g % 500 from generate_series(0, 2999) g");
    // The first by the index, the second by the table; both in one snapshot.
    let by_index = "select count(*), coalesce(sum(id), 0), coalesce(sum(k), 0) from t where k >= 0";
    let by_table = "select count(*), coalesce(sum(id), 0), coalesce(sum(k), 0) from t where k + 0 >= 0";
    let difference = format!("({by_index} except {by_table}) union all ({by_table} except {by_index})");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..=3 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || write(server, seed, stop));
        }
        for round in 0..6 {
            let made = if round % 2 == 0 {
                "index concurrently i on t (k)"
            } else {
                "unique index concurrently i on t (k, id)"
            };
            let built = c.run(&format!("create {made}"));
            let explained = c.run(&format!("explain {by_index}")).concat();
            let found = [c.run(&difference), c.run(&difference)];
            let dropped = c.run("drop index concurrently i");
            if built != ["CREATE INDEX", "ready I"] || dropped != ["DROP INDEX", "ready I"] || round == 5 {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(built, ["CREATE INDEX", "ready I"], "round {round}");
            assert!(explained.contains("using i on t"), "{explained}");
            assert_eq!(found, [["SELECT 0", "ready I"], ["SELECT 0", "ready I"]], "round {round}");
            assert_eq!(dropped, ["DROP INDEX", "ready I"], "round {round}");
        }
    });
}

#[test]
fn writers_go_on_while_the_build_waits_for_one_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    let [mut a, mut b, mut c] = [0; 3].map(|_| Session::connect(&server));
    a.run("create table t (id int primary key, k int); insert into t values (1, 10), (2, 20)");
    a.run("begin; update t set k = 11 where id = 1");
    b.wait("create index concurrently i on t (k)", &mut c, &[&a.pid]);
    assert_eq!(c.run(STATE), ["row f|f", "SELECT 1", "ready I"]);
    assert_eq!(c.run("insert into t values (3, 30)"), ["INSERT 0 1", "ready I"]);
    assert_eq!(c.run("select id from t where k = 20"), ["row 2", "SELECT 1", "ready I"]);
    a.run("commit");
    assert_eq!(b.answers(), ["CREATE INDEX", "ready I"]);
    assert_eq!(c.run(STATE), ["row t|t", "SELECT 1", "ready I"]);
    for (k, id) in [(11, 1), (20, 2), (30, 3)] {
        assert_eq!(c.run(&format!("select id from t where k = {k}"))[0], format!("row {id}"));
    }
    assert_eq!(c.run("select id from t where k = 10"), ["SELECT 0", "ready I"]);

    // A build that is cancelled in the midst leaves an index that is not valid, and nothing else.
    c.run("drop index i");
    a.run("begin; update t set k = 12 where id = 1");
    b.run("set lock_timeout = '20ms'");
    let cancelled = "ERROR 55P03 canceling statement due to lock timeout";
    assert_eq!(b.run("create index concurrently i on t (k)"), [cancelled, "ready I"]);
    assert_eq!(c.run(STATE)[0], "row f|f");
    a.run("commit");
    assert_eq!(c.run("drop index i"), ["DROP INDEX", "ready I"]);

    // And so does a crash.
    a.run("begin; update t set k = 11 where id = 1");
    b.run("reset lock_timeout");
    b.wait("create index concurrently i on t (k)", &mut c, &[&a.pid]);
    server.kill();
    let server = Server::start(directory.path());
    let mut c = Session::connect(&server);
    assert_eq!(c.run(STATE), ["row f|f", "SELECT 1", "ready I"]);
    assert_eq!(c.run("insert into t values (4, 40)"), ["INSERT 0 1", "ready I"]);
    assert_eq!(c.run("select id from t where k = 12"), ["row 1", "SELECT 1", "ready I"]);
    assert_eq!(c.run("reindex index concurrently i"), ["REINDEX", "ready I"]);
    assert_eq!(c.run(STATE), ["row t|t", "SELECT 1", "ready I"]);
    assert_eq!(c.run("select id from t where k = 40"), ["row 4", "SELECT 1", "ready I"]);
}

#[test]
fn rows_that_are_not_unique_leave_an_index_that_is_not_valid() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Session::connect(&server);
    c.run("create table t (id int primary key, k int); insert into t values (1, 10), (2, 20), (3, 10)");
    let failed = "ERROR 23505 could not create unique index \"i\"";
    assert_eq!(c.run("create unique index concurrently i on t (k)"), [failed, "ready I"]);
    assert_eq!(c.run(STATE)[0], "row f|f");
    // It holds nobody up, and nobody reads it.
    assert_eq!(c.run("insert into t values (4, 40), (5, 40)"), ["INSERT 0 2", "ready I"]);
    assert_eq!(c.run("select count(*) from t where k = 10")[0], "row 2");
    let upsert = c.run("insert into t values (5, 40) on conflict (k) do nothing");
    assert_eq!(upsert[0].get(..11), Some("ERROR 42P10"));
    c.run("delete from t where id = 5");
    assert_eq!(c.run("reindex table t"), [failed, "ready I"]);
    assert_eq!(c.run("update t set k = 11 where id = 3"), ["UPDATE 1", "ready I"]);
    assert_eq!(c.run("begin; reindex index i; rollback").len(), 4);
    assert_eq!(c.run(STATE)[0], "row f|f");
    assert_eq!(c.run("reindex table t"), ["REINDEX", "ready I"]);
    assert_eq!(c.run(STATE)[0], "row t|t");
    for (k, id) in [(10, 1), (11, 3), (20, 2), (40, 4)] {
        assert_eq!(c.run(&format!("select id from t where k = {k}"))[0], format!("row {id}"));
    }
    let in_block = "ERROR 25001 DROP INDEX CONCURRENTLY cannot run inside a transaction block";
    assert_eq!(c.run("begin; drop index concurrently i")[1], in_block);
    c.run("rollback");
    let cascade = "ERROR 0A000 DROP INDEX CONCURRENTLY does not support CASCADE";
    assert_eq!(c.run("drop index concurrently i cascade")[0], cascade);
    assert_eq!(c.run("drop index concurrently i"), ["DROP INDEX", "ready I"]);

    // What cannot be computed keeps neither rows from coming nor from going.
    let zero = "ERROR 22012 division by zero";
    assert_eq!(c.run("create index concurrently i on t ((1 / (k - 10)))"), [zero, "ready I"]);
    assert_eq!(c.run("insert into t values (6, 10)"), ["INSERT 0 1", "ready I"]);
    assert_eq!(c.run("delete from t where k = 10"), ["DELETE 2", "ready I"]);
    assert_eq!(c.run("reindex index i"), ["REINDEX", "ready I"]);
    assert_eq!(c.run("insert into t values (6, 10)"), [zero, "ready I"]);
}
