//! Statements about the nodes of a cluster, on a node that is alone.

use crate::server::Server;
use crate::wire::Wire;

fn start() -> (tempfile::TempDir, Server, Wire) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let wire = Wire::connect(&server);
    (directory, server, wire)
}

/// What a statement raises.
fn error(c: &mut Wire, sql: &str) -> String {
    let answers = c.query(sql).answers();
    answers.into_iter().find(|line| line.starts_with("ERROR")).unwrap_or_else(|| format!("{sql}: no error"))
}

#[test]
fn a_node_alone_says_how_it_could_have_company() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::alone(directory.path());
    let mut c = Wire::connect(&server);
    let alone = "ERROR 55000 this node is alone and part of no cluster";
    for sql in [
        "show nodes",
        "show cluster",
        "show checksums",
        "create join token",
        "create join token valid for '10 minutes'",
        "create join token valid for interval '1' day",
        "alter node 1 drain",
        "alter node 1 resume",
        "alter node 1 decommission",
    ] {
        assert_eq!(error(&mut c, sql), alone, "{sql}");
    }
}

#[test]
fn what_is_no_statement_about_nodes_is_refused() {
    let (_directory, _server, mut c) = start();
    for (sql, expected) in [
        ("show nodes please", "42601 syntax error at or near \"please\""),
        ("show cluster.x", "42704 unrecognized configuration parameter \"cluster.x\""),
        ("create join", "42601 syntax error at or near \"join\""),
        ("create join table", "42601 syntax error at or near \"join\""),
        ("create or replace join token", "42601 syntax error at or near \"join\""),
        ("create join token valid '1 h'", "42601 syntax error at or near \"'1 h'\""),
        ("alter node drain", "42601 syntax error at or near \"drain\""),
        ("alter node 1", "42601 syntax error at end of input"),
        ("alter node -1 drain", "42601 syntax error at or near \"-\""),
        ("alter node 99999999999 drain", "42601 syntax error at or near \"99999999999\""),
        ("alter node 1 stop", "42601 syntax error at or near \"stop\""),
        ("create join token valid for 'soon'", "22007 invalid input syntax for type interval: \"soon\""),
        (
            "create join token valid for '0'",
            "22023 a join token is valid for one second at least and 30 days at most",
        ),
        (
            "create join token valid for '-1 hour'",
            "22023 a join token is valid for one second at least and 30 days at most",
        ),
        (
            "create join token valid for '31 days'",
            "22023 a join token is valid for one second at least and 30 days at most",
        ),
        ("create join token valid for null", "42601 syntax error at or near \"null\""),
        ("create join token valid for x", "42601 syntax error at or near \"x\""),
        ("create join token valid for interval", "42601 syntax error at end of input"),
    ] {
        assert_eq!(error(&mut c, sql), format!("ERROR {expected}"), "{sql}");
    }
    for (sql, what) in [("create join token", "CREATE JOIN TOKEN"), ("alter node 1 drain", "ALTER NODE")] {
        c.query("begin").answers();
        let expected = format!("ERROR 25001 {what} cannot run inside a transaction block");
        assert_eq!(error(&mut c, sql), expected);
        c.query("rollback; set default_transaction_read_only = on").answers();
        let expected = format!("ERROR 25006 cannot execute {what} in a read-only transaction");
        assert_eq!(error(&mut c, sql), expected);
        c.query("reset default_transaction_read_only").answers();
    }
    c.query("create role ada; set role ada").answers();
    assert_eq!(error(&mut c, "create join token"), "ERROR 42501 permission denied to create a join token");
    assert_eq!(error(&mut c, "alter node 1 drain"), "ERROR 42501 permission denied to alter a node");
}

#[test]
fn its_words_stay_free_for_names() {
    let (_directory, _server, mut c) = start();
    let answers = c.query("create table nodes (node int, drain int, token int, resume int)").answers();
    assert_eq!(answers, ["CREATE TABLE", "ready I"]);
    let answers = c.query("alter table nodes rename column node to decommission").answers();
    assert_eq!(answers, ["ALTER TABLE", "ready I"]);
}
