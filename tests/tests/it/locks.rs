//! Sessions that wait for each other, and what a third one sees of it meanwhile.

use crate::server::Server;
use crate::wire::Wire;

/// A session and its process number.
pub struct Session {
    wire: Wire,
    pub pid: String,
}

impl Session {
    pub fn connect(server: &Server) -> Session {
        let mut wire = Wire::connect(server);
        let pid = wire.query("select pg_backend_pid()").answers()[0].replace("row ", "");
        Session { wire, pid }
    }

    /// Runs something that does not wait.
    pub fn run(&mut self, sql: &str) -> Vec<String> {
        self.wire.query(sql).answers()
    }

    /// The only value of a query.
    fn value(&mut self, sql: &str) -> String {
        self.run(sql)[0].replace("row ", "")
    }

    /// The answers to what has been started.
    pub fn answers(&mut self) -> Vec<String> {
        self.wire.answers()
    }

    /// Starts something that has to wait for others, and comes back when it does.
    pub fn wait(&mut self, sql: &str, observer: &mut Session, others: &[&str]) {
        self.wire.query(sql).send();
        let blocked =
            format!("select pg_isolation_test_session_is_blocked({}, '{{{}}}')", self.pid, others.join(","));
        while observer.value(&blocked) != "t" {
            std::thread::yield_now();
        }
    }
}

const TABLE: &str =
    "create table t (id int primary key, v int); insert into t values (1, 10), (2, 20), (3, 30)";

#[test]
fn who_blocks_whom_is_seen_from_outside() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut o = Session::connect(&server);
    let (mut a, mut b, mut c) =
        (Session::connect(&server), Session::connect(&server), Session::connect(&server));
    let blocking = |session: &Session| format!("select pg_blocking_pids({})", session.pid);
    o.run(TABLE);
    assert_eq!(o.value(&blocking(&a)), "{}");
    assert_eq!(o.value("select pg_blocking_pids(0)"), "{}");

    // A row: whoever comes second waits for the first, and the third for the second.
    a.run("begin; update t set v = 11 where id = 1");
    b.wait("update t set v = 12 where id = 1", &mut o, &[&a.pid]);
    c.wait("update t set v = 13 where id = 1", &mut o, &[&b.pid]);
    assert_eq!(o.value(&blocking(&b)), format!("{{{}}}", a.pid));
    assert_eq!(o.value(&blocking(&c)), format!("{{{}}}", b.pid));
    assert_eq!(o.value(&blocking(&a)), "{}");
    let others = format!("select pg_isolation_test_session_is_blocked({}, '{{{}}}')", b.pid, c.pid);
    assert_eq!(o.value(&others), "f");
    assert_eq!(o.value(&format!("select pg_safe_snapshot_blocking_pids({})", b.pid)), "{}");
    a.run("commit");
    assert_eq!(b.wire.answers(), ["UPDATE 1", "ready I"]);
    assert_eq!(c.wire.answers(), ["UPDATE 1", "ready I"]);
    assert_eq!(o.value("select v from t where id = 1"), "13");

    // A table: the holder, and who asked before.
    a.run("begin; lock table t in share mode");
    b.wait("begin; lock table t in access exclusive mode", &mut o, &[&a.pid]);
    c.wait("select count(*) from t", &mut o, &[&b.pid]);
    assert_eq!(o.value(&blocking(&b)), format!("{{{}}}", a.pid));
    assert_eq!(o.value(&blocking(&c)), format!("{{{}}}", b.pid));
    a.run("commit");
    assert_eq!(b.wire.answers(), ["BEGIN", "LOCK TABLE", "ready T"]);
    b.run("rollback");
    assert_eq!(c.wire.answers(), ["row 3", "SELECT 1", "ready I"]);

    // Advisory locks, of sessions and of transactions.
    a.run("select pg_advisory_lock_shared(7), pg_advisory_lock(1, 2)");
    b.wait("select pg_advisory_lock(7)", &mut o, &[&a.pid]);
    c.wait("begin; select pg_advisory_xact_lock(1, 2)", &mut o, &[&a.pid]);
    assert_eq!(o.value(&blocking(&b)), format!("{{{}}}", a.pid));
    a.run("select pg_advisory_unlock_all()");
    assert_eq!(b.wire.answers()[1..], ["SELECT 1", "ready I"]);
    assert_eq!(c.wire.answers()[2..], ["SELECT 1", "ready T"]);
}

#[test]
fn pg_locks_and_pg_stat_activity_show_a_queue_for_a_row() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut o = Session::connect(&server);
    let (mut a, mut b, mut c) =
        (Session::connect(&server), Session::connect(&server), Session::connect(&server));
    o.run(TABLE);
    for (session, name) in [(&mut a, "a"), (&mut b, "b"), (&mut c, "c")] {
        session.run(&format!("set application_name = '{name}'"));
    }
    a.run("begin; update t set v = 11 where id = 1");
    b.wait("delete from t where id = 1", &mut o, &[&a.pid]);
    c.wait("begin; select * from t where id = 1 for share", &mut o, &[&b.pid]);
    // As PostgreSQL 18 shows it, but for the locks on the index.
    let locks = "select locktype, relation::regclass, tuple is not null, virtualxid is not null,
             transactionid is not null, mode, granted, fastpath, waitstart is not null, application_name
         from pg_locks l join pg_stat_activity a using (pid) where pid <> pg_backend_pid()
             and (relation is null or relation = 't'::regclass)
         order by application_name, locktype, mode";
    let answers = o.run(locks);
    assert_eq!(
        answers[..answers.len() - 2],
        [
            "row relation|t|f|f|f|RowExclusiveLock|t|t|f|a",
            "row transactionid|-|f|f|t|ExclusiveLock|t|f|f|a",
            "row virtualxid|-|f|t|f|ExclusiveLock|t|t|f|a",
            "row relation|t|f|f|f|RowExclusiveLock|t|t|f|b",
            "row transactionid|-|f|f|t|ExclusiveLock|t|f|f|b",
            "row transactionid|-|f|f|t|ShareLock|f|f|t|b",
            "row tuple|t|t|f|f|AccessExclusiveLock|t|f|f|b",
            "row virtualxid|-|f|t|f|ExclusiveLock|t|t|f|b",
            "row relation|t|f|f|f|RowShareLock|t|t|f|c",
            "row tuple|t|t|f|f|RowShareLock|f|f|t|c",
            "row virtualxid|-|f|t|f|ExclusiveLock|t|t|f|c",
        ]
    );
    // Both wait for the same tuple, and the first of them for the transaction that the holder shows as its own.
    assert_eq!(
        o.value(
            "select count(distinct (page, tuple)), count(distinct database) from pg_locks where locktype = 'tuple'"
        ),
        "1|1"
    );
    assert_eq!(
        o.value(
            "select count(*) from pg_locks h join pg_locks w using (transactionid)
             where h.granted and not w.granted and h.pid <> w.pid"
        ),
        "1"
    );
    let activity =
        "select application_name, state, wait_event_type, wait_event, backend_xid is not null, query,
             xact_start <= query_start, state_change >= query_start, client_addr is not null, backend_type
         from pg_stat_activity where pid <> pg_backend_pid() order by 1";
    let answers = o.run(activity);
    assert_eq!(
        answers[..answers.len() - 2],
        [
            "row a|idle in transaction|Client|ClientRead|t|begin; update t set v = 11 where id = 1|t|t|t|client backend",
            "row b|active|Lock|transactionid|t|delete from t where id = 1|t|t|t|client backend",
            "row c|active|Lock|tuple|f|begin; select * from t where id = 1 for share|t|t|t|client backend",
        ]
    );
    a.run("commit");
    assert_eq!(b.wire.answers(), ["DELETE 1", "ready I"]);
    assert_eq!(c.wire.answers(), ["BEGIN", "SELECT 0", "ready T"]);
    a.run("begin; selec");
    assert_eq!(
        o.value(&format!(
            "select state, query, xact_start is null from pg_stat_activity where pid = {}",
            a.pid
        )),
        "idle|begin; selec|t"
    );
    a.run("begin; update t set v = 21 where id = 2");
    a.run("nonsense");
    assert_eq!(
        o.value(&format!("select state, xact_start is null from pg_stat_activity where pid = {}", a.pid)),
        "idle in transaction (aborted)|t"
    );
    assert_eq!(o.value(&format!("select count(*) from pg_locks where pid = {}", a.pid)), "0");

    // Advisory locks, as PostgreSQL splits their keys; those of another database are other locks.
    a.run("rollback; select pg_advisory_lock(4294967298), pg_advisory_lock_shared(3, 4)");
    a.run("begin; select pg_advisory_xact_lock(-1)");
    c.run("rollback");
    c.wait("select pg_advisory_lock(3, 4)", &mut o, &[&a.pid]);
    let answers = o.run(
        "select classid, objid, objsubid, mode, granted, waitstart is not null from pg_locks
         where locktype = 'advisory' order by 1, 4",
    );
    assert_eq!(
        answers[..answers.len() - 2],
        [
            "row 1|2|1|ExclusiveLock|t|f",
            "row 3|4|2|ExclusiveLock|f|t",
            "row 3|4|2|ShareLock|t|f",
            "row 4294967295|4294967295|1|ExclusiveLock|t|f"
        ]
    );
    assert_eq!(
        o.value(&format!("select wait_event from pg_stat_activity where pid = {}", c.pid)),
        "advisory"
    );
    a.run("rollback; select pg_advisory_unlock_all()");
    c.wire.answers();
}

#[test]
fn a_failed_transaction_lets_go_of_what_it_locked() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (mut a, mut b) = (Session::connect(&server), Session::connect(&server));
    a.run(TABLE);
    a.run("begin; update t set v = 11 where id = 1; savepoint s; update t set v = 21 where id = 2");
    a.run("select pg_advisory_lock(1), 1 / 0");
    // What was locked after the savepoint is free, the rest and the session's own locks are not.
    let nowait = |id: u8| format!("select v from t where id = {id} for update nowait");
    assert_eq!(b.run(&nowait(2)), ["row 20", "SELECT 1", "ready I"]);
    assert!(b.run(&nowait(1))[0].starts_with("ERROR 55P03"));
    assert_eq!(b.value("select pg_try_advisory_lock(1)"), "f");
    assert_eq!(
        a.run("rollback to s; select * from t where id < 3"),
        ["ROLLBACK", "row 1|11", "row 2|20", "SELECT 2", "ready T"]
    );
    a.run("release s; select 1 / 0");
    assert_eq!(b.run(&nowait(1)), ["row 10", "SELECT 1", "ready I"]);
    assert_eq!(a.run("commit"), ["ROLLBACK", "ready I"]);
}

#[test]
fn waits_that_end_in_errors_say_what_was_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (mut a, mut b) = (Session::connect(&server), Session::connect(&server));
    a.run(TABLE);
    let holder = "begin; update t set v = 11 where id = 1; select pg_advisory_lock(77)";
    a.run(holder);
    b.run("set lock_timeout = '20ms'");
    let timeout = "ERROR 55P03 canceling statement due to lock timeout";
    for (sql, doing) in [
        ("update t set v = 12 where id = 1", "updating"),
        ("delete from t where id = 1", "deleting"),
        ("select * from t for update", "locking"),
    ] {
        assert_eq!(b.run(sql), [timeout, "ready I"], "{sql}");
        assert_eq!(b.wire.error_field(b'W'), format!("while {doing} tuple (id)=(1) in relation \"t\""));
        assert_eq!(b.wire.error_field(b'D'), format!("Process {} holds the lock: {holder}", a.pid));
    }
    assert_eq!(b.run("begin; lock table t"), ["BEGIN", timeout, "ready E"]);
    assert_eq!(b.run("rollback; select pg_advisory_lock(77)"), ["ROLLBACK", timeout, "ready I"]);
    b.run("set lock_timeout = '1min'; set statement_timeout = '20ms'");
    let timeout = "ERROR 57014 canceling statement due to statement timeout";
    assert_eq!(b.run("update t set v = 12 where id = 1"), [timeout, "ready I"]);
    assert_eq!(b.wire.error_field(b'W'), "while updating tuple (id)=(1) in relation \"t\"");
    assert_eq!(b.run("select pg_advisory_lock(77)"), [timeout, "ready I"]);
    assert_eq!(b.run("select pg_sleep(60)"), [timeout, "ready I"]);
    b.run("reset all");
    assert_eq!(
        b.run("begin; lock table t in share mode nowait"),
        ["BEGIN", "ERROR 55P03 could not obtain lock on relation \"t\"", "ready E"]
    );
    assert_eq!(
        b.run("rollback; select * from t for update nowait"),
        ["ROLLBACK", "ERROR 55P03 could not obtain lock on row in relation \"t\"", "ready I"]
    );
}

#[test]
fn transactions_and_idle_sessions_have_their_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let transaction = "FATAL 25P04 terminating connection due to transaction timeout";
    for (setup, wait, expected) in [
        // While a statement runs, while the client is silent, and in a transaction of one statement.
        ("set transaction_timeout = '20ms'", "begin; select pg_sleep(60)", transaction),
        ("begin; set transaction_timeout = '20ms'", "", transaction),
        ("set transaction_timeout = '20ms'", "select pg_sleep(60)", transaction),
        // The one that is over first.
        (
            "set transaction_timeout = '20ms'; set statement_timeout = '1min'",
            "select pg_sleep(60)",
            transaction,
        ),
        (
            "set transaction_timeout = '20ms'; set idle_in_transaction_session_timeout = '1min'",
            "begin",
            transaction,
        ),
        (
            "set transaction_timeout = '1min'; set idle_in_transaction_session_timeout = '20ms'",
            "begin",
            "FATAL 25P03 terminating connection due to idle-in-transaction timeout",
        ),
        (
            "set idle_in_transaction_session_timeout = '1min'; set idle_session_timeout = '20ms'",
            "",
            "FATAL 57P05 terminating connection due to idle-session timeout",
        ),
    ] {
        let mut wire = Wire::connect(&server);
        assert_eq!(wire.query(setup).answers().last().expect("an answer")[..5], *"ready", "{setup}");
        if !wait.is_empty() {
            wire.query(wait).send();
        }
        let mut answers = wire.answers();
        if answers.last().is_some_and(|line| line.starts_with("ready")) {
            answers = wire.answers();
        }
        assert_eq!(answers.last_chunk().expect("two lines"), &[expected, "closed"], "{setup}: {wait}");
    }
    // A limit is lifted with its transaction.
    let mut wire = Wire::connect(&server);
    wire.query("begin; set local transaction_timeout = '300ms'; commit").answers();
    assert_eq!(wire.query("select pg_sleep(0.4)").answers()[1..], ["SELECT 1", "ready I"]);
}

#[test]
fn serialization_failures_name_the_row_and_both_statements() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (mut a, mut b) = (Session::connect(&server), Session::connect(&server));
    a.run(TABLE);
    let retry = "The transaction might succeed if retried.";

    b.run("begin isolation level repeatable read; select 1");
    a.run("update t set v = 0 where id = 1; select 1; select 2");
    assert_eq!(
        b.run("update t set v = 1 where id = 1"),
        ["ERROR 40001 could not serialize access due to concurrent update", "ready E"]
    );
    assert_eq!(
        b.wire.error_field(b'D'),
        format!(
            "Process {} has changed row (id)=(1) of table \"t\" since this transaction took its snapshot.\n\
             Process {}: update t set v = 1 where id = 1\n\
             Process {}: update t set v = 0 where id = 1; select 1; select 2",
            a.pid, b.pid, a.pid
        )
    );
    assert_eq!(b.wire.error_field(b'H'), retry);
    assert_eq!((b.wire.error_field(b's'), b.wire.error_field(b't')), ("public".to_owned(), "t".to_owned()));

    b.run("rollback; begin isolation level repeatable read; select 1");
    a.run("begin; delete from t where id = 2; select 3");
    a.run("commit");
    assert_eq!(
        b.run("delete from t where id = 2"),
        ["ERROR 40001 could not serialize access due to concurrent delete", "ready E"]
    );
    assert!(b.wire.error_field(b'D').contains("has deleted row (id)=(2) of table \"t\""));
    assert!(b.wire.error_field(b'D').contains(": begin; delete from t where id = 2; select 3"));

    b.run("rollback; begin isolation level serializable; select sum(v) from t");
    a.run("begin isolation level serializable; select sum(v) from t; insert into t values (100, 1)");
    b.run("insert into t values (101, 1)");
    a.run("commit");
    assert_eq!(
        b.run("commit"),
        [
            "ERROR 40001 could not serialize access due to read/write dependencies among transactions",
            "ready I"
        ]
    );
    assert_eq!(
        b.wire.error_field(b'D'),
        format!(
            "This transaction has read row (id)=(100) of table \"t\", which process {} has written since.\n\
             Process {}: commit\n\
             Process {}: begin isolation level serializable; select sum(v) from t; insert into t values (100, 1)",
            a.pid, b.pid, a.pid
        )
    );
    assert_eq!(b.wire.error_field(b'H'), retry);
}

#[test]
fn deadlocks_name_their_sides_and_end_the_wait_that_postgresql_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut o = Session::connect(&server);
    let (mut a, mut b) = (Session::connect(&server), Session::connect(&server));
    o.run(TABLE);
    let deadlock = "ERROR 40P01 deadlock detected";
    let [first, second] = ["update t set v = 11 where id = 2", "update t set v = 11 where id = 1"];

    // The first one to wait is the first whose deadlock_timeout would be over.
    a.run("begin; update t set v = 11 where id = 1");
    b.run("begin; update t set v = 11 where id = 2");
    a.wait(first, &mut o, &[&b.pid]);
    assert_eq!(b.run(second), ["UPDATE 1", "ready T"]);
    assert_eq!(a.wire.answers(), [deadlock, "ready E"]);
    let detail = a.wire.error_field(b'D');
    let lines: Vec<&str> = detail.lines().collect();
    let wait = |line: &str, waiter: &str, blocker: &str, id: u8| {
        line.starts_with(&format!("Process {waiter} waits for ShareLock on transaction "))
            && line.ends_with(&format!(
                "; blocked by process {blocker}. It wants to lock row (id)=({id}) of table \"t\"."
            ))
    };
    assert!(wait(lines[0], &a.pid, &b.pid, 2) && wait(lines[1], &b.pid, &a.pid, 1), "{detail}");
    assert_eq!(lines[2..], [format!("Process {}: {first}", a.pid), format!("Process {}: {second}", b.pid)]);
    assert!(a.wire.error_field(b'H').starts_with("The transaction might succeed if retried."));
    assert_eq!(a.wire.error_field(b'W'), "while updating tuple (id)=(2) in relation \"t\"");
    a.run("rollback");
    b.run("rollback");

    // Who says so has more time, or less.
    a.run("set deadlock_timeout = '1h'; begin; select pg_advisory_xact_lock(1)");
    b.run("begin; select pg_advisory_xact_lock(2, 3)");
    a.wait("select pg_advisory_xact_lock(2, 3)", &mut o, &[&b.pid]);
    assert_eq!(b.run("select pg_advisory_xact_lock(1)"), [deadlock, "ready E"]);
    let database = o.value("select oid from pg_database where datname = current_database()");
    let lock = |waiter: &str, key: &str, blocker: &str| {
        format!(
            "Process {waiter} waits for ExclusiveLock on advisory lock [{database},{key}]; blocked by process {blocker}."
        )
    };
    let detail = b.wire.error_field(b'D');
    let lines: Vec<&str> = detail.lines().collect();
    assert_eq!(lines[..2], [lock(&b.pid, "0,1,1", &a.pid), lock(&a.pid, "2,3,2", &b.pid)]);
    b.run("rollback");
    a.wire.answers();
    a.run("rollback; reset all");

    // Of two who hold a table and want more of it, the second one fails.
    a.run("begin; lock table t in share mode");
    b.run("begin; lock table t in share mode");
    a.wait("lock table t", &mut o, &[&b.pid]);
    assert_eq!(b.run("lock table t"), [deadlock, "ready E"]);
    assert!(b.wire.error_field(b'D').contains(" waits for AccessExclusiveLock on relation "));
    assert!(b.wire.error_field(b'D').contains(" It wants to lock relation \"t\"."));
    b.run("rollback");
    assert_eq!(a.wire.answers(), ["LOCK TABLE", "ready T"]);
}
