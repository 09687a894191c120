//! What must hold after a load, and whatever happened under it.

use tokio_postgres::{Client, Error};

use super::Outcome;
use super::ledger::{Bulk, Counts, Found, Trace, compare};
use super::tables::{BALANCE, BANK, BULK_ROWS};
use crate::doors::{Doors, Trouble};
use crate::violation::Violation;

/// How often what is there is looked at again when the loss of a node cuts the look short.
const LOOKS_MAX: usize = 5;

/// A query that counts what is wrong, and what that would be.
fn wrongs() -> [(&'static str, String); 7] {
    let against_history = |table: &str, key: &str| {
        format!(
            "SELECT count(*) FROM {table} t
             LEFT JOIN (SELECT {key}, sum(delta) AS sum FROM history GROUP BY {key}) h ON h.{key} = t.{key}
             WHERE t.balance <> coalesce(h.sum, 0)"
        )
    };
    [
        ("accounts that are not as the history says", against_history("account", "aid")),
        ("tellers that are not as the history says", against_history("teller", "tid")),
        ("branches that are not as the history says", against_history("branch", "bid")),
        (
            "sums of TPC-B that differ",
            "SELECT count(*) FROM (SELECT (SELECT sum(balance) FROM account) a, (SELECT sum(balance) FROM teller) t,
                 (SELECT sum(balance) FROM branch) b, (SELECT coalesce(sum(delta), 0) FROM history) h) s
             WHERE NOT (a = t AND t = b AND b = h)"
                .to_owned(),
        ),
        (
            "accounts of the bank that are not as its moves say",
            format!(
                "SELECT count(*) FROM bank b LEFT JOIN (SELECT id, sum(amount) AS sum FROM (
                     SELECT source AS id, -amount AS amount FROM bank_move
                     UNION ALL SELECT target, amount FROM bank_move) m GROUP BY id) m ON m.id = b.id
                 WHERE b.balance <> {BALANCE} + coalesce(m.sum, 0)"
            ),
        ),
        (
            "sums of the bank that are not what they were",
            format!("SELECT count(*) FROM (SELECT sum(balance) AS s FROM bank) b WHERE s <> {}", BANK * BALANCE),
        ),
        ("codes of several tickets", "SELECT count(*) - count(DISTINCT code) FROM ticket".to_owned()),
    ]
}

/// Indexes: the table, its index, the indexed column, another column.
const INDEXES: [(&str, &str, &str, &str); 4] = [
    ("history", "history_account", "aid", "id"),
    ("bank", "bank_balance", "balance", "id"),
    ("ticket", "ticket_code", "code", "id"),
    ("bulk", "bulk_part", "part", "id"),
];

/// Checks that every index has the entries of its table, and no others.
async fn check_indexes(client: &Client) -> Result<(), Violation> {
    for (table, index, column, other) in INDEXES {
        let all = format!(
            "SELECT count(*), coalesce(sum({column}), 0)::text, coalesce(sum({other}::numeric * {column}), 0)::text
             FROM {table}"
        );
        let by_index = format!("{all} WHERE {column} >= -1000000000");
        let plan = client.query(&format!("EXPLAIN {by_index}"), &[]).await?;
        let uses_index = |line: &str| line.contains(&format!("Index Scan using {index}"));
        if !plan.iter().any(|row| uses_index(row.get(0))) {
            return Err(Violation::Data(format!("{index} is not used by {by_index}")));
        }
        let answers = [client.query_one(&all, &[]).await?, client.query_one(&by_index, &[]).await?];
        let [rows, entries] =
            answers.map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1), row.get::<_, String>(2)));
        if rows != entries {
            return Err(Violation::Data(format!("{index} has {entries:?}, {table} has {rows:?}")));
        }
    }
    Ok(())
}

/// Transactions with numbers below the first of a round, in one trace: how many rows there are, and their sum.
type Settled = (i64, String);

/// What has been found so far, and is there for good.
#[derive(Debug, Default)]
pub struct Checker {
    settled: [Settled; Trace::ALL.len()],
}

impl Checker {
    /// Checks everything after a load, whose transactions have numbers from `first` on, asking the node at some door, and
    /// others when it is lost meanwhile.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn check(
        &mut self,
        doors: &Doors,
        door: usize,
        first: i64,
        outcome: &Outcome,
    ) -> Result<(Counts, Bulk), Violation> {
        let mut turn = 0;
        loop {
            let client = doors.visit(door + turn).await?;
            turn += 1;
            match self.look(&client, first, outcome).await {
                Err(Violation::Statement(error))
                    if turn < LOOKS_MAX && Trouble::of(&error) != Trouble::Wrong => {}
                done => return done,
            }
        }
    }

    async fn look(
        &mut self,
        client: &Client,
        first: i64,
        outcome: &Outcome,
    ) -> Result<(Counts, Bulk), Violation> {
        let mut counts = Counts::default();
        for trace in Trace::ALL {
            let settled = settled(client, trace, first).await?;
            let known = &self.settled[trace as usize];
            if settled.0 != known.0 || (settled.0 > 0 && settled.1 != known.1) {
                let table = trace.table();
                return Err(Violation::Data(format!(
                    "{table}: {known:?} of the rounds before is {settled:?}"
                )));
            }
            let found = found(client, trace, first).await?;
            counts.add(compare(trace, &outcome.entries, found).map_err(Violation::Data)?);
        }
        for (what, query) in wrongs() {
            let wrong: i64 = client.query_one(&query, &[]).await?.get(0);
            if wrong != 0 {
                return Err(Violation::Data(format!("{what}: {wrong}")));
            }
        }
        check_indexes(client).await?;
        let bulk = check_bulk(client, &outcome.bulk).await?;
        let mut now = <[Settled; Trace::ALL.len()]>::default();
        for trace in Trace::ALL {
            now[trace as usize] = settled(client, trace, outcome.next).await?;
        }
        self.settled = now;
        Ok((counts, bulk))
    }
}

async fn settled(client: &Client, trace: Trace, before: i64) -> Result<Settled, Error> {
    let query = format!(
        "SELECT count(*), coalesce(sum(id * 100 + part), 0)::text FROM {} WHERE id < $1",
        trace.table()
    );
    let row = client.query_one(&query, &[&before]).await?;
    Ok((row.get(0), row.get(1)))
}

async fn found(client: &Client, trace: Trace, first: i64) -> Result<Found, Error> {
    let query = format!("SELECT id, part FROM {} WHERE id >= $1 ORDER BY id, part", trace.table());
    let mut found = Found::new();
    for row in client.query(&query, &[&first]).await? {
        found.entry(row.get(0)).or_default().push(row.get(1));
    }
    Ok(found)
}

/// Of the large transactions, the rows of one are there, and all of them; which is known from now on.
async fn check_bulk(client: &Client, bulk: &Bulk) -> Result<Bulk, Violation> {
    let rows = client.query("SELECT id, count(*), count(DISTINCT part) FROM bulk GROUP BY id", &[]).await?;
    let there: Vec<(i64, i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let settled = match there[..] {
        [] => 0,
        [(number, BULK_ROWS, BULK_ROWS)] => number,
        _ => return Err(Violation::Data(format!("bulk: {there:?} of {bulk:?}"))),
    };
    if settled == bulk.settled || bulk.in_doubt.contains(&settled) {
        return Ok(Bulk { settled, in_doubt: Vec::new() });
    }
    Err(Violation::Data(format!("bulk: the rows of {settled} are there, of {bulk:?}")))
}
