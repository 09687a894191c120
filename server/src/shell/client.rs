//! The shell's connection: the simple query protocol, message by message.
//!
//! tokio-postgres hides what a shell shows (command tags, column types, the order of notices), so the shell
//! reads messages itself, with the codec that tokio-postgres is made of. Its DSN parser is used as it is.

use std::collections::BTreeMap;
use std::io;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorFields, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::{Config, Host, SslMode};

use super::ShellError;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The oid of its type.
    pub type_oid: u32,
}

/// The fields of an error or a notice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// `ERROR`, `NOTICE`, ...
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
    /// CONTEXT.
    pub context: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
}

/// What the server says in answer to a query.
#[derive(Debug)]
pub enum Event {
    /// A result with rows begins.
    Columns(Vec<Column>),
    /// One row; `None` is NULL.
    Row(Vec<Option<String>>),
    /// A statement has ended: its tag.
    Tag(String),
    /// NOTICE, WARNING, INFO.
    Notice(Report),
    /// The query has failed.
    Error(Report),
    /// The server waits for COPY data.
    CopyIn,
    /// COPY data from the server.
    CopyData(Bytes),
    /// The answer is complete.
    Ready,
}

/// Where to send a CancelRequest, and with what.
#[derive(Debug, Clone)]
pub struct CancelKey {
    address: (String, u16),
    process_id: i32,
    secret_key: i32,
}

/// A connection. Its errors end it.
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    parameters: BTreeMap<String, String>,
    /// How to interrupt it.
    pub cancel_key: CancelKey,
    /// The state of the transaction: `I`, `T` or `E`.
    pub status: u8,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
}

impl Client {
    /// Connects and logs in.
    pub async fn connect(config: &Config) -> Result<Client, ShellError> {
        if config.get_ssl_mode() == SslMode::Require {
            return Err(ShellError::NoTls);
        }
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => return Err(ShellError::UnixSocket(path.clone())),
            None => "127.0.0.1".to_owned(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let user = config.get_user().unwrap_or("postgres").to_owned();
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        let refused = |error| ShellError::Connect { address: format!("{host}:{port}"), error };
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;

        let mut client = Client {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            parameters: BTreeMap::new(),
            cancel_key: CancelKey { address: (host, port), process_id: 0, secret_key: 0 },
            status: b'I',
            user,
            database,
        };
        client.log_in(config).await?;
        Ok(client)
    }

    async fn log_in(&mut self, config: &Config) -> Result<(), ShellError> {
        let mut parameters = vec![
            ("user", self.user.as_str()),
            ("database", self.database.as_str()),
            ("application_name", config.get_application_name().unwrap_or("shardforge sql")),
            ("client_encoding", "UTF8"),
        ];
        if let Some(options) = config.get_options() {
            parameters.push(("options", options));
        }
        frontend::startup_message(parameters, &mut self.output)?;
        self.send().await?;
        let mut scram = None;
        loop {
            match self.message().await? {
                Message::AuthenticationSasl(body) => {
                    if !body.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256))? {
                        return Err(ShellError::UnknownAuthentication);
                    }
                    let Some(password) = config.get_password() else { return Err(ShellError::NoPassword) };
                    let exchange = ScramSha256::new(password, ChannelBinding::unsupported());
                    let first = exchange.message();
                    frontend::sasl_initial_response(SCRAM_SHA_256, first, &mut self.output)?;
                    scram = Some(exchange);
                    self.send().await?;
                }
                Message::AuthenticationSaslContinue(body) => {
                    let exchange = scram.as_mut().ok_or(ShellError::UnknownAuthentication)?;
                    exchange.update(body.data())?;
                    frontend::sasl_response(exchange.message(), &mut self.output)?;
                    self.send().await?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or(ShellError::UnknownAuthentication)?.finish(body.data())?;
                }
                Message::AuthenticationCleartextPassword => {
                    let Some(password) = config.get_password() else { return Err(ShellError::NoPassword) };
                    frontend::password_message(password, &mut self.output)?;
                    self.send().await?;
                }
                Message::AuthenticationOk | Message::NoticeResponse(_) => {}
                Message::ParameterStatus(body) => self.keep(body.name()?, body.value()?),
                Message::BackendKeyData(body) => {
                    self.cancel_key.process_id = body.process_id();
                    self.cancel_key.secret_key = body.secret_key();
                }
                Message::ReadyForQuery(body) => {
                    self.status = body.status();
                    return Ok(());
                }
                Message::ErrorResponse(body) => {
                    return Err(ShellError::Refused(Box::new(report(body.fields())?)));
                }
                _ => return Err(ShellError::UnknownAuthentication),
            }
        }
    }

    /// Sends a query; [`Client::next`] then gives its answer, up to [`Event::Ready`].
    pub async fn query(&mut self, sql: &str) -> io::Result<()> {
        frontend::query(sql, &mut self.output)?;
        self.send().await
    }

    /// The next part of the answer.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            return Ok(match self.message().await? {
                Message::RowDescription(body) => Event::Columns(
                    body.fields()
                        .map(|field| Ok(Column { name: field.name().to_owned(), type_oid: field.type_oid() }))
                        .collect()?,
                ),
                Message::DataRow(body) => {
                    let buffer = body.buffer();
                    let text = |range| String::from_utf8_lossy(&buffer[range]).into_owned();
                    Event::Row(body.ranges().map(|range| Ok(range.map(text))).collect()?)
                }
                Message::CommandComplete(body) => Event::Tag(body.tag()?.to_owned()),
                Message::NoticeResponse(body) => Event::Notice(report(body.fields())?),
                Message::ErrorResponse(body) => Event::Error(report(body.fields())?),
                Message::CopyInResponse(_) => Event::CopyIn,
                Message::CopyData(body) => Event::CopyData(body.into_bytes()),
                Message::ParameterStatus(body) => {
                    self.keep(body.name()?, body.value()?);
                    continue;
                }
                Message::ReadyForQuery(body) => {
                    self.status = body.status();
                    Event::Ready
                }
                _ => continue,
            });
        }
    }

    /// Sends COPY data.
    pub async fn copy_data(&mut self, data: &[u8]) -> io::Result<()> {
        frontend::CopyData::new(data)?.write(&mut self.output);
        if self.output.len() > 64 * 1024 { self.send().await } else { Ok(()) }
    }

    /// Ends COPY data.
    pub async fn copy_done(&mut self) -> io::Result<()> {
        frontend::copy_done(&mut self.output);
        self.send().await
    }

    /// Gives up a COPY.
    pub async fn copy_fail(&mut self, reason: &str) -> io::Result<()> {
        frontend::copy_fail(reason, &mut self.output)?;
        self.send().await
    }

    /// Takes leave.
    pub async fn terminate(mut self) {
        frontend::terminate(&mut self.output);
        // If the server is gone already, so much the better.
        let _ = self.send().await;
    }

    /// A setting that the server reports.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    fn keep(&mut self, name: &str, value: &str) {
        self.parameters.insert(name.to_owned(), value.to_owned());
    }

    async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    async fn message(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.input)? {
                return Ok(message);
            }
            self.input.reserve(16 * 1024);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                let lost = "the server closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, lost));
            }
        }
    }
}

impl CancelKey {
    /// Asks the server to stop what the connection runs.
    pub async fn cancel(&self) -> io::Result<()> {
        let (host, port) = &self.address;
        let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
        let mut request = BytesMut::new();
        frontend::cancel_request(self.process_id, self.secret_key, &mut request);
        stream.write_all(&request).await?;
        stream.shutdown().await
    }
}

fn report(mut fields: ErrorFields<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'S' => report.severity = value,
            b'C' => report.code = value,
            b'M' => report.message = value,
            b'D' => report.detail = Some(value),
            b'H' => report.hint = Some(value),
            b'W' => report.context = Some(value),
            b'P' => report.position = value.parse().ok(),
            _ => {}
        }
    }
    Ok(report)
}
