//! The contract between the protocol and whoever executes SQL.
//!
//! A [`Backend`] makes a [`Session`] per connection; the connection loop calls the session's methods in
//! the order in which the client's messages arrive, one at a time. What a method answers with rows is
//! written through the [`Responder`]; what it returns as `Err` is sent as an ErrorResponse, after which
//! [`Session::aborted`] is called.
//!
//! ```text
//!   Query            simple_query                          then ReadyForQuery
//!   Parse            parse                                 ParseComplete
//!   Bind             bind                                  BindComplete
//!   Describe S / P   describe_statement / describe_portal
//!   Execute          execute
//!   Close S / P      close_statement / close_portal        CloseComplete
//!   Sync             sync                                  then ReadyForQuery
//!   Terminate, EOF   terminate
//! ```
//!
//! A session that listens is asked for its notifications before each ReadyForQuery outside of a transaction
//! block, and, while the client is silent, whenever its [`Session::doorbell`] rings.
//!
//! ReadyForQuery, the *Complete* messages of Parse, Bind and Close, and every ErrorResponse are sent by
//! the loop. A session sends rows, command tags and notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardforge_types::{Oid, PgError, PgResult};
use tokio::sync::Notify;

use crate::auth::AuthMethod;
use crate::cancel::CancelToken;
use crate::params::RawParams;
use crate::registry::ConnectionRegistry;
use crate::responder::Responder;

/// Makes sessions; one per server.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What serves one connection.
    type Session: Session;

    /// How `user` proves who it is when it comes from `peer`. An unknown user answers
    /// [`AuthMethod::ScramUnknown`] or [`AuthMethod::Reject`]; [`AuthMethod::for_role`] is the usual policy.
    async fn auth(&self, user: &str, database: &str, peer: SocketAddr) -> PgResult<AuthMethod>;

    /// Whether `user` may use the connection slots that are reserved for superusers.
    async fn is_superuser(&self, user: &str) -> bool;

    /// Opens a session for an authenticated user. An error (unknown database, bad setting in the startup
    /// packet) is sent as FATAL and ends the connection.
    async fn connect(&self, startup: Startup) -> PgResult<Self::Session>;
}

/// One client's session. Dropping it must release everything that it holds.
#[async_trait]
pub trait Session: Send {
    /// The settings to report at start, as ParameterStatus.
    fn parameters(&self) -> Vec<(String, String)>;

    /// Executes the text of a Query message, which may hold many statements, and sends all their results.
    /// It ends the implicit transaction. An empty text is answered with [`Responder::empty_query`].
    async fn simple_query(&mut self, sql: &str, out: &mut Responder) -> PgResult<()>;

    /// Makes a prepared statement. A parameter type of 0 is to be inferred.
    async fn parse(&mut self, name: &str, sql: &str, param_types: &[Oid]) -> PgResult<()>;

    /// The types of a statement's parameters and of its result.
    async fn describe_statement(&mut self, name: &str) -> PgResult<StatementDescription>;

    /// Makes a portal of a prepared statement and values for its parameters. `result_formats` is as in the
    /// message: empty (all text), one for all columns, or one for each; see [`result_format`].
    async fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        params: RawParams<'_>,
        result_formats: &[Format],
    ) -> PgResult<()>;

    /// Sends the portal's columns with [`Responder::row_description`] (or [`Responder::no_data`]), in the
    /// formats that its Bind asked for.
    async fn describe_portal(&mut self, portal: &str, out: &mut Responder) -> PgResult<()>;

    /// Runs a portal, or goes on with a suspended one; sends its rows, then CommandComplete,
    /// PortalSuspended (when `max_rows` > 0 were sent) or EmptyQueryResponse.
    async fn execute(&mut self, portal: &str, max_rows: i32, out: &mut Responder) -> PgResult<()>;

    /// Forgets a prepared statement; it is no error if there is none.
    async fn close_statement(&mut self, name: &str) -> PgResult<()>;

    /// Forgets a portal; it is no error if there is none.
    async fn close_portal(&mut self, portal: &str) -> PgResult<()>;

    /// Sync: ends the implicit transaction (commits it, or rolls it back if it failed).
    async fn sync(&mut self) -> PgResult<()>;

    /// For ReadyForQuery.
    fn transaction_status(&self) -> TransactionStatus;

    /// An error was sent to the client: an open transaction block is failed from now on, an implicit one is
    /// rolled back. Also called for errors that the session did not raise itself (a malformed message).
    async fn aborted(&mut self);

    /// The connection ends: roll back, release locks, drop temporary objects.
    async fn terminate(&mut self);

    /// Notices raised where no [`Responder`] is at hand (parse, bind); sent after that call.
    fn take_notices(&mut self) -> Vec<PgError> {
        Vec::new()
    }

    /// Reported settings (`GUC_REPORT`) whose value changed; sent just before ReadyForQuery.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Notifications that have come for the session, oldest first. Asked for only outside of transaction blocks.
    fn take_notifications(&mut self) -> Vec<Notification> {
        Vec::new()
    }

    /// What is rung (`notify_one`) when a notification has come; `None` while the session listens to nothing.
    fn doorbell(&self) -> Option<Arc<Notify>> {
        None
    }

    /// How long the client may stay silent from now on, and what it is told when it does
    /// (`idle_session_timeout`, `idle_in_transaction_session_timeout`).
    fn idle_timeout(&self) -> Option<IdleTimeout> {
        None
    }
}

/// See [`Session::idle_timeout`].
#[derive(Debug)]
pub struct IdleTimeout {
    /// From the moment the server waits for the client.
    pub after: Duration,
    /// Sent as FATAL before the connection closes.
    pub error: PgError,
}

/// What NotificationResponse tells: somebody has notified a channel that the session listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The process id of the session that notified.
    pub process_id: i32,
    /// The channel.
    pub channel: Arc<str>,
    /// What was said; may be empty.
    pub payload: Arc<str>,
}

/// What a client said in its startup packet, and the connection's own handles.
#[derive(Debug, Clone)]
pub struct Startup {
    /// The authenticated role name.
    pub user: String,
    /// The database name; the user's name if the client named none.
    pub database: String,
    /// Initial settings in the order given: first those of `options` (`-c name=value`), then the packet's own
    /// (`application_name`, `client_encoding`, ...). The last one of a name wins.
    pub parameters: Vec<(String, String)>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Identifies the connection: `pg_backend_pid()`, and the `pid` of BackendKeyData.
    pub process_id: i32,
    /// Raised by CancelRequest, `pg_cancel_backend`, timeouts and shutdown.
    pub cancel: CancelToken,
    /// All connections of this server, for `pg_stat_activity`, `pg_cancel_backend`, `pg_terminate_backend`.
    pub registry: Arc<ConnectionRegistry>,
}

/// Answers Describe of a prepared statement.
#[derive(Debug, Clone)]
pub struct StatementDescription {
    /// The type of each parameter.
    pub parameters: Vec<Oid>,
    /// The result's columns; `None` for a statement that returns no rows.
    pub fields: Option<Arc<[FieldDesc]>>,
}

/// One column of a RowDescription. Its format is given beside it, since it is chosen at Bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDesc {
    /// The column's name.
    pub name: String,
    /// The table the column is taken from, or 0.
    pub table_oid: Oid,
    /// Its attribute number there, or 0.
    pub column: i16,
    /// The column's type.
    pub type_oid: Oid,
    /// `pg_type.typlen`: bytes, or -1 for a type of varying length.
    pub type_len: i16,
    /// The type modifier, or -1.
    pub typmod: i32,
}

/// How a value is written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i16)]
pub enum Format {
    /// As the type's output function prints it.
    #[default]
    Text = 0,
    /// As the type's send function does.
    Binary = 1,
}

/// The format of a result column, given the formats of a Bind message: none means text, one is for all.
pub fn result_format(formats: &[Format], column: usize) -> Format {
    match formats {
        [] => Format::Text,
        [one] => *one,
        many => many.get(column).copied().unwrap_or_default(),
    }
}

/// The transaction state that ReadyForQuery reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle = b'I',
    /// In a transaction block.
    InTransaction = b'T',
    /// In a failed block: everything but its end is rejected.
    Failed = b'E',
}
