//! SQL through a real driver.

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::server::Server;

/// The rows of a query as text, columns joined by `|`, NULL as `-`.
async fn rows(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
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
async fn state(client: &tokio_postgres::Client, sql: &str) -> SqlState {
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
