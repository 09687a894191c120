//! Ports for nodes, which have to keep them when they start again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that systems give to outgoing connections, which would take them from a node while it is down.
const FIRST: u32 = 15_000;
/// How many there are.
const COUNT: u32 = 16_000;
/// Ports between those where two processes of tests begin to look, unless both begin in the same place.
const STRIDE: u32 = 64;

/// A port of this machine's loopback that nobody uses, and that this process has not given out before.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).expect("ports are below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} to {} is free", FIRST + COUNT - 1);
}
