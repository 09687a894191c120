//! Portals and cursors, read by Execute, FETCH and both in turn. What is expected is what PostgreSQL 18 answers.

use crate::server::Server;
use crate::wire::Wire;

const SERIES: &str = "select g from generate_series(1, 5) g";

#[test]
fn the_tag_counts_the_rows_of_its_execute() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query("create table t (a int); begin").answers();
    c.parse("", SERIES, &[]).bind("p", "", &[]);
    let answers = c.execute("p", 2).execute("p", 2).execute("p", 2).execute("p", 2).sync().answers();
    assert_eq!(
        answers,
        [
            "row 1",
            "row 2",
            "suspended",
            "row 3",
            "row 4",
            "suspended",
            "row 5",
            "SELECT 1",
            "SELECT 0",
            "ready T"
        ]
    );
    // As many rows as were asked for: whether there are more is not known yet.
    assert_eq!(
        c.bind("q", "", &[]).execute("q", 5).execute("q", 5).sync().answers()[5..],
        ["suspended", "SELECT 0", "ready T"]
    );
    c.parse("", format!("insert into t {SERIES} returning a"), &[]).bind("r", "", &[]);
    assert_eq!(
        c.execute("r", 3).execute("r", 3).execute("r", 0).sync().answers(),
        ["row 1", "row 2", "row 3", "suspended", "row 4", "row 5", "INSERT 0 2", "INSERT 0 0", "ready T"]
    );
    c.parse("", "insert into t values (1)", &[]).bind("s", "", &[]);
    assert_eq!(
        c.execute("s", 1).execute("s", 1).sync().answers(),
        ["INSERT 0 1", "ERROR 55000 portal \"s\" cannot be run", "ready E"]
    );
    c.query("rollback").answers();
    c.parse("", "show client_encoding", &[]).bind("", "", &[]);
    assert_eq!(
        c.execute("", 1).execute("", 1).sync().answers(),
        ["row UTF8", "suspended", "SHOW", "ready I"]
    );
}

#[test]
fn notices_precede_the_end_of_their_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    let notice = "NOTICE 00000 table \"none\" does not exist, skipping";
    let extended = c.parse("", "drop table if exists none", &[]).bind("", "", &[]).execute("", 0).sync();
    assert_eq!(extended.answers(), [notice, "DROP TABLE", "ready I"]);
    assert_eq!(
        c.query("drop table if exists none; select 1").answers(),
        [notice, "DROP TABLE", "row 1", "SELECT 1", "ready I"]
    );
}

#[test]
fn declared_cursors_and_bound_portals_are_the_same_thing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query(format!("begin; declare c cursor for {SERIES}")).answers();
    assert_eq!(
        c.describe_portal("c").execute("c", 2).sync().answers(),
        ["row 1", "row 2", "suspended", "ready T"]
    );
    assert_eq!(c.query("fetch 1 from c").answers(), ["row 3", "FETCH 1", "ready T"]);
    assert_eq!(
        c.execute("c", 0).execute("c", 0).sync().answers(),
        ["row 4", "row 5", "SELECT 2", "SELECT 0", "ready T"]
    );
    assert_eq!(c.query("fetch backward 2 from c").answers(), ["row 5", "row 4", "FETCH 2", "ready T"]);
    c.parse("", SERIES, &[]).bind("p", "", &[]);
    assert_eq!(c.execute("p", 1).sync().answers(), ["row 1", "suspended", "ready T"]);
    assert_eq!(c.query("fetch 2 from p").answers(), ["row 2", "row 3", "FETCH 2", "ready T"]);
    assert_eq!(c.query("move 1 in p").answers(), ["MOVE 1", "ready T"]);
    assert_eq!(c.execute("p", 0).sync().answers(), ["row 5", "SELECT 1", "ready T"]);
    assert_eq!(
        c.query("fetch prior from p").answers(),
        ["ERROR 55000 cursor can only scan forward", "ready E"]
    );
    c.query("rollback").answers();

    // Parameters belong to the cursor's query.
    c.query("begin").answers();
    c.parse("", "declare c cursor for select g from generate_series(1, $1) g", &[]);
    c.bind("", "", &[(0, b"2")]).execute("", 0).sync().answers();
    assert_eq!(c.query("fetch all in c").answers(), ["row 1", "row 2", "FETCH 2", "ready T"]);
    c.query("rollback").answers();
}

#[test]
fn cursors_with_hold_read_on_after_the_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query(format!("begin; declare c scroll cursor with hold for {SERIES}; commit")).answers();
    assert_eq!(c.execute("c", 2).sync().answers(), ["row 1", "row 2", "suspended", "ready I"]);
    assert_eq!(c.query("fetch backward 1 from c").answers(), ["row 1", "FETCH 1", "ready I"]);
    assert_eq!(
        c.execute("c", 0).sync().answers(),
        ["row 2", "row 3", "row 4", "row 5", "SELECT 4", "ready I"]
    );
    c.query(format!("begin; declare d no scroll cursor with hold for {SERIES}; fetch d; commit")).answers();
    assert_eq!(c.query("fetch 2 from d").answers(), ["row 2", "row 3", "FETCH 2", "ready I"]);
    assert_eq!(
        c.query("fetch prior from d").answers(),
        ["ERROR 55000 cursor can only scan forward", "ready I"]
    );
    // The rows are read when the transaction commits, and it fails with them.
    c.query("begin; declare e cursor with hold for select 1 / (2 - g) from generate_series(1, 3) g")
        .answers();
    assert_eq!(c.query("commit").answers(), ["ERROR 22012 division by zero", "ready I"]);
    c.query(format!("begin; declare f cursor with hold for {SERIES}; rollback")).answers();
    assert_eq!(c.query("fetch f").answers(), ["ERROR 34000 cursor \"f\" does not exist", "ready I"]);
}

#[test]
fn a_failed_portal_stays_failed_and_a_savepoint_takes_later_ones_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query("begin; declare k cursor for select 10 / (2 - g) from generate_series(1, 3) g; savepoint s")
        .answers();
    assert_eq!(
        c.query("fetch all in k").answers().last_chunk::<2>().expect("two lines"),
        &["ERROR 22012 division by zero", "ready E"]
    );
    assert_eq!(
        c.query("rollback to s; fetch k").answers(),
        ["ROLLBACK", "ERROR 55000 portal \"k\" cannot be run", "ready E"]
    );
    c.query("rollback").answers();
    c.query(format!("begin; declare k cursor for {SERIES}; savepoint s; declare l cursor for select 1"))
        .answers();
    assert_eq!(
        c.query("fetch k; rollback to s; fetch k; fetch l").answers(),
        [
            "row 1",
            "FETCH 1",
            "ROLLBACK",
            "row 2",
            "FETCH 1",
            "ERROR 34000 cursor \"l\" does not exist",
            "ready E"
        ]
    );
    c.query("rollback").answers();
    c.parse("", SERIES, &[]).bind("p", "", &[]);
    assert_eq!(c.execute("p", 1).sync().answers(), ["row 1", "suspended", "ready I"]);
    assert_eq!(c.execute("p", 1).sync().answers(), ["ERROR 34000 portal \"p\" does not exist", "ready I"]);
}

#[test]
fn movements_stop_where_postgresql_stops_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query(
        "create table t (id int primary key); insert into t select generate_series(1, 5);
         begin; declare s scroll cursor for select id from t order by id;
         declare u cursor for select id from t order by id;
         declare n no scroll cursor for select id from t order by id",
    )
    .answers();
    for (sql, expected) in [
        ("fetch 0 from s", &[][..]),
        ("fetch last from s", &["row 5"]),
        ("fetch next from s", &[]),
        ("fetch prior from s", &["row 5"]),
        ("fetch absolute 2 from s", &["row 2"]),
        ("fetch 0 from s", &["row 2"]),
        ("fetch relative 2 from s", &["row 4"]),
        ("fetch relative -3 from s", &["row 1"]),
        ("fetch backward all from s", &[]),
        ("fetch forward 2 from s", &["row 1", "row 2"]),
        ("fetch absolute -2 from s", &["row 4"]),
        ("fetch absolute -9 from s", &[]),
        ("fetch absolute 9 from s", &[]),
        ("fetch backward 2 from s", &["row 5", "row 4"]),
        ("fetch absolute 0 from s", &[]),
        ("fetch 3 from u", &["row 1", "row 2", "row 3"]),
        ("fetch prior from u", &["row 2"]),
        ("fetch all from u", &["row 3", "row 4", "row 5"]),
        ("fetch first from u", &["row 1"]),
        ("fetch absolute 2 from n", &["row 2"]),
        ("fetch relative 2 from n", &["row 4"]),
        ("fetch absolute 9 from n", &[]),
    ] {
        let answers = c.query(sql).answers();
        assert_eq!(answers[..answers.len() - 2], *expected, "{sql}: {answers:?}");
        assert_eq!(answers[answers.len() - 2], format!("FETCH {}", expected.len()), "{sql}");
    }
    for (sql, expected) in [
        ("move backward all in s", "MOVE 0"),
        ("move all in s", "MOVE 5"),
        ("move backward all in s", "MOVE 5"),
        ("move 2 in s", "MOVE 2"),
        ("move 0 in s", "MOVE 1"),
        ("move absolute 7 in s", "MOVE 0"),
    ] {
        assert_eq!(c.query(sql).answers()[0], expected, "{sql}");
    }
}

#[test]
fn a_cursor_reads_its_snapshot_whatever_happens_meanwhile() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(directory.path(), &[("SHARDFORGE_GC_TTL", "0s")]);
    let (mut c, mut other) = (Wire::connect(&server), Wire::connect(&server));
    c.query("create table t (id int primary key, v int); insert into t select g, 0 from generate_series(1, 4000) g")
        .answers();
    c.query("begin; declare k no scroll cursor for select sum(v) from t group by id % 4").answers();
    c.query("declare l no scroll cursor for select id, v from t; fetch 1 from l").answers();
    c.parse("", "select v from t where id > 0", &[]).bind("p", "", &[]).execute("p", 1).sync().answers();
    for round in 1..4 {
        other.query(format!("update t set v = {round}")).answers();
    }
    other.query("delete from t where id > 10").answers();
    // The old versions are garbage now but for the cursors.
    other.query("vacuum").answers();
    let rows =
        |answers: Vec<String>| answers.into_iter().filter(|line| line.starts_with("row")).collect::<Vec<_>>();
    assert_eq!(rows(c.query("fetch all in k").answers()), ["row 0"; 4]);
    let rest = rows(c.query("fetch all in l").answers());
    assert_eq!(rest.len(), 3999);
    assert!(rest.iter().all(|row| row.ends_with("|0")), "{:?}", rest.first());
    assert_eq!(rows(c.execute("p", 0).sync().answers()), vec!["row 0"; 3999]);
    assert_eq!(c.query("select count(*) from t").answers()[0], "row 10");
}
