//! LISTEN and NOTIFY. What is expected is what PostgreSQL 18 answers.

use crate::server::Server;
use crate::wire::Wire;

/// The answers to a query, without its command tags.
fn heard(c: &mut Wire, sql: &str) -> Vec<String> {
    let answers = c.query(sql).answers();
    answers
        .into_iter()
        .filter(|line| ["notified", "ERROR", "row"].iter().any(|kind| line.starts_with(kind)))
        .collect()
}

#[test]
fn a_session_hears_itself_at_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    assert_eq!(c.query("listen a").answers(), ["LISTEN", "ready I"]);
    assert_eq!(c.query("notify a").answers(), ["NOTIFY", "notified a ", "ready I"]);
    assert_eq!(
        c.query("notify a, 'x'; notify none").answers(),
        ["NOTIFY", "NOTIFY", "notified a x", "ready I"]
    );
    // Each message once a transaction, in the order of their first time; a savepoint takes its own back.
    c.query("begin; notify a, '1'; notify a, '2'; notify a, '1'; savepoint s; notify a, '2'; notify a, '3'")
        .answers();
    assert_eq!(heard(&mut c, "rollback to s; notify a, '4'"), [""; 0]);
    assert_eq!(
        c.query("commit").answers(),
        ["COMMIT", "notified a 1", "notified a 2", "notified a 4", "ready I"]
    );
    c.query("begin; savepoint s; notify a, '1'; rollback to s; notify a, '1'").answers();
    assert_eq!(heard(&mut c, "commit"), ["notified a 1"]);
    assert_eq!(heard(&mut c, "begin; notify a, '1'; rollback"), [""; 0]);
    assert_eq!(heard(&mut c, "begin; notify a, '1'; select 1/0"), ["ERROR 22012 division by zero"]);
    assert_eq!(heard(&mut c, "commit"), [""; 0]);
    let series = "select count(pg_notify('a', g::text)) from generate_series(1, 3) g";
    assert_eq!(heard(&mut c, series), ["row 3", "notified a 1", "notified a 2", "notified a 3"]);
    // In a pipeline they come at its end.
    c.parse("", "notify a, 'p'", &[]).bind("", "", &[]).execute("", 0).parse("", "select 2", &[]);
    let pipeline = c.bind("", "", &[]).execute("", 0).sync().answers();
    assert_eq!(pipeline, ["NOTIFY", "row 2", "SELECT 1", "notified a p", "ready I"]);
    assert_eq!(heard(&mut c, "begin read only; notify a, 'r'; commit"), ["notified a r"]);
}

#[test]
fn channels_change_at_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    let channels = "select pg_listening_channels()";
    assert_eq!(heard(&mut c, "begin; listen a; select pg_listening_channels()"), [""; 0]);
    assert_eq!(heard(&mut c, "notify a, 'early'; commit"), ["notified a early"]);
    c.query("begin; savepoint s; listen b; rollback to s; listen c; commit").answers();
    assert_eq!(heard(&mut c, channels), ["row a", "row c"]);
    assert_eq!(heard(&mut c, "begin; unlisten *; rollback"), [""; 0]);
    assert_eq!(heard(&mut c, "begin; notify c; unlisten c; commit"), [""; 0]);
    assert_eq!(heard(&mut c, channels), ["row a"]);
    assert_eq!(heard(&mut c, "unlisten none"), [""; 0]);
    assert_eq!(heard(&mut c, "discard all"), [""; 0]);
    assert_eq!(heard(&mut c, channels), [""; 0]);
    assert_eq!(heard(&mut c, "select pg_notification_queue_usage()"), ["row 0"]);
}

#[test]
fn names_and_payloads_have_limits() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    for (arguments, message) in [
        ("'', ''", "channel name cannot be empty"),
        ("null, null", "channel name cannot be empty"),
        ("repeat('c', 64), ''", "channel name too long"),
        ("'c', repeat('p', 8000)", "payload string too long"),
    ] {
        assert_eq!(
            heard(&mut c, &format!("select pg_notify({arguments})")),
            [format!("ERROR 22023 {message}")]
        );
    }
    let longest = "c".repeat(63);
    c.query(format!("listen {longest}")).answers();
    let answers = heard(&mut c, "select pg_notify(repeat('c', 63), repeat('p', 7999))");
    assert_eq!(answers, ["row ".to_owned(), format!("notified {longest} {}", "p".repeat(7_999))]);
    assert_eq!(
        heard(&mut c, "select pg_notify(repeat('c', 63), null)"),
        ["row ".to_owned(), format!("notified {longest} ")]
    );
}

#[test]
fn a_silent_client_hears_of_a_commit_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut listener = Wire::connect(&server);
    let mut sender = Wire::connect(&server);
    listener.query("listen news").answers();
    sender.query("create table t (a int)").answers();
    sender.query("begin; insert into t values (1); notify news, 'undone'; rollback").answers();
    sender
        .query("begin; insert into t values (1); notify news, 'one'; notify other; notify news, 'two'")
        .answers();
    sender.query("commit").answers();
    assert_eq!(listener.unasked(), "notified news one");
    assert_eq!(listener.unasked(), "notified news two");
    // What it was notified of it can see.
    assert_eq!(heard(&mut listener, "select a from t"), ["row 1"]);
    // In a transaction block it hears nothing before the end.
    listener.query("begin").answers();
    sender.query("notify news, 'three'").answers();
    assert_eq!(listener.query("select 1").answers(), ["row 1", "SELECT 1", "ready T"]);
    assert_eq!(listener.query("select 1/0").answers(), ["ERROR 22012 division by zero", "ready E"]);
    assert_eq!(listener.query("rollback").answers(), ["ROLLBACK", "notified news three", "ready I"]);
    // Nor of what it no longer listens to when that ends.
    listener.query("begin").answers();
    sender.query("notify news, 'four'").answers();
    assert_eq!(listener.query("unlisten news; commit").answers(), ["UNLISTEN", "COMMIT", "ready I"]);
}

#[test]
fn all_sessions_hear_of_commits_in_one_order() {
    const SENDERS: usize = 4;
    const ROUNDS: usize = 25;
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut listeners = [Wire::connect(&server), Wire::connect(&server)];
    listeners.iter_mut().for_each(|listener| drop(listener.query("listen n").answers()));
    // The counter's lock orders the commits that change it: what it was is told in the order of its values.
    listeners[0].query("create table counter (n int); insert into counter values (0)").answers();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            let mut sender = Wire::connect(&server);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    sender.query("begin; update counter set n = n + 1").answers();
                    sender.query("select pg_notify('n', n::text) from counter").answers();
                    assert_eq!(sender.query("commit").answers(), ["COMMIT", "ready I"]);
                }
            });
        }
    });
    for listener in &mut listeners {
        for n in 1..=SENDERS * ROUNDS {
            assert_eq!(listener.unasked(), format!("notified n {n}"));
        }
    }
}
