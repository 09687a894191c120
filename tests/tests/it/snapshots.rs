//! What a transaction sees of others: exported snapshots, and PostgreSQL's form of a snapshot.

use crate::server::Server;
use crate::wire::Wire;

/// The first value that a query answers.
fn value(wire: &mut Wire, sql: &str) -> String {
    let answers = wire.query(sql).answers();
    let row = answers.iter().find_map(|line| line.strip_prefix("row "));
    row.unwrap_or_else(|| panic!("{sql}: {answers:?}")).to_owned()
}

#[test]
fn an_exported_snapshot_is_seen_by_its_importers() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(directory.path(), &[("SHARDFORGE_GC_TTL", "0s")]);
    let (mut a, mut b, mut c) = (Wire::connect(&server), Wire::connect(&server), Wire::connect(&server));
    a.query("create table t (id int primary key, v int); insert into t values (1, 10)").answers();
    a.query("begin isolation level repeatable read; insert into t values (2, 20)").answers();
    let id = value(&mut a, "select pg_export_snapshot()");
    c.query("update t set v = 11 where id = 1; insert into t values (3, 30)").answers();
    c.query("vacuum t").answers();
    assert_eq!(value(&mut c, "select sum(v) from t"), "41");
    // What was committed when it was taken, and nothing of the exporter's own writes.
    let import = format!("begin isolation level repeatable read; set transaction snapshot '{id}'");
    assert_eq!(b.query(&import).answers(), ["BEGIN", "SET", "ready T"]);
    assert_eq!(value(&mut b, "select sum(v) from t"), "10");
    assert_eq!(
        b.query("update t set v = 12 where id = 1").answers(),
        ["ERROR 40001 could not serialize access due to concurrent update", "ready E"]
    );
    b.query("rollback").answers();
    assert_eq!(
        b.query(import.replace("repeatable read", "serializable")).answers().last_chunk().expect("two lines"),
        &[
            "ERROR 0A000 a serializable transaction cannot import a snapshot from a non-serializable transaction",
            "ready E"
        ]
    );
    b.query("rollback").answers();
    b.query("create database other").answers();
    // It is kept by its importer, and gone for others with its transaction.
    assert_eq!(b.query(&import).answers(), ["BEGIN", "SET", "ready T"]);
    a.query("commit").answers();
    c.query("vacuum t").answers();
    assert_eq!(value(&mut b, "select sum(v) from t"), "10");
    assert_eq!(
        c.query(&import).answers(),
        ["BEGIN", &format!("ERROR 42704 snapshot \"{id}\" does not exist"), "ready E"]
    );
}

#[test]
fn a_transaction_may_turn_to_writing_before_its_first_query() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut a = Wire::connect(&server);
    a.query("create table t (id int primary key)").answers();
    assert_eq!(
        a.query("begin read only; set transaction read write; insert into t values (1); commit").answers(),
        ["BEGIN", "SET", "INSERT 0 1", "COMMIT", "ready I"]
    );
    let back =
        "begin; savepoint s; set transaction read only; rollback to s; insert into t values (2); commit";
    assert_eq!(a.query(back).answers().last_chunk().expect("two lines"), &["COMMIT", "ready I"]);
    assert_eq!(value(&mut a, "select count(*) from t"), "2");
}

#[test]
fn ids_below_a_snapshots_xmin_have_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    let (mut a, mut b) = (Wire::connect(&server), Wire::connect(&server));
    a.query("create table t (id int primary key, x xid8 default pg_current_xact_id())").answers();
    a.query("begin").answers();
    a.query("insert into t values (1)").answers();
    b.query("insert into t values (2)").answers();
    let early = value(&mut a, "select pg_current_xact_id()");
    let seen = format!("pg_visible_in_snapshot('{early}', pg_current_snapshot())");
    // The later one has ended and is seen; the one before it runs.
    let reader = format!(
        "select id, pg_visible_in_snapshot(x, pg_current_snapshot()), x < pg_snapshot_xmin(pg_current_snapshot()), {seen},
             pg_xact_status(x), pg_xact_status('{early}')
         from t"
    );
    assert_eq!(value(&mut b, &reader), "2|t|f|f|committed|in progress");
    b.query("begin isolation level repeatable read; select 1").answers();
    a.query("commit").answers();
    assert_eq!(value(&mut a, &format!("select pg_xact_status('{early}')")), "committed");
    // An old snapshot does not see what was committed since.
    assert_eq!(value(&mut b, &format!("select {seen}, pg_xact_status('{early}')")), "f|committed");
    b.query("commit").answers();
    assert_eq!(
        value(&mut b, &format!("select {seen}, x < pg_snapshot_xmin(pg_current_snapshot()) from t")),
        "t|t"
    );
    let gone = value(&mut b, "begin; insert into t values (9) returning x");
    b.query("rollback").answers();
    assert_eq!(value(&mut a, &format!("select pg_xact_status('{gone}')")), "aborted");
    // What the server has on disk outlives it.
    server.kill();
    let server = Server::start(directory.path());
    let mut a = Wire::connect(&server);
    assert_eq!(
        value(&mut a, &format!("select pg_xact_status('{early}'), pg_xact_status('{gone}')")),
        "committed|aborted"
    );
}
