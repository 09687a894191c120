//! Handles of spawned tasks.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use crate::simulation::SimulatedTask;

/// The task ended without a result: it panicked, was aborted, or its runtime was shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskFailed {
    /// Whether the task panicked (as opposed to being aborted).
    pub panicked: bool,
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.panicked { "the task panicked" } else { "the task was aborted" })
    }
}

impl std::error::Error for TaskFailed {}

/// A spawned task: await it for its result. Dropping the handle leaves the task running.
pub struct TaskHandle<T>(pub(crate) TaskKind<T>);

pub(crate) enum TaskKind<T> {
    Real(tokio::task::JoinHandle<T>),
    Simulated { result: oneshot::Receiver<T>, task: Arc<SimulatedTask> },
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskHandle")
    }
}

impl<T> TaskHandle<T> {
    /// Ends the task at its next suspension point.
    pub fn abort(&self) {
        match &self.0 {
            TaskKind::Real(handle) => handle.abort(),
            TaskKind::Simulated { task, .. } => task.abort(),
        }
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            TaskKind::Real(handle) => {
                Pin::new(handle).poll(cx).map_err(|error| TaskFailed { panicked: error.is_panic() })
            }
            TaskKind::Simulated { result, .. } => {
                Pin::new(result).poll(cx).map_err(|_canceled| TaskFailed { panicked: false })
            }
        }
    }
}
