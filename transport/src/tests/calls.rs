//! Calls: their answers, their limits, and how they end without an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use shardforge_runtime::{Network, NodeId, Traffic};
use tokio::sync::{Notify, mpsc};

use super::{ONE, TWO, bind, call_error, connected, echo, options, pair, text};
use crate::error::CallError;
use crate::limits::TrafficLimits;

#[tokio::test]
async fn requests_of_all_kinds_are_answered() {
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    two.serve(Arc::new(|from, request| {
        async move { Ok(Bytes::from(format!("{from} said {}", String::from_utf8_lossy(&request)))) }.boxed()
    }));
    one.set_peer(TWO, &two.address().to_string());
    for traffic in Traffic::ALL {
        assert_eq!(one.call(TWO, traffic, text("hello")).await.unwrap(), "n1 said hello", "{traffic}");
    }
    // Each direction has connections of its own.
    echo(&one);
    assert!(two.call(ONE, Traffic::Request, text("x")).await.is_err());
    two.set_peer(ONE, &one.address().to_string());
    assert_eq!(two.call(ONE, Traffic::Request, text("x")).await.unwrap(), "x");

    let status = one.peer(TWO).unwrap();
    assert!(status.is_connected());
    assert_eq!(status.address, two.address().to_string());
    for traffic in Traffic::ALL {
        let link = status.link(traffic);
        assert_eq!((link.traffic, link.calls, link.queued_bytes), (traffic, 0, 0));
        assert_eq!(link.counts.connects, 1, "{traffic}");
        assert!(link.counts.bytes_out >= 5 && link.counts.bytes_in >= 13, "{link:?}");
    }
}

#[tokio::test]
async fn a_node_calls_itself_without_a_connection() {
    let one = bind(options(ONE)).await;
    assert!(one.call(ONE, Traffic::Request, text("me")).await.is_err(), "nothing is served yet");
    echo(&one);
    one.set_peer(ONE, "127.0.0.1:1");
    assert_eq!(one.call(ONE, Traffic::Request, text("me")).await.unwrap(), "me");
    assert!(one.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_find_their_own_answers() {
    let (one, _two) = pair().await;
    let calls = (0..2_000_u32).map(|number| {
        let request = Bytes::from(vec![(number % 251) as u8; (number as usize * 37) % 5_000]);
        let (call, traffic) = (request.clone(), Traffic::ALL[number as usize % 3]);
        let calling = one.call(TWO, traffic, call);
        async move { assert_eq!(calling.await.unwrap(), request, "{number}") }
    });
    join_all(calls).await;
    assert!(one.peer(TWO).unwrap().links.iter().all(|link| link.calls == 0));
}

#[tokio::test]
async fn what_is_queued_at_one_moment_is_sent_together() {
    let (one, _two) = pair().await;
    let calls = (0..1_000).map(|_| one.call(TWO, Traffic::Raft, text("append")));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let counts = one.peer(TWO).unwrap().link(Traffic::Raft).counts;
    assert_eq!((counts.frames_out, counts.frames_in), (1_000, 1_000));
    assert!(counts.batches_out <= 100, "requests went in {} batches", counts.batches_out);
    assert!(counts.batches_in <= 100, "answers came in {} batches", counts.batches_in);
}

#[tokio::test]
async fn requests_are_handed_over_in_the_order_in_which_they_were_sent() {
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    let (seen, mut order) = mpsc::unbounded_channel();
    two.serve(Arc::new(move |_from, request| {
        seen.send(request.clone()).unwrap();
        async move { Ok(request) }.boxed()
    }));
    one.set_peer(TWO, &two.address().to_string());
    let sent: Vec<Bytes> = (0..500).map(|number| Bytes::from(format!("{number}"))).collect();
    join_all(sent.iter().map(|request| one.call(TWO, Traffic::Raft, request.clone()))).await;
    for request in sent {
        assert_eq!(order.try_recv().unwrap(), request);
    }
}

/// Answers requests when it is told to, and says when it has one.
async fn holding(id: NodeId) -> (super::Transport, Arc<Notify>, mpsc::UnboundedReceiver<Bytes>) {
    let transport = bind(options(id)).await;
    let (release, (arrived, arrivals)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let held = Arc::clone(&release);
    transport.serve(Arc::new(move |_from, request| {
        let (held, arrived) = (Arc::clone(&held), arrived.clone());
        async move {
            if request.starts_with(b"wait") {
                arrived.send(request.clone()).unwrap();
                held.notified().await;
            }
            Ok(request)
        }
        .boxed()
    }));
    (transport, release, arrivals)
}

#[tokio::test]
async fn bulk_traffic_does_not_hold_up_heartbeats() {
    let (two, release, mut arrivals) = holding(TWO).await;
    let one = bind(options(ONE)).await;
    one.set_peer(TWO, &two.address().to_string());
    // 48 MB, many times what a connection's window holds.
    let mut snapshot = b"wait".to_vec();
    snapshot.resize(48 << 20, 7);
    let snapshot = Bytes::from(snapshot);
    let bulk = tokio::spawn(one.call(TWO, Traffic::Bulk, snapshot.clone()));
    // While it is on its way, and while it is being worked on.
    for _ in 0..100 {
        assert_eq!(one.call(TWO, Traffic::Control, text("beat")).await.unwrap(), "beat");
    }
    assert_eq!(arrivals.recv().await.unwrap(), snapshot);
    for traffic in [Traffic::Control, Traffic::Raft, Traffic::Request] {
        assert_eq!(one.call(TWO, traffic, text("beat")).await.unwrap(), "beat");
    }
    assert!(!bulk.is_finished());
    release.notify_one();
    assert_eq!(bulk.await.unwrap().unwrap(), snapshot);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_dropped_at_the_peer_too() {
    struct Ended(mpsc::UnboundedSender<()>);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    let ((began, mut beginnings), (ended, mut endings)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    two.serve(Arc::new(move |_from, _request| {
        let (began, ended) = (began.clone(), Ended(ended.clone()));
        async move {
            let _ended = ended;
            began.send(()).unwrap();
            std::future::pending().await
        }
        .boxed()
    }));
    one.set_peer(TWO, &two.address().to_string());
    let call = tokio::spawn(one.call(TWO, Traffic::Request, text("never")));
    beginnings.recv().await.unwrap();
    call.abort();
    endings.recv().await.unwrap();
    assert_eq!(one.peer(TWO).unwrap().link(Traffic::Request).calls, 0);

    // So is what a lost connection leaves.
    let call = tokio::spawn(one.call(TWO, Traffic::Request, text("never")));
    beginnings.recv().await.unwrap();
    drop(one);
    endings.recv().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(call_error(&error).is_ambiguous(), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_costs_a_deadline_and_no_memory() {
    let two = bind(options(TWO)).await;
    two.serve(Arc::new(|_from, _request| std::future::pending().boxed()));
    let mut impatient = options(ONE);
    impatient.limits[Traffic::Raft.index()].deadline = Duration::from_millis(50);
    let one = bind(impatient).await;
    one.set_peer(TWO, &two.address().to_string());
    connected(&one, TWO).await;
    let error = one.call(TWO, Traffic::Raft, text("x")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(matches!(call_error(&error), CallError::Deadline { traffic: Traffic::Raft, .. }), "{error}");
    assert_eq!(one.peer(TWO).unwrap().link(Traffic::Raft).calls, 0);
}

#[tokio::test]
async fn what_does_not_fit_fails_at_once() {
    let (two, release, mut arrivals) = holding(TWO).await;
    let mut small = options(ONE);
    small.limits[Traffic::Request.index()] = TrafficLimits {
        payload_bytes_max: 1_000,
        queue_bytes_max: 1_000,
        calls_max: 2,
        deadline: Duration::from_secs(60),
    };
    let one = bind(small).await;
    one.set_peer(TWO, &two.address().to_string());
    let error = one.call(TWO, Traffic::Request, Bytes::from(vec![0; 1_001])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a request request of 1001 bytes is larger than the 1000 that one may have"
    );
    let waiting: Vec<_> =
        (0..2).map(|_| tokio::spawn(one.call(TWO, Traffic::Request, text("wait")))).collect();
    for _ in 0..2 {
        arrivals.recv().await.unwrap();
    }
    let error = one.call(TWO, Traffic::Request, text("x")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(
        matches!(call_error(&error), CallError::Full { calls: 2, .. }) && !call_error(&error).is_ambiguous()
    );
    // Another kind of traffic has its own queue.
    assert!(one.call(TWO, Traffic::Raft, text("x")).await.is_ok());
    release.notify_one();
    release.notify_one();
    join_all(waiting).await;
    assert!(one.call(TWO, Traffic::Request, text("x")).await.is_ok());
}

#[tokio::test]
async fn a_node_that_has_too_much_to_do_says_so() {
    let mut small = options(TWO);
    small.limits[Traffic::Request.index()].calls_max = 1;
    let two = bind(small).await;
    let (release, (arrived, mut arrivals)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let held = Arc::clone(&release);
    two.serve(Arc::new(move |_from, request| {
        let (held, arrived) = (Arc::clone(&held), arrived.clone());
        async move {
            arrived.send(()).unwrap();
            held.notified().await;
            Ok(request)
        }
        .boxed()
    }));
    let one = bind(options(ONE)).await;
    one.set_peer(TWO, &two.address().to_string());
    let first = tokio::spawn(one.call(TWO, Traffic::Request, text("first")));
    arrivals.recv().await.unwrap();
    let error = one.call(TWO, Traffic::Request, text("second")).await.unwrap_err();
    assert_eq!(error.to_string(), "n2: busy with 1 requests and 5 bytes");
    assert!(!call_error(&error).is_ambiguous());
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), "first");
}

#[tokio::test]
async fn errors_of_the_peer_arrive_with_their_kind() {
    let (one, two) = (bind(options(ONE)).await, bind(options(TWO)).await);
    one.set_peer(TWO, &two.address().to_string());
    let error = one.call(TWO, Traffic::Raft, text("x")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), "n2: n2 does not answer requests yet");

    two.serve(Arc::new(|_from, request| {
        async move {
            assert!(request != "panic", "as the test wants it");
            if request == "large" {
                return Ok(Bytes::from(vec![0; 2 << 20]));
            }
            Err(io::Error::new(io::ErrorKind::NotFound, "no such shard"))
        }
        .boxed()
    }));
    let error = one.call(TWO, Traffic::Raft, text("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "n2: no such shard"));
    let error = one.call(TWO, Traffic::Control, text("large")).await.unwrap_err();
    assert_eq!(error.to_string(), "n2: the answer of 2097152 bytes is larger than 1048576");
    let error = one.call(TWO, Traffic::Control, text("panic")).await.unwrap_err();
    assert_eq!(error.to_string(), "n2: the request ended without an answer");
    // None of it harms the connection.
    assert_eq!(one.peer(TWO).unwrap().link(Traffic::Control).counts.connects, 1);
}
