//! What the clients of a load share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};
use tokio_postgres::Error;

use crate::doors::{Doors, Link, Trouble};

/// Something was done to the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its number, from 1.
    pub number: u32,
    at: Instant,
}

/// A client's first transaction that it began after a fault is acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// The fault's number.
    pub fault: u32,
    /// How long after it.
    pub after: Duration,
    /// Whether the client had lost its connection meanwhile.
    pub lost: bool,
}

/// What the clients share.
#[derive(Debug)]
pub struct Shared {
    doors: Doors,
    /// Whether another node takes over when one fails; where there is one node, nothing but its end may be noticed.
    several: bool,
    /// The number of the next transaction.
    next: AtomicI64,
    /// Counts the moments at which transactions of histories begin and end.
    moments: AtomicU64,
    /// The newest TPC-B transaction that is acknowledged, or 0.
    newest: AtomicI64,
    /// A permit for each acknowledged transaction.
    pub committed: Semaphore,
    ending: watch::Sender<bool>,
    fault: Mutex<Option<Fault>>,
    resumed: UnboundedSender<Resumed>,
}

impl Shared {
    /// For clients of these nodes, whose transactions are numbered from `first` on.
    pub fn new(doors: Doors, several: bool, first: i64, resumed: UnboundedSender<Resumed>) -> Shared {
        Shared {
            doors,
            several,
            next: AtomicI64::new(first),
            moments: AtomicU64::new(0),
            newest: AtomicI64::new(0),
            committed: Semaphore::new(0),
            ending: watch::channel(false).0,
            fault: Mutex::new(None),
            resumed,
        }
    }

    /// Takes a number for a transaction.
    pub fn take_number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that is taken next.
    pub fn next_number(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    /// A moment that comes after all those that were taken before.
    pub fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes that a TPC-B transaction is acknowledged.
    pub fn acknowledge(&self, number: i64) {
        self.newest.fetch_max(number, Ordering::SeqCst);
    }

    /// A TPC-B transaction that was acknowledged before this is asked, or 0.
    pub fn acknowledged(&self) -> i64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// Notes that something is done to the cluster now.
    pub fn fault(&self) -> Fault {
        let mut last = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = Fault { number: last.map_or(1, |last| last.number + 1), at: Instant::now() };
        *last = Some(fault);
        fault
    }

    /// The last thing that was done to the cluster.
    pub fn last_fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client writes again after a fault.
    pub fn resume(&self, fault: Fault, lost: bool) {
        // Whoever counts them may have seen enough.
        let _ = self.resumed.send(Resumed { fault: fault.number, after: fault.at.elapsed(), lost });
    }

    /// Asks the clients to end.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Whether the clients are to end.
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Waits until they are.
    pub async fn ended(&self) {
        // The sender is here.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Connects to a node that is there, if the clients are not to end before.
    ///
    /// # Errors
    /// When a node answers what it must not answer.
    pub async fn enter(&self, first: usize) -> Result<Option<Link>, Error> {
        tokio::select! {
            biased;
            () = self.ended() => Ok(None),
            link = self.doors.enter(first) => link.map(Some),
        }
    }

    /// What an error means here.
    pub fn judge(&self, error: &Error) -> Trouble {
        match Trouble::of(error) {
            // A node that is killed says nothing before.
            Trouble::Gone if !self.several && error.code().is_some() => Trouble::Wrong,
            trouble => trouble,
        }
    }
}
