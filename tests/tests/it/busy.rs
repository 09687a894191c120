//! Statements that compute without end, more of them than there are processors: others connect, work, and end them.

use tokio_postgres::error::SqlState;

use crate::server::Server;

/// Each would go on for years.
const ENDLESS: [&str; 3] = [
    "SELECT count(*) FROM generate_series(1, 9000000000000000)",
    "SELECT count(*) FROM numbers a JOIN numbers b ON a.n <> b.n \
       JOIN generate_series(1, 9000000000000000) s(n) ON a.n + b.n <> s.n",
    "SELECT sum(x.n) FROM generate_series(1, 9000000000000000) s(n), LATERAL (SELECT max(s.n + n) FROM numbers) x(n)",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_compute_keep_nobody_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let first = server.connect().await;
    first
        .batch_execute(
            "CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers SELECT generate_series(1, 1000)",
        )
        .await
        .expect("a table");
    let mut computing = Vec::new();
    for sql in ENDLESS.iter().cycle().take(3 * ENDLESS.len()) {
        let client = server.connect().await;
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("its process");
        let statement = tokio::spawn(async move { client.batch_execute(sql).await });
        computing.push((row.get::<_, i32>(0), statement));
    }
    for (pid, _) in &computing {
        let is_active = "SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active'";
        while first.query(is_active, &[pid]).await.expect("the sessions").is_empty() {}
    }

    let second = server.connect().await;
    second
        .batch_execute("INSERT INTO numbers VALUES (0); DELETE FROM numbers WHERE n = 0")
        .await
        .expect("some work");
    for (pid, statement) in computing {
        let ended = second.query_one("SELECT pg_cancel_backend($1)", &[&pid]).await.expect("a function");
        assert!(ended.get::<_, bool>(0));
        let error = statement.await.expect("no panic").expect_err("it has no end");
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    }
}
