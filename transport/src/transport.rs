//! [`Transport`]: a node's end of the network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use shardforge_runtime::{Network, NodeId, RequestHandler, Traffic};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::dial::Task;
use crate::error::{CallError, TransportError};
use crate::join::JoinHandler;
use crate::link::Link;
use crate::peer::Peer;
use crate::server::accept;
use crate::shared::{Security, Shared, TransportOptions};
use crate::status::{LinkState, PeerStatus, TunnelCounts};
use crate::tunnel::Tunnel;
use crate::tunnels::TunnelHandler;

/// The network as one node has it: it listens for others, and calls those whose addresses it was told.
///
/// Everything ends when it is dropped: connections close, and calls that wait fail.
pub struct Transport {
    shared: Arc<Shared>,
    address: SocketAddr,
    _accepting: Task,
}

impl Transport {
    /// Begins to listen. Requests are refused until [`Network::serve`] says what is done with them.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificates are another node's.
    ///
    /// # Panics
    /// When a limit on a queue is below the one on a payload, which then could never be sent.
    pub async fn bind(options: TransportOptions) -> Result<Self, TransportError> {
        assert!(options.limits.iter().all(|limits| limits.payload_bytes_max <= limits.queue_bytes_max));
        if let Security::Tls(credentials) = &options.security
            && credentials.holder() != (options.cluster, options.node)
        {
            let (cluster, node) = credentials.holder();
            let own =
                format!("the certificates are those of {node} of cluster {cluster}, not of {}", options.node);
            return Err(TransportError::Certificate(own));
        }
        let failed = |error| TransportError::io(format!("listen on {}", options.listen), error);
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared::new(options);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, _accepting: Task(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where a node is, HOST:PORT. It is dialled at once; at a new address anew.
    ///
    /// Must be called inside of a tokio runtime, where the connections are then served.
    pub fn set_peer(&self, node: NodeId, address: &str) {
        if node == self.shared.options.node {
            return;
        }
        let mut peers = self.shared.peers.write();
        if peers.get(&node).is_some_and(|peer| peer.address() == address) {
            return;
        }
        let old = peers.insert(node, Peer::new(&self.shared, node, address));
        drop(peers);
        drop(old);
    }

    /// Forgets a node: calls to it fail.
    pub fn remove_peer(&self, node: NodeId) {
        let old = self.shared.peers.write().remove(&node);
        drop(old);
    }

    /// Has no more to do with a node that was removed from the cluster: its connections are closed, and it is let in no
    /// more, however long its certificate is valid. Ids of nodes are never used again, so there is no way back. A node
    /// that starts has to be told again.
    pub fn expel(&self, node: NodeId) {
        self.shared.expelled.send_modify(|expelled| {
            expelled.insert(node);
        });
        self.remove_peer(node);
    }

    /// How the peers are, in the order of their ids.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peers.read().values().map(Peer::status).collect()
    }

    /// How a peer is.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Option<PeerStatus> {
        self.shared.peers.read().get(&node).map(Peer::status)
    }

    /// Follows how a connection to a peer is. That of [`Traffic::Control`] says whether the peer is alive.
    #[must_use]
    pub fn watch(&self, node: NodeId, traffic: Traffic) -> Option<watch::Receiver<LinkState>> {
        self.shared.peers.read().get(&node).map(|peer| peer.link(traffic).state())
    }

    /// Opens a stream of bytes to a peer, which hands it to what it has given to [`Transport::serve_tunnels`].
    ///
    /// The tunnel ends when the peer cannot be reached any more, is moved by [`Transport::set_peer`], removed or expelled.
    ///
    /// # Errors
    /// When the peer is not known, is out of reach or does not take the tunnel; `ResourceBusy` when there are as many as may
    /// be, here or there.
    pub async fn open_tunnel(&self, to: NodeId) -> io::Result<Tunnel> {
        self.shared.open_tunnel(to).await
    }

    /// Says what is done with the tunnels that others open. Until then, they are refused.
    pub fn serve_tunnels(&self, handler: TunnelHandler) {
        *self.shared.tunnel_handler.write() = Some(handler);
    }

    /// How many tunnels there are and were.
    #[must_use]
    pub fn tunnels(&self) -> TunnelCounts {
        self.shared.tunnels.counts()
    }

    /// Says who decides whether a node may join through this one. Until then, none may.
    pub fn serve_joins(&self, handler: Arc<dyn JoinHandler>) {
        *self.shared.joins.write() = Some(handler);
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // The links know the shared part, which knows the peers: the ring is opened here.
        let peers = std::mem::take(&mut *self.shared.peers.write());
        drop(peers);
        *self.shared.handler.write() = None;
        *self.shared.joins.write() = None;
        *self.shared.tunnel_handler.write() = None;
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node = self.shared.options.node;
        f.debug_struct("Transport")
            .field("node", &node)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The link for a request, unless the peer is known to be out of reach.
    fn link(&self, to: NodeId, traffic: Traffic) -> Result<Arc<Link>, CallError> {
        let peers = self.peers.read();
        let peer = peers.get(&to).ok_or(CallError::Unknown(to))?;
        let link = peer.link(traffic);
        peer.link(Traffic::Control).check_up().inspect_err(|_| link.count_failed_call())?;
        Ok(Arc::clone(link))
    }
}

impl Network for Transport {
    /// Sends a request. The error contains a [`CallError`].
    fn call(&self, to: NodeId, traffic: Traffic, request: Bytes) -> BoxFuture<'static, io::Result<Bytes>> {
        let shared = Arc::clone(&self.shared);
        async move {
            if to == shared.options.node {
                let handler = shared.handler.read().clone();
                let refused =
                    || io::Error::new(io::ErrorKind::ConnectionRefused, "no requests are answered yet");
                return handler.ok_or_else(refused)?(to, request).await;
            }
            let link = shared.link(to, traffic)?;
            Ok(link.call(request).await?)
        }
        .boxed()
    }

    fn serve(&self, handler: RequestHandler) {
        *self.shared.handler.write() = Some(handler);
    }
}
