//! What the frontend counts. Plain atomics, read by the admin endpoint.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the start of the server.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: AtomicU64,
    connections_refused: AtomicU64,
    authentication_failures: AtomicU64,
    simple_queries: AtomicU64,
    executes: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $read:ident: $field:ident / $add:ident;)*) => {
        impl Metrics {
            $(
                $(#[$doc])*
                pub fn $read(&self) -> u64 {
                    self.$field.load(Relaxed)
                }

                pub(crate) fn $add(&self) {
                    self.$field.fetch_add(1, Relaxed);
                }
            )*
        }
    };
}

counters! {
    /// Connections accepted.
    connections_total: connections / connected;
    /// Connections refused for want of a slot.
    connections_refused_total: connections_refused / refused;
    /// Failed authentications.
    authentication_failures_total: authentication_failures / authentication_failed;
    /// Query messages.
    simple_queries_total: simple_queries / simple_query;
    /// Execute messages.
    executes_total: executes / execute;
    /// ErrorResponses sent.
    errors_total: errors / error;
    /// Sessions that ended by a panic.
    panics_total: panics / panic;
}

impl Metrics {
    /// Bytes read from clients.
    pub fn bytes_received_total(&self) -> u64 {
        self.bytes_received.load(Relaxed)
    }

    /// Bytes written to clients.
    pub fn bytes_sent_total(&self) -> u64 {
        self.bytes_sent.load(Relaxed)
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }
}
