//! [`NodeThreads`]: where a cluster's node keeps in touch with the others, however busy the statements keep theirs.
//!
//! A statement computes for as long as it likes between two awaits. On the same threads, a few of them would keep heartbeats from
//! being sent and answered: the node would lose its leaderships to nodes that are no less busy afterwards.

use std::future::Future;

use tokio::runtime::{Builder, Handle, Runtime};

use super::OpenError;

/// Enough for one to go on while the other is in a system call.
const THREADS: usize = 2;

/// Threads of the node's own. What runs on them ends when this is dropped.
pub struct NodeThreads(Option<Runtime>);

impl NodeThreads {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start() -> Result<NodeThreads, OpenError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("node").enable_all().build();
        runtime.map(Some).map(NodeThreads).map_err(OpenError::Threads)
    }

    fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for NodeThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // It may be dropped where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// The node's threads, or those that this runs on when it has none of its own.
pub fn handle_of(threads: Option<&NodeThreads>) -> Handle {
    threads.map_or_else(Handle::current, NodeThreads::handle)
}

/// Runs a future where a handle says, with all that it starts.
///
/// # Panics
/// When the future does.
pub async fn run_on<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    match handle.spawn(future).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The threads have ended, and with them the process is about to.
        Err(Err(_canceled)) => std::future::pending().await,
    }
}
