//! What runs while the server is killed: clients, one large transaction, and splits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Semaphore;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::ledger::{Bulk, Entry, Fate, Trace};
use super::numbers::Numbers;
use super::tables::{ACCOUNTS, BANK, BRANCHES, BULK_FILLER_BYTES, BULK_ROWS, CODES, TELLERS, random_split};

/// What the clients of a round share.
#[derive(Debug)]
pub struct Shared {
    /// The number of the next transaction.
    pub next: AtomicI64,
    /// A permit for each acknowledged transaction. Closed when a client has seen what must not be.
    pub committed: Semaphore,
}

/// Why a client has stopped.
enum Stop {
    /// The server is gone.
    Gone,
    /// The server has answered what it must not answer.
    Wrong(Error),
}

/// What conflicts between transactions lead to: the transaction has to be given up.
fn is_conflict(error: &Error) -> bool {
    let conflicts =
        [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::UNIQUE_VIOLATION];
    error.code().is_some_and(|code| conflicts.contains(code))
}

/// Of a statement's error: may the client go on?
fn judge(error: Error) -> Result<(), Stop> {
    match error.as_db_error() {
        None => Err(Stop::Gone),
        Some(_) if is_conflict(&error) => Ok(()),
        Some(_) => Err(Stop::Wrong(error)),
    }
}

/// Runs COMMIT; what is known of the transaction then.
async fn commit(client: &Client) -> Result<Fate, Error> {
    match client.batch_execute("COMMIT").await {
        Ok(()) => Ok(Fate::Committed),
        Err(error) if error.as_db_error().is_none() || error.code() == Some(&UNKNOWN_OUTCOME) => {
            Ok(Fate::Unknown)
        }
        Err(error) => Err(error),
    }
}

/// 08007: nobody knows whether the transaction is committed.
const UNKNOWN_OUTCOME: SqlState = SqlState::TRANSACTION_RESOLUTION_UNKNOWN;

/// A client that runs small transactions until the server is gone.
pub struct Worker {
    client: Client,
    statements: Statements,
    numbers: Numbers,
    shared: Arc<Shared>,
}

struct Statements {
    account: Statement,
    teller: Statement,
    branch: Statement,
    history: Statement,
    bank: Statement,
    bank_move: Statement,
    ticket: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Statements, Error> {
        let update =
            |table: &str, key: &str| format!("UPDATE {table} SET balance = balance + $1 WHERE {key} = $2");
        Ok(Statements {
            account: client.prepare(&update("account", "aid")).await?,
            teller: client.prepare(&update("teller", "tid")).await?,
            branch: client.prepare(&update("branch", "bid")).await?,
            history: client.prepare("INSERT INTO history VALUES ($1, 0, $2, $3, $4, $5)").await?,
            bank: client.prepare(&update("bank", "id")).await?,
            bank_move: client.prepare("INSERT INTO bank_move VALUES ($1, $2, $3, $4, $5)").await?,
            ticket: client.prepare("INSERT INTO ticket VALUES ($1, 0, $2)").await?,
        })
    }
}

impl Worker {
    /// A client with its statements prepared.
    ///
    /// # Errors
    /// When they cannot be.
    pub async fn new(client: Client, numbers: Numbers, shared: Arc<Shared>) -> Result<Worker, Error> {
        let statements = Statements::prepare(&client).await?;
        Ok(Worker { client, statements, numbers, shared })
    }

    /// Runs transactions until the server is gone; what is known of them.
    ///
    /// # Errors
    /// What the server must not have answered.
    pub async fn run(mut self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        loop {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let trace = match self.numbers.within(1..=10) {
                1..=5 => Trace::History,
                6..=9 => Trace::Move,
                _ => Trace::Ticket,
            };
            let mut entry = Entry { number, trace, parts: Vec::new(), fate: Fate::Undone };
            let outcome = match self.transaction(&mut entry).await {
                Ok(fate) => {
                    entry.fate = fate;
                    Ok(())
                }
                Err(error) => judge(error),
            };
            let fate = entry.fate;
            entries.push(entry);
            let undone = match (outcome, fate) {
                (Err(Stop::Gone), _) | (Ok(()), Fate::Unknown) => return Ok(entries),
                (Err(Stop::Wrong(error)), _) => {
                    self.shared.committed.close();
                    return Err(error);
                }
                (Ok(()), Fate::Committed) => {
                    self.shared.committed.add_permits(1);
                    continue;
                }
                (Ok(()), Fate::Undone) => self.client.batch_execute("ROLLBACK").await,
            };
            if undone.is_err() {
                return Ok(entries);
            }
        }
    }

    async fn transaction(&mut self, entry: &mut Entry) -> Result<Fate, Error> {
        self.client.batch_execute("BEGIN").await?;
        match entry.trace {
            Trace::History => self.tpcb(entry).await?,
            Trace::Move => self.transfers(entry).await?,
            Trace::Ticket => {
                entry.parts.push(0);
                let code = self.numbers.within(1..=CODES / 100) * 100;
                self.client.execute(&self.statements.ticket, &[&entry.number, &code]).await?;
            }
        }
        entry.parts.sort_unstable();
        if self.numbers.chance(5) { Ok(Fate::Undone) } else { commit(&self.client).await }
    }

    async fn tpcb(&mut self, entry: &mut Entry) -> Result<(), Error> {
        entry.parts.push(0);
        let (aid, tid) = (self.id(ACCOUNTS), self.id(TELLERS));
        let (bid, delta) = (self.id(BRANCHES), self.numbers.within(-5_000..=5_000));
        let (client, statements) = (&self.client, &self.statements);
        client.execute(&statements.account, &[&delta, &aid]).await?;
        client.execute(&statements.teller, &[&delta, &tid]).await?;
        client.execute(&statements.branch, &[&delta, &bid]).await?;
        client.execute(&statements.history, &[&entry.number, &tid, &bid, &aid, &delta]).await?;
        Ok(())
    }

    /// Transfers within savepoints, of which some are undone.
    async fn transfers(&mut self, entry: &mut Entry) -> Result<(), Error> {
        self.transfer(entry, 1).await?;
        for part in 2..=self.id(4) {
            let kept = entry.parts.len();
            self.client.batch_execute("SAVEPOINT outside").await?;
            self.transfer(entry, part).await?;
            if self.numbers.chance(30) {
                let kept = entry.parts.len();
                self.client.batch_execute("SAVEPOINT inside").await?;
                self.transfer(entry, part + 10).await?;
                if self.numbers.chance(50) {
                    self.client.batch_execute("ROLLBACK TO inside").await?;
                    entry.parts.truncate(kept);
                } else {
                    self.client.batch_execute("RELEASE inside").await?;
                }
            }
            match self.numbers.within(1..=4) {
                1 => {
                    self.client.batch_execute("ROLLBACK TO outside").await?;
                    entry.parts.truncate(kept);
                }
                2 => {
                    self.fail(entry.number).await?;
                    self.client.batch_execute("ROLLBACK TO outside; RELEASE outside").await?;
                    entry.parts.truncate(kept);
                }
                3 => self.client.batch_execute("RELEASE outside").await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn transfer(&mut self, entry: &mut Entry, part: i32) -> Result<(), Error> {
        let (mut source, mut target) = (self.id(BANK), self.id(BANK));
        // Most keep to one order, so that few wait for each other in a circle.
        if source > target && self.numbers.chance(90) {
            std::mem::swap(&mut source, &mut target);
        }
        let amount = self.numbers.within(1..=100);
        let (client, statements) = (&self.client, &self.statements);
        client.execute(&statements.bank, &[&-amount, &source]).await?;
        client.execute(&statements.bank, &[&amount, &target]).await?;
        client.execute(&statements.bank_move, &[&entry.number, &part, &source, &target, &amount]).await?;
        entry.parts.push(part);
        Ok(())
    }

    /// A statement that fails, as the first part is there already.
    async fn fail(&self, number: i64) -> Result<(), Error> {
        let twice = self.client.execute(&self.statements.bank_move, &[&number, &1, &0, &0, &0_i64]).await;
        match twice {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
            Err(error) => Err(error),
            Ok(rows) => panic!("a key was taken twice: {rows}"),
        }
    }

    fn id(&mut self, count: i64) -> i32 {
        self.numbers.within(1..=count) as i32
    }
}

/// Replaces the rows of the last large transaction by new ones, again and again.
///
/// # Errors
/// What the server must not have answered.
pub async fn write_bulk(client: Client, mut bulk: Bulk, shared: Arc<Shared>) -> Result<Bulk, Error> {
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let statements = format!(
            "BEGIN; DELETE FROM bulk; SAVEPOINT rows;
             INSERT INTO bulk SELECT {number}, i, 'undone' FROM generate_series(1, {BULK_ROWS} / 10) i;
             ROLLBACK TO rows;
             INSERT INTO bulk SELECT {number}, i, repeat('x', {BULK_FILLER_BYTES})
                 FROM generate_series(1, {BULK_ROWS}) i"
        );
        let outcome = match client.batch_execute(&statements).await {
            Ok(()) => commit(&client).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Fate::Committed) => {
                bulk = Bulk { settled: number, in_doubt: None };
                shared.committed.add_permits(1);
            }
            Ok(_) => return Ok(Bulk { in_doubt: Some(number), ..bulk }),
            Err(error) if error.as_db_error().is_none() => return Ok(bulk),
            Err(error) => {
                shared.committed.close();
                return Err(error);
            }
        }
    }
}

/// Splits shards here and there; how many splits were acknowledged.
///
/// # Errors
/// What the server must not have answered.
pub async fn split(
    client: Client,
    mut numbers: Numbers,
    splits: u32,
    shared: Arc<Shared>,
) -> Result<u32, Error> {
    for done in 0..splits {
        let statement = random_split(&mut numbers, shared.next.load(Ordering::Relaxed));
        match client.batch_execute(&statement).await {
            Ok(()) => {}
            Err(error) if error.as_db_error().is_none() => return Ok(done),
            Err(error) => {
                shared.committed.close();
                return Err(error);
            }
        }
    }
    Ok(splits)
}
