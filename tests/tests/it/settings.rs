//! Settings that belong to the transaction or the role: functions and pg_settings show them as SHOW does.

use crate::server::Server;
use crate::sql::{rows, state};

const MODES: &str =
    "SELECT current_setting('transaction_isolation'), current_setting('TRANSACTION_READ_ONLY'),
                            current_setting('transaction_deferrable')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_transaction_are_seen_everywhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    let isolation = "SELECT setting FROM pg_settings WHERE name = 'transaction_isolation'";
    for (sql, query, expected) in [
        ("", MODES, "read committed|off|off"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", MODES, "serializable|on|on"),
        ("", isolation, "serializable"),
        ("", "SELECT set_config('transaction_isolation', 'serializable', true)", "serializable"),
        ("ROLLBACK", MODES, "read committed|off|off"),
        (
            "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION DEFERRABLE",
            MODES,
            "repeatable read|off|on",
        ),
        ("ROLLBACK; BEGIN; SAVEPOINT a; SET TRANSACTION READ ONLY", MODES, "read committed|on|off"),
        ("ROLLBACK TO a", MODES, "read committed|off|off"),
        (
            "ROLLBACK; SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = on;
             SET default_transaction_deferrable = on",
            MODES,
            "repeatable read|on|on",
        ),
        (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE",
            MODES,
            "read committed|off|off",
        ),
        ("CREATE ROLE r; SET ROLE r", "SELECT current_setting('role')", "r"),
        ("RESET ROLE", "SELECT current_setting('role')", "none"),
    ] {
        c.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(rows(&c, query).await, [expected], "{sql}: {query}");
    }
    c.batch_execute("ROLLBACK; RESET ALL").await.expect("reset");
    for (begin, sql) in [
        ("BEGIN", "SELECT set_config('transaction_isolation', 'serializable', true)"),
        ("BEGIN", "SELECT set_config('transaction_deferrable', 'on', true)"),
        ("BEGIN READ ONLY", "SELECT set_config('transaction_read_only', 'off', true)"),
    ] {
        c.batch_execute(begin).await.expect("begin");
        assert_eq!(state(&c, sql).await.code(), "25001", "{sql}");
        c.batch_execute("ROLLBACK").await.expect("rollback");
    }
}
