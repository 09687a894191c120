//! Tunnels in the making: opening them, taking them in, how many there are, and when they have to end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Traffic};
use socket2::{SockRef, TcpKeepalive};
use tokio::sync::watch;

use crate::dial::{DialTls, open_wire};
use crate::error::CallError;
use crate::greeting::{self, Verdict};
use crate::handshake::{Parties, Shown};
use crate::limits::{Timing, TunnelLimits};
use crate::shared::{Security, Shared};
use crate::status::{LinkState, TunnelCounts};
use crate::tls;
use crate::tunnel::Tunnel;
use crate::wire::Wire;

/// What a node does with a tunnel that another one opens: it is told who, and works until the future ends. The futures run
/// at the same time, and end with the transport.
pub type TunnelHandler = Arc<dyn Fn(NodeId, Tunnel) -> BoxFuture<'static, ()> + Send + Sync>;

/// The tunnels of a node, in both directions.
#[derive(Default)]
pub(crate) struct Tunnels {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    by_peer: BTreeMap<NodeId, usize>,
    seen: TunnelCounts,
}

impl Tunnels {
    /// Takes a place for a tunnel, if there is one.
    fn enter(self: &Arc<Self>, peer: NodeId, limits: &TunnelLimits) -> Result<Place, String> {
        let mut counts = self.counts.lock();
        let with_peer = counts.by_peer.get(&peer).copied().unwrap_or_default();
        let total = counts.seen.open;
        if with_peer >= limits.per_peer_max || total >= limits.total_max {
            counts.seen.refused += 1;
            return Err(format!("there are too many tunnels: {with_peer} with {peer}, {total} in all"));
        }
        counts.by_peer.insert(peer, with_peer + 1);
        counts.seen.open += 1;
        counts.seen.total += 1;
        Ok(Place { tunnels: Arc::clone(self), peer })
    }

    pub(crate) fn counts(&self) -> TunnelCounts {
        self.counts.lock().seen
    }
}

/// A tunnel's place in the count, given back when it is dropped.
pub(crate) struct Place {
    tunnels: Arc<Tunnels>,
    peer: NodeId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.tunnels.counts.lock();
        counts.seen.open -= 1;
        if let Some(count) = counts.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Waits until a tunnel has to end although its own connection shows nothing, and says why. `control` is the link to the
/// peer, if the peer's address is known here.
async fn has_to_end(
    peer: NodeId,
    control: Option<watch::Receiver<LinkState>>,
    mut expelled: watch::Receiver<BTreeSet<NodeId>>,
) -> String {
    tokio::select! {
        reason = goes_down(control) => reason,
        told = expelled.wait_for(|expelled| expelled.contains(&peer)) => match told {
            Ok(_) => format!("{peer} was removed from the cluster"),
            Err(_gone) => "this node is stopping".to_owned(),
        },
    }
}

/// Waits until a link goes down. One that is down, although the peer has just opened a tunnel, has to come up first: each
/// side dials for itself, and this one's attempt comes later.
async fn goes_down(control: Option<watch::Receiver<LinkState>>) -> String {
    let Some(mut state) = control else { return std::future::pending().await };
    let gone = "it is not a peer any more";
    if state.wait_for(|state| !matches!(state, LinkState::Down(_))).await.is_err() {
        return gone.to_owned();
    }
    match state.wait_for(|state| matches!(state, LinkState::Down(_))).await.as_deref() {
        Ok(LinkState::Down(reason)) => reason.clone(),
        _ => gone.to_owned(),
    }
}

/// Lets the kernel test a connection over which nothing goes.
fn keep_alive(wire: &Wire, timing: &Timing) -> io::Result<()> {
    let settings = TcpKeepalive::new()
        .with_time(timing.silence_max)
        .with_interval(timing.ping_interval.max(Duration::from_secs(1)))
        .with_retries(3);
    SockRef::from(wire.tcp()).set_tcp_keepalive(&settings)
}

impl Shared {
    /// Opens a tunnel to a peer.
    pub(crate) async fn open_tunnel(&self, to: NodeId) -> io::Result<Tunnel> {
        let address = {
            let peers = self.peers.read();
            let peer = peers.get(&to).ok_or(CallError::Unknown(to))?;
            peer.link(Traffic::Control).check_up()?;
            peer.address().to_owned()
        };
        let busy = |text| io::Error::new(io::ErrorKind::ResourceBusy, text);
        let place = self.tunnels.enter(to, &self.options.tunnels).map_err(busy)?;
        let mut cut = Box::pin(self.cut(to));
        let mut wire = tokio::select! {
            wire = self.dial_tunnel(to, &address) => wire?,
            reason = &mut cut => return Err(CallError::Down { node: to, reason }.into()),
        };
        let options = &self.options;
        let parties = Parties { cluster: options.cluster, from: options.node, to };
        let limit = options.timing.connect_max;
        match tokio::time::timeout(limit, greeting::greet(&mut wire, parties)).await {
            Ok(greeted) => greeted?,
            Err(_elapsed) => {
                let text = format!("{to} did not answer within {limit:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
        Ok(Tunnel::new(to, wire, cut, place))
    }

    fn cut(&self, peer: NodeId) -> impl Future<Output = String> + Send + use<> {
        let control = self.peers.read().get(&peer).map(|peer| peer.link(Traffic::Control).state());
        has_to_end(peer, control, self.expelled.subscribe())
    }

    async fn dial_tunnel(&self, to: NodeId, address: &str) -> io::Result<Wire> {
        let options = &self.options;
        let tls = match &options.security {
            Security::Plaintext => DialTls::None,
            Security::Tls(credentials) => {
                let name = tls::server_name(options.cluster, to).map_err(io::Error::other)?;
                DialTls::With(Arc::clone(&credentials.current().tunnel_client), name)
            }
        };
        let wire = open_wire(address, tls, &options.timing).await;
        let wire = wire.map_err(|reason| CallError::Down { node: to, reason })?;
        keep_alive(&wire, &options.timing)?;
        Ok(wire)
    }

    /// Finds out whether a connection that wants to be a tunnel may be one.
    pub(crate) async fn take_tunnel(
        &self,
        mut wire: Wire,
        from: SocketAddr,
        shown: &Shown,
    ) -> io::Result<(TunnelHandler, Tunnel)> {
        let own = (self.options.cluster, self.options.node);
        let exchange = async {
            let parties = greeting::read_call(&mut wire).await?;
            let peer = parties.from;
            let entered = match self.admit(parties, shown) {
                Err(reason) => Err((Verdict::Refused, format!("refused: {reason}"))),
                Ok(()) => match self.tunnel_handler.read().clone() {
                    None => Err((Verdict::Unserved, format!("{} takes no tunnels yet", self.options.node))),
                    Some(handler) => self
                        .tunnels
                        .enter(peer, &self.options.tunnels)
                        .map(|place| (handler, place))
                        .map_err(|reason| (Verdict::Busy, reason)),
                },
            };
            match entered {
                Ok((handler, place)) => {
                    greeting::answer(&mut wire, own, Verdict::Open, "").await?;
                    Ok((peer, handler, place))
                }
                Err((verdict, reason)) => {
                    tracing::warn!(%from, reason, "a tunnel was refused");
                    greeting::answer(&mut wire, own, verdict, &reason).await?;
                    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
                }
            }
        };
        let (peer, handler, place) =
            tokio::time::timeout(self.options.timing.connect_max, exchange).await??;
        keep_alive(&wire, &self.options.timing)?;
        self.nudge(peer);
        Ok((handler, Tunnel::new(peer, wire, self.cut(peer), place)))
    }
}
