//! Sessions that wait for each other, and what a third one sees of it meanwhile.

use crate::server::Server;
use crate::wire::Wire;

/// A session and its process number.
pub struct Session {
    wire: Wire,
    pid: String,
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
