//! The protocol's [`Backend`] and [`Session`] over [`Engine`] and [`PgSession`].

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use shardforge_pgwire::{
    AuthMethod, Backend, Format, IdleTimeout, Notification, RawParams, Responder, ScramVerifier, Session,
    Startup, StatementDescription, TransactionStatus,
};
use shardforge_types::{Datum, Oid, PgError, PgResult, Severity, SqlState};
use tokio::sync::Notify;

use super::PgSession;
use super::portal::Portal;
use super::statement::Prepared;
use super::wire::parameter;
use crate::engine::Engine;
use crate::parse;
use crate::parse::ast::{RawStatement, Statement, TransactionKind};

/// Serves connections from an engine.
pub struct SqlBackend {
    engine: Arc<Engine>,
    trust_all: bool,
}

impl SqlBackend {
    /// `trust_all`: roles without a password are let in from any address, not only from loopback.
    pub fn new(engine: Arc<Engine>, trust_all: bool) -> SqlBackend {
        SqlBackend { engine, trust_all }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

#[async_trait]
impl Backend for SqlBackend {
    type Session = PgSession;

    async fn auth(&self, user: &str, _database: &str, peer: SocketAddr) -> PgResult<AuthMethod> {
        let cluster = self.engine.catalog.cluster();
        let role = match cluster.role_by_name(user) {
            None => None,
            Some(role) => Some(match &role.password {
                None => None,
                Some(text) => Some(ScramVerifier::parse(text).ok_or_else(|| {
                    PgError::corrupted(format!("the password of role \"{user}\" is damaged"))
                })?),
            }),
        };
        Ok(AuthMethod::for_role(role, peer.ip(), self.trust_all))
    }

    async fn is_superuser(&self, user: &str) -> bool {
        self.engine.catalog.cluster().role_by_name(user).is_some_and(|role| role.superuser)
    }

    async fn connect(&self, startup: Startup) -> PgResult<PgSession> {
        PgSession::open(&self.engine, startup).await
    }
}

#[async_trait]
impl Session for PgSession {
    fn parameters(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    async fn simple_query(&mut self, sql: &str, out: &mut Responder) -> PgResult<()> {
        self.portals.remove("");
        let sql: Arc<str> = sql.into();
        self.message(&sql);
        match self.simple(&sql, out).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error)),
        }
    }

    async fn parse(&mut self, name: &str, sql: &str, param_types: &[Oid]) -> PgResult<()> {
        let sql: Arc<str> = sql.into();
        self.message(&sql);
        self.parse_message(name, &sql, param_types).await
    }

    async fn describe_statement(&mut self, name: &str) -> PgResult<StatementDescription> {
        let prepared = self.statement(name)?;
        Ok(StatementDescription {
            parameters: prepared.params.iter().map(|ty| ty.oid).collect(),
            fields: prepared.fields.clone(),
        })
    }

    async fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        params: RawParams<'_>,
        result_formats: &[Format],
    ) -> PgResult<()> {
        let prepared = self.statement(statement)?;
        if let Some(stmt) = &prepared.stmt
            && !ends_transaction(stmt)
        {
            self.check_not_failed()?;
        }
        if params.len() != prepared.params.len() {
            return Err(PgError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
                    params.len(),
                    prepared.params.len()
                ),
            ));
        }
        let columns = prepared.fields.as_ref().map_or(0, |fields| fields.len());
        if result_formats.len() > 1 && result_formats.len() != columns {
            return Err(PgError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    result_formats.len()
                ),
            ));
        }
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(PgError::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{portal}\" already exists"),
            ));
        }
        let values: Arc<[Datum]> = if params.is_empty() {
            Arc::new([])
        } else {
            self.message_at = self.engine.clock_micros();
            self.ensure_txn();
            let env = self.eval_env();
            params
                .iter()
                .zip(&prepared.params)
                .enumerate()
                .map(|(i, (raw, ty))| {
                    parameter(raw, *ty, &env).map_err(|error| {
                        let place = if portal.is_empty() {
                            "unnamed portal".to_owned()
                        } else {
                            format!("portal \"{portal}\"")
                        };
                        error.context(format!("{place} parameter ${}", i + 1))
                    })
                })
                .collect::<PgResult<_>>()?
        };
        let mut bound = Portal::bound(prepared, values, result_formats.to_vec());
        bound.number = self.next_portal();
        self.portals.insert(portal.to_owned(), bound);
        Ok(())
    }

    async fn describe_portal(&mut self, portal: &str, out: &mut Responder) -> PgResult<()> {
        let portal = self.portal(portal)?;
        match portal.fields() {
            Some(fields) => out.row_description(&fields, &portal.formats),
            None => {
                out.no_data();
                Ok(())
            }
        }
    }

    async fn execute(&mut self, portal: &str, max_rows: i32, out: &mut Responder) -> PgResult<()> {
        let mut taken = self.portals.remove(portal).ok_or_else(|| no_portal(portal))?;
        let sql = taken.prepared.sql.clone();
        self.message(&sql);
        let max = usize::try_from(max_rows).ok().filter(|n| *n > 0);
        let result = self.execute_portal(portal, &mut taken, max, out).await;
        // Statements that end the transaction take its portals with them, this one too.
        if self.txn.is_some() || taken.outlives_transaction() {
            taken.is_over |= result.is_err();
            self.portals.insert(portal.to_owned(), taken);
        }
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(Self::at_edge(error, &sql))),
        }
    }

    async fn close_statement(&mut self, name: &str) -> PgResult<()> {
        if self.statements.remove(name).is_some() && !name.is_empty() {
            self.services.forget_statements(Some(name));
        }
        Ok(())
    }

    async fn close_portal(&mut self, portal: &str) -> PgResult<()> {
        self.portals.remove(portal);
        Ok(())
    }

    async fn sync(&mut self) -> PgResult<()> {
        match self.end_implicit().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error)),
        }
    }

    fn transaction_status(&self) -> TransactionStatus {
        match &self.txn {
            Some(txn) if txn.explicit && txn.failed => TransactionStatus::Failed,
            Some(txn) if txn.explicit => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    async fn aborted(&mut self) {
        self.statement_failed().await;
    }

    async fn terminate(&mut self) {
        self.rollback().await;
        self.services.release_session_locks();
        self.services.listener.close();
    }

    fn take_notices(&mut self) -> Vec<PgError> {
        self.notices()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.settings.take_changes()
    }

    fn take_notifications(&mut self) -> Vec<Notification> {
        self.services.listener.take()
    }

    fn doorbell(&self) -> Option<Arc<Notify>> {
        self.services.listener.bell()
    }

    fn idle_timeout(&self) -> Option<IdleTimeout> {
        let in_transaction = self.txn.as_ref().is_some_and(|txn| txn.explicit);
        let (after, sqlstate, what) = if in_transaction {
            let after = self.settings.parsed(|p| p.idle_in_transaction_timeout)?;
            (after, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, "idle-in-transaction timeout")
        } else {
            let after = self.settings.parsed(|p| p.idle_session_timeout)?;
            (after, SqlState::IDLE_SESSION_TIMEOUT, "idle-session timeout")
        };
        let message = format!("terminating connection due to {what}");
        Some(IdleTimeout { after, error: PgError::with_severity(Severity::Fatal, sqlstate, message) })
    }
}

/// True for what is accepted in a failed transaction.
pub(super) fn ends_transaction(stmt: &Statement) -> bool {
    matches!(
        stmt,
        Statement::Transaction(t) if matches!(
            t.kind,
            TransactionKind::Commit { .. }
                | TransactionKind::Rollback { .. }
                | TransactionKind::RollbackTo(_)
                | TransactionKind::Prepare(_)
        )
    )
}

fn no_portal(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

impl PgSession {
    async fn simple(&mut self, sql: &Arc<str>, out: &mut Responder) -> PgResult<()> {
        // The parser's positions count characters already.
        let statements = parse::parse(sql)?;
        self.has_several_statements = statements.len() > 1;
        let result = self.run_all(statements, sql, out).await;
        self.has_several_statements = false;
        result.map_err(|error| Self::at_edge(error, sql))
    }

    async fn run_all(
        &mut self,
        statements: Vec<RawStatement>,
        sql: &Arc<str>,
        out: &mut Responder,
    ) -> PgResult<()> {
        if statements.is_empty() {
            out.empty_query();
            return self.end_implicit().await;
        }
        let count = statements.len();
        for (i, raw) in statements.into_iter().enumerate() {
            let is_last = i + 1 == count;
            if !ends_transaction(&raw.stmt) {
                self.check_not_failed()?;
            }
            let mut prepared = self.prepare(sql.clone(), Some(Arc::new(raw.stmt)), &[]).await?;
            prepared.described_late = true;
            if !prepared.params.is_empty() {
                return Err(PgError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
            }
            let formats = prepared.stmt.as_ref().map(|stmt| self.simple_formats(stmt)).unwrap_or_default();
            let mut portal = Portal::bound(Arc::new(prepared), Arc::new([]), formats);
            let tag = self.run_portal(&mut portal, None, out).await?;
            drop(portal);
            // What the message's last statement did must be durable before the client hears of it.
            if is_last {
                self.end_implicit().await?;
            }
            self.send_notices(out);
            if let Some(tag) = tag {
                out.command_complete(&tag);
            }
        }
        Ok(())
    }

    async fn parse_message(&mut self, name: &str, sql: &Arc<str>, param_types: &[Oid]) -> PgResult<()> {
        let mut statements = parse::parse(sql)?;
        if statements.len() > 1 {
            return Err(PgError::new(
                SqlState::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let stmt = statements.pop().map(|raw| raw.stmt);
        if let Some(stmt) = &stmt
            && !ends_transaction(stmt)
        {
            self.check_not_failed()?;
        }
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(PgError::new(
                SqlState::DUPLICATE_PSTATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let prepared = self
            .prepare(sql.clone(), stmt.map(Arc::new), param_types)
            .await
            .map_err(|error| Self::at_edge(error, sql))?;
        let prepared = Arc::new(prepared);
        if !name.is_empty() {
            self.services.remember_statement(name, &prepared, false);
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    pub(super) fn statement(&self, name: &str) -> PgResult<Arc<Prepared>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            PgError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    fn portal(&self, name: &str) -> PgResult<&Portal> {
        self.portals.get(name).ok_or_else(|| no_portal(name))
    }

    async fn execute_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        max: Option<usize>,
        out: &mut Responder,
    ) -> PgResult<()> {
        let Some(stmt) = &portal.prepared.stmt else {
            out.empty_query();
            return Ok(());
        };
        if !ends_transaction(stmt) {
            self.check_not_failed()?;
        }
        portal.check_runnable(name)?;
        let tag = self.run_portal(portal, max, out).await?;
        self.send_notices(out);
        match tag {
            Some(tag) => out.command_complete(&tag),
            None => out.portal_suspended(),
        }
        Ok(())
    }

    /// Sends the notices that have gathered, those that the client wants to see.
    fn send_notices(&mut self, out: &mut Responder) {
        for notice in self.notices() {
            out.notice(&notice);
        }
    }

    fn notices(&mut self) -> Vec<PgError> {
        let mut notices = self.services.take_notices();
        if notices.is_empty() {
            return notices;
        }
        let wanted = self.settings.parsed(|parsed| parsed.client_min_messages);
        notices.retain(|notice| notice.severity == Severity::Info || notice.severity >= wanted);
        notices
    }
}
