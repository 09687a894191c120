//! Making a connection: TCP, TLS, HTTP/2.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::body::Body;
use tonic::client::GrpcService;

use crate::limits::{HTTP_FRAME_BYTES, Timing, WINDOW_BYTES};
use crate::wire::Wire;

/// A task that ends when this is dropped.
pub(crate) struct Task(pub JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a connection has TLS, and whom it has to be with.
pub(crate) enum DialTls {
    None,
    With(Arc<ClientConfig>, ServerName<'static>),
}

/// An HTTP/2 connection. It is closed when this is dropped.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    _driver: Task,
}

/// Connects to `address` (HOST:PORT). The error says how far it got.
pub(crate) async fn dial(address: &str, tls: DialTls, timing: &Timing) -> Result<Connection, String> {
    within(timing, async { speak_http2(connect(address, tls).await?, timing).await }).await
}

/// As [`dial`], for what is not HTTP/2.
pub(crate) async fn open_wire(address: &str, tls: DialTls, timing: &Timing) -> Result<Wire, String> {
    within(timing, connect(address, tls)).await
}

async fn within<T>(timing: &Timing, attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(timing.connect_max, attempt).await {
        Ok(result) => result,
        Err(_elapsed) => Err(format!("no connection within {:?}", timing.connect_max)),
    }
}

async fn connect(address: &str, tls: DialTls) -> Result<Wire, String> {
    let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // Batches are made here; the kernel need not wait for more.
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    match tls {
        DialTls::None => Ok(Wire::Plain(tcp)),
        DialTls::With(config, name) => {
            let tls = TlsConnector::from(config).connect(name, tcp).await;
            Ok(Wire::Tls(Box::new(tls.map_err(|error| format!("TLS: {error}"))?.into())))
        }
    }
}

async fn speak_http2(wire: Wire, timing: &Timing) -> Result<Connection, String> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .keep_alive_interval(timing.ping_interval)
        .keep_alive_timeout(timing.silence_max)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(wire))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(async move {
        // Its end shows in the streams over it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
    Ok(Connection { sender, _driver: Task(driver) })
}

impl GrpcService<Body> for &mut Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<hyper::Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// An error with what caused it: the outermost alone says little (`error reading a body from connection`).
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}

/// What a gRPC status says.
pub(crate) fn status_text(status: &tonic::Status) -> String {
    let causes = std::error::Error::source(status).map(with_causes).unwrap_or_default();
    match (causes.contains(status.message()), causes.is_empty()) {
        (true, false) => causes,
        (false, false) => format!("{}: {causes}", status.message()),
        (_, true) => status.message().to_owned(),
    }
}
