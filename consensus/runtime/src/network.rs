//! Requests between nodes.
//!
//! [`Network`] is what a node sees: it sends a request to another node and waits for the answer.
//! [`LocalNetwork`] joins nodes of one process; it can lose links and delay messages, by the runtime's clock
//! and randomness, so that a simulation has partitions and slow links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::runtime::Runtime;

/// A node of the cluster. Never used again once its node is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// What a request is about. Requests of different kinds do not wait for each other on their way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Traffic {
    /// Small and urgent: heartbeats, votes, who is alive.
    Control,
    /// Raft's log entries.
    Raft,
    /// Reads, writes and what else one node asks of another. Such a request may wait, for a lock say.
    Request,
    /// Much data that nobody waits for in a hurry: snapshots.
    Bulk,
}

impl Traffic {
    /// All kinds, in the order of their [`Traffic::index`].
    pub const ALL: [Self; 4] = [Self::Control, Self::Raft, Self::Request, Self::Bulk];

    /// The kind as a number from 0, for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Raft => 1,
            Self::Request => 2,
            Self::Bulk => 3,
        }
    }

    /// Its name in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Raft => "raft",
            Self::Request => "request",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a node does with a request: the sender and the payload, to an answer.
///
/// It is called in the order in which a sender's requests of one kind arrive, and must not block; the futures that
/// it returns run at the same time. One is dropped, at whichever `.await` it is, when its caller gave up.
pub type RequestHandler = Arc<dyn Fn(NodeId, Bytes) -> BoxFuture<'static, io::Result<Bytes>> + Send + Sync>;

/// The network as one node sees it.
pub trait Network: Send + Sync {
    /// Sends `request` to a node and waits for its answer.
    ///
    /// An error says nothing about whether the request was carried out. Dropping the future gives the request up.
    fn call(&self, to: NodeId, traffic: Traffic, request: Bytes) -> BoxFuture<'static, io::Result<Bytes>>;

    /// Says what is done with requests that arrive here. A later handler replaces an earlier one.
    fn serve(&self, handler: RequestHandler);
}

/// A network inside one process.
#[derive(Clone)]
pub struct LocalNetwork {
    runtime: Runtime,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    handlers: BTreeMap<NodeId, RequestHandler>,
    cut: BTreeSet<(NodeId, NodeId)>,
    delay_max: Duration,
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalNetwork")
    }
}

impl LocalNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, shared: Arc::default() }
    }

    /// The network as node `node` sees it.
    #[must_use]
    pub fn endpoint(&self, node: NodeId) -> Arc<dyn Network> {
        self.endpoint_in(node, self.runtime.clone())
    }

    /// As [`Self::endpoint`]; what is asked of the node is answered by the clocks of `runtime`.
    #[must_use]
    pub fn endpoint_in(&self, node: NodeId, runtime: Runtime) -> Arc<dyn Network> {
        Arc::new(Endpoint { node, network: self.clone(), runtime })
    }

    /// Every message takes a random time of up to `delay_max` from now on.
    pub fn set_delay_max(&self, delay_max: Duration) {
        self.shared.lock().delay_max = delay_max;
    }

    /// Cuts the link between two nodes, in both directions.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        self.shared.lock().cut.extend([(one, other), (other, one)]);
    }

    /// Cuts the link from one node to another: neither requests nor answers pass in this direction.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.shared.lock().cut.insert((from, to));
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.shared.lock().cut.clear();
    }

    /// Takes a node off the network, as if its process had ended.
    pub fn remove(&self, node: NodeId) {
        let handler = self.shared.lock().handlers.remove(&node);
        drop(handler);
    }

    async fn deliver(self, from: NodeId, to: NodeId, request: Bytes) -> io::Result<Bytes> {
        self.travel().await;
        let handler = self.handler(from, to)?;
        let answer = handler(from, request).await?;
        self.travel().await;
        // The way back may be cut, or the node gone since.
        self.handler(from, to)?;
        if self.shared.lock().cut.contains(&(to, from)) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{to} does not answer")));
        }
        Ok(answer)
    }

    async fn travel(&self) {
        let delay_max = self.shared.lock().delay_max;
        let nanos_max = u64::try_from(delay_max.as_nanos()).unwrap_or(u64::MAX);
        if nanos_max > 0 {
            self.runtime.sleep(Duration::from_nanos(self.runtime.next_u64() % nanos_max)).await;
        }
    }

    fn handler(&self, from: NodeId, to: NodeId) -> io::Result<RequestHandler> {
        let shared = self.shared.lock();
        if shared.cut.contains(&(from, to)) {
            return Err(io::Error::new(io::ErrorKind::HostUnreachable, format!("{to} is out of reach")));
        }
        shared.handlers.get(&to).cloned().ok_or_else(|| {
            io::Error::new(io::ErrorKind::ConnectionRefused, format!("{to} is not on the network"))
        })
    }
}

struct Endpoint {
    node: NodeId,
    network: LocalNetwork,
    runtime: Runtime,
}

/// An answer in the making, by the clocks of the node that makes it.
struct Answering {
    runtime: Runtime,
    answer: BoxFuture<'static, io::Result<Bytes>>,
}

impl Future for Answering {
    type Output = io::Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _entered = self.runtime.enter_if_skewed();
        self.answer.as_mut().poll(cx)
    }
}

impl Network for Endpoint {
    fn call(&self, to: NodeId, _traffic: Traffic, request: Bytes) -> BoxFuture<'static, io::Result<Bytes>> {
        Box::pin(self.network.clone().deliver(self.node, to, request))
    }

    fn serve(&self, handler: RequestHandler) {
        let runtime = self.runtime.clone();
        // The way to it is a part of whoever asks, in the task and by the clocks of that one.
        let handler: RequestHandler = Arc::new(move |from, request| {
            let _entered = runtime.enter_if_skewed();
            Box::pin(Answering { runtime: runtime.clone(), answer: handler(from, request) })
        });
        self.network.shared.lock().handlers.insert(self.node, handler);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::{LocalNetwork, NodeId, Traffic};
    use crate::Simulation;

    #[test]
    fn requests_travel_and_cut_links_fail() {
        let simulation = Simulation::new(1);
        let network = LocalNetwork::new(simulation.runtime());
        simulation.block_on(async move {
            network.set_delay_max(Duration::from_millis(20));
            let (one, two) = (network.endpoint(NodeId(1)), network.endpoint(NodeId(2)));
            assert!(one.call(NodeId(2), Traffic::Control, Bytes::new()).await.is_err());
            two.serve(Arc::new(|from, request| {
                Box::pin(async move { Ok(Bytes::from(format!("{from} {request:?}"))) })
            }));
            assert_eq!(
                one.call(NodeId(2), Traffic::Control, Bytes::from_static(b"x")).await.unwrap(),
                "n1 b\"x\""
            );
            network.cut(NodeId(1), NodeId(2));
            assert!(one.call(NodeId(2), Traffic::Control, Bytes::new()).await.is_err());
            network.heal();
            assert!(one.call(NodeId(2), Traffic::Control, Bytes::new()).await.is_ok());
            for (from, to) in [(NodeId(1), NodeId(2)), (NodeId(2), NodeId(1))] {
                network.cut_one_way(from, to);
                assert!(one.call(NodeId(2), Traffic::Control, Bytes::new()).await.is_err());
                network.heal();
            }
        });
    }
}
