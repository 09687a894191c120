//! Fail-stop: a node whose storage has failed does nothing more.
//!
//! After a failed fsync the page cache may show data that the disk does not have, and RocksDB refuses writes.
//! Going on would acknowledge what a crash could lose. So the first failure is final: it is logged, kept as the
//! reason that every later proposal hears, and handed to the hook with which a server ends its process.

use std::sync::OnceLock;

use crate::node::FatalHook;

/// Whether, and why, the node has stopped.
pub(crate) struct Failure {
    reason: OnceLock<String>,
    hook: FatalHook,
}

impl Failure {
    pub(crate) fn new(hook: FatalHook) -> Self {
        Self { reason: OnceLock::new(), hook }
    }

    /// Stops the node. Only the first report counts.
    pub(crate) fn report(&self, reason: &str) {
        let mut first = false;
        self.reason.get_or_init(|| {
            first = true;
            reason.to_owned()
        });
        if first {
            tracing::error!("the node stops: {reason}");
            (self.hook)(reason);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.reason.get().is_some()
    }

    /// Why the node has stopped; a node that has not failed was shut down.
    pub(crate) fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_else(|| "it was shut down".to_owned())
    }
}
