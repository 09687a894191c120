//! SQL through a real driver.

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::server::Server;

/// The rows of a query as text, columns joined by `|`, NULL as `-`.
pub async fn rows(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("-")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        })
        .collect()
}

/// The SQLSTATE that a statement fails with.
pub async fn state(client: &tokio_postgres::Client, sql: &str) -> SqlState {
    let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("{sql} should fail"));
    error.code().cloned().unwrap_or_else(|| panic!("{sql}: {error:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_answer_as_postgresql_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute(
        "CREATE TABLE dept (id int PRIMARY KEY, name text NOT NULL UNIQUE);
         CREATE TABLE emp (id serial PRIMARY KEY, dept int, name varchar(10), salary numeric(10,2), hired date);
         CREATE INDEX emp_dept ON emp (dept);
         INSERT INTO dept VALUES (1, 'sales'), (2, 'tech'), (3, 'empty');
         INSERT INTO emp (dept, name, salary, hired) VALUES (1, 'ann', 1000, '2020-01-05'), (2, 'bob', 1500.50, '2021-02-03'),
                (2, 'cy', 2000, NULL), (NULL, 'dee', 10, '2019-12-31')",
    )
    .await
    .expect("tables");
    for (sql, expected) in [
        ("SELECT name FROM emp WHERE id = 2", &["bob"][..]),
        (
            "SELECT d.name, count(e.id), sum(salary) FROM dept d LEFT JOIN emp e ON e.dept = d.id GROUP BY d.name ORDER BY 1",
            &["empty|0|-", "sales|1|1000.00", "tech|2|3500.50"],
        ),
        (
            "SELECT name FROM emp e WHERE EXISTS (SELECT 1 FROM dept d WHERE d.id = e.dept AND d.name = 'tech') ORDER BY id",
            &["bob", "cy"],
        ),
        ("SELECT name FROM emp WHERE dept NOT IN (SELECT id FROM dept WHERE name = 'tech')", &["ann"]),
        (
            "SELECT name, (SELECT d.name FROM dept d WHERE d.id = e.dept) FROM emp e ORDER BY e.id",
            &["ann|sales", "bob|tech", "cy|tech", "dee|-"],
        ),
        (
            "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 4) SELECT sum(n) FROM t",
            &["10"],
        ),
        (
            "SELECT d.id, x FROM dept d, LATERAL (SELECT max(salary) AS x FROM emp e WHERE e.dept = d.id) s ORDER BY d.id",
            &["1|1000.00", "2|2000.00", "3|-"],
        ),
        ("SELECT 1 UNION SELECT 1 UNION ALL SELECT 2 ORDER BY 1", &["1", "2"]),
        ("SELECT id FROM dept EXCEPT SELECT dept FROM emp", &["3"]),
        (
            "SELECT CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, i FROM generate_series(1, 3) i",
            &["odd|1", "even|2", "odd|3"],
        ),
        (
            "UPDATE emp SET salary = salary * 2 FROM dept WHERE emp.dept = dept.id AND dept.name = 'sales' RETURNING emp.name, salary",
            &["ann|2000.00"],
        ),
        (
            "INSERT INTO dept VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name || '!' RETURNING *",
            &["1|x!"],
        ),
        ("DELETE FROM emp USING dept WHERE emp.dept = dept.id AND dept.id = 1 RETURNING emp.id", &["1"]),
        ("SELECT array_agg(name ORDER BY name DESC), count(DISTINCT dept) FROM emp", &["{dee,cy,bob}|1"]),
        (
            "SELECT 0.1::float8 + 0.2::float8, 1/3.0, 'x' || NULL, '2024-02-29'::date + 1",
            &["0.30000000000000004|0.33333333333333333333|-|2024-03-01"],
        ),
    ] {
        assert_eq!(rows(&c, sql).await, expected, "{sql}");
    }
    for (sql, expected) in [
        ("SELECT * FROM missing", SqlState::UNDEFINED_TABLE),
        ("SELEC 1", SqlState::SYNTAX_ERROR),
        ("SELECT 1/0", SqlState::DIVISION_BY_ZERO),
        ("INSERT INTO dept VALUES (2, 'again')", SqlState::UNIQUE_VIOLATION),
        ("INSERT INTO dept VALUES (9, NULL)", SqlState::NOT_NULL_VIOLATION),
        ("INSERT INTO emp (name) VALUES ('much too long a name')", SqlState::STRING_DATA_RIGHT_TRUNCATION),
        ("SELECT 'x'::int", SqlState::INVALID_TEXT_REPRESENTATION),
        ("SELECT id FROM emp GROUP BY name", SqlState::GROUPING_ERROR),
    ] {
        assert_eq!(state(&c, sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_definition_rolls_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)").await.expect("a table");
    c.batch_execute(
        "BEGIN; ALTER TABLE t ADD COLUMN b int DEFAULT 7; CREATE TABLE u (x int); ALTER TABLE t ADD PRIMARY KEY (a);
         TRUNCATE t; ROLLBACK",
    )
    .await
    .expect("a transaction");
    assert_eq!(rows(&c, "SELECT * FROM t ORDER BY a").await, ["1", "2"]);
    assert_eq!(state(&c, "SELECT * FROM u").await, SqlState::UNDEFINED_TABLE);
    c.batch_execute("ALTER TABLE t ADD COLUMN b int DEFAULT 7; ALTER TABLE t ADD PRIMARY KEY (a)")
        .await
        .expect("alters");
    assert_eq!(rows(&c, "SELECT * FROM t ORDER BY a").await, ["1|7", "2|7"]);
    assert_eq!(state(&c, "INSERT INTO t VALUES (1)").await, SqlState::UNIQUE_VIOLATION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_do_not_share_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = Server::start(directory.path());
    let path = directory.path().to_owned();
    let second = std::panic::catch_unwind(|| Server::start(&path));
    assert!(second.is_err(), "the second server must refuse");
    assert_eq!(rows(&first.connect().await, "SELECT 1").await, ["1"]);
    assert!(first.dsn().starts_with("postgresql://"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_expressions_mean_what_they_meant_when_they_were_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute(
        "CREATE SCHEMA a; CREATE SCHEMA b;
         CREATE TABLE a.t (x int); INSERT INTO a.t VALUES (1);
         CREATE TABLE b.t (x int); INSERT INTO b.t VALUES (2);
         SET search_path = a; CREATE VIEW v AS SELECT x FROM t; SET search_path = b, public",
    )
    .await
    .expect("a view");
    assert_eq!(rows(&c, "SELECT v.x, t.x FROM a.v, t").await, ["1|2"]);
    c.batch_execute(
        "CREATE SEQUENCE public.numbers;
         CREATE TABLE public.u (id serial, n int DEFAULT nextval('numbers'));
         ALTER SEQUENCE public.numbers RENAME TO counted;
         INSERT INTO public.u DEFAULT VALUES",
    )
    .await
    .expect("a default outlives the sequence's name");
    assert_eq!(rows(&c, "SELECT * FROM u").await, ["1|1"]);
    let defaults =
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'u'::regclass ORDER BY adnum";
    assert_eq!(rows(&c, defaults).await, ["nextval('u_id_seq'::regclass)", "nextval('counted'::regclass)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_statement_keeps_is_bounded_by_the_memory_for_queries() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(directory.path(), &[("SHARDFORGE_QUERY_MEMORY", "2MB")]);
    let c = server.connect().await;
    c.batch_execute("CREATE TABLE t (id int PRIMARY KEY, x text)").await.expect("a table");
    let fill = "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g";
    assert_eq!(state(&c, &format!("{fill} RETURNING *")).await, SqlState::OUT_OF_MEMORY);
    assert_eq!(rows(&c, "SELECT count(*) FROM t").await, ["0"]);
    c.batch_execute(fill).await.expect("without RETURNING nothing is kept");
    c.batch_execute("BEGIN; DECLARE k CURSOR FOR SELECT * FROM t").await.expect("a cursor");
    assert_eq!(state(&c, "FETCH ALL IN k").await, SqlState::OUT_OF_MEMORY);
    c.batch_execute("ROLLBACK").await.expect("an end");
    assert_eq!(rows(&c, "DELETE FROM t WHERE id = 1 RETURNING length(x)").await, ["1000"]);
}

/// Runs statements in order in one session; each has the rows, or the SQLSTATE, that PostgreSQL 18 answers.
pub async fn script(statements: &[(&str, Result<&[&str], &str>)]) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    for (sql, expected) in statements {
        match expected {
            Ok(expected) => assert_eq!(rows(&c, sql).await, *expected, "{sql}"),
            Err(expected) => assert_eq!(state(&c, sql).await.code(), *expected, "{sql}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_use_queries_wherever_they_may_stand() {
    script(&[
        ("CREATE TABLE cat (id int PRIMARY KEY, label text, rate numeric)", Ok(&[])),
        ("CREATE TABLE item (id int PRIMARY KEY, name text, qty int, tags int[])", Ok(&[])),
        ("INSERT INTO cat VALUES (1, 'food', 1.5), (2, 'toys', 2)", Ok(&[])),
        ("INSERT INTO item VALUES (1, 'apple', 5, '{1,2}'), (2, 'doll', 7, NULL)", Ok(&[])),
        (
            "UPDATE item SET (name, qty) = (SELECT label, 99 FROM cat WHERE cat.id = item.id) WHERE id = 2
             RETURNING name, qty",
            Ok(&["toys|99"]),
        ),
        (
            "UPDATE item SET qty = (SELECT count(*) FROM cat) WHERE id = 1 RETURNING qty, (SELECT max(rate) FROM cat)",
            Ok(&["2|2"]),
        ),
        (
            "INSERT INTO item (id, qty) VALUES (1, 0)
             ON CONFLICT (id) DO UPDATE SET qty = item.qty + (SELECT sum(rate) FROM cat)::int RETURNING qty",
            Ok(&["6"]),
        ),
        ("INSERT INTO item (id) VALUES (3) RETURNING (SELECT count(*) FROM item)", Ok(&["2"])),
        ("UPDATE item SET qty = (SELECT id FROM item)", Err("21000")),
        (
            "WITH src AS (SELECT 4 AS id, 'four' AS name) INSERT INTO item SELECT id, name FROM src RETURNING id, name",
            Ok(&["4|four"]),
        ),
        // What one part of a statement writes, the others do not see in the tables.
        (
            "WITH gone AS (DELETE FROM item WHERE id > 2 RETURNING id)
             SELECT count(*), (SELECT count(*) FROM item) FROM gone",
            Ok(&["2|4"]),
        ),
        (
            "WITH a AS (INSERT INTO cat VALUES (3, 'new', 0) RETURNING id),
                  b AS (UPDATE item SET qty = (SELECT id FROM a) RETURNING id, qty)
             SELECT b.id, b.qty FROM b ORDER BY 1",
            Ok(&["1|3", "2|3"]),
        ),
        ("SELECT id, label FROM cat ORDER BY id", Ok(&["1|food", "2|toys", "3|new"])),
        ("UPDATE item SET tags[3] = 9, tags[1] = 7 WHERE id = 1 RETURNING tags", Ok(&["{7,2,9}"])),
        ("UPDATE item SET tags[4] = 4 WHERE id = 2 RETURNING tags", Ok(&["[4:4]={4}"])),
        ("UPDATE item SET tags[1:2] = '{8,8}' WHERE id = 1 RETURNING tags", Ok(&["{8,8,9}"])),
        ("UPDATE item SET tags[1:2] = '{8}' WHERE id = 1", Err("2202E")),
        ("UPDATE item SET tags[NULL] = 1 WHERE id = 1", Err("22004")),
        ("SELECT id, label INTO copied FROM cat WHERE id < 3", Ok(&[])),
        ("SELECT * FROM copied ORDER BY id", Ok(&["1|food", "2|toys"])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_hold_together() {
    script(&[
        ("CREATE TABLE item (id int PRIMARY KEY, name text)", Ok(&[])),
        ("INSERT INTO item VALUES (1, 'apple'), (2, 'doll')", Ok(&[])),
        // The index is filled from rows that do not have its column yet.
        ("ALTER TABLE item ADD COLUMN u int UNIQUE, ADD COLUMN v text DEFAULT 'x' CHECK (v <> '')", Ok(&[])),
        ("ALTER TABLE item ADD COLUMN w int DEFAULT 1 UNIQUE", Err("23505")),
        ("SELECT id, u, v FROM item ORDER BY id", Ok(&["1|-|x", "2|-|x"])),
        ("CREATE SEQUENCE s START 5", Ok(&[])),
        ("SELECT last_value, is_called FROM s", Ok(&["5|f"])),
        ("SELECT nextval('s')", Ok(&["5"])),
        ("SELECT last_value, is_called FROM s", Ok(&["5|t"])),
        ("CREATE TABLE uses (id int DEFAULT nextval('s'))", Ok(&[])),
        ("ALTER SEQUENCE s RENAME TO renamed", Ok(&[])),
        (
            "SELECT column_default FROM information_schema.columns WHERE table_name = 'uses'",
            Ok(&["nextval('renamed'::regclass)"]),
        ),
        ("INSERT INTO uses DEFAULT VALUES RETURNING id", Ok(&["6"])),
        ("DROP SEQUENCE renamed", Err("2BP01")),
        ("DROP SEQUENCE renamed CASCADE", Ok(&[])),
        ("INSERT INTO uses DEFAULT VALUES RETURNING id", Ok(&["-"])),
        (
            "SELECT table_name FROM information_schema.tables WHERE table_name IN ('uses', 'item') ORDER BY 1",
            Ok(&["item", "uses"]),
        ),
        ("CREATE INDEX ON item ((random()))", Err("42P17")),
        ("CREATE TABLE g (a int, b int GENERATED ALWAYS AS (a + random()) STORED)", Err("42P17")),
        ("CREATE TABLE g (a int, b int GENERATED ALWAYS AS (a + 1) STORED)", Ok(&[])),
        ("CREATE TABLE joined (a int, b text GENERATED ALWAYS AS (a || 'x') STORED)", Ok(&[])),
        ("CREATE TABLE stamped (a timestamptz, b text GENERATED ALWAYS AS (a || 'x') STORED)", Err("42P17")),
        ("ALTER TABLE g DROP COLUMN a", Err("2BP01")),
        ("ALTER TABLE g ADD COLUMN x int, DROP COLUMN x", Err("42703")),
        ("CREATE TABLE n (a int NULL NOT NULL)", Err("42601")),
        ("DROP INDEX nope", Err("42704")),
        ("DROP TABLE pg_class", Err("42501")),
        ("REINDEX TABLE item", Ok(&[])),
        ("REINDEX INDEX item", Err("42809")),
        ("SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'", Ok(&["public|pg_database_owner"])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_stop_and_sort_as_they_are_told() {
    script(&[
        // Rows of a recursion are made as they are asked for.
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t LIMIT 3",
            Ok(&["1", "2", "3"]),
        ),
        // One that has no end ends with the memory for queries; PostgreSQL would fill its disk.
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n % 7 + 1 FROM t) SELECT count(*) FROM t WHERE n > 9",
            Err("53200"),
        ),
        (
            "SELECT n FROM generate_series(1, 9) n ORDER BY n LIMIT (SELECT 2) OFFSET (SELECT 1 + 2)",
            Ok(&["4", "5"]),
        ),
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY x),
                    percentile_disc(0.5) WITHIN GROUP (ORDER BY y DESC), mode() WITHIN GROUP (ORDER BY y)
             FROM (VALUES (3, 'a'), (1, 'c'), (2, 'b'), (9, 'b')) v(x, y)",
            Ok(&["2|b|b"]),
        ),
        ("SELECT stddev(x) FROM (VALUES (1.255), (19.9), (9999999.99), (0)) v(x)", Ok(&["4999996.469175"])),
        ("SELECT 1.0 UNION SELECT 1 UNION SELECT 1.00", Ok(&["1.0"])),
        ("EXPLAIN (TIMING) SELECT 1", Err("22023")),
        ("EXPLAIN (ANALYZE maybe) SELECT 1", Err("42601")),
        ("SET TIME ZONE INTERVAL '+02:30' HOUR TO MINUTE", Ok(&[])),
        ("SELECT timestamptz '2024-06-15 12:00+00'", Ok(&["2024-06-15 14:30:00+02:30"])),
        ("PREPARE p(int) AS SELECT $1", Ok(&[])),
        (
            "SELECT name, parameter_types::text, from_sql FROM pg_prepared_statements WHERE name = 'p'",
            Ok(&["p|{integer}|t"]),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_see_what_a_session_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (watched, watcher) = (server.connect().await, server.connect().await);
    let pid = rows(&watched, "SELECT pg_backend_pid()").await.remove(0);
    let state_of = format!("SELECT state, backend_start <= now() FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(rows(&watched, &state_of).await, ["active|t"]);
    assert_eq!(rows(&watcher, &state_of).await, ["idle|t"]);
    watched.batch_execute("BEGIN").await.expect("a transaction");
    assert_eq!(rows(&watcher, &state_of).await, ["idle in transaction|t"]);
    state(&watched, "SELECT 1/0").await;
    assert_eq!(rows(&watcher, &state_of).await, ["idle in transaction (aborted)|t"]);
    watched.batch_execute("ROLLBACK").await.expect("the end of it");
    assert_eq!(rows(&watcher, &state_of).await, ["idle|t"]);
}

/// The rows of a statement are locked and written together; its errors and results are as if they came one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_at_once_are_written_as_one_by_one() {
    script(&[
        ("CREATE TABLE bulk (id int PRIMARY KEY, v int UNIQUE, note text, CHECK (v <> 13))", Ok(&[])),
        ("INSERT INTO bulk VALUES (1, 1), (2, 1)", Err("23505")),
        ("INSERT INTO bulk VALUES (1, 13), (1, 1)", Err("23514")),
        ("INSERT INTO bulk VALUES (1, 1), (1, 13)", Err("23514")),
        ("INSERT INTO bulk SELECT i, 5000 - i, 'n' || i % 7 FROM generate_series(1, 3000) i", Ok(&[])),
        ("INSERT INTO bulk VALUES (4000, 13), (1, 9000)", Err("23514")),
        ("INSERT INTO bulk VALUES (1, 9000), (4000, 13)", Err("23505")),
        ("INSERT INTO bulk SELECT i % 1200 + 30000 FROM generate_series(1, 2000) i", Err("23505")),
        (
            "INSERT INTO bulk SELECT 10000 - i, 10000 + i FROM generate_series(1, 2500) i WHERE i % 2 = 0",
            Ok(&[]),
        ),
        ("UPDATE bulk SET id = id + 100000 WHERE id <= 2000", Ok(&[])),
        ("DELETE FROM bulk USING generate_series(100000, 101000) g WHERE id = g", Ok(&[])),
        (
            "SELECT count(*), sum(id), sum(v), count(DISTINCT note) FROM bulk",
            Ok(&["3250|114937250|20062750|7"]),
        ),
        ("DELETE FROM bulk", Ok(&[])),
        ("SELECT count(*) FROM bulk WHERE note IS NULL OR note > ''", Ok(&["0"])),
    ])
    .await;
}

/// An index has the rows as they were when it was made: an older snapshot may not read by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_younger_than_the_snapshot_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let (reader, other) = (server.connect().await, server.connect().await);
    other
        .batch_execute(
            "CREATE TABLE young (id int PRIMARY KEY, v int);
             INSERT INTO young SELECT i, i % 10 FROM generate_series(1, 100) i",
        )
        .await
        .expect("a table");
    let count = "SELECT count(*) FROM young WHERE v = 1";
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction");
    assert_eq!(rows(&reader, count).await, ["10"]);
    other
        .batch_execute("UPDATE young SET v = 2 WHERE id = 11; CREATE INDEX young_v ON young (v)")
        .await
        .expect("an index");
    assert_eq!(rows(&other, count).await, ["9"]);
    assert_eq!(rows(&reader, "SELECT count(*) FROM young WHERE id = 11 AND v + 0 = 1").await, ["1"]);
    // By another path, alone, in a join and in a write.
    assert_eq!(rows(&reader, count).await, ["10"]);
    let joined = "SELECT count(*) FROM young a JOIN young b USING (id) WHERE a.v = 1 AND b.v = 1";
    assert_eq!(rows(&reader, joined).await, ["10"]);
    reader.batch_execute("UPDATE young SET v = 3 WHERE v = 1 AND id > 20").await.expect("a write");
    assert_eq!(rows(&reader, count).await, ["2"]);
    reader.batch_execute("ROLLBACK").await.expect("the end of it");
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction");
    assert_eq!(rows(&reader, count).await, ["9"]);
}

/// Several statements in one message are a transaction block, in which not everything may run, be it the first of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_several_statements_is_a_block() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let c = server.connect().await;
    c.batch_execute("CREATE TABLE t (a int)").await.expect("a table");
    for sql in [
        "SELECT 1; VACUUM",
        "VACUUM; SELECT 1",
        "BEGIN; SELECT 1; COMMIT; VACUUM",
        "SELECT 1; DISCARD ALL",
        "INSERT INTO t VALUES (1); CREATE INDEX CONCURRENTLY ON t (a)",
        "SELECT 1; REINDEX TABLE CONCURRENTLY t",
        "SELECT 1; CREATE DATABASE another",
        "COMMIT PREPARED 'none'; SELECT 1",
    ] {
        assert_eq!(state(&c, sql).await, SqlState::ACTIVE_SQL_TRANSACTION, "{sql}");
    }
    assert_eq!(rows(&c, "SELECT count(*) FROM t").await, ["0"]);
    c.batch_execute("VACUUM").await.expect("it is alone");
}
