//! A session's connection: what the server sends, as events in the order of their arrival.
//!
//! The driver hands out results and asynchronous messages in two places. Here one task polls both, so that a notice stays
//! where it was between the results. It also goes on while nobody asks, as a notification may come at any time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::error::DbError;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{
    AsyncMessage, CancelToken, Client, NoTls, SimpleQueryMessage, SimpleQueryStream, Socket,
};

use super::table::Table;

/// What a server sends.
#[derive(Debug)]
pub enum Event {
    /// A statement gave rows.
    Rows(Table),
    /// A statement without rows is done.
    Done,
    /// An error with its severity, its SQLSTATE and its message.
    Error { severity: String, sqlstate: String, message: String },
    /// A notice or warning, as libpq shows it.
    Notice(String),
    /// A notification, with the process that sent it.
    Notification { pid: i32, channel: String, payload: String },
    /// The query is done.
    Ready,
    /// The connection has ended.
    Closed,
}

/// A connection.
pub struct Connection {
    /// Its process on the server.
    pub pid: i32,
    queries: UnboundedSender<String>,
    /// What came.
    pub events: UnboundedReceiver<Event>,
    cancel: CancelToken,
}

impl Connection {
    /// Connects. `name` is made part of the application's name.
    pub async fn open(dsn: &str, name: &str) -> Result<Connection, tokio_postgres::Error> {
        let mut config: tokio_postgres::Config = dsn.parse()?;
        config.application_name(format!("isolation/{name}"));
        let (client, mut connection) = config.connect(NoTls).await?;
        let cancel = client.cancel_token();
        let pid = {
            let answer = client.query_one("SELECT pg_backend_pid()", &[]);
            tokio::pin!(answer);
            poll_fn(|cx| {
                while let Poll::Ready(Some(message)) = connection.poll_message(cx) {
                    message?;
                }
                answer.as_mut().poll(cx)
            })
            .await?
            .try_get(0)?
        };
        let (queries, to_send) = unbounded_channel();
        let (sender, events) = unbounded_channel();
        let pump = Pump { client, connection, to_send, running: None, table: None, sender };
        tokio::spawn(pump.run());
        Ok(Connection { pid, queries, events, cancel })
    }

    /// Sends a query of one or more statements; events follow, to [`Event::Ready`].
    pub fn send(&self, sql: &str) {
        // A connection that has ended has said so by its events.
        let _ = self.queries.send(sql.to_owned());
    }

    /// Asks the server to end what runs.
    pub async fn cancel(&self) -> Result<(), tokio_postgres::Error> {
        self.cancel.cancel_query(NoTls).await
    }
}

struct Pump {
    client: Client,
    connection: tokio_postgres::Connection<Socket, NoTlsStream>,
    to_send: UnboundedReceiver<String>,
    running: Option<Pin<Box<SimpleQueryStream>>>,
    /// The rows of the statement that runs, if it gives any.
    table: Option<Table>,
    sender: UnboundedSender<Event>,
}

impl Pump {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                query = self.to_send.recv(), if self.running.is_none() => match query {
                    Some(sql) => match self.client.simple_query_raw(&sql).await {
                        Ok(stream) => self.running = Some(Box::pin(stream)),
                        Err(_) => break,
                    },
                    None => return,
                },
                open = poll_fn(|cx| Pump::poll(&mut self.connection, &mut self.running, &mut self.table, &self.sender, cx)) => {
                    if !open {
                        break;
                    }
                }
            }
        }
        self.tell(Event::Closed);
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the runner is gone.
        let _ = self.sender.send(event);
    }

    /// Ready with false when the connection has ended, with true when the query that ran is done.
    fn poll(
        connection: &mut tokio_postgres::Connection<Socket, NoTlsStream>,
        running: &mut Option<Pin<Box<SimpleQueryStream>>>,
        table: &mut Option<Table>,
        sender: &UnboundedSender<Event>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let tell = |event| drop(sender.send(event));
        loop {
            let message = connection.poll_message(cx);
            // What came before the message goes first.
            let (progress, done) = match running {
                Some(stream) => drain(stream.as_mut(), table, &tell, cx),
                None => (false, false),
            };
            if done {
                *running = None;
                tell(Event::Ready);
            }
            match message {
                Poll::Ready(Some(Ok(message))) => tell_message(message, &tell),
                Poll::Ready(Some(Err(error))) => {
                    if let Some(error) = error.as_db_error() {
                        tell(error_event(error));
                    }
                    return Poll::Ready(false);
                }
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if done => return Poll::Ready(true),
                Poll::Pending if progress => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Tells what of the query's answer has come: whether anything has, and whether it is the end.
fn drain(
    mut stream: Pin<&mut SimpleQueryStream>,
    table: &mut Option<Table>,
    tell: &impl Fn(Event),
    cx: &mut Context<'_>,
) -> (bool, bool) {
    let mut progress = false;
    loop {
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(SimpleQueryMessage::RowDescription(columns)))) => {
                let columns = columns.iter().map(|c| c.name().to_owned()).collect();
                *table = Some(Table { columns, rows: Vec::new() });
            }
            Poll::Ready(Some(Ok(SimpleQueryMessage::Row(row)))) => {
                if let Some(table) = table {
                    table.rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
                }
            }
            Poll::Ready(Some(Ok(_))) => tell(table.take().map_or(Event::Done, Event::Rows)),
            Poll::Ready(Some(Err(error))) => {
                // Rows of a statement that failed are not shown.
                *table = None;
                match error.as_db_error() {
                    Some(error) => tell(error_event(error)),
                    None => return (true, true),
                }
            }
            Poll::Ready(None) => return (true, true),
            Poll::Pending => return (progress, false),
        }
        progress = true;
    }
}

fn tell_message(message: AsyncMessage, tell: &impl Fn(Event)) {
    match message {
        AsyncMessage::Notice(notice) => tell(Event::Notice(notice_text(&notice))),
        AsyncMessage::Notification(n) => tell(Event::Notification {
            pid: n.process_id(),
            channel: n.channel().to_owned(),
            payload: n.payload().to_owned(),
        }),
        _ => {}
    }
}

fn error_event(error: &DbError) -> Event {
    Event::Error {
        severity: error.severity().to_owned(),
        sqlstate: error.code().code().to_owned(),
        message: error.message().to_owned(),
    }
}

fn notice_text(notice: &DbError) -> String {
    let mut text = format!("{}:  {}\n", notice.severity(), notice.message());
    for (field, value) in [("DETAIL", notice.detail()), ("HINT", notice.hint()), ("CONTEXT", notice.where_())]
    {
        if let Some(value) = value {
            text.push_str(&format!("{field}:  {value}\n"));
        }
    }
    text
}
