//! The gateway: clients find who serves them, here or on another node, and lose no one's answer for another's.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::io::duplex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::backend::ToyBackend;
use super::client::{Client, peer};
use super::wire;
use crate::{Dial, Frontend, FrontendOptions, Gateway, GatewayOptions, Route, Stream};

/// A node: its gateway, and the hand that says who is primary.
struct Node {
    gateway: Gateway,
    routes: watch::Sender<Route>,
}

impl Node {
    /// A node that reaches others by `dial`.
    fn new(options: GatewayOptions, dial: Dial) -> Node {
        let routes = watch::Sender::new(Route::Unknown);
        Node { gateway: Gateway::new(options, routes.subscribe(), dial), routes }
    }

    fn alone(options: GatewayOptions) -> Node {
        Node::new(options, Arc::new(|_| async { Err(io::ErrorKind::HostUnreachable.into()) }.boxed()))
    }

    fn client(&self) -> Client {
        let (client, server) = Client::new();
        let gateway = self.gateway.clone();
        tokio::spawn(async move { gateway.serve_stream(server, peer()).await });
        client
    }

    /// Begins to serve SQL.
    fn become_primary(&self) -> Frontend<ToyBackend> {
        let frontend = Frontend::new(Arc::new(ToyBackend), FrontendOptions::default());
        self.routes.send_replace(Route::Local(Arc::new(frontend.clone())));
        frontend
    }
}

/// Two nodes, the second of which the first can dial as number 2; and what ends the tunnels between them.
fn two_nodes() -> (Node, Node, Arc<Mutex<Vec<AbortHandle>>>) {
    let two = Node::alone(GatewayOptions::default());
    let (gateway, tunnels) = (two.gateway.clone(), Arc::<Mutex<Vec<AbortHandle>>>::default());
    let kept = Arc::clone(&tunnels);
    let dial = move |node| {
        let (near, far) = duplex(1 << 16);
        let gateway = gateway.clone();
        let task = tokio::spawn(async move { gateway.accept_tunnel(far).await });
        kept.lock().push(task.abort_handle());
        async move {
            if node == 2 {
                Ok(Box::new(near) as Box<dyn Stream>)
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }
        .boxed()
    };
    (Node::new(GatewayOptions::default(), Arc::new(dial)), two, tunnels)
}

fn impatient() -> GatewayOptions {
    GatewayOptions { wait_max: Duration::from_millis(100), ..GatewayOptions::default() }
}

async fn until(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come about");
        tokio::task::yield_now().await;
    }
}

const NOBODY: &str = "ErrorResponse S FATAL | V FATAL | C 57P03 \
     | M the database system is not yet accepting connections \
     | D No node of the cluster serves SQL at present. \
     | H A new primary takes over within seconds while most of the nodes run. Try again.";

#[tokio::test]
async fn a_client_waits_for_a_primary_and_is_told_when_there_is_none() {
    let node = Node::alone(impatient());
    let mut client = node.client();
    client.send(&wire::packet(&80_877_103u32.to_be_bytes())).await;
    client.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
    assert_eq!(client.answer().await, ["encryption refused: N", NOBODY, "closed"]);
    // A cancel request has nobody to wait for, and is not answered.
    let mut cancel = node.client();
    let nobody = [80_877_102u32.to_be_bytes(), 1u32.to_be_bytes(), 2u32.to_be_bytes()].concat();
    cancel.send(&wire::packet(&nobody)).await;
    assert_eq!(cancel.answer().await, ["closed"]);
    // Out of reach is as good as none.
    node.routes.send_replace(Route::Remote(2));
    let mut client = node.client();
    client.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
    assert_eq!(client.answer().await, [NOBODY, "closed"]);
    assert_eq!((node.gateway.metrics().refused_total(), node.gateway.metrics().waiting_now()), (3, 0));

    let node = Node::alone(GatewayOptions::default());
    let mut client = node.client();
    until(|| node.gateway.metrics().waiting_now() == 1).await;
    let frontend = node.become_primary();
    client.log_in().await;
    assert_eq!(frontend.registry().list()[0].peer, peer());
    assert_eq!(node.gateway.metrics().forwarded_total(), 0);
}

#[tokio::test]
async fn only_so_many_wait() {
    let node = Node::alone(GatewayOptions { waiting_max: 1, ..GatewayOptions::default() });
    let mut first = node.client();
    until(|| node.gateway.metrics().waiting_now() == 1).await;
    let mut second = node.client();
    second.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
    let answer = second.answer().await;
    assert_eq!(answer[0], "ErrorResponse S FATAL | V FATAL | C 53300 | M sorry, too many clients already");
    node.become_primary();
    first.log_in().await;
}

#[tokio::test]
async fn a_client_of_another_node_is_served_as_if_it_had_come_to_the_primary() {
    let (one, two, _tunnels) = two_nodes();
    let frontend = two.become_primary();
    one.routes.send_replace(Route::Remote(2));
    let mut client = one.client();
    client.log_in().await;
    assert_eq!(frontend.registry().list()[0].peer, peer(), "the client's own address");
    assert_eq!(client.query("rows 3").await.len(), 6);
    assert_eq!(one.gateway.metrics().forwarded_now(), 1);

    // Much in both directions.
    let answer = client.query("rows 100000").await;
    assert_eq!(answer.len(), 100_003);
    client.send(&wire::query("copyin")).await;
    let data = wire::message(b'd', &vec![b'x'; 1 << 20]);
    for _ in 0..8 {
        client.send(&data).await;
    }
    client.send(&wire::message(b'c', b"")).await;
    let answer = client.answer().await;
    assert_eq!(answer[1..], ["CommandComplete COPY 8388608", "ReadyForQuery I"]);

    // A cancel request finds the session by the same way.
    client.send(&wire::query("wait")).await;
    let mut canceling = one.client();
    let request = [&80_877_102u32.to_be_bytes()[..], &client.process_id.to_be_bytes(), &client.key].concat();
    canceling.send(&wire::packet(&request)).await;
    assert_eq!(canceling.answer().await, ["closed"]);
    let answer = client.answer().await;
    assert!(answer[0].contains("canceling statement due to user request"), "{answer:?}");

    client.send(&wire::message(b'X', b"")).await;
    assert_eq!(client.answer().await, ["closed"]);
    until(|| one.gateway.metrics().forwarded_now() == 0).await;
    assert_eq!((one.gateway.metrics().forwarded_total(), one.gateway.metrics().broken_total()), (2, 0));
}

#[tokio::test]
async fn who_is_not_the_primary_says_so_and_the_route_is_asked_again() {
    let (one, two, tunnels) = two_nodes();
    one.routes.send_replace(Route::Remote(2));
    // It knows of another primary, and does not pass the client on.
    two.routes.send_replace(Route::Remote(1));
    let mut client = one.client();
    until(|| one.gateway.metrics().waiting_now() == 1).await;
    assert_eq!(two.gateway.metrics().forwarded_total(), 0);
    // Nobody tells the first node anything new: it tries again.
    two.become_primary();
    client.log_in().await;
    assert!(tunnels.lock().len() >= 2);

    // And where the primary turns out to be this node itself, that is found as well.
    let (one, two, _tunnels) = two_nodes();
    one.routes.send_replace(Route::Remote(2));
    let mut client = one.client();
    until(|| one.gateway.metrics().waiting_now() == 1).await;
    two.routes.send_replace(Route::Remote(1));
    one.become_primary();
    client.log_in().await;
    assert_eq!(one.gateway.metrics().forwarded_total(), 0);
}

#[tokio::test]
async fn forwarded_connections_end_with_their_primary() {
    let (one, two, tunnels) = two_nodes();
    two.become_primary();
    one.routes.send_replace(Route::Remote(2));
    // It dies.
    let mut client = one.client();
    client.log_in().await;
    client.send(&wire::query("wait")).await;
    tunnels.lock()[0].abort();
    assert_eq!(client.answer().await, ["closed"], "what became of the statement is not known here");
    // Nothing is known for a moment, then there is another one.
    let mut client = one.client();
    client.log_in().await;
    one.routes.send_replace(Route::Unknown);
    assert_eq!(client.query("rows 1").await.len(), 4);
    one.routes.send_replace(Route::Remote(2));
    assert_eq!(client.query("rows 1").await.len(), 4);
    one.routes.send_replace(Route::Remote(3));
    assert_eq!(client.answer().await, ["closed"]);
    until(|| one.gateway.metrics().forwarded_now() == 0).await;

    // Its time as primary ends: it says so itself.
    let frontend = two.become_primary();
    one.routes.send_replace(Route::Remote(2));
    let mut client = one.client();
    client.log_in().await;
    client.send(&wire::query("wait")).await;
    frontend.shutdown(Duration::ZERO).await;
    let answer = client.answer().await;
    assert!(answer[0].contains("C 57P01") && answer[1] == "closed", "{answer:?}");
}

#[tokio::test]
async fn a_node_that_stops_lets_forwarded_statements_end() {
    let (one, two, _tunnels) = two_nodes();
    let frontend = two.become_primary();
    one.routes.send_replace(Route::Remote(2));
    let (mut idle, mut busy, mut stuck) = (one.client(), one.client(), one.client());
    for client in [&mut idle, &mut busy, &mut stuck] {
        client.log_in().await;
    }
    busy.send(&wire::query("wait")).await;
    stuck.send(&wire::query("wait")).await;
    until(|| {
        frontend.registry().list().iter().filter(|c| c.state == crate::ConnectionState::Active).count() == 2
    })
    .await;
    let gateway = one.gateway.clone();
    let stopping = tokio::spawn(async move { gateway.shutdown(Duration::from_secs(2)).await });
    let answer = idle.answer().await;
    assert!(answer[0].contains("FATAL | C 57P01") && answer[1] == "closed", "{answer:?}");
    // What runs goes on to its end.
    frontend.registry().cancel(busy.process_id);
    let answer = busy.answer().await;
    assert!(answer[0].contains("C 57014") && answer[1] == "ReadyForQuery I", "{answer:?}");
    let answer = busy.answer().await;
    assert!(answer[0].contains("FATAL | C 57P01") && answer[1] == "closed", "{answer:?}");
    assert_eq!(stuck.answer().await, ["closed"]);
    stopping.await.expect("it ends");
    assert_eq!(one.gateway.metrics().forwarded_now(), 0);
    // Nobody else is let in.
    let mut late = one.client();
    late.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
    assert!(late.answer().await[0].contains("C 57P03"));
}
