//! The clients beside those with small transactions: one with a large transaction, one that splits shards, and one that
//! watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Error;

use super::ledger::Bulk;
use super::numbers::Numbers;
use super::shared::Shared;
use super::tables::{BALANCE, BANK, BULK_FILLER_BYTES, BULK_ROWS, random_split};
use crate::doors::{Link, Trouble};
use crate::violation::Violation;

/// After so long without an answer to a statement a client takes its node for lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks of the client that watches.
const LOOK: Duration = Duration::from_millis(20);

/// Replaces the rows of the last large transaction by new ones, again and again, until it is asked to end.
///
/// # Errors
/// What a server must not have answered: everybody is asked to end then.
pub async fn write_bulk(mut bulk: Bulk, shared: Arc<Shared>) -> Result<Bulk, Error> {
    let mut session = None;
    while !shared.is_ending() {
        let Some(link) = connection(&mut session, &shared).await? else { break };
        let number = shared.take_number();
        let statements = format!(
            "BEGIN; DELETE FROM bulk; SAVEPOINT rows;
             INSERT INTO bulk SELECT {number}, i, 'undone' FROM generate_series(1, {BULK_ROWS} / 10) i;
             ROLLBACK TO rows;
             INSERT INTO bulk SELECT {number}, i, repeat('x', {BULK_FILLER_BYTES})
                 FROM generate_series(1, {BULK_ROWS}) i"
        );
        let written = tokio::select! {
            biased;
            () = shared.ended() => break,
            written = answer(&shared, link.batch_execute(&statements)) => written?,
        };
        if !written {
            session = None;
            continue;
        }
        bulk.in_doubt.push(number);
        if answer(&shared, link.batch_execute("COMMIT")).await? {
            bulk = Bulk { settled: number, in_doubt: Vec::new() };
            shared.committed.add_permits(1);
        } else {
            session = None;
        }
    }
    Ok(bulk)
}

/// Splits shards here and there; how many splits were acknowledged.
///
/// # Errors
/// What a server must not have answered: everybody is asked to end then.
pub async fn split(mut numbers: Numbers, splits: u32, shared: Arc<Shared>) -> Result<u32, Error> {
    let (mut session, mut done) = (None, 0);
    while done < splits && !shared.is_ending() {
        let Some(link) = connection(&mut session, &shared).await? else { break };
        let statement = random_split(&mut numbers, shared.next_number());
        if answer(&shared, link.batch_execute(&statement)).await? {
            done += 1;
        } else {
            session = None;
        }
    }
    Ok(done)
}

/// Asks, wherever a client may, for what has been acknowledged to another before, and for a sum that never changes; how
/// often it was told.
///
/// # Errors
/// When it is told otherwise, or anything that a server must not answer: everybody is asked to end then.
pub async fn watch(shared: Arc<Shared>) -> Result<u64, Violation> {
    let (mut home, mut session, mut looks) = (0, None, 0);
    loop {
        tokio::select! {
            biased;
            () = shared.ended() => return Ok(looks),
            () = sleep(LOOK) => {}
        }
        let number = shared.acknowledged();
        let link = match session.take() {
            Some(link) => link,
            None => match shared.enter(home).await {
                Ok(Some(link)) => link,
                Ok(None) => return Ok(looks),
                Err(error) => return Err(fail(&shared, error.into())),
            },
        };
        match timeout(PATIENCE, look(&link, number)).await {
            Ok(Ok((found, sum))) if (found == 1 || number == 0) && sum == BANK * BALANCE => {
                looks += 1;
                session = Some(link);
            }
            Ok(Ok((found, sum))) => {
                let what = format!(
                    "a reader saw {found} rows of the acknowledged transaction {number}, and {sum} in the bank"
                );
                return Err(fail(&shared, Violation::Data(what)));
            }
            Ok(Err(error)) if shared.judge(&error) == Trouble::Wrong => {
                return Err(fail(&shared, error.into()));
            }
            // The next look is at another node.
            Ok(Err(_)) | Err(_) => home += 1,
        }
    }
}

async fn look(link: &Link, number: i64) -> Result<(i64, i64), Error> {
    let row = link
        .query_one(
            "SELECT (SELECT count(*) FROM history WHERE id = $1), (SELECT sum(balance) FROM bank)::int8",
            &[&number],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}

fn fail(shared: &Shared, violation: Violation) -> Violation {
    shared.end();
    violation
}

/// The connection that is there, or a new one; none when the client is to end.
async fn connection<'s>(session: &'s mut Option<Link>, shared: &Shared) -> Result<Option<&'s Link>, Error> {
    if session.is_none() {
        *session = shared.enter(0).await.inspect_err(|_| shared.end())?;
    }
    Ok(session.as_ref())
}

/// Waits for a statement: whether it was done.
async fn answer(shared: &Shared, statement: impl Future<Output = Result<(), Error>>) -> Result<bool, Error> {
    match timeout(PATIENCE, statement).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) if shared.judge(&error) == Trouble::Wrong => {
            shared.end();
            Err(error)
        }
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}
