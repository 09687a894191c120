//! Row locks of any query, and what READ COMMITTED does with rows that have changed while it waited for them. What is
//! expected is what PostgreSQL 18 answers.

use crate::locks::Session;
use crate::server::Server;

const TABLES: &str = "create table t (id int primary key, k int, v int);
    create table u (k int primary key, w int, flag bool);
    create table o (id int primary key, t int, n int)";

const ROWS: &str = "truncate t; truncate u; truncate o;
    insert into t values (1, 1, 10), (2, 2, 20), (3, 3, 30);
    insert into u values (1, 100, true), (2, 200, true), (3, 300, false);
    insert into o values (1, 1, 1), (2, 1, 2), (3, 2, 3)";

/// Lets one session wait for another's change of a row.
struct Race {
    a: Session,
    b: Session,
    observer: Session,
    pid: String,
}

impl Race {
    fn new(server: &Server) -> Race {
        let [mut a, b, observer] = [0; 3].map(|_| Session::connect(server));
        a.run(TABLES);
        let pid = a.run("select pg_backend_pid()")[0].replace("row ", "");
        Race { a, b, observer, pid }
    }

    /// What `waits`, which runs into `change`, answers when that commits.
    fn run(&mut self, change: &str, waits: &str) -> Vec<String> {
        self.a.run(ROWS);
        self.a.run(&format!("begin; {change}"));
        self.b.wait(waits, &mut self.observer, &[&self.pid]);
        self.a.run("commit");
        let mut answers = self.b.answers();
        assert_eq!(answers.pop().as_deref(), Some("ready I"), "{answers:?}");
        answers
    }
}

#[test]
fn writes_over_joins_are_checked_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut race = Race::new(&server);
    let moved = "update t set k = 2 where id = 1";
    let raised = "update t set v = v + 1 where id = 1";
    for (change, waits, expected) in [
        (
            raised,
            "update t set v = t.v + u.w from u where u.k = t.k and t.id = 1 returning t.*, u.*",
            &["row 1|1|111|1|100|t", "UPDATE 1"][..],
        ),
        // The row of u stays the one that was joined.
        (moved, "update t set v = 0 from u where u.k = t.k and t.id = 1 returning *", &["UPDATE 0"]),
        (moved, "delete from t using u where u.k = t.k and u.w = 100 returning *", &["DELETE 0"]),
        (
            raised,
            "update t set v = t2.v * 100 from t t2 where t2.id = t.id and t.id = 1 returning t.*, t2.*",
            &["row 1|1|1000|1|1|10", "UPDATE 1"],
        ),
        // EXISTS and IN are joins with the row that they found.
        (
            moved,
            "update t set v = 1 where exists (select 1 from u where u.k = t.k and u.flag) and id = 1 returning *",
            &["UPDATE 0"],
        ),
        (moved, "update t set v = 7 where k in (select k from u where flag) and id = 1", &["UPDATE 0"]),
        (
            raised,
            "update t set v = 7 where k in (select k from u where flag) and id = 1 returning *",
            &["row 1|1|7", "UPDATE 1"],
        ),
        (
            "update t set k = 2, v = 50 where id = 1",
            "update t set v = (select max(w) from u where u.k = t.k) + t.v where id = 1 returning *",
            &["row 1|2|250", "UPDATE 1"],
        ),
        (
            "update t set v = 500 where id = 1",
            "update t set v = 1 where v < (select max(w) from u) and id < 3 returning *",
            &["row 2|2|1", "UPDATE 1"],
        ),
    ] {
        assert_eq!(race.run(change, waits), expected, "{waits}");
    }
}

#[test]
fn locked_rows_of_any_query_are_checked_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut race = Race::new(&server);
    let both = "update o set n = 10 where id = 1; update t set v = 12 where id = 1";
    for (change, waits, expected) in [
        (
            both,
            "select * from t join o on o.t = t.id order by o.id for update",
            &["row 1|1|12|1|1|10", "row 1|1|12|2|1|2", "row 2|2|20|3|2|3", "SELECT 3"][..],
        ),
        (
            both,
            "select * from t join o on o.t = t.id order by o.id for update of o",
            &["row 1|1|10|1|1|10", "row 1|1|10|2|1|2", "row 2|2|20|3|2|3", "SELECT 3"],
        ),
        (
            "update o set t = 3 where id = 1",
            "select t.id, o.id from t join o on o.t = t.id order by o.id for update of o",
            &["row 1|2", "row 2|3", "SELECT 2"],
        ),
        (
            "delete from o where id = 1",
            "select t.id, o.id from t join o on o.t = t.id order by o.id for update of o",
            &["row 1|2", "row 2|3", "SELECT 2"],
        ),
        // An outer join that finds nothing any more has NULLs.
        (
            "update t set k = 77 where id = 2",
            "select t.*, o.id from t left join o on o.t = t.k order by t.id, o.id for update of t",
            &["row 1|1|10|1", "row 1|1|10|2", "row 2|77|20|-", "row 3|3|30|-", "SELECT 4"],
        ),
        // Rows are locked in the order that they had, and what LIMIT leaves is not.
        (
            "update t set v = 1000 where id = 1",
            "select * from t order by v for update",
            &["row 1|1|1000", "row 2|2|20", "row 3|3|30", "SELECT 3"],
        ),
        (
            "update t set v = -1 where id = 1",
            "select t.* from t join u on true where t.v >= 0 order by t.id, u.k limit 2 for update of t",
            &["row 2|2|20", "row 2|2|20", "SELECT 2"],
        ),
        (
            "update t set v = 6 where id = 3",
            "select * from (select id, v * 2 as d from t order by id desc limit 1) s for update",
            &["row 3|12", "SELECT 1"],
        ),
        (
            "update o set n = 56 where id = 3",
            "insert into u select 100 + id, n, true from o where id = 3 for update returning *",
            &["row 103|56|t", "INSERT 0 1"],
        ),
        (
            "update t set v = 1 where id = 2",
            "select t.*, g from t, generate_series(1, 2) g where t.id = 2 and t.v + g > 2 for update of t",
            &["row 2|2|1|2", "SELECT 1"],
        ),
    ] {
        assert_eq!(race.run(change, waits), expected, "{waits}");
    }
}

#[test]
fn skip_locked_takes_the_next_row() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let [mut a, mut b, mut c] = [0; 3].map(|_| Session::connect(&server));
    a.run(&format!("{TABLES}; {ROWS}"));
    let next = "select id from o order by n limit 1 for update skip locked";
    a.run("begin");
    b.run("begin");
    assert_eq!(a.run(next), ["row 1", "SELECT 1", "ready T"]);
    let taken = b.run(&format!("delete from o where id = ({next}) returning id"));
    assert_eq!(taken, ["row 2", "DELETE 1", "ready T"]);
    let left = c.run("select o.id, t.id from o join t on t.id = o.t for update skip locked");
    assert_eq!(left, ["row 3|2", "SELECT 1", "ready I"]);
    let refused = c.run("select o.id from o join t on t.id = o.t for share of o nowait");
    assert_eq!(refused, ["ERROR 55P03 could not obtain lock on row in relation \"o\"", "ready I"]);
    a.run("rollback");
    b.run("rollback");
    // OFFSET locks what it skips.
    a.run("begin; select * from o order by n limit 1 offset 1 for update");
    let left = b.run("select id from o order by id for update skip locked");
    assert_eq!(left, ["row 3", "SELECT 1", "ready I"]);
}
