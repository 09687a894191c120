//! Links: peers that go away, come back, or fall silent.

use std::io;
use std::time::{Duration, Instant};

use futures::poll;
use shardforge_runtime::{Network, Traffic};
use tokio::net::TcpListener;

use super::proxy::Proxy;
use super::{ONE, TWO, any_port, bind, call_error, connected, down, echo, options, pair, text};
use crate::error::CallError;
use crate::status::LinkState;

#[tokio::test]
async fn a_peer_that_goes_away_fails_calls_and_is_found_again() {
    let (one, two, proxy) = (bind(options(ONE)).await, bind(options(TWO)).await, Proxy::start().await);
    echo(&two);
    proxy.lead_to(Some(two.address()));
    one.set_peer(TWO, &proxy.address.to_string());
    assert!(one.call(TWO, Traffic::Raft, text("x")).await.is_ok());
    proxy.lead_to(None);
    drop(two);
    down(&one, TWO).await;
    // All kinds of traffic fail, and before anything is sent.
    for traffic in Traffic::ALL {
        let error = one.call(TWO, traffic, text("x")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{error}");
        assert!(matches!(call_error(&error), CallError::Down { .. }) && !call_error(&error).is_ambiguous());
    }
    let two = bind(options(TWO)).await;
    echo(&two);
    proxy.lead_to(Some(two.address()));
    connected(&one, TWO).await;
    assert_eq!(one.call(TWO, Traffic::Raft, text("again")).await.unwrap(), "again");
    let status = one.peer(TWO).unwrap();
    let counts = status.link(Traffic::Control).counts;
    assert_eq!((counts.connects, counts.failed_calls), (2, 1));
    assert_eq!(status.link(Traffic::Bulk).counts.failed_calls, 1);
}

#[tokio::test]
async fn a_peer_that_comes_by_itself_is_dialled_at_once() {
    let proxy = Proxy::start().await;
    let mut patient = options(ONE);
    patient.timing.backoff_min = Duration::from_secs(3_600);
    patient.timing.backoff_max = Duration::from_secs(3_600);
    let one = bind(patient).await;
    one.set_peer(TWO, &proxy.address.to_string());
    down(&one, TWO).await;
    let two = bind(options(TWO)).await;
    proxy.lead_to(Some(two.address()));
    two.set_peer(ONE, &one.address().to_string());
    connected(&two, ONE).await;
    connected(&one, TWO).await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up() {
    let two = bind(options(TWO)).await;
    echo(&two);
    let proxy = Proxy::start().await;
    proxy.lead_to(Some(two.address()));
    let mut watchful = options(ONE);
    watchful.timing.ping_interval = Duration::from_millis(100);
    watchful.timing.silence_max = Duration::from_secs(1);
    let one = bind(watchful).await;
    one.set_peer(TWO, &proxy.address.to_string());
    for traffic in Traffic::ALL {
        assert!(one.call(TWO, traffic, text("x")).await.is_ok());
    }
    proxy.be_silent(true);
    let began = Instant::now();
    // A call that was sent into the silence fails with the connection, long before its own deadline of a minute.
    let error = one.call(TWO, Traffic::Request, text("lost")).await.unwrap_err();
    assert!(matches!(call_error(&error), CallError::Lost { sent: true, .. }), "{error}");
    down(&one, TWO).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(matches!(
        call_error(&one.call(TWO, Traffic::Request, text("x")).await.unwrap_err()),
        CallError::Down { .. }
    ));
    proxy.be_silent(false);
    connected(&one, TWO).await;
    assert_eq!(one.call(TWO, Traffic::Request, text("x")).await.unwrap(), "x");
}

#[tokio::test]
async fn round_trips_are_measured() {
    let (one, _two) = pair().await;
    connected(&one, TWO).await;
    // The answer to the ping comes before that to a later request.
    assert!(one.call(TWO, Traffic::Control, text("x")).await.is_ok());
    assert!(one.call(TWO, Traffic::Control, text("x")).await.is_ok());
    let status = one.peer(TWO).unwrap();
    let round_trip = status.link(Traffic::Control).round_trip.unwrap();
    assert!(round_trip > Duration::ZERO && round_trip < Duration::from_secs(10), "{round_trip:?}");
    assert_eq!(status.link(Traffic::Bulk).state, LinkState::Idle, "what is not used is not dialled");
}

#[tokio::test]
async fn peers_are_told_moved_and_forgotten() {
    let (one, two) = pair().await;
    assert!(one.call(TWO, Traffic::Raft, text("x")).await.is_ok());
    let error = one.call(super::NodeId(3), Traffic::Raft, text("x")).await.unwrap_err();
    assert_eq!(error.to_string(), "the address of n3 is not known");

    // The same again changes nothing; another address is dialled anew.
    one.set_peer(TWO, &two.address().to_string());
    assert_eq!(one.peer(TWO).unwrap().link(Traffic::Raft).counts.connects, 1);
    let moved = bind(options(TWO)).await;
    echo(&moved);
    drop(two);
    one.set_peer(TWO, &moved.address().to_string());
    assert_eq!(one.call(TWO, Traffic::Raft, text("moved")).await.unwrap(), "moved");

    let mut state = one.watch(TWO, Traffic::Control).unwrap();
    one.remove_peer(TWO);
    assert!(one.peers().is_empty());
    assert!(matches!(
        call_error(&one.call(TWO, Traffic::Raft, text("x")).await.unwrap_err()),
        CallError::Unknown(TWO)
    ));
    while state.changed().await.is_ok() {}
}

#[tokio::test]
async fn calls_wait_for_the_first_attempt_and_fail_with_it() {
    let one = bind(options(ONE)).await;
    let listener = TcpListener::bind(any_port()).await.unwrap();
    one.set_peer(TWO, &listener.local_addr().unwrap().to_string());
    let mut call = one.call(TWO, Traffic::Control, text("x"));
    assert!(poll!(&mut call).is_pending());
    let (socket, _) = listener.accept().await.unwrap();
    drop(socket);
    let error = call.await.unwrap_err();
    assert!(matches!(call_error(&error), CallError::Down { .. } | CallError::Lost { .. }), "{error}");
}
