//! A backend for tests: a toy language that does what the protocol has to carry.
//!
//! ```text
//!   rows N            N rows of one int4            echo              one row: the parameters
//!   begin, commit     a transaction block           error             ERROR 22012
//!   notice TEXT       a NOTICE                      fatal             FATAL XX000
//!   set NAME VALUE    a reported setting            panic             panics
//!   copyin            COPY FROM STDIN, counted      copyout N         COPY TO STDOUT
//!   wait              until canceled                big N             one value of N bytes
//!   deaf              for ever
//!   notify TEXT       a notification to itself      later TEXT        the same, once the client is silent
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardforge_types::{Oid, PgError, PgResult, Severity, SqlState};
use tokio::sync::Notify;

use crate::{
    AuthMethod, Backend, CancelToken, FieldDesc, Format, IdleTimeout, Notification, RawParams, Responder,
    ScramVerifier, Session, Startup, StatementDescription, TransactionStatus, result_format,
};

pub(super) struct ToyBackend;

#[async_trait]
impl Backend for ToyBackend {
    type Session = ToySession;

    async fn auth(&self, user: &str, _database: &str, _peer: SocketAddr) -> PgResult<AuthMethod> {
        Ok(match user {
            "secretive" => AuthMethod::Scram(ScramVerifier::from_password("pencil")),
            "nobody" => AuthMethod::ScramUnknown,
            "rejected" => AuthMethod::Reject(PgError::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "role \"rejected\" is not permitted to log in",
            )),
            _ => AuthMethod::Trust,
        })
    }

    async fn is_superuser(&self, user: &str) -> bool {
        user == "postgres"
    }

    async fn connect(&self, startup: Startup) -> PgResult<ToySession> {
        if startup.database == "missing" {
            return Err(PgError::new(SqlState::INVALID_CATALOG_NAME, "database \"missing\" does not exist"));
        }
        assert!(startup.database != "panic", "connect was told to panic");
        Ok(ToySession {
            parameters: startup.parameters,
            cancel: startup.cancel,
            status: TransactionStatus::Idle,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            notices: vec![],
            changes: vec![],
            notifications: VecDeque::new(),
            later: VecDeque::new(),
            bell: Arc::default(),
        })
    }
}

pub(super) struct ToySession {
    parameters: Vec<(String, String)>,
    cancel: CancelToken,
    status: TransactionStatus,
    statements: BTreeMap<String, String>,
    portals: BTreeMap<String, Portal>,
    notices: Vec<PgError>,
    changes: Vec<(String, String)>,
    notifications: VecDeque<Notification>,
    /// Notifications that are taken one by one, each at a ring of its own.
    later: VecDeque<Notification>,
    bell: Arc<Notify>,
}

struct Portal {
    sql: String,
    params: Vec<(Format, Option<Vec<u8>>)>,
    formats: Vec<Format>,
    sent: usize,
}

impl Portal {
    fn new(sql: &str) -> Portal {
        Portal { sql: sql.to_owned(), params: vec![], formats: vec![], sent: 0 }
    }
}

fn int4(name: &str) -> FieldDesc {
    FieldDesc {
        name: name.to_owned(),
        table_oid: Oid(0),
        column: 0,
        type_oid: Oid(23),
        type_len: 4,
        typmod: -1,
    }
}

fn fields(sql: &str) -> Option<Vec<FieldDesc>> {
    match sql.split(' ').next() {
        Some("rows" | "echo" | "big") => Some(vec![int4("n")]),
        _ => None,
    }
}

fn number(word: &str) -> PgResult<usize> {
    word.parse().map_err(|_| PgError::new(SqlState::SYNTAX_ERROR, "a number was expected").at(6))
}

impl ToySession {
    async fn statement(&mut self, portal: &mut Portal, max_rows: usize, out: &mut Responder) -> PgResult<()> {
        let sql = portal.sql.clone();
        let (word, rest) = sql.split_once(' ').unwrap_or((&sql, ""));
        if self.status == TransactionStatus::Failed && word != "commit" {
            return Err(PgError::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        match word {
            "" => out.empty_query(),
            "rows" => {
                let total = number(rest)?;
                let end = if max_rows == 0 { total } else { total.min(portal.sent + max_rows) };
                for n in portal.sent..end {
                    let mut row = out.data_row(1);
                    match result_format(&portal.formats, 0) {
                        Format::Text => row.bytes((n + 1).to_string().as_bytes()),
                        Format::Binary => row.bytes(&(n as u32 + 1).to_be_bytes()),
                    }
                    row.finish()?;
                    out.flush_if_full().await?;
                }
                portal.sent = end;
                if max_rows > 0 && end < total {
                    out.portal_suspended();
                } else {
                    out.command_complete(&format!("SELECT {total}"));
                }
            }
            "echo" => {
                let mut row = out.data_row(portal.params.len());
                for (format, value) in &portal.params {
                    match value {
                        Some(value) => row.value(|output| {
                            output.extend_from_slice(if *format == Format::Text { b"t:" } else { b"b:" });
                            output.extend_from_slice(value);
                            Ok(())
                        })?,
                        None => row.null(),
                    }
                }
                row.finish()?;
                out.command_complete("SELECT 1");
            }
            "big" => {
                let mut row = out.data_row(1);
                row.bytes(&vec![b'x'; number(rest)?]);
                row.finish()?;
                out.command_complete("SELECT 1");
            }
            "halfrow" => {
                let mut row = out.data_row(2);
                row.bytes(b"left");
                row.value(|_| Err(PgError::new(SqlState::DIVISION_BY_ZERO, "division by zero")))?;
            }
            "begin" => {
                self.status = TransactionStatus::InTransaction;
                out.command_complete("BEGIN");
            }
            "commit" => {
                let failed = self.status == TransactionStatus::Failed;
                self.status = TransactionStatus::Idle;
                out.command_complete(if failed { "ROLLBACK" } else { "COMMIT" });
            }
            "notice" => {
                out.notice(&PgError::with_severity(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, rest));
                out.command_complete("NOTICE");
            }
            "notify" | "later" => {
                let notification =
                    Notification { process_id: 7, channel: "toy".into(), payload: rest.into() };
                if word == "notify" {
                    self.notifications.push_back(notification);
                } else {
                    self.later.push_back(notification);
                }
                out.command_complete("NOTIFY");
            }
            "set" => {
                let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.changes.push((name.to_owned(), value.to_owned()));
                out.command_complete("SET");
            }
            "deaf" => std::future::pending().await,
            "wait" => return Err(self.cancel.canceled().await.error()),
            "copyin" => {
                out.copy_in(Format::Text, 2).await?;
                let mut bytes = 0;
                while let Some(data) = out.copy_data_in().await? {
                    bytes += data.len();
                }
                out.command_complete(&format!("COPY {bytes}"));
            }
            "copybad" => {
                out.copy_in(Format::Text, 1).await?;
                out.copy_data_in().await?;
                return Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, "missing data for column \"b\""));
            }
            "copyout" => {
                out.copy_out_begin(Format::Text, 1);
                for n in 0..number(rest)? {
                    out.copy_out_data(format!("{n}\n").as_bytes())?;
                    out.flush_if_full().await?;
                }
                out.copy_out_done();
                out.command_complete(&format!("COPY {rest}"));
            }
            "error" => {
                return Err(PgError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
                    .detail("a detail")
                    .hint("a hint")
                    .at(8)
                    .context("a context")
                    .schema("s")
                    .table("t")
                    .column("c")
                    .datatype("d")
                    .constraint("n"));
            }
            "fatal" => {
                return Err(PgError::with_severity(Severity::Fatal, SqlState::INTERNAL_ERROR, "fatal"));
            }
            "panic" => panic!("told to"),
            other => {
                return Err(
                    PgError::new(SqlState::SYNTAX_ERROR, format!("syntax error at \"{other}\"")).at(1)
                );
            }
        }
        Ok(())
    }

    fn portal(&self, name: &str) -> PgResult<&Portal> {
        self.portals.get(name).ok_or_else(|| {
            PgError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
        })
    }

    fn prepared(&self, name: &str) -> PgResult<&String> {
        self.statements.get(name).ok_or_else(|| {
            PgError::new(
                SqlState::INVALID_SQL_STATEMENT_NAME,
                format!("prepared statement \"{name}\" does not exist"),
            )
        })
    }
}

#[async_trait]
impl Session for ToySession {
    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![("server_version".to_owned(), "18.0".to_owned())];
        parameters.extend(self.parameters.iter().cloned());
        parameters
    }

    async fn simple_query(&mut self, sql: &str, out: &mut Responder) -> PgResult<()> {
        for statement in sql.split(';') {
            let mut portal = Portal::new(statement.trim());
            if let Some(fields) = fields(&portal.sql) {
                out.row_description(&fields, &[])?;
            }
            self.statement(&mut portal, 0, out).await?;
        }
        Ok(())
    }

    async fn parse(&mut self, name: &str, sql: &str, _types: &[Oid]) -> PgResult<()> {
        if sql == "unparsable" {
            return Err(PgError::new(SqlState::SYNTAX_ERROR, "syntax error").at(1));
        }
        if name.len() > 63 {
            self.notices.push(PgError::with_severity(
                Severity::Notice,
                SqlState::NAME_TOO_LONG,
                "identifier will be truncated",
            ));
        }
        self.statements.insert(name.to_owned(), sql.to_owned());
        Ok(())
    }

    async fn describe_statement(&mut self, name: &str) -> PgResult<StatementDescription> {
        let fields = fields(self.prepared(name)?);
        Ok(StatementDescription { parameters: vec![Oid(23)], fields: fields.map(Into::into) })
    }

    async fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        params: RawParams<'_>,
        result_formats: &[Format],
    ) -> PgResult<()> {
        let sql = self.prepared(statement)?.clone();
        let params = params.iter().map(|param| (param.format, param.value.map(<[u8]>::to_vec))).collect();
        let bound = Portal { sql, params, formats: result_formats.to_vec(), sent: 0 };
        self.portals.insert(portal.to_owned(), bound);
        Ok(())
    }

    async fn describe_portal(&mut self, portal: &str, out: &mut Responder) -> PgResult<()> {
        let portal = self.portal(portal)?;
        match fields(&portal.sql) {
            Some(fields) => out.row_description(&fields, &portal.formats),
            None => {
                out.no_data();
                Ok(())
            }
        }
    }

    async fn execute(&mut self, portal: &str, max_rows: i32, out: &mut Responder) -> PgResult<()> {
        self.portal(portal)?;
        let Some(mut running) = self.portals.remove(portal) else { return Ok(()) };
        self.statement(&mut running, max_rows as usize, out).await?;
        self.portals.insert(portal.to_owned(), running);
        Ok(())
    }

    async fn close_statement(&mut self, name: &str) -> PgResult<()> {
        self.statements.remove(name);
        Ok(())
    }

    async fn close_portal(&mut self, portal: &str) -> PgResult<()> {
        self.portals.remove(portal);
        Ok(())
    }

    async fn sync(&mut self) -> PgResult<()> {
        Ok(())
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    async fn aborted(&mut self) {
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }

    async fn terminate(&mut self) {}

    fn take_notices(&mut self) -> Vec<PgError> {
        std::mem::take(&mut self.notices)
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changes)
    }

    fn take_notifications(&mut self) -> Vec<Notification> {
        let taken = self.notifications.drain(..).collect();
        if let Some(next) = self.later.pop_front() {
            self.notifications.push_back(next);
            self.bell.notify_one();
        }
        taken
    }

    fn doorbell(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.bell))
    }

    fn idle_timeout(&self) -> Option<IdleTimeout> {
        (self.status == TransactionStatus::InTransaction).then(|| IdleTimeout {
            after: Duration::from_secs(1),
            error: PgError::new(
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
            ),
        })
    }
}
