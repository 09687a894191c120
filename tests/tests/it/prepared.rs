//! Prepared transactions: what they hold outlives their sessions, and the server.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::server::Server;
use crate::sql::{rows, state};

fn start(directory: &tempfile::TempDir) -> Server {
    Server::start_with(directory.path(), &[("SHARDFORGE_MAX_PREPARED_TRANSACTIONS", "8")])
}

async fn execute(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Ends the server as `kill -9` does, and starts it again.
fn killed(mut server: Server, directory: &tempfile::TempDir) -> Server {
    server.kill();
    drop(server);
    start(directory)
}

const LISTED: &str = "SELECT gid, owner, database FROM pg_prepared_xacts ORDER BY gid";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prepared_survives_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = start(&directory);
    let c = server.connect().await;
    execute(
        &c,
        "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i;
         CREATE TABLE gone (a int); INSERT INTO gone VALUES (1); CREATE TABLE locked (a int);
         CREATE TABLE grown (a int); INSERT INTO grown VALUES (1)",
    )
    .await;
    execute(
        &c,
        "BEGIN; UPDATE t SET v = 100 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (10, 10)",
    )
    .await;
    execute(&c, "SELECT * FROM t WHERE id = 3 FOR SHARE; SELECT pg_advisory_xact_lock(7); LOCK locked").await;
    execute(&c, "PREPARE TRANSACTION 'rows'").await;
    execute(
        &c,
        "BEGIN; CREATE TABLE made (a int PRIMARY KEY, b text); INSERT INTO made VALUES (1, 'one'); DROP TABLE gone;
         ALTER TABLE grown ADD COLUMN b int DEFAULT 5; COMMENT ON TABLE grown IS 'larger'; CREATE SEQUENCE s;
         PREPARE TRANSACTION 'definitions'",
    )
    .await;
    execute(&c, "BEGIN; UPDATE t SET v = 200 WHERE id = 4; PREPARE TRANSACTION 'undone'").await;
    let server = killed(server, &directory);
    let c = server.connect().await;
    assert_eq!(
        rows(&c, LISTED).await,
        ["definitions|postgres|postgres", "rows|postgres|postgres", "undone|postgres|postgres"]
    );
    // Nothing of it is there yet, and all of its locks are.
    assert_eq!(rows(&c, "SELECT count(*), sum(v) FROM t").await, ["9|45"]);
    assert_eq!(rows(&c, "SELECT to_regclass('made'), to_regclass('gone')").await, ["-|gone"]);
    execute(&c, "SET lock_timeout = '20ms'").await;
    for sql in [
        "UPDATE t SET v = 0 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (10, 11)",
        "INSERT INTO t VALUES (11, 100)",
        "UPDATE t SET v = 0 WHERE id = 3",
        "UPDATE t SET v = 0 WHERE id = 4",
        "SELECT * FROM locked",
        "SELECT * FROM gone",
        "SELECT * FROM grown",
        "CREATE TABLE made (c int)",
        "SELECT pg_advisory_lock(7)",
    ] {
        assert_eq!(state(&c, sql).await, SqlState::LOCK_NOT_AVAILABLE, "{sql}");
    }
    assert_eq!(rows(&c, "SELECT id FROM t WHERE id = 3 FOR KEY SHARE").await, ["3"]);
    let held =
        "SELECT count(*) FROM pg_locks WHERE pid IS NULL AND virtualtransaction = '-1/' || transactionid";
    assert_eq!(rows(&c, held).await, ["3"]);
    execute(&c, "COMMIT PREPARED 'definitions'").await;
    execute(&c, "ROLLBACK PREPARED 'undone'").await;
    let server = killed(server, &directory);
    let c = server.connect().await;
    assert_eq!(rows(&c, LISTED).await, ["rows|postgres|postgres"]);
    assert_eq!(rows(&c, "SELECT * FROM made").await, ["1|one"]);
    assert_eq!(rows(&c, "SELECT *, obj_description('grown'::regclass) FROM grown").await, ["1|5|larger"]);
    assert_eq!(state(&c, "SELECT * FROM gone").await, SqlState::UNDEFINED_TABLE);
    assert_eq!(rows(&c, "SELECT nextval('s')").await, ["1"]);
    execute(&c, "UPDATE t SET v = 40 WHERE id = 4").await;
    execute(&c, "COMMIT PREPARED 'rows'").await;
    let server = killed(server, &directory);
    let c = server.connect().await;
    assert!(rows(&c, LISTED).await.is_empty());
    assert_eq!(rows(&c, "SELECT count(*), sum(v) FROM t").await, ["9|188"]);
    assert_eq!(rows(&c, "SELECT id FROM t WHERE v IN (100, 10, 40) ORDER BY 1").await, ["1", "4", "10"]);
    execute(&c, "BEGIN; LOCK locked NOWAIT; INSERT INTO t VALUES (2, 2); COMMIT").await;
    assert_eq!(rows(&c, "SELECT count(*) FROM pg_locks WHERE pid IS NULL").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_prepared_transaction_waits_for_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = start(&directory);
    let (a, b) = (server.connect().await, server.connect().await);
    execute(&a, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)").await;
    execute(&a, "BEGIN; UPDATE t SET v = 10 WHERE id = 1; PREPARE TRANSACTION 'p'").await;
    let pid: i32 = b.query_one("SELECT pg_backend_pid()", &[]).await.expect("a number").get(0);
    // The session that prepared it is in its way like any other.
    let waits =
        tokio::spawn(async move { b.batch_execute("UPDATE t SET v = v + 1 WHERE id = 1").await.map(|()| b) });
    let blocking = format!("SELECT pg_blocking_pids({pid})");
    while rows(&a, &blocking).await != ["{0}"] {
        tokio::task::yield_now().await;
    }
    execute(&a, "COMMIT PREPARED 'p'").await;
    let b = waits.await.expect("it ends").expect("and has waited");
    assert_eq!(rows(&b, "SELECT v FROM t ORDER BY id").await, ["11", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_refused_unless_they_are_allowed() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    assert_eq!(rows(&c, "SHOW max_prepared_transactions").await, ["0"]);
    execute(&c, "CREATE TABLE t (id int)").await;
    execute(&c, "BEGIN; INSERT INTO t VALUES (1)").await;
    let refused = state(&c, "PREPARE TRANSACTION 'p'").await;
    assert_eq!(refused, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(rows(&c, "SELECT count(*) FROM t").await, ["0"]);
}
