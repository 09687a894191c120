//! AS OF SYSTEM TIME.

use crate::server::Server;
use crate::wire::Wire;

const NOW: &str = "select now()";

/// A server that keeps what is old for an hour, and a session.
fn start(directory: &tempfile::TempDir) -> (Server, Wire) {
    let server = Server::start_with(directory.path(), &[("SHARDFORGE_GC_TTL", "1h")]);
    let wire = Wire::connect(&server);
    (server, wire)
}

fn rows(c: &mut Wire, sql: &str) -> Vec<String> {
    let mut answers = c.query(sql).answers();
    answers.retain(|line| line.starts_with("row") || line.starts_with("ERROR"));
    answers
}

/// The time, as a literal. Of two transactions the later one has the later time.
fn now(c: &mut Wire) -> String {
    format!("'{}'", rows(c, NOW)[0].replace("row ", ""))
}

#[test]
fn a_query_reads_the_past() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_server, mut c) = start(&directory);
    c.query("create table t (id int primary key, v int); create index on t (v); create table u (id int)")
        .answers();
    c.query("insert into t values (1, 10), (2, 20); insert into u values (1)").answers();
    let before = now(&mut c);
    c.query("update t set v = 11 where id = 1; delete from t where id = 2; insert into t values (3, 30)")
        .answers();
    assert_eq!(rows(&mut c, "select * from t order by id"), ["row 1|11", "row 3|30"]);
    let past = format!("as of system time {before}");
    assert_eq!(rows(&mut c, &format!("select * from t {past} order by id")), ["row 1|10", "row 2|20"]);
    assert_eq!(rows(&mut c, &format!("select v from t {past} where id = 2")), ["row 20"]);
    assert_eq!(rows(&mut c, &format!("select id from t {past} where v = 10")), ["row 1"]);
    let join = format!("select t.v, count(*) from t join u on u.id = t.id {past} group by t.v");
    assert_eq!(rows(&mut c, &join), ["row 10|1"]);
    // It is over with the query.
    assert_eq!(rows(&mut c, "select count(*) from t"), ["row 2"]);
    assert_eq!(c.query("insert into t values (4, 40)").answers(), ["INSERT 0 1", "ready I"]);
    // Prepared, in a pipeline.
    c.parse("s", format!("select v from t {past} where id = $1"), &[23]).bind("", "s", &[(0, b"1")]);
    assert_eq!(c.execute("", 0).sync().answers(), ["row 10", "SELECT 1", "ready I"]);
    // An interval, and a number; the word OF can still be an alias.
    assert_eq!(rows(&mut c, "select count(*) from t as of system time '-0.000001s'"), ["row 3"]);
    let nanos = format!("select (extract(epoch from timestamptz {before}) * 1000000)::bigint || '000'");
    let nanos = rows(&mut c, &nanos)[0].replace("row ", "");
    for number in [nanos.clone(), format!("'{nanos}.0000000000'")] {
        assert_eq!(rows(&mut c, &format!("select count(*) from t as of system time {number}")), ["row 2"]);
    }
    assert_eq!(rows(&mut c, "select of.id from t as of where of.id = 1"), ["row 1"]);
}

#[test]
fn a_transaction_reads_the_past() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_server, mut c) = start(&directory);
    c.query("create table t (id int primary key)").answers();
    c.query("insert into t values (1)").answers();
    let before = now(&mut c);
    c.query("insert into t values (2)").answers();
    c.query(format!("begin as of system time {before}")).answers();
    assert_eq!(rows(&mut c, "select count(*) from t"), ["row 1"]);
    assert_eq!(rows(&mut c, "show transaction_read_only"), ["row on"]);
    let same = format!("select count(*) from t as of system time {before}");
    assert_eq!(rows(&mut c, &same), ["row 1"]);
    let refused = rows(&mut c, "insert into t values (3)");
    assert_eq!(refused, ["ERROR 25006 cannot execute INSERT in a read-only transaction"]);
    c.query("rollback").answers();
    c.query(format!("begin; set transaction as of system time {before}")).answers();
    assert_eq!(rows(&mut c, "select count(*) from t"), ["row 1"]);
    c.query("commit").answers();
    assert_eq!(rows(&mut c, "select count(*) from t"), ["row 2"]);
    c.query("begin; select 1").answers();
    assert_eq!(
        rows(&mut c, &same),
        ["ERROR 25001 AS OF SYSTEM TIME must be the same for all of a transaction"]
    );
    c.query("rollback").answers();
}

#[test]
fn what_is_not_kept_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_server, mut c) = start(&directory);
    let start = now(&mut c);
    c.query("create table t (id int primary key)").answers();
    c.query("insert into t values (1)").answers();
    let before = now(&mut c);
    let at = |time: &str| format!("select * from t as of system time {time}");
    let failed = |answers: Vec<String>| answers[0].chars().take(40).collect::<String>();
    assert_eq!(failed(rows(&mut c, &at("'-1 day'"))), "ERROR 22023 cannot read a state before 2");
    assert_eq!(rows(&mut c, &at("'1h'")), ["ERROR 22023 the state asked for lies in the future"]);
    assert_eq!(rows(&mut c, &at("'soon'")), ["ERROR 22023 AS OF SYSTEM TIME must be a point in time"]);
    assert_eq!(rows(&mut c, &at(&start)), ["ERROR 42P01 relation \"t\" did not exist at the time asked for"]);
    assert_eq!(
        rows(&mut c, &format!("select * from (select * from t as of system time {before}) s")),
        ["ERROR 0A000 AS OF SYSTEM TIME is only allowed in a query that is a statement of its own"]
    );
    c.query("alter table t add v int").answers();
    assert_eq!(
        rows(&mut c, &at(&before)),
        ["ERROR 55000 relation \"t\" has been altered since the time asked for"]
    );
    let after = now(&mut c);
    c.query("delete from t").answers();
    assert_eq!(rows(&mut c, &at(&after)), ["row 1|-"]);
}
