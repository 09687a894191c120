//! Foreign keys and deferrable constraints: what they check, what they do, and who waits for whom.

use crate::server::Server;
use crate::sql::{rows, script, state};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_follow_each_other() {
    script(&[
        ("CREATE TABLE p (id int PRIMARY KEY, u int UNIQUE)", Ok(&[])),
        (
            "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE)",
            Ok(&[]),
        ),
        (
            "CREATE TABLE g (c int REFERENCES c ON DELETE SET NULL,
                             u int DEFAULT 5 REFERENCES p (u) ON DELETE SET DEFAULT ON UPDATE SET NULL)",
            Ok(&[]),
        ),
        ("INSERT INTO p VALUES (1, 10), (2, 20), (3, 30), (4, 5)", Ok(&[])),
        ("INSERT INTO c VALUES (1, 1), (2, 1), (3, 2), (4, 3)", Ok(&[])),
        ("INSERT INTO g VALUES (1, 10), (2, 20), (3, 30)", Ok(&[])),
        ("DELETE FROM p WHERE id = 1", Ok(&[])),
        ("SELECT * FROM c ORDER BY id", Ok(&["3|2", "4|3"])),
        ("SELECT * FROM g ORDER BY c, u", Ok(&["3|30", "-|5", "-|20"])),
        ("UPDATE p SET id = id + 100", Ok(&[])),
        ("SELECT * FROM c ORDER BY id", Ok(&["3|102", "4|103"])),
        // The default is gone as well.
        ("DELETE FROM p WHERE u IN (5, 30)", Err("23503")),
        ("UPDATE p SET u = 21 WHERE u = 20", Ok(&[])),
        ("SELECT count(*) FROM g WHERE u IS NULL", Ok(&["1"])),
        // A row takes over the key.
        ("CREATE TABLE k (id int PRIMARY KEY, x int UNIQUE)", Ok(&[])),
        ("CREATE TABLE kc (x int REFERENCES k (x))", Ok(&[])),
        ("CREATE TABLE kr (x int REFERENCES k (x) ON DELETE RESTRICT ON UPDATE RESTRICT)", Ok(&[])),
        ("INSERT INTO k VALUES (1, 1), (2, 2)", Ok(&[])),
        ("INSERT INTO kc VALUES (1)", Ok(&[])),
        ("DELETE FROM k WHERE id = 1", Err("23503")),
        ("INSERT INTO kr VALUES (2)", Ok(&[])),
        ("DELETE FROM k WHERE id = 2", Err("23001")),
        ("WITH a AS (INSERT INTO kc VALUES (8)) INSERT INTO k VALUES (8, 8)", Ok(&[])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_are_put_off_survive_savepoints() {
    script(&[
        ("CREATE TABLE p (id int PRIMARY KEY)", Ok(&[])),
        (
            "CREATE TABLE c (id int PRIMARY KEY, p int CONSTRAINT cp REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
            Ok(&[]),
        ),
        ("BEGIN; INSERT INTO c VALUES (1, 1); INSERT INTO p VALUES (1); COMMIT", Ok(&[])),
        ("INSERT INTO c VALUES (2, 2)", Err("23503")),
        ("BEGIN; INSERT INTO c VALUES (2, 2); SAVEPOINT s; INSERT INTO p VALUES (2)", Ok(&[])),
        ("SET CONSTRAINTS cp IMMEDIATE", Ok(&[])),
        ("ROLLBACK TO s", Ok(&[])),
        ("COMMIT", Err("23503")),
        ("SELECT * FROM c", Ok(&["1|1"])),
        ("BEGIN; SAVEPOINT s; INSERT INTO c VALUES (2, 2); ROLLBACK TO s; COMMIT", Ok(&[])),
        ("BEGIN; INSERT INTO c VALUES (2, 2); UPDATE c SET id = 3 WHERE id = 2", Ok(&[])),
        ("COMMIT", Err("23503")),
        ("BEGIN; DELETE FROM p; INSERT INTO p VALUES (1); COMMIT", Ok(&[])),
        ("BEGIN; SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO c VALUES (2, 2)", Err("23503")),
        ("ROLLBACK", Ok(&[])),
        ("BEGIN; INSERT INTO c VALUES (2, 2); TRUNCATE c", Err("55006")),
        ("ROLLBACK", Ok(&[])),
    ])
    .await;
}

/// With and without an index over the referencing columns, and more rows than a statement keeps in mind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_checked_and_changed_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    for index in ["", "CREATE INDEX ON c (p);"] {
        c.batch_execute(&format!(
            "CREATE TABLE p (id int PRIMARY KEY);
             CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
             {index}
             INSERT INTO p SELECT generate_series(1, 20000);
             INSERT INTO c SELECT i, i FROM generate_series(1, 20000) i"
        ))
        .await
        .expect("rows");
        assert_eq!(
            state(&c, "INSERT INTO c SELECT i, i FROM generate_series(20001, 40001) i").await.code(),
            "23503"
        );
        c.batch_execute("UPDATE p SET id = -id; DELETE FROM p WHERE id < -10").await.expect("cascades");
        assert_eq!(rows(&c, "SELECT count(*), min(p), max(p) FROM c").await, ["10|-10|-1"]);
        c.batch_execute("DROP TABLE c, p").await.expect("the end");
    }
    // Rows that reference each other, in the order that keeps them waiting.
    c.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, next int REFERENCES t);
         INSERT INTO t SELECT i, nullif(i + 1, 30001) FROM generate_series(1, 30000) i;
         DELETE FROM t",
    )
    .await
    .expect("a chain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_reference_one_row_do_not_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (a, b, c) = (server.connect().await, server.connect().await, server.connect().await);
    a.batch_execute(
        "CREATE TABLE p (id int PRIMARY KEY, u int UNIQUE, n int);
         CREATE TABLE c (p int REFERENCES p, u int REFERENCES p (u));
         INSERT INTO p VALUES (1, 10, 0)",
    )
    .await
    .expect("tables");
    for session in [&a, &b, &c] {
        // Whoever had to wait would fail.
        session.batch_execute("SET lock_timeout = '200ms'; BEGIN").await.expect("a transaction");
    }
    a.batch_execute("INSERT INTO c VALUES (1, 10)").await.expect("first");
    b.batch_execute("INSERT INTO c VALUES (1, 10)").await.expect("second");
    // Not even for those who change the row, as long as its keys stay.
    c.batch_execute("UPDATE p SET n = n + 1, u = u WHERE id = 1").await.expect("another column");
    c.batch_execute("SAVEPOINT s").await.expect("a savepoint");
    assert_eq!(state(&c, "UPDATE p SET u = 11 WHERE id = 1").await.code(), "55P03");
    c.batch_execute("ROLLBACK TO s").await.expect("back");
    assert_eq!(state(&c, "DELETE FROM p").await.code(), "55P03");
    c.batch_execute("ROLLBACK TO s; COMMIT").await.expect("the update");
    c.batch_execute("INSERT INTO p VALUES (1, 12, 0) ON CONFLICT (id) DO UPDATE SET n = 5")
        .await
        .expect("an upsert");
    assert_eq!(state(&c, "INSERT INTO p VALUES (1, 12, 0)").await.code(), "23505");
    a.batch_execute("COMMIT").await.expect("first");
    b.batch_execute("COMMIT").await.expect("second");
    assert_eq!(state(&c, "DELETE FROM p").await.code(), "23503");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_be_equal_for_a_while() {
    script(&[
        (
            "CREATE TABLE d (id int PRIMARY KEY DEFERRABLE, u int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
            Ok(&[]),
        ),
        ("INSERT INTO d VALUES (1, 1), (2, 2), (3, 3)", Ok(&[])),
        ("UPDATE d SET id = id + 1", Ok(&[])),
        ("SELECT * FROM d WHERE id = 2", Ok(&["2|1"])),
        ("INSERT INTO d VALUES (2, 9)", Err("23505")),
        ("INSERT INTO d VALUES (9, 2)", Err("23505")),
        ("BEGIN; INSERT INTO d VALUES (9, 2); SELECT count(*) FROM d WHERE u = 2", Ok(&["2"])),
        ("DELETE FROM d WHERE id = 9; COMMIT", Ok(&[])),
        ("BEGIN; INSERT INTO d VALUES (9, 2); SAVEPOINT s; DELETE FROM d WHERE id = 9", Ok(&[])),
        ("SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO s", Ok(&[])),
        ("COMMIT", Err("23505")),
        ("INSERT INTO d VALUES (5, 5) ON CONFLICT DO NOTHING", Err("55000")),
        ("CREATE TABLE r (a int REFERENCES d)", Err("55000")),
        ("SELECT id, u FROM d GROUP BY id", Err("42803")),
        ("ALTER TABLE d ADD v text DEFAULT 'x', ADD UNIQUE (v) DEFERRABLE", Err("23505")),
    ])
    .await;
}

/// Both have looked at their own row alone; the second finds the other's when it commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_transactions_with_one_key_the_second_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (a, b) = (server.connect().await, server.connect().await);
    a.batch_execute("CREATE TABLE d (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await.expect("a table");
    for session in [&a, &b] {
        session.batch_execute("BEGIN; INSERT INTO d VALUES (1)").await.expect("a row");
    }
    a.batch_execute("COMMIT").await.expect("the first");
    assert_eq!(state(&b, "COMMIT").await.code(), "23505");
    assert_eq!(rows(&a, "SELECT count(*) FROM d").await, ["1"]);
}
