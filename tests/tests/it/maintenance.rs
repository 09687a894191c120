//! VACUUM, ANALYZE, REINDEX, CLUSTER: what they refuse and what they leave. Whom they wait for is in the isolation specs
//! `maintenance-*` and `reindex-*`.

use crate::server::Server;
use crate::sql::{rows, state};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_refuses_what_postgresql_refuses() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute(
        "CREATE TABLE t (a int PRIMARY KEY, b int);
         CREATE INDEX tb ON t (b);
         CREATE INDEX tp ON t (b) WHERE b > 0;
         CREATE TABLE other (a int);
         CREATE INDEX oa ON other (a);
         CREATE VIEW v AS SELECT 1 AS x",
    )
    .await
    .expect("tables");
    for (sql, expected) in [
        ("CLUSTER t", "42704"),
        ("CLUSTER t USING nope", "42704"),
        ("CLUSTER nope USING tb", "42P01"),
        ("CLUSTER t USING tp", "0A000"),
        ("CLUSTER t USING oa", "42809"),
        ("CLUSTER v", "42809"),
        ("CLUSTER tb", "42809"),
        ("CLUSTER (foo) t USING tb", "42601"),
        ("CLUSTER (verbose foo) t USING tb", "42601"),
        ("ALTER TABLE t CLUSTER ON nope", "42704"),
        ("ALTER TABLE t CLUSTER ON tp", "0A000"),
        ("ALTER TABLE v SET WITHOUT CLUSTER", "42809"),
        ("VACUUM (FULL, PARALLEL 2) t", "0A000"),
        ("VACUUM (PARALLEL) t", "42601"),
        ("VACUUM (PARALLEL 2000) t", "42601"),
        ("VACUUM (FULL, DISABLE_PAGE_SKIPPING) t", "0A000"),
        ("VACUUM (SKIP_LOCKED maybe) t", "42601"),
        ("VACUUM (ANALYZE false) t (b)", "0A000"),
        ("VACUUM (ANALYZE) t (b, b)", "42701"),
        ("VACUUM (INDEX_CLEANUP foo) t", "42601"),
        ("VACUUM (ONLY_DATABASE_STATS) t", "0A000"),
        ("VACUUM (PROCESS_TOAST false, FULL) t", "0A000"),
        ("VACUUM nope", "42P01"),
        ("ANALYZE (FULL) t", "42601"),
        ("ANALYZE t (nope)", "42703"),
        ("REINDEX (foo) TABLE t", "42601"),
        ("REINDEX (TABLESPACE nope) TABLE t", "42704"),
        ("REINDEX TABLE v", "42809"),
        ("REINDEX INDEX t", "42809"),
        ("REINDEX TABLE CONCURRENTLY pg_class", "0A000"),
        ("REINDEX SYSTEM CONCURRENTLY", "0A000"),
        ("REINDEX DATABASE nope", "0A000"),
        ("REINDEX SCHEMA nope", "3F000"),
    ] {
        assert_eq!(state(&c, sql).await.code(), expected, "{sql}");
    }
    for sql in ["VACUUM t", "CLUSTER", "REINDEX SCHEMA public", "REINDEX DATABASE postgres"] {
        c.batch_execute("BEGIN").await.expect("begin");
        assert_eq!(state(&c, sql).await.code(), "25001", "{sql}");
        c.batch_execute("ROLLBACK").await.expect("rollback");
    }
    for sql in [
        "VACUUM (INDEX_CLEANUP auto, FULL 0, PARALLEL 0, BUFFER_USAGE_LIMIT '1 MB') t, pg_class",
        "VACUUM FULL FREEZE VERBOSE ANALYZE t",
        "ANALYZE (VERBOSE off) t (b)",
        "REINDEX (VERBOSE, CONCURRENTLY false) TABLE t",
        "REINDEX TABLE pg_class",
        "REINDEX SYSTEM",
        "CLUSTER",
    ] {
        c.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_remembers_its_index() {
    let directory = tempfile::tempdir().expect("a directory");
    let clustered =
        "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 't'::regclass AND indisclustered";
    {
        let server = Server::start(directory.path());
        let c = server.connect().await;
        c.batch_execute("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE INDEX tb ON t (b)")
            .await
            .expect("t");
        for (sql, expected) in [
            ("CLUSTER t USING tb", &["tb"][..]),
            ("CLUSTER t USING t_pkey", &["t_pkey"]),
            ("ALTER TABLE t SET WITHOUT CLUSTER", &[]),
            ("ALTER TABLE t CLUSTER ON tb", &["tb"]),
            ("CLUSTER t", &["tb"]),
            ("ALTER TABLE t ALTER b TYPE bigint", &["tb"]),
            ("TRUNCATE t", &["tb"]),
        ] {
            c.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(rows(&c, clustered).await, expected, "{sql}");
        }
    }
    let server = Server::start(directory.path());
    assert_eq!(rows(&server.connect().await, clustered).await, ["tb"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_counts_rows_and_keeps_what_analyze_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 20)").await.expect("t");
    let seen = "SELECT reltuples, (SELECT count(*) FROM pg_stats WHERE tablename = 't') FROM pg_class
                WHERE oid = 't'::regclass";
    assert_eq!(rows(&c, seen).await, ["-1|0"]);
    for (sql, expected) in [
        ("VACUUM t", "20|0"),
        ("INSERT INTO t VALUES (21)", "20|0"),
        ("ANALYZE t", "21|1"),
        ("DELETE FROM t WHERE a = 1", "21|1"),
        ("VACUUM t", "20|1"),
    ] {
        c.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(rows(&c, seen).await, [expected], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_locks_the_tables_of_the_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute("CREATE TABLE t (a int); CREATE TABLE u (a int)").await.expect("tables");
    c.batch_execute("BEGIN; EXPLAIN SELECT * FROM t; EXPLAIN UPDATE u SET a = 1").await.expect("plans");
    let locks = "SELECT relation::regclass, mode FROM pg_locks
                 WHERE pid = pg_backend_pid() AND relation IN ('t'::regclass, 'u'::regclass) ORDER BY 1, 2";
    assert_eq!(rows(&c, locks).await, ["t|AccessShareLock", "u|RowExclusiveLock"]);
}
