//! The side that is called: accepts connections, looks at who is there, and has requests carried out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status};

use crate::codec::{EXCHANGE_PATH, JOIN_PATH, RawCodec};
use crate::dial::with_causes;
use crate::frame::Batch;
use crate::greeting::begins_tunnel;
use crate::handshake::{Hello, Shown, write_welcome};
use crate::join::{read_call, write_admission};
use crate::limits::{
    CONNECTIONS_MAX, HTTP_FRAME_BYTES, JOIN_SIZE_MAX_BYTES, STRANGER_TIME_MAX, STRANGERS_MAX, WINDOW_BYTES,
};
use crate::session::{Session, SessionAnswers};
use crate::shared::{Security, Shared};
use crate::tls::is_tunnel;
use crate::wire::Wire;

/// A connection carries one stream, or a request to join; a few more are no reason to break it.
const STREAMS_MAX: u32 = 4;

/// What a connection may use up.
struct Permits {
    /// Held until it ends.
    _connection: OwnedSemaphorePermit,
    /// Held until it is known who it comes from.
    stranger: OwnedSemaphorePermit,
}

/// Accepts connections for as long as this future is polled. They end with it.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((tcp, from)) => {
                let permits = (
                    Arc::clone(&connections).try_acquire_owned(),
                    Arc::clone(&strangers).try_acquire_owned(),
                );
                if let (Ok(connection), Ok(stranger)) = permits {
                    let permits = Permits { _connection: connection, stranger };
                    tasks.spawn(serve(tcp, from, Arc::clone(&shared), permits));
                } else {
                    tracing::warn!(%from, "a connection was refused: there are too many");
                }
            }
            Err(error) => {
                // No file descriptor is free, say. It will be again.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(tcp: TcpStream, from: SocketAddr, shared: Arc<Shared>, permits: Permits) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%from, %error, "a connection ended before it began");
        return;
    }
    match &shared.options.security {
        Security::Plaintext => {
            // HTTP/2 and tunnels both begin with what the caller says.
            let mut first = [0];
            match tokio::time::timeout(STRANGER_TIME_MAX, tcp.peek(&mut first)).await {
                Ok(Ok(1..)) => {
                    let (wire, shown) = (Wire::Plain(tcp), Shown::Plaintext);
                    serve_wire(wire, begins_tunnel(first[0]), from, shown, shared, permits).await;
                }
                Ok(_) | Err(_) => tracing::debug!(%from, "a connection ended before it began"),
            }
        }
        Security::Tls(credentials) => {
            let acceptor = TlsAcceptor::from(Arc::clone(&credentials.current().server));
            let limit = shared.options.timing.connect_max;
            match tokio::time::timeout(limit, acceptor.accept(tcp)).await {
                Ok(Ok(tls)) => {
                    let certificates = tls.get_ref().1.peer_certificates();
                    let shown = match certificates.and_then(|chain| chain.first()) {
                        Some(certificate) => Shown::Certificate(certificate.clone().into_owned()),
                        None => Shown::Nothing,
                    };
                    let tunnel = is_tunnel(tls.get_ref().1.alpn_protocol());
                    let wire = Wire::Tls(Box::new(tls.into()));
                    serve_wire(wire, tunnel, from, shown, shared, permits).await;
                }
                Ok(Err(error)) => tracing::warn!(%from, %error, "a connection was refused: TLS"),
                Err(_elapsed) => tracing::warn!(%from, "a connection was refused: no TLS within {limit:?}"),
            }
        }
    }
}

async fn serve_wire(
    wire: Wire,
    tunnel: bool,
    from: SocketAddr,
    shown: Shown,
    shared: Arc<Shared>,
    permits: Permits,
) {
    if !tunnel {
        return serve_http2(wire, from, shown, shared, permits).await;
    }
    let taken = shared.take_tunnel(wire, from, &shown).await;
    // Tunnels are counted by themselves, so that they leave room for what keeps the cluster together.
    drop((shared, permits));
    match taken {
        Ok((handler, tunnel)) => handler(tunnel.peer(), tunnel).await,
        Err(error) => tracing::debug!(%from, %error, "a connection did not become a tunnel"),
    }
}

async fn serve_http2(wire: Wire, from: SocketAddr, shown: Shown, shared: Arc<Shared>, permits: Permits) {
    let timing = shared.options.timing.clone();
    let Permits { _connection, stranger } = permits;
    let connection = Arc::new(Connection {
        shared,
        from,
        shown,
        stranger: Mutex::new(Some(stranger)),
        sessions: Mutex::new(JoinSet::new()),
    });
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(timing.ping_interval)
        .keep_alive_timeout(timing.silence_max)
        .serve_connection(TokioIo::new(wire), service);
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::debug!(%from, error = with_causes(&error), "a connection ended");
            }
        }
        () = connection.overstayed() => {
            tracing::warn!(%from, "a connection was closed: nobody introduced itself");
        }
    }
    // The service may be held on to by streams that are still open; what it serves ends here.
    connection.sessions.lock().abort_all();
}

/// A connection that was accepted.
struct Connection {
    shared: Arc<Shared>,
    from: SocketAddr,
    shown: Shown,
    /// Until somebody has introduced itself.
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
    sessions: Mutex<JoinSet<()>>,
}

impl Connection {
    /// Waits until the time for an introduction is over, or for ever, if there was one.
    async fn overstayed(&self) {
        tokio::time::sleep(STRANGER_TIME_MAX).await;
        if self.stranger.lock().is_none() {
            std::future::pending::<()>().await;
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        match request.uri().path() {
            EXCHANGE_PATH => self.begin_exchange(request).await,
            JOIN_PATH => {
                let joining = Joining { shared: Arc::clone(&self.shared), from: self.from };
                Grpc::new(RawCodec::<Bytes>::default())
                    .max_decoding_message_size(JOIN_SIZE_MAX_BYTES)
                    .unary(joining, request)
                    .await
            }
            path => Status::unimplemented(format!("there is no {path} here")).into_http(),
        }
    }

    async fn begin_exchange(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let introduced =
            Hello::read(&MetadataMap::from_headers(request.headers().clone())).and_then(|hello| {
                self.shared.admit(hello.parties, &self.shown)?;
                Ok(hello)
            });
        let hello = match introduced {
            Ok(hello) => hello,
            Err(reason) => {
                tracing::warn!(from = %self.from, reason, "a connection was refused");
                return Status::new(Code::PermissionDenied, format!("refused: {reason}")).into_http();
            }
        };
        self.stranger.lock().take();
        self.shared.nudge(hello.parties.from);
        let limit = self.shared.message_bytes_max(hello.traffic);
        Grpc::new(RawCodec::<Batch>::default())
            .max_decoding_message_size(limit)
            .streaming(Exchange { connection: self, hello }, request)
            .await
    }
}

/// Begins the stream of a node that has been let in.
struct Exchange<'a> {
    connection: &'a Connection,
    hello: Hello,
}

impl StreamingService<Bytes> for Exchange<'_> {
    type Response = Batch;
    type ResponseStream = Batches;
    type Future = std::future::Ready<Result<Response<Batches>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let shared = &self.connection.shared;
        let (session, answers) =
            Session::new(Arc::clone(shared), self.hello.parties.from, self.hello.traffic);
        self.connection.sessions.lock().spawn(session.run(request.into_inner()));
        let mut response = Response::new(Batches(answers));
        write_welcome(response.metadata_mut(), shared.options.cluster, shared.options.node);
        std::future::ready(Ok(response))
    }
}

/// What is sent back over a connection.
struct Batches(SessionAnswers);

impl Stream for Batches {
    type Item = Result<Batch, Status>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_batch(cx).map(|batch| batch.map(Ok))
    }
}

/// Answers a node that wants to join.
struct Joining {
    shared: Arc<Shared>,
    from: SocketAddr,
}

impl UnaryService<Bytes> for Joining {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (handler, from) = (self.shared.joins.read().clone(), self.from);
        async move {
            let admit = async {
                let handler = handler.ok_or("nodes cannot join through this one")?;
                let admission = handler.join(read_call(&request.into_inner(), from)?).await?;
                tracing::info!(%from, node = admission.node, "a node joined");
                write_admission(&admission)
            };
            match admit.await {
                Ok(answer) => Ok(Response::new(answer)),
                Err(reason) => {
                    tracing::warn!(%from, reason, "a node was not let in");
                    Err(Status::new(Code::PermissionDenied, reason))
                }
            }
        }
        .boxed()
    }
}
