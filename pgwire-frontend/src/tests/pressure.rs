//! How output leaves: one write a pipeline, and none faster than the client reads.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::{sleep, timeout};

use super::backend::ToyBackend;
use super::wire;
use crate::limits::FLUSH_BYTES;
use crate::{Frontend, FrontendOptions};

/// A pipe that counts how often, and how much at most, is written to it.
struct Counted {
    pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
    largest: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.largest.fetch_max(buf.len(), Ordering::SeqCst);
        let outcome = Pin::new(&mut self.pipe).poll_write(cx, buf);
        if outcome.is_ready() {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

struct Client {
    frontend: Frontend<ToyBackend>,
    pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
    largest: Arc<AtomicUsize>,
}

/// A client that has logged in.
async fn connect(pipe_bytes: usize) -> Client {
    let frontend = Frontend::new(Arc::new(ToyBackend), FrontendOptions::default());
    let (client, server) = duplex(pipe_bytes);
    let (writes, largest) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counted = Counted { pipe: server, writes: Arc::clone(&writes), largest: Arc::clone(&largest) };
    let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let serving = frontend.clone();
    tokio::spawn(async move { serving.serve_stream(counted, peer).await });
    let mut client = Client { frontend, pipe: client, writes, largest };
    client.pipe.write_all(&wire::startup(3 << 16, &[("user", "alice")])).await.expect("a pipe");
    client.messages_until_ready().await;
    client.writes.store(0, Ordering::SeqCst);
    client
}

impl Client {
    async fn messages_until_ready(&mut self) -> usize {
        let (mut received, mut messages) = (vec![], 0);
        loop {
            self.pipe.read_buf(&mut received).await.expect("a pipe");
            while let Some((kind, _)) = wire::split(&mut received) {
                messages += 1;
                if kind == b'Z' {
                    return messages;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_pipeline_is_answered_in_one_write() {
    let mut client = connect(1 << 20).await;
    let mut pipeline = wire::parse("s", "rows 3");
    for _ in 0..50 {
        pipeline.extend(wire::bind("", "s", &[], &[1]));
        pipeline.extend(wire::about(b'D', b'P', ""));
        pipeline.extend(wire::execute("", 0));
    }
    pipeline.extend(wire::message(b'S', b""));
    client.pipe.write_all(&pipeline).await.expect("a pipe");
    assert_eq!(client.messages_until_ready().await, 1 + 50 * 6 + 1);
    assert_eq!(client.writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_session_back_and_can_be_sent_away() {
    let mut client = connect(1 << 10).await;
    client.pipe.write_all(&wire::query("rows 1000000")).await.expect("a pipe");
    sleep(Duration::from_millis(50)).await;
    assert!(client.largest.load(Ordering::SeqCst) < 2 * FLUSH_BYTES);
    assert_eq!(client.frontend.registry().len(), 1);

    assert!(client.frontend.registry().terminate(1));
    let ended = async {
        while !client.frontend.registry().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), ended).await.expect("the connection ends");
}

#[tokio::test]
async fn a_slow_client_gets_everything() {
    let mut client = connect(1 << 10).await;
    client.pipe.write_all(&wire::query("rows 20000")).await.expect("a pipe");
    let messages = timeout(Duration::from_secs(60), client.messages_until_ready()).await;
    assert_eq!(messages.expect("an end"), 20_003);
}
