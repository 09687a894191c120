//! Transports that talk to each other over the loopback.

mod calls;
mod joins;
mod links;
mod proxy;
mod security;
mod tunnels;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use shardforge_runtime::{Network, NodeId, Traffic};

use crate::error::CallError;
use crate::identity::ClusterId;
use crate::limits::Timing;
use crate::shared::{Security, TransportOptions};
use crate::status::LinkState;
use crate::transport::Transport;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

const CLUSTER: ClusterId = ClusterId(42);

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Options without TLS. A silent connection is noticed early enough for a test, and late enough for a busy machine.
fn options(node: NodeId) -> TransportOptions {
    let mut options = TransportOptions::new(node, CLUSTER, Security::Plaintext, any_port());
    options.timing = Timing { backoff_max: Duration::from_millis(100), ..Timing::default() };
    options
}

async fn bind(options: TransportOptions) -> Transport {
    Transport::bind(options).await.unwrap()
}

/// Two nodes; the second answers each request with itself.
async fn pair() -> (Transport, Transport) {
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    echo(&two);
    one.set_peer(TWO, &two.address().to_string());
    (one, two)
}

fn echo(transport: &Transport) {
    transport.serve(Arc::new(|_from, request| async move { Ok(request) }.boxed()));
}

/// Waits until a link is in a certain state, and says in which. The limit is there for what would never end.
async fn until(
    transport: &Transport,
    node: NodeId,
    traffic: Traffic,
    is: impl FnMut(&LinkState) -> bool,
) -> LinkState {
    let mut state = transport.watch(node, traffic).unwrap();
    match tokio::time::timeout(Duration::from_secs(120), state.wait_for(is)).await {
        Ok(state) => state.unwrap().clone(),
        Err(_elapsed) => panic!("it remains {:?}", transport.watch(node, traffic).unwrap().borrow()),
    }
}

async fn connected(transport: &Transport, node: NodeId) {
    until(transport, node, Traffic::Control, |state| *state == LinkState::Connected).await;
}

/// Waits until a peer is out of reach, and says why.
async fn down(transport: &Transport, node: NodeId) -> String {
    let state = until(transport, node, Traffic::Control, |state| matches!(state, LinkState::Down(_))).await;
    let LinkState::Down(reason) = state else { unreachable!("it was waited for") };
    reason
}

/// What is in a call's error.
fn call_error(error: &std::io::Error) -> &CallError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
