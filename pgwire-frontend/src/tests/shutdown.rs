//! The end of a frontend: whatever its connections do, they end, and let go of the backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::backend::ToyBackend;
use super::client::{Client, peer};
use super::wire;
use crate::{Frontend, FrontendOptions};

const TERMINATED: &str =
    "ErrorResponse S FATAL | V FATAL | C 57P01 | M terminating connection due to administrator command";

/// A client of `frontend` that has done nothing yet.
fn client(frontend: &Frontend<ToyBackend>, serving: &mut JoinSet<()>) -> Client {
    let (client, server) = Client::new();
    let frontend = frontend.clone();
    serving.spawn(async move { frontend.serve_stream(server, peer()).await });
    client
}

#[tokio::test]
async fn without_grace_all_end_and_are_told() {
    let backend = Arc::new(ToyBackend);
    let frontend = Frontend::new(Arc::clone(&backend), FrontendOptions::default());
    let mut serving = JoinSet::new();
    let mut clients = vec![];
    for begin in ["", "rows 1", "begin", "wait", "copyin"] {
        let mut client = client(&frontend, &mut serving);
        client.log_in().await;
        if !begin.is_empty() {
            client.send(&wire::query(begin)).await;
        }
        if ["rows 1", "begin"].contains(&begin) {
            client.answer().await;
        }
        clients.push(client);
    }
    // One that says nothing, and one that is asked for its password.
    clients.push(client(&frontend, &mut serving));
    let mut asked = client(&frontend, &mut serving);
    asked.send(&wire::startup(3 << 16, &[("user", "secretive")])).await;
    clients.push(asked);
    // All of them get as far as they can.
    while frontend.registry().len() < 6 {
        tokio::task::yield_now().await;
    }

    let began = Instant::now();
    frontend.shutdown(Duration::ZERO).await;
    assert!(began.elapsed() < Duration::from_secs(4), "nobody had to be dropped: {:?}", began.elapsed());
    assert!(frontend.registry().is_empty());
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().await;
        let end = &answer[answer.len() - 2..];
        assert_eq!(end, [TERMINATED, "closed"], "client {number}: {answer:?}");
    }
    while serving.join_next().await.is_some() {}
    drop(frontend);
    assert_eq!(Arc::strong_count(&backend), 1, "nothing holds on to the backend");
}

#[tokio::test]
async fn who_does_not_hear_is_dropped() {
    let backend = Arc::new(ToyBackend);
    let frontend = Frontend::new(Arc::clone(&backend), FrontendOptions::default());
    let mut serving = JoinSet::new();
    let mut deaf = client(&frontend, &mut serving);
    deaf.log_in().await;
    deaf.send(&wire::query("deaf")).await;
    frontend.shutdown(Duration::ZERO).await;
    assert_eq!(deaf.answer().await, ["closed"]);
    // What comes later is turned away.
    let mut late = client(&frontend, &mut serving);
    late.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
    let refused =
        "ErrorResponse S FATAL | V FATAL | C 57P03 | M the database system is shutting down".to_owned();
    assert_eq!(late.answer().await, [refused, "closed".to_owned()]);
}
