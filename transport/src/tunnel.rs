//! A tunnel: a stream of bytes between two nodes, for what is no request with an answer.
//!
//! It is a connection of its own, so TCP holds back who sends faster than the other reads, and either side may end its
//! half and still read. How the two ends introduce themselves is in `greeting.rs`, how they find each other in
//! `tunnels.rs`.
//!
//! A tunnel ends with its peer. A process that dies closes its sockets; a machine that dies, or a network that lets
//! nothing through, shows in the control link to the peer, whose pings go unanswered: every tunnel to a peer fails as
//! soon as its control link is down. TCP's own means are no substitute: its keepalive tests a connection only while nothing
//! is on its way, and its user timeout also ends connections to a live peer whose reader has paused.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use shardforge_runtime::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::dial::Task;
use crate::tunnels::Place;
use crate::wire::Wire;

/// See the module's documentation. It is closed when this is dropped.
pub struct Tunnel {
    peer: NodeId,
    wire: Wire,
    /// Two, because reader and writer may be two tasks, and a future wakes but one.
    read_cut: CutFuture,
    write_cut: CutFuture,
    _watching: Task,
    _place: Place,
}

/// Resolves with the reason when the tunnel has to end.
type CutFuture = Pin<Box<dyn Future<Output = String> + Send + Sync>>;

impl Tunnel {
    /// A tunnel over a connection, until `cut` says why it has to end.
    pub(crate) fn new(
        peer: NodeId,
        wire: Wire,
        cut: impl Future<Output = String> + Send + 'static,
        place: Place,
    ) -> Self {
        let (tell, told) = watch::channel(None);
        // In a task, so that nothing is missed while nobody reads or writes.
        let watching = tokio::spawn(async move {
            tell.send_replace(Some(cut.await));
            tell.closed().await;
        });
        let wait = |mut told: watch::Receiver<Option<String>>| async move {
            let reason = told.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "this node is stopping".to_owned())
        };
        Self {
            peer,
            wire,
            read_cut: Box::pin(wait(told.clone())),
            write_cut: Box::pin(wait(told)),
            _watching: Task(watching),
            _place: place,
        }
    }

    /// The node at the other end.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.peer
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Fails once the tunnel has been cut, for as long as it is asked.
fn check(peer: NodeId, cut: &mut CutFuture, cx: &mut Context<'_>) -> io::Result<()> {
    let Poll::Ready(reason) = cut.as_mut().poll(cx) else { return Ok(()) };
    *cut = Box::pin(std::future::ready(reason.clone()));
    let text = format!("the tunnel to {peer} was lost: {reason}");
    Err(io::Error::new(io::ErrorKind::ConnectionReset, text))
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        check(this.peer, &mut this.read_cut, cx)?;
        Pin::new(&mut this.wire).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        check(this.peer, &mut this.write_cut, cx)?;
        Pin::new(&mut this.wire).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        check(this.peer, &mut this.write_cut, cx)?;
        Pin::new(&mut this.wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        check(this.peer, &mut this.write_cut, cx)?;
        Pin::new(&mut this.wire).poll_shutdown(cx)
    }
}
