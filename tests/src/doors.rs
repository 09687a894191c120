//! The ways into a cluster: a client that has lost its connection goes to whatever node takes it.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

use crate::violation::Violation;

/// How long one node may take to let a client in.
const KNOCK_MAX: Duration = Duration::from_secs(3);
/// How long a cluster may take to let a client in that has nothing else to do.
const VISIT_MAX: Duration = Duration::from_secs(60);
/// The first pause after no node has let a client in.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// A client, whose connection ends with it, whatever it waits for.
#[derive(Debug)]
pub struct Link {
    client: Client,
    connection: JoinHandle<()>,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn open(dsn: &str) -> Result<Link, Error> {
        let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
        // How it ends is seen by whoever waits for an answer.
        let connection = tokio::spawn(async { drop(connection.await) });
        Ok(Link { client, connection })
    }
}

impl Deref for Link {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What an error means to a client that can connect again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The connection has ended.
    Gone,
    /// The transaction has to be run again.
    Retry,
    /// This must not be.
    Wrong,
}

/// Errors of a session whose node goes, or is no longer who runs transactions. The connection is of no use any more.
const GOING: [SqlState; 6] = [
    SqlState::CONNECTION_FAILURE,
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CRASH_SHUTDOWN,
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
    SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
];

/// What conflicts between transactions lead to.
const CONFLICTS: [SqlState; 2] = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];

impl Trouble {
    /// What an error means.
    pub fn of(error: &Error) -> Trouble {
        match error.code() {
            None => Trouble::Gone,
            Some(code) if GOING.contains(code) => Trouble::Gone,
            Some(code) if CONFLICTS.contains(code) => Trouble::Retry,
            Some(_) => Trouble::Wrong,
        }
    }
}

/// Where clients may connect. Its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<RwLock<Vec<String>>>);

impl Doors {
    /// Says where, from now on.
    pub fn set(&self, dsns: Vec<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = dsns;
    }

    fn all(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects to the first node that lets a client in, beginning with number `first` and going round, with pauses that
    /// grow up to a bound. Whoever calls decides how long.
    ///
    /// # Errors
    /// When a node answers what it must not answer.
    pub async fn enter(&self, first: usize) -> Result<Link, Error> {
        let mut pause = PAUSE_MIN;
        loop {
            let doors = self.all();
            for turn in 0..doors.len() {
                match timeout(KNOCK_MAX, Link::open(&doors[(first + turn) % doors.len()])).await {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(error)) if Trouble::of(&error) == Trouble::Wrong => return Err(error),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Connects as [`Doors::enter`] does, for as long as a cluster may take to let clients in.
    ///
    /// # Errors
    /// When that is over, or a node answers what it must not answer.
    pub async fn visit(&self, first: usize) -> Result<Link, Violation> {
        match timeout(VISIT_MAX, self.enter(first)).await {
            Ok(entered) => Ok(entered?),
            Err(_) => Err(Violation::Data(format!("no node has let a client in for {VISIT_MAX:?}"))),
        }
    }
}
