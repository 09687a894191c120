//! A client that runs small transactions, and goes to another node when its own is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::ledger::{Entry, Fate, Trace};
use super::numbers::Numbers;
use super::shared::Shared;
use super::tables::{ACCOUNTS, BANK, BRANCHES, CODES, TELLERS};
use crate::doors::{Link, Trouble};

/// After so long without an answer a client takes its node for lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before a client turns to the next node when one has let it in and failed it at once.
const PAUSE: Duration = Duration::from_millis(20);

/// What went wrong, by SQLSTATE or in words, and how often.
pub type Troubles = BTreeMap<String, u64>;

/// What a client does after a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next one.
    Goes,
    /// ROLLBACK.
    Undo,
    /// Connect again.
    Reconnect,
}

/// A connection with what is prepared in it.
struct Session {
    link: Link,
    statements: Statements,
}

/// A client.
pub struct Worker {
    /// The node that it likes most.
    home: usize,
    numbers: Numbers,
    shared: Arc<Shared>,
    session: Option<Session>,
    /// Whether it has lost a connection since its last acknowledged transaction.
    lost: bool,
    /// The last fault after which it has written again.
    resumed: u32,
    troubles: Troubles,
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
    /// A client that begins with some node.
    pub fn new(home: usize, numbers: Numbers, shared: Arc<Shared>) -> Worker {
        Worker { home, numbers, shared, session: None, lost: false, resumed: 0, troubles: Troubles::new() }
    }

    /// Runs transactions until it is asked to end; what is known of them, and what went wrong that may.
    ///
    /// # Errors
    /// What a server must not have answered: everybody is asked to end then.
    pub async fn run(mut self) -> Result<(Vec<Entry>, Troubles), Error> {
        let mut entries = Vec::new();
        while !self.shared.is_ending() {
            if let Err(error) = self.step(&mut entries).await {
                self.shared.end();
                return Err(error);
            }
        }
        Ok((entries, self.troubles))
    }

    /// Runs a transaction.
    async fn step(&mut self, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let Some(session) = self.enter().await? else { return Ok(()) };
        let trace = match self.numbers.within(1..=10) {
            1..=5 => Trace::History,
            6..=9 => Trace::Move,
            _ => Trace::Ticket,
        };
        let number = self.shared.take_number();
        let mut entry = Entry { number, trace, parts: Vec::new(), fate: Fate::Undone };
        let fault = self.shared.last_fault();
        let outcome = self.transaction(&session, &mut entry).await;
        let (fate, trace) = (entry.fate, entry.trace);
        entries.push(entry);
        let mut next = outcome?;
        if fate == Fate::Committed {
            if trace == Trace::History {
                self.shared.acknowledge(number);
            }
            self.shared.committed.add_permits(1);
            if let Some(fault) = fault.filter(|fault| fault.number > self.resumed) {
                self.resumed = fault.number;
                self.shared.resume(fault, self.lost);
            }
            self.lost = false;
        }
        if next == Next::Undo {
            let undone = timeout(PATIENCE, session.link.batch_execute("ROLLBACK")).await;
            next = self.after(undone.ok())?;
        }
        match next {
            Next::Reconnect => self.lost = true,
            Next::Goes | Next::Undo => self.session = Some(session),
        }
        Ok(())
    }

    /// Its connection, or a new one; none when it is to end.
    async fn enter(&mut self) -> Result<Option<Session>, Error> {
        if let Some(session) = self.session.take() {
            return Ok(Some(session));
        }
        while let Some(link) = self.shared.enter(self.home).await? {
            let prepared = timeout(PATIENCE, Statements::prepare(&link)).await;
            if let Ok(Ok(statements)) = prepared {
                return Ok(Some(Session { link, statements }));
            }
            self.after(prepared.ok().map(|prepared| prepared.map(drop)))?;
            self.home += 1;
            sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// What to do after an answer, or after none.
    fn after(&mut self, answer: Option<Result<(), Error>>) -> Result<Next, Error> {
        let (next, what) = match answer {
            Some(Ok(())) => return Ok(Next::Goes),
            // Nobody else may have the code of a ticket.
            Some(Err(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(Next::Undo),
            Some(Err(error)) => {
                let what = error.code().map_or("connection lost", SqlState::code).to_owned();
                match self.shared.judge(&error) {
                    Trouble::Gone => (Next::Reconnect, what),
                    Trouble::Retry => (Next::Undo, what),
                    Trouble::Wrong => return Err(error),
                }
            }
            None => (Next::Reconnect, format!("no answer in {PATIENCE:?}")),
        };
        *self.troubles.entry(what).or_default() += 1;
        Ok(next)
    }

    /// Runs a transaction, and notes how it ends.
    async fn transaction(&mut self, session: &Session, entry: &mut Entry) -> Result<Next, Error> {
        let body = timeout(PATIENCE, self.body(session, entry)).await;
        let next = self.after(body.ok())?;
        entry.parts.sort_unstable();
        if next != Next::Goes || self.numbers.chance(5) {
            return Ok(if next == Next::Goes { Next::Undo } else { next });
        }
        // Whatever happens from here on, an answer that is lost says nothing.
        entry.fate = Fate::Unknown;
        let committed = timeout(PATIENCE, session.link.batch_execute("COMMIT")).await;
        let next = self.after(committed.ok())?;
        match next {
            Next::Goes => entry.fate = Fate::Committed,
            Next::Undo => entry.fate = Fate::Undone,
            Next::Reconnect => {}
        }
        Ok(next)
    }

    async fn body(&mut self, session: &Session, entry: &mut Entry) -> Result<(), Error> {
        session.link.batch_execute("BEGIN").await?;
        match entry.trace {
            Trace::History => self.tpcb(session, entry).await,
            Trace::Move => self.transfers(session, entry).await,
            Trace::Ticket => {
                entry.parts.push(0);
                let code = self.numbers.within(1..=CODES / 100) * 100;
                session.link.execute(&session.statements.ticket, &[&entry.number, &code]).await.map(drop)
            }
        }
    }

    async fn tpcb(&mut self, session: &Session, entry: &mut Entry) -> Result<(), Error> {
        entry.parts.push(0);
        let (aid, tid) = (self.id(ACCOUNTS), self.id(TELLERS));
        let (bid, delta) = (self.id(BRANCHES), self.numbers.within(-5_000..=5_000));
        let (client, statements) = (&session.link, &session.statements);
        client.execute(&statements.account, &[&delta, &aid]).await?;
        client.execute(&statements.teller, &[&delta, &tid]).await?;
        client.execute(&statements.branch, &[&delta, &bid]).await?;
        client.execute(&statements.history, &[&entry.number, &tid, &bid, &aid, &delta]).await?;
        Ok(())
    }

    /// Transfers within savepoints, of which some are undone.
    async fn transfers(&mut self, session: &Session, entry: &mut Entry) -> Result<(), Error> {
        self.transfer(session, entry, 1).await?;
        for part in 2..=self.id(4) {
            let kept = entry.parts.len();
            session.link.batch_execute("SAVEPOINT outside").await?;
            self.transfer(session, entry, part).await?;
            if self.numbers.chance(30) {
                let kept = entry.parts.len();
                session.link.batch_execute("SAVEPOINT inside").await?;
                self.transfer(session, entry, part + 10).await?;
                if self.numbers.chance(50) {
                    session.link.batch_execute("ROLLBACK TO inside").await?;
                    entry.parts.truncate(kept);
                } else {
                    session.link.batch_execute("RELEASE inside").await?;
                }
            }
            match self.numbers.within(1..=4) {
                1 => {
                    session.link.batch_execute("ROLLBACK TO outside").await?;
                    entry.parts.truncate(kept);
                }
                2 => {
                    insert_twice(session, entry.number).await?;
                    session.link.batch_execute("ROLLBACK TO outside; RELEASE outside").await?;
                    entry.parts.truncate(kept);
                }
                3 => session.link.batch_execute("RELEASE outside").await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn transfer(&mut self, session: &Session, entry: &mut Entry, part: i32) -> Result<(), Error> {
        let (mut source, mut target) = (self.id(BANK), self.id(BANK));
        // Most keep to one order, so that few wait for each other in a circle.
        if source > target && self.numbers.chance(90) {
            std::mem::swap(&mut source, &mut target);
        }
        let amount = self.numbers.within(1..=100);
        let (client, statements) = (&session.link, &session.statements);
        client.execute(&statements.bank, &[&-amount, &source]).await?;
        client.execute(&statements.bank, &[&amount, &target]).await?;
        client.execute(&statements.bank_move, &[&entry.number, &part, &source, &target, &amount]).await?;
        entry.parts.push(part);
        Ok(())
    }

    fn id(&mut self, count: i64) -> i32 {
        self.numbers.within(1..=count) as i32
    }
}

/// A statement that fails, as the first part is there already.
async fn insert_twice(session: &Session, number: i64) -> Result<(), Error> {
    let twice = session.link.execute(&session.statements.bank_move, &[&number, &1, &0, &0, &0_i64]).await;
    match twice {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
        Err(error) => Err(error),
        Ok(rows) => panic!("a key was taken twice: {rows}"),
    }
}
