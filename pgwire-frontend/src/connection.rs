//! One connection, from its first byte to its last.
//!
//! ```text
//!           open ── authenticate ── connect ──> ready ──> read a message ──> call the session ──┐
//!                                                 ^                                              │
//!                                                 └── ReadyForQuery, flush <── Query or Sync <───┘
//! ```
//!
//! Messages of a pipeline are answered into the buffer; it is written at ReadyForQuery, at Flush, or when
//! full. After an error in the extended protocol everything up to the next Sync is skipped. While the
//! connection waits for its client it can be told to end (shutdown, `pg_terminate_backend`, idle timeout), and
//! it passes on what its session is notified of.
//! A panic of the session is caught here: the client gets XX000, the connection ends, the server goes on.

use std::any::Any;
use std::future::pending;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use shardforge_types::{PgError, PgResult, Severity, SqlState};
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, Session, Startup, TransactionStatus};
use crate::cancel::{CancelReason, ConnectionState};
use crate::copy::CopyState;
use crate::doors::Phase;
use crate::encode::{self, fatal};
use crate::extended::{self, Scratch};
use crate::frontend::Shared;
use crate::limits::{FAREWELL_TIMEOUT, TURN_AWAY_TIMEOUT};
use crate::message::{Cursor, Frame, fatal_violation};
use crate::metrics::Metrics;
use crate::registry::Registration;
use crate::responder::{Responder, connection_lost};
use crate::startup::{self, Opening};
use crate::transport::{Stream, Transport};

/// Serves one client until it leaves or is sent away, or the frontend ends.
pub(crate) async fn serve<B: Backend>(shared: Arc<Shared<B>>, stream: Box<dyn Stream>, peer: SocketAddr) {
    tokio::select! {
        () = serve_to_end(&shared, stream, peer) => {}
        () = shared.doors.reached(Phase::Gone) => tracing::warn!(%peer, "a connection was dropped"),
    }
}

async fn serve_to_end<B: Backend>(shared: &Shared<B>, stream: Box<dyn Stream>, peer: SocketAddr) {
    let mut out = Responder::new(Transport::new(stream, Arc::clone(&shared.metrics)));
    let limit = shared.options.authentication_timeout;
    let started = tokio::select! {
        biased;
        started = timeout(limit, start(shared, &mut out, peer)) => started.unwrap_or_else(|_elapsed| {
            Err(fatal(SqlState::QUERY_CANCELED, "canceling authentication due to timeout"))
        }),
        () = shared.doors.reached(Phase::Ending) => Err(CancelReason::Terminate.error()),
    };
    match started {
        Ok(Some((registration, session))) => run(shared, session, &mut out, &registration).await,
        Ok(None) => {}
        Err(error) => refuse(shared, &mut out, peer, error),
    }
    farewell(&mut out).await;
}

/// Tells a client that is not served why, once it has said what it wants.
pub(crate) async fn turn_away(stream: Box<dyn Stream>, error: PgError, metrics: Arc<Metrics>) {
    let mut out = Responder::new(Transport::new(stream, metrics));
    let error = match timeout(TURN_AWAY_TIMEOUT, startup::open(&mut out)).await {
        Ok(Ok(Opening::Start(_))) => error,
        Ok(Err(malformed)) => malformed,
        Ok(Ok(Opening::Cancel { .. } | Opening::Gone)) | Err(_) => return,
    };
    encode::error(out.output(), &error.severity(Severity::Fatal));
    farewell(&mut out).await;
}

/// What a client is told that comes while the server ends.
pub(crate) fn shutting_down() -> PgError {
    fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down")
}

/// Everything up to the first ReadyForQuery; `None` if no session was asked for.
async fn start<B: Backend>(
    shared: &Shared<B>,
    out: &mut Responder,
    peer: SocketAddr,
) -> PgResult<Option<(Registration, B::Session)>> {
    let packet = match startup::open(out).await? {
        Opening::Start(packet) => packet,
        Opening::Cancel { process_id, key } => {
            if !shared.registry.cancel_with_key(process_id, &key) {
                tracing::debug!(process_id, %peer, "cancel request matches no connection");
            }
            return Ok(None);
        }
        Opening::Gone => return Ok(None),
    };
    shared.metrics.connected();
    let registration = shared.registry.register(
        &packet.user,
        &packet.database,
        peer,
        packet.long_cancel_key(),
        shared.options.max_connections,
    )?;
    out.cancel = registration.cancel.clone();

    let method = shared.backend.auth(&packet.user, &packet.database, peer).await?;
    startup::authenticate(out, &packet.user, peer, method).await?;
    let unreserved = shared.options.max_connections - shared.options.superuser_reserved_connections;
    if registration.position > unreserved && !shared.backend.is_superuser(&packet.user).await {
        return Err(fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        ));
    }

    let startup = Startup {
        user: packet.user,
        database: packet.database,
        parameters: packet.parameters,
        peer,
        process_id: registration.process_id,
        cancel: registration.cancel.clone(),
        registry: Arc::clone(&shared.registry),
    };
    let connected = AssertUnwindSafe(shared.backend.connect(startup)).catch_unwind().await;
    let mut session = connected.map_err(|panic| panicked(shared, &*panic))??;
    for (name, value) in session.parameters() {
        out.parameter_status(&name, &value);
    }
    startup::backend_key_data(out, registration.process_id, &registration.key);
    for notice in session.take_notices() {
        out.notice(&notice);
    }
    encode::ready_for_query(out.output(), session.transaction_status());
    out.cancel.set_state(ConnectionState::Idle);
    Ok(Some((registration, session)))
}

/// Sends the error of a connection that never became a session.
fn refuse<B: Backend>(shared: &Shared<B>, out: &mut Responder, peer: SocketAddr, error: PgError) {
    match error.sqlstate {
        SqlState::TOO_MANY_CONNECTIONS => shared.metrics.refused(),
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            shared.metrics.authentication_failed();
        }
        _ => {}
    }
    tracing::info!(%peer, %error, "connection refused");
    shared.metrics.error();
    encode::error(out.output(), &error.severity(Severity::Fatal));
}

/// Runs a session to its end, whatever that is.
async fn run<B: Backend>(
    shared: &Shared<B>,
    mut session: B::Session,
    out: &mut Responder,
    registration: &Registration,
) {
    let mut connection = Connection {
        shared,
        session: &mut session,
        out: &mut *out,
        scratch: Scratch::default(),
        skipping: false,
        at_rest: true,
    };
    let ended = AssertUnwindSafe(connection.run()).catch_unwind().await;
    if let Err(panic) = ended {
        let error = panicked(shared, &*panic);
        encode::error(out.output(), &error);
    }
    // The client should hear of its end before the session tidies up, which may take a while.
    if !out.broken {
        let _ = timeout(FAREWELL_TIMEOUT, out.transport.flush()).await;
    }
    if let Err(panic) = AssertUnwindSafe(session.terminate()).catch_unwind().await {
        panicked(shared, &*panic);
    }
    tracing::debug!(process_id = registration.process_id, "connection ends");
}

/// What others see of a connection that waits for its client.
fn state_at_rest(status: TransactionStatus) -> ConnectionState {
    match status {
        TransactionStatus::Idle => ConnectionState::Idle,
        TransactionStatus::InTransaction => ConnectionState::IdleInTransaction,
        TransactionStatus::Failed => ConnectionState::IdleInFailedTransaction,
    }
}

/// Counts and logs a panic; what the client is told of it.
fn panicked<B: Backend>(shared: &Shared<B>, panic: &(dyn Any + Send)) -> PgError {
    let what = match panic.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "no message".to_owned()),
    };
    shared.metrics.panic();
    tracing::error!(panic = %what, "a session panicked; its connection is closed");
    fatal(SqlState::INTERNAL_ERROR, "internal error: the connection is closed")
        .detail(what)
        .hint("This is a fault of the server. Other connections are not affected.")
}

/// Writes what is left and closes, without waiting long for a client that does not read.
async fn farewell(out: &mut Responder) {
    let _ = timeout(FAREWELL_TIMEOUT, async {
        if !out.broken {
            out.transport.flush().await?;
        }
        out.transport.shutdown().await
    })
    .await;
}

struct Connection<'a, B: Backend> {
    shared: &'a Shared<B>,
    session: &'a mut B::Session,
    out: &'a mut Responder,
    scratch: Scratch,
    /// An error was sent: ignore everything up to Sync.
    skipping: bool,
    /// ReadyForQuery was sent and no message has come since.
    at_rest: bool,
}

impl<B: Backend> Connection<'_, B> {
    async fn run(&mut self) {
        let mut step = match self.out.flush().await {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => self.fail(error).await,
        };
        while step.is_continue() {
            step = match self.next_frame().await {
                Ok(Some(frame)) => self.step(frame).await,
                Ok(None) => ControlFlow::Break(()),
                Err(error) => self.fail(error).await,
            };
        }
    }

    /// Waits for the next message; `None` if the client has left. Its errors are fatal.
    async fn next_frame(&mut self) -> PgResult<Option<Frame>> {
        // A client that always has the next query ready must not keep the server up.
        if self.at_rest
            && let Some(reason) = self.out.cancel.end_of_idleness()
        {
            return Err(reason.error());
        }
        loop {
            if let Some(frame) = self.out.transport.frame()? {
                if self.at_rest {
                    self.out.cancel.reset();
                    self.out.cancel.set_state(ConnectionState::Active);
                    self.at_rest = false;
                }
                return Ok(Some(frame));
            }
            if !self.wait_for_input().await? {
                return match self.out.transport.input().is_empty() {
                    true => Ok(None),
                    false => Err(connection_lost("unexpected EOF on client connection")),
                };
            }
        }
    }

    async fn wait_for_input(&mut self) -> PgResult<bool> {
        let cancel = self.out.cancel.clone();
        let idle = if self.at_rest { self.session.idle_timeout() } else { None };
        let bell = if self.may_notify() { self.session.doorbell() } else { None };
        if idle.is_none() && bell.is_none() {
            return tokio::select! {
                biased;
                more = self.out.fill() => more,
                reason = cancel.idle_must_end() => Err(reason.error()),
            };
        }
        // One timer for the whole silence: what the server sends does not make the client less idle.
        let expired = async move {
            match idle {
                Some(idle) => {
                    sleep(idle.after).await;
                    idle.error.severity(Severity::Fatal)
                }
                None => pending().await,
            }
        };
        tokio::pin!(expired);
        loop {
            let ring = async {
                match &bell {
                    Some(bell) => bell.notified().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                more = self.out.fill() => return more,
                reason = cancel.idle_must_end() => return Err(reason.error()),
                error = &mut expired => return Err(error),
                () = ring => {}
            }
            self.send_notifications();
            self.out.flush().await?;
        }
    }

    /// Whether the client is at rest outside of a transaction block.
    fn may_notify(&self) -> bool {
        self.at_rest && self.session.transaction_status() == TransactionStatus::Idle
    }

    fn send_notifications(&mut self) {
        for notification in self.session.take_notifications() {
            encode::notification(self.out.output(), &notification);
        }
    }

    /// Handles one message.
    async fn step(&mut self, frame: Frame) -> ControlFlow<()> {
        if self.skipping && !matches!(frame.kind, b'S' | b'X') {
            self.out.transport.consume(frame.bytes);
            return ControlFlow::Continue(());
        }
        match frame.kind {
            b'Q' => self.query(frame).await,
            b'S' => {
                self.out.transport.consume(frame.bytes);
                self.skipping = false;
                let outcome = self.session.sync().await;
                self.finish(outcome).await
            }
            b'X' => ControlFlow::Break(()),
            // What is left of a COPY that has failed.
            b'd' | b'c' | b'f' => {
                self.out.transport.consume(frame.bytes);
                ControlFlow::Continue(())
            }
            b'F' => {
                self.out.transport.consume(frame.bytes);
                let error = PgError::not_supported("function call messages are not supported")
                    .hint("Call the function in a SELECT.");
                self.finish(Err(error)).await
            }
            b'p' => self.fail(fatal_violation("invalid frontend message type 112")).await,
            _ => match extended::answer(self.session, self.out, &mut self.scratch, frame).await {
                Ok(()) => {
                    if frame.kind == b'E' {
                        self.shared.metrics.execute();
                    }
                    self.send_notices();
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    self.skipping = true;
                    self.fail(error).await
                }
            },
        }
    }

    async fn query(&mut self, frame: Frame) -> ControlFlow<()> {
        self.shared.metrics.simple_query();
        let mut cursor = Cursor::new(self.out.transport.body(frame));
        let sql = cursor.string().map(str::to_owned).and_then(|sql| cursor.end().map(|()| sql));
        self.out.transport.consume(frame.bytes);
        let outcome = match sql {
            Ok(sql) => self.session.simple_query(&sql, self.out).await,
            Err(error) => Err(error),
        };
        self.finish(outcome).await
    }

    /// The end of a Query or a pipeline: ReadyForQuery, and one write.
    async fn finish(&mut self, outcome: PgResult<()>) -> ControlFlow<()> {
        if let Err(error) = outcome
            && self.fail(error).await.is_break()
        {
            return ControlFlow::Break(());
        }
        self.send_notices();
        for (name, value) in self.session.take_parameter_changes() {
            self.out.parameter_status(&name, &value);
        }
        self.out.copy = CopyState::None;
        let status = self.session.transaction_status();
        self.at_rest = true;
        if status == TransactionStatus::Idle {
            self.send_notifications();
        }
        encode::ready_for_query(self.out.output(), status);
        self.out.cancel.set_state(state_at_rest(status));
        match self.out.flush().await {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => self.fail(error).await,
        }
    }

    /// Sends an error and tells the session; breaks if the connection cannot go on.
    async fn fail(&mut self, error: PgError) -> ControlFlow<()> {
        self.out.copy = CopyState::None;
        if self.out.broken {
            tracing::debug!(%error, "connection lost");
            return ControlFlow::Break(());
        }
        self.shared.metrics.error();
        self.send_notices();
        // A session that returns a notice as an error has still failed.
        let error = if error.severity < Severity::Error { error.severity(Severity::Error) } else { error };
        encode::error(self.out.output(), &error);
        if error.severity > Severity::Error {
            return ControlFlow::Break(());
        }
        self.session.aborted().await;
        ControlFlow::Continue(())
    }

    fn send_notices(&mut self) {
        for notice in self.session.take_notices() {
            self.out.notice(&notice);
        }
    }
}
