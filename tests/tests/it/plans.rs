//! Plans of DataFusion's operators are kept and run again: with other parameters, over other data, two at a time, and
//! after runs that failed or were cut off. What they have to answer is computed here, row by row.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::server::Server;

const ITEMS: i32 = 2_000;
const GROUPS: i32 = 10;

const JOINED: &str = "SELECT g.id, count(*), sum(i.val)
    FROM item i JOIN grp g ON g.id = i.grp
    WHERE i.val >= $1 AND g.id <> $2
    GROUP BY g.id HAVING count(*) > $3 ORDER BY 3 DESC, 1 LIMIT $4";

type Totals = Vec<(i32, i64, i64)>;

/// What [`JOINED`] answers over the items with values from 0 to before `items`.
fn totals(items: i32, (from, without, more_than, limit): (i32, i32, i64, i64)) -> Totals {
    let mut groups: Totals = (0..GROUPS)
        .filter(|group| *group != without)
        .map(|group| {
            let values = (from.max(0)..items).filter(|value| value % GROUPS == group);
            values.fold((group, 0, 0), |(id, count, sum), value| (id, count + 1, sum + i64::from(value)))
        })
        .filter(|(_, count, _)| *count > more_than)
        .collect();
    groups.sort_by_key(|(id, _, sum)| (std::cmp::Reverse(*sum), *id));
    groups.truncate(usize::try_from(limit).unwrap());
    groups
}

fn found(rows: &[Row]) -> Totals {
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn add_items(client: &Client, values: std::ops::Range<i32>) {
    let sql = "INSERT INTO item SELECT v, v % $1, v FROM generate_series($2::int, $3::int) v";
    client.execute(sql, &[&GROUPS, &values.start, &(values.end - 1)]).await.expect("items");
}

async fn with_tables() -> (tempfile::TempDir, Server, Client) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE grp (id int PRIMARY KEY);
             CREATE TABLE item (id int PRIMARY KEY, grp int NOT NULL, val int NOT NULL);
             INSERT INTO grp SELECT generate_series(0, 9)",
        )
        .await
        .expect("tables");
    add_items(&client, 0..ITEMS).await;
    (directory, server, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_plan_answers_for_its_parameters_and_data() {
    let (_directory, _server, mut client) = with_tables().await;
    let explained = client.query(&format!("EXPLAIN {}", with_constants(JOINED)), &[]).await.expect("a plan");
    let lines: Vec<String> = explained.iter().map(|row| row.get(0)).collect();
    assert!(lines.iter().any(|line| line.contains("HashJoinExec")), "{lines:#?}");

    let statement = client.prepare(JOINED).await.expect("a statement");
    let mut items = ITEMS;
    for round in 0..40 {
        let asked =
            (round * 61 % ITEMS, round % (GROUPS + 1), i64::from(round % 3) * 50, i64::from(round % 12));
        let rows = client.query(&statement, &[&asked.0, &asked.1, &asked.2, &asked.3]).await.expect("rows");
        assert_eq!(found(&rows), totals(items, asked), "{asked:?}");
        if round % 10 == 9 {
            add_items(&client, items..items + 100).await;
            items += 100;
        }
    }
    // Own writes of an open transaction, which then never were.
    let asked = (0, 3, 0_i64, 100_i64);
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute("DELETE FROM item WHERE val >= 500", &[]).await.expect("a deletion");
    let rows = transaction.query(&statement, &[&asked.0, &asked.1, &asked.2, &asked.3]).await.expect("rows");
    assert_eq!(found(&rows), totals(500, asked));
    transaction.rollback().await.expect("a rollback");
    let rows = client.query(&statement, &[&asked.0, &asked.1, &asked.2, &asked.3]).await.expect("rows");
    assert_eq!(found(&rows), totals(items, asked));
}

/// EXPLAIN takes no parameters.
fn with_constants(sql: &str) -> String {
    sql.replace("$1", "10").replace("$2", "3").replace("$3", "0").replace("$4", "5")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_of_one_plan_do_not_meet() {
    let (_directory, _server, mut client) = with_tables().await;
    let statement = client.prepare(JOINED).await.expect("a statement");
    let asked = [(0, 3, 0_i64, 100_i64), (1_500, 7, 10, 100), (-5, 99, 0, 4)];
    for _ in 0..5 {
        let transaction = client.transaction().await.expect("a transaction");
        let mut portals = Vec::new();
        for (from, without, more_than, limit) in &asked {
            let portal =
                transaction.bind(&statement, &[from, without, more_than, limit]).await.expect("a portal");
            portals.push((portal, Totals::new()));
        }
        // In turn, two rows each, and the last of them is never read to its end.
        for _ in 0..6 {
            for (portal, rows) in &mut portals[..2] {
                rows.extend(found(&transaction.query_portal(portal, 2).await.expect("rows")));
            }
        }
        let (portal, rows) = &mut portals[2];
        rows.extend(found(&transaction.query_portal(portal, 1).await.expect("a row")));
        assert_eq!(portals[0].1, totals(ITEMS, asked[0]));
        assert_eq!(portals[1].1, totals(ITEMS, asked[1]));
        assert_eq!(portals[2].1, totals(ITEMS, asked[2])[..1]);
        transaction.commit().await.expect("a commit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_leaves_nothing_behind() {
    let (_directory, _server, client) = with_tables().await;
    let divide = "SELECT sum(i.val / (i.val - $1)) FROM item i JOIN grp g ON g.id = i.grp WHERE i.val < 100";
    let divide = client.prepare(divide).await.expect("a statement");
    for _ in 0..3 {
        for by in [7, 50, 99] {
            let error = client.query(&divide, &[&by]).await.expect_err("a division by zero");
            assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        }
        let rows = client.query(&divide, &[&200]).await.expect("rows");
        let expected: i64 = (0..100).map(|value: i64| value / (value - 200)).sum();
        assert_eq!(rows[0].get::<_, i64>(0), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subqueries_and_recursions_begin_anew() {
    let (_directory, _server, client) = with_tables().await;
    let counted = "SELECT g.id FROM grp g
        WHERE (SELECT count(*) FROM item i WHERE i.grp = g.id AND i.val >= $1) > $2 ORDER BY g.id";
    let counted = client.prepare(counted).await.expect("a statement");
    let numbers = "WITH RECURSIVE t(n) AS (SELECT $1::int UNION ALL SELECT n + 1 FROM t WHERE n < $2)
        SELECT count(*), sum(n) FROM t";
    let numbers = client.prepare(numbers).await.expect("a statement");
    let distinct = "SELECT grp FROM item WHERE val < $1 UNION SELECT id FROM grp WHERE id > $2 ORDER BY 1";
    let distinct = client.prepare(distinct).await.expect("a statement");
    for (from, more_than) in [(0, 0_i64), (1_995, 0), (0, 199), (0, 200), (1_900, 9), (1_995, 0)] {
        let rows = client.query(&counted, &[&from, &more_than]).await.expect("rows");
        let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let count = |group: i32| (from..ITEMS).filter(|value| value % GROUPS == group).count();
        let expected: Vec<i32> = (0..GROUPS).filter(|group| count(*group) as i64 > more_than).collect();
        assert_eq!(ids, expected, "{from} {more_than}");
    }
    for (first, last) in [(1, 10), (5, 5), (-3, 40), (1, 10)] {
        let row = client.query_one(&numbers, &[&first, &last]).await.expect("a row");
        let expected: Vec<i64> = (i64::from(first)..=i64::from(last)).collect();
        assert_eq!(
            (row.get::<_, i64>(0), row.get::<_, i64>(1)),
            (expected.len() as i64, expected.iter().sum())
        );
    }
    for (below, above) in [(3, 7), (0, 9), (100, 9), (3, 7)] {
        let rows = client.query(&distinct, &[&below, &above]).await.expect("rows");
        let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let expected: Vec<i32> = (0..GROUPS).filter(|id| *id < below || *id > above).collect();
        assert_eq!(found, expected, "{below} {above}");
    }
}
