//! Telling a running statement to stop.
//!
//! A [`CancelToken`] is shared by a connection, its session and whoever may interrupt it. The session
//! asks [`CancelToken::check`] between pieces of work (one relaxed load) or waits on
//! [`CancelToken::canceled`] beside a lock wait. The connection clears a cancel before each command, so
//! that a request that comes too late hits nothing; a termination is never cleared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shardforge_types::{PgError, PgResult, SqlState};
use tokio::sync::Notify;

use crate::encode::fatal;

/// Why a statement must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CancelReason {
    /// CancelRequest or `pg_cancel_backend`.
    User = 1,
    /// `statement_timeout`.
    StatementTimeout = 2,
    /// `transaction_timeout`: ends the connection.
    TransactionTimeout = 3,
    /// `pg_terminate_backend`, or the server shuts down: ends the connection.
    Terminate = 4,
}

impl CancelReason {
    /// What the client is told.
    pub fn error(self) -> PgError {
        match self {
            CancelReason::User => {
                PgError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
            }
            CancelReason::StatementTimeout => {
                PgError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
            }
            CancelReason::TransactionTimeout => {
                fatal(SqlState::TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
            }
            CancelReason::Terminate => {
                fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
        }
    }

    fn ends_connection(self) -> bool {
        match self {
            CancelReason::User | CancelReason::StatementTimeout => false,
            CancelReason::TransactionTimeout | CancelReason::Terminate => true,
        }
    }

    fn from_code(code: u8) -> Option<CancelReason> {
        match code {
            1 => Some(CancelReason::User),
            2 => Some(CancelReason::StatementTimeout),
            3 => Some(CancelReason::TransactionTimeout),
            4 => Some(CancelReason::Terminate),
            _ => None,
        }
    }
}

/// What a connection does, as others see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionState {
    /// It is being set up.
    #[default]
    Starting = 0,
    /// It waits for its client.
    Idle = 1,
    /// The same, in a transaction block.
    IdleInTransaction = 2,
    /// The same, and the transaction has failed.
    IdleInFailedTransaction = 3,
    /// It answers a message.
    Active = 4,
}

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: AtomicU8,
    /// The connection is to end as soon as it is idle.
    draining: AtomicBool,
    /// A [`ConnectionState`] as a number.
    state: AtomicU8,
    /// Since when the connection waits for its client, in microseconds since 1970; kept while it does not.
    idle_since: AtomicU64,
    raised: Notify,
}

impl CancelToken {
    /// A token that nobody has raised.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Raises the token. The stronger of two reasons stays.
    pub fn cancel(&self, reason: CancelReason) {
        self.shared.reason.fetch_max(reason as u8, Ordering::SeqCst);
        self.shared.raised.notify_waiters();
    }

    /// Takes a reason back whose time has gone by; another one stays.
    pub fn withdraw(&self, reason: CancelReason) {
        // Failing means that the token holds something else, or nothing.
        let _ = self.shared.reason.compare_exchange(reason as u8, 0, Ordering::SeqCst, Ordering::Relaxed);
    }

    /// The reason, if the token is raised.
    pub fn reason(&self) -> Option<CancelReason> {
        self.shared.reason()
    }

    /// Whether the token is raised.
    pub fn is_canceled(&self) -> bool {
        self.shared.reason.load(Ordering::Relaxed) != 0
    }

    /// `Err` with what the client is to be told, if the token is raised.
    pub fn check(&self) -> PgResult<()> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(reason.error()),
        }
    }

    /// Waits until the token is raised (at once if it is), and says why.
    pub async fn canceled(&self) -> CancelReason {
        self.wait_for(Shared::reason).await
    }

    /// Ends the connection as soon as it waits for its client; what runs may finish.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.raised.notify_waiters();
    }

    /// Waits until the connection must end, whatever it does.
    pub(crate) async fn terminated(&self) -> CancelReason {
        self.wait_for(|shared| shared.reason().filter(|reason| reason.ends_connection())).await
    }

    /// Why a connection that has nothing to do must end, if it must.
    pub(crate) fn end_of_idleness(&self) -> Option<CancelReason> {
        self.shared.end_of_idleness()
    }

    /// Waits until a connection that is waiting for its client must end.
    pub(crate) async fn idle_must_end(&self) -> CancelReason {
        self.wait_for(Shared::end_of_idleness).await
    }

    async fn wait_for(&self, found: impl Fn(&Shared) -> Option<CancelReason>) -> CancelReason {
        loop {
            let raised = self.shared.raised.notified();
            tokio::pin!(raised);
            raised.as_mut().enable();
            if let Some(reason) = found(&self.shared) {
                return reason;
            }
            raised.await;
        }
    }

    /// Notes what the connection does now, for those who look at it from outside.
    pub(crate) fn set_state(&self, state: ConnectionState) {
        if state != ConnectionState::Active {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
            self.shared.idle_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.shared.state.store(state as u8, Ordering::Relaxed);
    }

    /// Since when the connection waits for its client (or did, the last time).
    pub(crate) fn idle_since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.shared.idle_since.load(Ordering::Relaxed))
    }

    /// What the connection does.
    pub(crate) fn state(&self) -> ConnectionState {
        match self.shared.state.load(Ordering::Relaxed) {
            1 => ConnectionState::Idle,
            2 => ConnectionState::IdleInTransaction,
            3 => ConnectionState::IdleInFailedTransaction,
            4 => ConnectionState::Active,
            _ => ConnectionState::Starting,
        }
    }

    /// Forgets a cancel that came while nothing ran; a termination stays.
    pub(crate) fn reset(&self) {
        for reason in [CancelReason::User, CancelReason::StatementTimeout] {
            self.withdraw(reason);
        }
    }
}

impl Shared {
    fn reason(&self) -> Option<CancelReason> {
        CancelReason::from_code(self.reason.load(Ordering::Relaxed))
    }
    fn end_of_idleness(&self) -> Option<CancelReason> {
        if self.draining.load(Ordering::SeqCst) {
            return Some(CancelReason::Terminate);
        }
        self.reason().filter(|reason| reason.ends_connection())
    }
}
