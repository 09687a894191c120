//! What the parts of a transport have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use shardforge_runtime::{NodeId, RequestHandler, Traffic};
use tokio::sync::watch;

use crate::credentials::Credentials;
use crate::handshake::{Parties, Shown};
use crate::identity::ClusterId;
use crate::join::JoinHandler;
use crate::limits::{Timing, TrafficLimits, TunnelLimits};
use crate::peer::Peer;
use crate::tunnels::{TunnelHandler, Tunnels};

/// Whether connections are encrypted, and both ends proven.
#[derive(Clone, Debug)]
pub enum Security {
    /// Neither: for tests, for one machine, and where an operator said so aloud.
    Plaintext,
    /// TLS 1.3 with certificates on both ends.
    Tls(Arc<Credentials>),
}

/// How a node takes part in the network.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// With or without TLS.
    pub security: Security,
    /// Where other nodes reach this one. Port 0: a free one.
    pub listen: SocketAddr,
    /// How long things take.
    pub timing: Timing,
    /// What each kind of traffic may take, in the order of [`Traffic::ALL`].
    pub limits: [TrafficLimits; 4],
    /// How many tunnels there may be.
    pub tunnels: TunnelLimits,
}

impl TransportOptions {
    /// Options with the usual times and limits.
    #[must_use]
    pub fn new(node: NodeId, cluster: ClusterId, security: Security, listen: SocketAddr) -> Self {
        let limits = Traffic::ALL.map(TrafficLimits::of);
        Self {
            node,
            cluster,
            security,
            listen,
            timing: Timing::default(),
            limits,
            tunnels: TunnelLimits::default(),
        }
    }
}

pub(crate) struct Shared {
    pub options: TransportOptions,
    pub handler: RwLock<Option<RequestHandler>>,
    pub joins: RwLock<Option<Arc<dyn JoinHandler>>>,
    pub tunnel_handler: RwLock<Option<TunnelHandler>>,
    pub tunnels: Arc<Tunnels>,
    pub peers: RwLock<BTreeMap<NodeId, Peer>>,
    /// Nodes that are not of the cluster any more, whatever their certificates say.
    pub expelled: watch::Sender<BTreeSet<NodeId>>,
}

impl Shared {
    pub(crate) fn new(options: TransportOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            handler: RwLock::default(),
            joins: RwLock::default(),
            tunnel_handler: RwLock::default(),
            tunnels: Arc::default(),
            peers: RwLock::default(),
            expelled: watch::Sender::default(),
        })
    }

    pub(crate) fn limits(&self, traffic: Traffic) -> &TrafficLimits {
        &self.options.limits[traffic.index()]
    }

    /// The largest message of a kind of traffic: a batch that was nearly full, and one payload more.
    pub(crate) fn message_bytes_max(&self, traffic: Traffic) -> usize {
        self.limits(traffic).payload_bytes_max + 2 * crate::limits::BATCH_SIZE_BYTES
    }

    /// Whether who introduces itself so may talk to this node.
    pub(crate) fn admit(&self, parties: Parties, shown: &Shown) -> Result<(), String> {
        parties.check(self.options.cluster, self.options.node, shown)?;
        if self.expelled.borrow().contains(&parties.from) {
            return Err(format!("{} was removed from the cluster", parties.from));
        }
        Ok(())
    }

    /// A node has shown that it is there: whoever waits to dial it again need not wait any longer.
    pub(crate) fn nudge(&self, node: NodeId) {
        if let Some(peer) = self.peers.read().get(&node) {
            peer.nudge();
        }
    }
}
