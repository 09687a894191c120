//! Shards as SQL shows and splits them. What is split has to answer as what is not: most of it runs on two tables, of
//! which one lies in several shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::types::Type;

use crate::server::Server;
use crate::wire::Wire;

pub(crate) fn start() -> (tempfile::TempDir, Server, Wire) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let wire = Wire::connect(&server);
    (directory, server, wire)
}

/// Rows and errors.
pub(crate) fn rows(c: &mut Wire, sql: &str) -> Vec<String> {
    let mut answers = c.query(sql).answers();
    answers.retain(|line| line.starts_with("row") || line.starts_with("ERROR"));
    answers.into_iter().map(|line| line.trim_start_matches("row ").to_owned()).collect()
}

/// From where to where the shards go, as SHOW SHARDS says it.
pub(crate) fn shards(c: &mut Wire, of: &str) -> Vec<String> {
    let rows = rows(c, &format!("show shards {of}"));
    let places = rows.iter().map(|row| row.split('|').collect::<Vec<_>>());
    places.map(|row| format!("{} .. {}", row[1], row[2])).collect()
}

#[test]
fn tables_and_indexes_split_where_they_are_told() {
    let (_directory, _server, mut c) = start();
    c.query("create table t (id int primary key, v varchar(3), d date); create index i on t (v desc, d)")
        .answers();
    c.query("create index e on t (lower(v)); create table \"No key\" (a int primary key, b text)").answers();
    assert_eq!(shards(&mut c, ""), ["- .. -"]);
    let split = "alter table t split at values (1000), (2000), (1000 + 500), (-5)";
    assert_eq!(c.query(split).answers(), ["ALTER TABLE", "ready I"]);
    // There is nothing to do.
    assert_eq!(c.query(split).answers(), ["ALTER TABLE", "ready I"]);
    let parts = ["- .. (-5)", "(-5) .. (1000)", "(1000) .. (1500)", "(1500) .. (2000)", "(2000) .. -"];
    assert_eq!(shards(&mut c, "from table t"), parts);
    assert_eq!(shards(&mut c, "from index t_pkey"), parts);
    assert_eq!(
        c.query("alter index i split at values ('m'), ('f', '2020-01-01'), (null)").answers(),
        ["ALTER INDEX", "ready I"]
    );
    assert_eq!(
        shards(&mut c, "from index i"),
        ["- .. (null)", "(null) .. ('m')", "('m') .. ('f', '2020-01-01')", "('f', '2020-01-01') .. -"]
    );
    assert_eq!(c.query("alter index e split at values ('o''x')").answers(), ["ALTER INDEX", "ready I"]);
    assert_eq!(shards(&mut c, "from index e"), ["- .. ('o''x')", "('o''x') .. -"]);
    c.query("alter table \"No key\" split at values (1)").answers();
    let all = shards(&mut c, "");
    assert_eq!(all.len(), 10);
    assert_eq!(all[0], "- .. public.t (-5)");
    assert_eq!(all[9], "public.\"No key\" (1) .. -");
    assert!(all.contains(&"public.t (2000) .. public.i (null)".to_owned()), "{all:?}");
}

#[test]
fn what_cannot_be_split_is_refused() {
    let (_directory, _server, mut c) = start();
    c.query("create table t (id int primary key, v varchar(3)); create index i on t (v)").answers();
    c.query("create table loose (a int); create view w as select * from t").answers();
    for (sql, error) in [
        (
            "alter table loose split at values (1)",
            "0A000 the rows of table \"loose\" have no key to split at",
        ),
        (
            "alter table w split at values (1)",
            "42809 ALTER action SPLIT AT cannot be performed on relation \"w\"",
        ),
        ("alter index t split at values (1)", "42809 \"t\" is not an index"),
        ("alter table nope split at values (1)", "42P01 relation \"nope\" does not exist"),
        (
            "alter table t split at values (1, 2)",
            "42601 SPLIT AT has more values than the key has columns (1)",
        ),
        ("alter table t split at values ('abc')", "22P02 invalid input syntax for type integer: \"abc\""),
        (
            "alter table t split at values (now())",
            "42804 column \"id\" is of type integer but expression is of type timestamp with time zone",
        ),
        ("alter index i split at values ('long')", "22001 value too long for type character varying(3)"),
        ("alter table t split at values (id)", "0A000 cannot use column reference in SPLIT AT"),
        ("alter table t split at values ((select 1))", "0A000 cannot use subquery in SPLIT AT"),
        ("alter table t split at values ($1)", "42P02 there is no parameter $1"),
        ("alter table t split at values ()", "42601 syntax error at or near \")\""),
        ("alter table t split at values (1), add x int", "42601 syntax error at or near \"add\""),
        ("show shards from table i", "42809 \"i\" is not a table"),
        ("show shards from table w", "42809 \"w\" is not a table"),
        ("show shards from index t", "42809 \"t\" is not an index"),
        ("show shards from index nope", "42P01 relation \"nope\" does not exist"),
        ("show nodes.x", "42704 unrecognized configuration parameter \"nodes.x\""),
        ("show shards.x", "42704 unrecognized configuration parameter \"shards.x\""),
    ] {
        assert_eq!(rows(&mut c, sql), [format!("ERROR {error}")], "{sql}");
    }
    let many: Vec<String> = (0..1_001).map(|number| format!("({number})")).collect();
    let many = rows(&mut c, &format!("alter table t split at values {}", many.join(", ")));
    assert_eq!(many, ["ERROR 54000 cannot split at more than 1000 places in one statement"]);
    c.query("begin").answers();
    let refused = rows(&mut c, "alter table t split at values (1)");
    assert_eq!(refused, ["ERROR 25001 ALTER TABLE ... SPLIT AT cannot run inside a transaction block"]);
    c.query("rollback; begin read only").answers();
    assert_eq!(rows(&mut c, "show shards from table t").len(), 1);
    c.query("rollback; set default_transaction_read_only = on").answers();
    let refused = rows(&mut c, "alter table t split at values (1)");
    assert_eq!(refused, ["ERROR 25006 cannot execute ALTER TABLE in a read-only transaction"]);
    assert_eq!(shards(&mut c, ""), ["- .. -"], "nothing was split");
}

#[tokio::test]
async fn drivers_hear_of_the_columns() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, filler text)").await.expect("a table");
    client.batch_execute("ALTER TABLE t SPLIT AT VALUES (500)").await.expect("a split");
    let fill = "INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 999) i";
    client.batch_execute(fill).await.expect("rows");
    client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    let statement = client.prepare("SHOW SHARDS FROM TABLE t").await.expect("a statement");
    let columns: Vec<_> = statement.columns().iter().map(|column| (column.name(), column.type_())).collect();
    let expected = [
        ("shard_id", &Type::INT8),
        ("start_key", &Type::TEXT),
        ("end_key", &Type::TEXT),
        ("size_bytes", &Type::INT8),
        ("leader", &Type::INT8),
        ("replicas", &Type::INT8_ARRAY),
        ("learners", &Type::INT8_ARRAY),
        ("applied_index", &Type::INT8),
    ];
    assert_eq!(columns, expected);
    let rows = client.query(&statement, &[]).await.expect("rows");
    let sizes: Vec<i64> = rows.iter().map(|row| row.get("size_bytes")).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!(rows[1].get::<_, Option<String>>("start_key").as_deref(), Some("(500)"));
}

/// Statements about a table `T`, which has an index `T_v` and a unique one `T_u`.
const STATEMENTS: &[&str] = &[
    "select count(*), sum(id), min(v), max(v) from T",
    "select id from T where id between 95 and 105 order by id",
    "select id from T where id > 190 order by id desc limit 15",
    "select id from T order by id desc limit 3 offset 98",
    "select id, v from T where v between 'v19' and 'v21' order by v, id",
    "select id from T where v = 'v20' order by id",
    "select id from T where v > 'v20' order by v desc, id desc limit 4",
    "select id from T where id in (1, 99, 100, 101, 250, 300) order by id",
    "select u from T where u in (7, 149, 150, 151) order by u",
    "insert into T values (100, 'double', -1)",
    "insert into T values (1000, 'double', 150)",
    "insert into T values (50, 'new', -50), (150, 'new', -150) on conflict do nothing returning id",
    "insert into T values (99, 'up', 0), (100, 'up', 0), (301, 'up', 9001) on conflict (id) do update set v = excluded.v returning id, v",
    "insert into T select i, 'bulk', 10000 + i from generate_series(400, 900) i",
    "insert into T select i, 'bulk', 20000 + i from generate_series(850, 1000) i",
    "update T set v = v || '+' where id % 7 = 0",
    "update T set id = id + 5000 where id between 98 and 102",
    "update T set u = u + 1 where u > 500",
    "update T set u = -u - 1 where u > 500",
    "select count(*) from T a join T b on b.u = a.id",
    "delete from T where id between 140 and 160 returning id",
    "delete from T where v = 'v21'",
    "begin; insert into T values (-1, 'a', -1), (2000, 'b', 2000); savepoint s; delete from T where id < 200; rollback to s; commit",
    "begin; update T set v = 'gone'; select count(*) from T where v = 'gone'; rollback",
    "select id from T where v in ('a', 'b', 'new') order by id for update",
    "alter table T add column w int default 7",
    "alter table T alter column u type int8",
    "create index T_w on T (w, id)",
    "select count(*), sum(w) from T where w >= 0",
    "analyze T",
    "select n_distinct > 0 from pg_stats where tablename = 'T' and attname = 'w'",
    "select count(*), sum(id), sum(u) from T",
    "select count(*) from T where v >= ''",
    "select count(*) from T where u > -100000",
    "vacuum T",
    "begin; declare c scroll cursor for select id from T order by id; fetch 5 from c; fetch last from c; fetch backward 3 from c; commit",
    "drop index T_v",
    "select id from T where v = 'bulk' order by id limit 2",
    "truncate T",
    "select count(*) from T where v >= ''",
    "insert into T select i, 'again', i from generate_series(90, 110) i",
    "select count(*), sum(id) from T",
];

const SPLITS: &str = "alter table parted split at values (1), (2), (100), (101), (150), (200), (600);
    alter index parted_v split at values ('bulk'), ('v2'), ('v20'), ('v200');
    alter index parted_u split at values (-100), (0), (149), (150), (500), (10600)";

#[test]
fn what_is_split_answers_as_before() {
    let (directory, mut server, mut c) = start();
    for table in ["parted", "whole"] {
        let make = "create table T (id int primary key, v text, u int constraint T_u unique); create index T_v on T (v)";
        c.query(make.replace('T', table)).answers();
        let fill = "insert into T select i, 'v' || i / 10, i from generate_series(1, 300) i";
        assert_eq!(c.query(fill.replace('T', table)).answers(), ["INSERT 0 300", "ready I"]);
    }
    for split in SPLITS.split(';') {
        assert!(c.query(split).answers()[0].starts_with("ALTER"), "{split}");
    }
    assert_eq!(rows(&mut c, "show shards").len(), 18);
    for (number, statement) in STATEMENTS.iter().enumerate() {
        let mut answer = |table: &str| -> Vec<String> {
            let answers = c.query(statement.replace('T', table)).answers();
            answers.into_iter().map(|line| line.replace(table, "T")).collect()
        };
        assert_eq!(answer("parted"), answer("whole"), "{statement}");
        if number % 10 == 9 {
            server.kill();
            server = Server::start(directory.path());
            c = Wire::connect(&server);
        }
    }
    assert_eq!(rows(&mut c, "show shards").len(), 18, "no statement makes shards or takes them away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_split_under_writers() {
    const COUNTERS: i32 = 64;
    const WRITERS: i32 = 4;
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE counter (id int PRIMARY KEY, n int8 NOT NULL);
             CREATE INDEX counter_n ON counter (n);
             INSERT INTO counter SELECT i, 0 FROM generate_series(1, 64) i",
        )
        .await
        .expect("a table");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (mut client, stop) = (server.connect().await, Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut added = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                let transaction = client.transaction().await.expect("a transaction");
                // Both in order, so that nobody waits in a circle.
                let first = (added as i32 * 7 + writer) % (COUNTERS / 2) + 1;
                for id in [first, first + COUNTERS / 2] {
                    let add = "UPDATE counter SET n = n + 1 WHERE id = $1";
                    assert_eq!(transaction.execute(add, &[&id]).await.expect("an update"), 1);
                }
                transaction.commit().await.expect("a commit");
                added += 2;
            }
            added
        }));
    }
    for id in 1..=COUNTERS {
        client.batch_execute(&format!("ALTER TABLE counter SPLIT AT VALUES ({id})")).await.expect("a split");
        client
            .batch_execute(&format!("ALTER INDEX counter_n SPLIT AT VALUES ({})", id * 3))
            .await
            .expect("a split");
        let row =
            client.query_one("SELECT count(*), (sum(n) % 2)::int8 FROM counter", &[]).await.expect("a row");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, Option<i64>>(1)), (64, Some(0)));
    }
    stop.store(true, Ordering::Relaxed);
    let mut added = 0;
    for writer in writers {
        added += writer.await.expect("a writer");
    }
    for condition in ["", "WHERE n >= 0"] {
        let query = format!("SELECT count(*), sum(n)::int8 FROM counter {condition}");
        let row = client.query_one(&query, &[]).await.expect("a row");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (64, added), "{condition}");
    }
}
