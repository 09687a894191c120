//! A client whose transactions go into a history, level by level: see [`super::histories`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::{Error, SimpleQueryMessage};

use super::histories::{Kind, Level, Remembered, Step};
use super::ledger::Fate;
use super::numbers::Numbers;
use super::shared::Shared;
use crate::doors::{Link, Trouble};

/// After so long without an answer a client takes its node for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two transactions, so that the clients of the ledger get something done as well.
const PAUSE: Duration = Duration::from_millis(15);
/// Rows that the transactions of a level work on at a time.
const ROWS: i64 = 3;
/// So many transactions of all clients later it is other rows, so that lists stay short.
const EPOCH: i64 = 1_500;
/// Rows with the same place among those of their time are this far apart: they lie in shards of their own.
pub const STRIDE: i64 = 1_000_000_000_000;

/// A client.
pub struct Historian {
    /// The node that it likes most.
    home: usize,
    level: Level,
    numbers: Numbers,
    shared: Arc<Shared>,
    /// The number of the load's first transaction: rows of other loads are others.
    first: i64,
}

impl Historian {
    /// A client that begins with some node.
    pub fn new(home: usize, level: Level, numbers: Numbers, shared: Arc<Shared>, first: i64) -> Historian {
        Historian { home, level, numbers, shared, first }
    }

    /// Runs transactions until it is asked to end; what it remembers of them.
    ///
    /// # Errors
    /// What a server must not have answered: everybody is asked to end then.
    pub async fn run(mut self) -> Result<Vec<Remembered>, Error> {
        let (mut session, mut all) = (None, Vec::new());
        while !self.shared.is_ending() {
            if session.is_none() {
                session = self.shared.enter(self.home).await.inspect_err(|_| self.shared.end())?;
            }
            let Some(link) = &session else { break };
            let kind = Kind::ALL[self.numbers.within(0..=2) as usize];
            let began = self.shared.moment();
            let mut txn = Remembered {
                level: self.level,
                kind,
                steps: Vec::new(),
                fate: Fate::Undone,
                began,
                ended: began,
            };
            let outcome = self.transaction(link, &mut txn).await;
            txn.ended = self.shared.moment();
            all.push(txn);
            match outcome.inspect_err(|_| self.shared.end())? {
                true => sleep(PAUSE).await,
                // The next one may be better.
                false => (session, self.home) = (None, self.home + 1),
            }
        }
        Ok(all)
    }

    /// Runs a transaction, and notes what comes of it: whether the connection is of use any more.
    async fn transaction(&mut self, link: &Link, txn: &mut Remembered) -> Result<bool, Error> {
        let body = timeout(PATIENCE, self.body(link, txn)).await;
        match self.after(body.ok())? {
            None => return Ok(false),
            Some(true) if !self.numbers.chance(5) => {}
            Some(_) => {
                let undone = timeout(PATIENCE, link.batch_execute("ROLLBACK")).await;
                return Ok(self.after(undone.ok())?.is_some());
            }
        }
        txn.fate = Fate::Unknown;
        let committed = timeout(PATIENCE, link.batch_execute("COMMIT")).await;
        let done = self.after(committed.ok())?;
        txn.fate = match done {
            Some(true) => Fate::Committed,
            Some(false) => Fate::Undone,
            None => Fate::Unknown,
        };
        Ok(done.is_some())
    }

    /// What an answer says, or that there is none: whether it was done, unless the connection is lost.
    fn after(&self, answer: Option<Result<(), Error>>) -> Result<Option<bool>, Error> {
        match answer {
            Some(Ok(())) => Ok(Some(true)),
            Some(Err(error)) => match self.shared.judge(&error) {
                Trouble::Gone => Ok(None),
                Trouble::Retry => Ok(Some(false)),
                Trouble::Wrong => Err(error),
            },
            None => Ok(None),
        }
    }

    async fn body(&mut self, link: &Link, txn: &mut Remembered) -> Result<(), Error> {
        link.batch_execute(&format!("BEGIN ISOLATION LEVEL {}", self.level.name())).await?;
        for _ in 0..self.numbers.within(1..=4) {
            let row = self.row();
            let writes = self.numbers.chance(50);
            match txn.kind {
                Kind::Lists if writes => {
                    let element = self.shared.take_number();
                    let statement = format!(
                        "INSERT INTO list VALUES ({row}, ARRAY[{element}]) ON CONFLICT (id)
                         DO UPDATE SET elements = list.elements || excluded.elements"
                    );
                    link.batch_execute(&statement).await?;
                    txn.steps.push(Step::Append(row, element));
                }
                Kind::Lists => {
                    let found = one(link, &format!("SELECT elements FROM list WHERE id = {row}")).await?;
                    txn.steps.push(Step::ReadList(row, found.as_deref().map_or(Vec::new(), elements)));
                }
                Kind::Registers => {
                    let lock = if writes { " FOR UPDATE" } else { "" };
                    let found =
                        one(link, &format!("SELECT value FROM register WHERE id = {row}{lock}")).await?;
                    let is_there = found.is_some();
                    txn.steps.push(Step::Read(row, found.as_deref().map(number)));
                    if writes {
                        let value = self.shared.take_number();
                        let statement = if is_there {
                            format!("UPDATE register SET value = {value} WHERE id = {row}")
                        } else {
                            upsert("register (id, value)", &format!("{row}, {value}"))
                        };
                        link.batch_execute(&statement).await?;
                        txn.steps.push(Step::Write(row, value));
                    }
                }
                Kind::Cells => self.cells(link, txn, row, writes).await?,
            }
        }
        Ok(())
    }

    /// Reads all cells of a group by a scan; writes one of them, which may not be there yet.
    async fn cells(
        &mut self,
        link: &Link,
        txn: &mut Remembered,
        row: i64,
        writes: bool,
    ) -> Result<(), Error> {
        let group = row % STRIDE;
        let scan = format!("SELECT id, value FROM cell WHERE grp = {group}");
        let found = pairs(link, &scan).await?;
        for place in 0..ROWS {
            let id = place * STRIDE + group;
            let value = found.iter().find(|(found, _)| *found == id).map(|(_, value)| *value);
            txn.steps.push(Step::Read(id, value));
        }
        if writes {
            let value = self.shared.take_number();
            link.batch_execute(&upsert("cell (grp, id, value)", &format!("{group}, {row}, {value}"))).await?;
            txn.steps.push(Step::Write(row, value));
        }
        Ok(())
    }

    /// One of the rows that this level works on now.
    fn row(&mut self) -> i64 {
        let epoch = (self.shared.next_number() - self.first) / EPOCH;
        let time = self.first * 100 + epoch.min(99);
        self.numbers.within(0..=ROWS - 1) * STRIDE + time * 10 + self.level as i64
    }
}

fn upsert(table: &str, values: &str) -> String {
    let key = if table.starts_with("cell") { "grp, id" } else { "id" };
    format!("INSERT INTO {table} VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET value = excluded.value")
}

/// The only column of the only row, if there is one.
async fn one(link: &Link, query: &str) -> Result<Option<String>, Error> {
    let messages = link.simple_query(query).await?;
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(row)
}

async fn pairs(link: &Link, query: &str) -> Result<Vec<(i64, i64)>, Error> {
    let messages = link.simple_query(query).await?;
    let pairs = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((number(row.get(0)?), number(row.get(1)?))),
        _ => None,
    });
    Ok(pairs.collect())
}

/// The elements of an array as text has them.
fn elements(text: &str) -> Vec<i64> {
    text.trim_matches(['{', '}']).split(',').filter(|element| !element.is_empty()).map(number).collect()
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}
