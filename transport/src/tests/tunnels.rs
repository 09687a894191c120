//! Tunnels: bytes both ways, who may open one, how many, and how they end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use shardforge_runtime::{NodeId, Traffic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::proxy::Proxy;
use super::security::{add_node, tls, two_nodes};
use super::{ONE, TWO, bind, connected, down, echo, options, until};
use crate::identity::ClusterId;
use crate::limits::TunnelLimits;
use crate::shared::{Shared, TransportOptions};
use crate::status::LinkState;
use crate::transport::Transport;
use crate::tunnel::Tunnel;

/// Takes the tunnels that others open out of a queue.
fn taken(transport: &Transport) -> mpsc::UnboundedReceiver<(NodeId, Tunnel)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    transport.serve_tunnels(Arc::new(move |from, tunnel| {
        // A test that has all it needs takes no more.
        let _ = sender.send((from, tunnel));
        async {}.boxed()
    }));
    receiver
}

/// Two nodes that each know the other's address, with a tunnel between them.
async fn tunnel(one: &Transport, two: &Transport) -> (Tunnel, Tunnel) {
    let mut tunnels = taken(two);
    one.set_peer(TWO, &two.address().to_string());
    two.set_peer(ONE, &one.address().to_string());
    connected(one, TWO).await;
    connected(two, ONE).await;
    let near = one.open_tunnel(TWO).await.unwrap();
    let (from, far) = tunnels.recv().await.unwrap();
    assert_eq!((from, far.peer(), near.peer()), (ONE, ONE, TWO));
    (near, far)
}

/// The error that a tunnel without traffic ends with.
async fn broken(tunnel: &mut Tunnel) -> io::Error {
    let read = tokio::time::timeout(Duration::from_secs(120), tunnel.read_u8()).await;
    read.expect("it was to break").unwrap_err()
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_half_ends_by_itself() {
    let (_authority, first, second) = two_nodes();
    for (one, two) in [
        (bind(options(ONE)).await, bind(options(TWO)).await),
        (bind(tls(first.path(), ONE)).await, bind(tls(second.path(), TWO)).await),
    ] {
        let (mut near, mut far) = tunnel(&one, &two).await;
        near.write_all(b"ask").await.unwrap();
        near.shutdown().await.unwrap();
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "ask");
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answered = String::new();
        near.read_to_string(&mut answered).await.unwrap();
        assert_eq!(answered, "answer");
        assert!(near.write_all(b"more").await.is_err(), "its half has ended");
    }
}

#[tokio::test]
async fn much_goes_through_at_the_pace_of_the_reader() {
    const BYTES: usize = 32 << 20;
    let (_authority, first, second) = two_nodes();
    let (one, two) = (bind(tls(first.path(), ONE)).await, bind(tls(second.path(), TWO)).await);
    let (near, mut far) = tunnel(&one, &two).await;
    let (mut reader, mut writer) = tokio::io::split(near);
    let writing = tokio::spawn(async move {
        let piece: Vec<u8> = (0..1 << 16).map(|byte| (byte % 251) as u8).collect();
        for _ in 0..BYTES / piece.len() {
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    // The other direction is free although this one is not read.
    far.write_all(b"first").await.unwrap();
    far.flush().await.unwrap();
    let mut first = [0; 5];
    reader.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    assert!(!writing.is_finished(), "nobody reads");
    let (mut buffer, mut count) = (vec![0; 10_000], 0);
    loop {
        let length = far.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        let expected = |at: usize| ((count + at) % (1 << 16) % 251) as u8;
        assert!(buffer[..length].iter().enumerate().all(|(at, byte)| *byte == expected(at)));
        count += length;
    }
    assert_eq!(count, BYTES);
    writing.await.unwrap();
}

#[tokio::test]
async fn who_may_not_call_may_not_open_a_tunnel() {
    let (authority, first, second) = two_nodes();
    let third = add_node(&authority, NodeId(3));
    let two = bind(tls(second.path(), TWO)).await;
    let error = |opened: io::Result<Tunnel>| {
        let error = opened.unwrap_err();
        (error.kind(), error.to_string())
    };

    let one = bind(tls(first.path(), ONE)).await;
    let (kind, text) = error(one.open_tunnel(TWO).await);
    assert_eq!((kind, text.as_str()), (io::ErrorKind::NotFound, "the address of n2 is not known"));
    one.set_peer(TWO, &two.address().to_string());
    let (kind, text) = error(one.open_tunnel(TWO).await);
    assert_eq!((kind, text.as_str()), (io::ErrorKind::ConnectionRefused, "n2 takes no tunnels yet"));

    let mut tunnels = taken(&two);
    // n3's certificate does not make it n1. Its links are refused as well, so they are not asked.
    let impostor = Shared::new(TransportOptions { node: ONE, ..tls(third.path(), NodeId(3)) });
    let peer = crate::peer::Peer::new(&impostor, TWO, &two.address().to_string());
    impostor.peers.write().insert(TWO, peer);
    let (_, text) = error(impostor.open_tunnel(TWO).await);
    assert!(text.ends_with("refused: the certificate is not that of n1"), "{text}");
    impostor.peers.write().clear();

    let stranger = bind(TransportOptions { cluster: ClusterId(7), ..options(ONE) }).await;
    let plain = bind(options(TWO)).await;
    let _plain_tunnels = taken(&plain);
    stranger.set_peer(TWO, &plain.address().to_string());
    let (_, text) = error(stranger.open_tunnel(TWO).await);
    assert!(text.contains("refused: n1 is of cluster "), "{text}");

    one.open_tunnel(TWO).await.unwrap();
    assert_eq!(tunnels.recv().await.unwrap().0, ONE);
    two.expel(ONE);
    let refused = |state: &LinkState| matches!(state, LinkState::Down(why) if why.starts_with("refused: "));
    until(&one, TWO, Traffic::Control, refused).await;
    let (_, text) = error(one.open_tunnel(TWO).await);
    assert!(text.ends_with("refused: n1 was removed from the cluster"), "{text}");
}

#[tokio::test]
async fn there_are_only_so_many() {
    let limited = TunnelLimits { per_peer_max: 2, total_max: 3 };
    let (one, two) =
        (bind(options(ONE)).await, bind(TransportOptions { tunnels: limited, ..options(TWO) }).await);
    let (near, _far) = tunnel(&one, &two).await;
    let mut tunnels = taken(&two);
    let _second = one.open_tunnel(TWO).await.unwrap();
    let _second_far = tunnels.recv().await.unwrap();
    let error = one.open_tunnel(TWO).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(error.to_string(), "there are too many tunnels: 2 with n1, 2 in all");
    let counts = two.tunnels();
    assert_eq!((counts.open, counts.total, counts.refused), (2, 2, 1));
    assert_eq!(one.tunnels().open, 2, "the one that failed has given its place back");
    drop((near, _far));
    one.open_tunnel(TWO).await.unwrap();
    assert_eq!(two.tunnels().total, 3);
}

#[tokio::test]
async fn both_ends_of_a_tunnel_break_when_the_network_falls_silent() {
    let watchful = |node| {
        let mut options = options(node);
        options.timing.ping_interval = Duration::from_millis(100);
        options.timing.silence_max = Duration::from_secs(1);
        options.timing.connect_max = Duration::from_secs(1);
        options
    };
    let (one, two) = (bind(watchful(ONE)).await, bind(watchful(TWO)).await);
    let mut tunnels = taken(&two);
    let (to_one, to_two) = (Proxy::start().await, Proxy::start().await);
    to_one.lead_to(Some(one.address()));
    to_two.lead_to(Some(two.address()));
    one.set_peer(TWO, &to_two.address.to_string());
    two.set_peer(ONE, &to_one.address.to_string());
    connected(&one, TWO).await;
    connected(&two, ONE).await;
    let mut near = one.open_tunnel(TWO).await.unwrap();
    let (_, mut far) = tunnels.recv().await.unwrap();
    let began = Instant::now();
    to_one.be_silent(true);
    to_two.be_silent(true);
    for end in [&mut near, &mut far] {
        let error = broken(end).await;
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(error.to_string().contains(" was lost: "), "{error}");
        assert!(end.write_all(b"x").await.is_err(), "it stays broken, both ways");
        assert_eq!(broken(end).await.to_string(), error.to_string());
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn tunnels_end_with_the_node_and_with_its_membership() {
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    echo(&two);
    let (mut near, mut far) = tunnel(&one, &two).await;
    two.expel(ONE);
    assert_eq!(
        broken(&mut far).await.to_string(),
        "the tunnel to n1 was lost: n1 was removed from the cluster"
    );
    drop(far);
    assert!(near.read_u8().await.is_err());

    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    let (mut near, mut far) = tunnel(&one, &two).await;
    drop(two);
    down(&one, TWO).await;
    assert!(broken(&mut near).await.to_string().starts_with("the tunnel to n2 was lost: "));
    assert!(broken(&mut far).await.to_string().starts_with("the tunnel to n1 was lost: "));
}
