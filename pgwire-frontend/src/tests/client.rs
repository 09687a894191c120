//! A client that speaks over a pipe, for tests that look at single messages.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::wire;

/// Where clients say that they are.
pub(super) fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 40_000))
}

pub(super) struct Client {
    pipe: DuplexStream,
    received: Vec<u8>,
    /// From BackendKeyData.
    pub(super) process_id: i32,
    pub(super) key: Vec<u8>,
}

impl Client {
    /// A client, and the server's end of its pipe.
    pub(super) fn new() -> (Client, DuplexStream) {
        let (pipe, server) = duplex(1 << 20);
        (Client { pipe, received: vec![], process_id: 0, key: vec![] }, server)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.expect("the server takes it");
    }

    /// Logs in as alice, and says what comes before ReadyForQuery last.
    pub(super) async fn log_in(&mut self) {
        self.send(&wire::startup(3 << 16, &[("user", "alice")])).await;
        let answer = self.answer().await;
        assert_eq!(answer.last().map(String::as_str), Some("ReadyForQuery I"), "{answer:?}");
    }

    /// What the server says up to ReadyForQuery, or up to the end of the connection.
    pub(super) async fn answer(&mut self) -> Vec<String> {
        let mut lines = vec![];
        loop {
            while let Some((kind, body)) = wire::split(&mut self.received) {
                if kind == b'K' {
                    self.process_id = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                    self.key = body[4..].to_vec();
                }
                lines.push(wire::show(kind, &body));
                if kind == b'Z' {
                    return lines;
                }
            }
            if self.pipe.read_buf(&mut self.received).await.expect("a pipe") == 0 {
                assert!(self.received.is_empty(), "half a message: {:?}", self.received);
                lines.push("closed".to_owned());
                return lines;
            }
        }
    }

    /// A query's answer.
    pub(super) async fn query(&mut self, sql: &str) -> Vec<String> {
        self.send(&wire::query(sql)).await;
        self.answer().await
    }
}
