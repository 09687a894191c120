//! Group commit: one synced write for everything that any group wants on the disk.
//!
//! ```text
//!   group 1: append  --+
//!   group 2: vote    --+--> queue --> [drain all] --> one WriteBatch --> one fsync --> every completion
//!   group 9: append  --+       ^                                            |
//!                              +---- while it syncs, the next round gathers +
//! ```
//!
//! Requests reach the disk in the order in which they were queued, so a group's votes and entries keep theirs.
//! With one client each commit has an fsync to itself; with many, they share it without anyone waiting for a
//! timer.
//!
//! When a synced write fails nobody can know what reached the disk, and trying again would hide it: the node
//! stops. Everything acknowledged before is on the disk, and the next open finds it.

use std::io;
use std::sync::Arc;

use futures::channel::oneshot;
use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use shardforge_runtime::{Runtime, TaskHandle};
use tokio::sync::Notify;

use super::TypeConfig;
use super::log_store::GroupLog;
use crate::engine::{Durability, Engine, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::failure::Failure;

/// Counts, for metrics and for the experiment that compares fsyncs with commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogWriterStats {
    /// Synced writes.
    pub syncs: u64,
    /// Requests that they made durable: appends and votes.
    pub requests: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What is told when a request is durable.
pub(crate) enum Completion {
    /// openraft, about an append; the log learns up to which index it is durable.
    Append { log: Arc<GroupLog>, last_index: u64, flushed: IOFlushed<TypeConfig> },
    /// A task that waits.
    Waiter(oneshot::Sender<io::Result<()>>),
}

struct Request {
    batch: WriteBatch,
    completion: Completion,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    closed: bool,
}

struct Shared {
    engine: Arc<dyn Engine>,
    queue: Mutex<Queue>,
    wake_thread: Condvar,
    wake_task: Notify,
    stats: Mutex<LogWriterStats>,
    failure: Arc<Failure>,
}

enum Worker {
    Thread(std::thread::JoinHandle<()>),
    Task(TaskHandle<()>),
}

/// The handle through which groups write to `raftdb`.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

impl LogWriter {
    /// Starts the writer: on a thread of its own, or, in a simulation, as a task.
    pub(crate) fn start(
        engine: Arc<dyn Engine>,
        runtime: &Runtime,
        failure: Arc<Failure>,
    ) -> Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            engine,
            queue: Mutex::default(),
            wake_thread: Condvar::new(),
            wake_task: Notify::new(),
            stats: Mutex::default(),
            failure,
        });
        let working = Arc::clone(&shared);
        let worker = if runtime.is_simulated() {
            let world = runtime.clone();
            Worker::Task(runtime.spawn("log-writer", async move { working.run_task(&world).await }))
        } else {
            Worker::Thread(runtime.spawn_thread("log-writer", move || working.run_thread())?)
        };
        Ok(Arc::new(Self { shared, worker: Mutex::new(Some(worker)) }))
    }

    /// Queues a write. `completion` hears when it is durable, or that it has failed.
    pub(crate) fn submit(&self, batch: WriteBatch, completion: Completion) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            drop(queue);
            complete(completion, Some(&ConsensusError::Stopped { reason: self.shared.failure.reason() }));
            return;
        }
        queue.requests.push(Request { batch, completion });
        drop(queue);
        self.shared.wake_thread.notify_one();
        self.shared.wake_task.notify_one();
    }

    /// Queues a write and waits until it is durable.
    pub(crate) async fn write(&self, batch: WriteBatch) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.submit(batch, Completion::Waiter(sender));
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log writer has stopped")))
    }

    pub(crate) fn stats(&self) -> LogWriterStats {
        *self.shared.stats.lock()
    }

    /// Ends the writer when its queue is empty; later writes fail.
    pub(crate) async fn stop(&self, runtime: &Runtime) {
        self.shared.close();
        let worker = self.worker.lock().take();
        let orderly = match worker {
            Some(Worker::Thread(thread)) => {
                let joined = runtime.spawn_blocking("join log-writer", move || thread.join().is_ok()).await;
                joined == Ok(true)
            }
            Some(Worker::Task(task)) => task.await.is_ok(),
            None => true,
        };
        if !orderly {
            tracing::error!("the log writer ended by a panic, or early");
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        self.queue.lock().closed = true;
        self.wake_thread.notify_one();
        self.wake_task.notify_one();
    }

    fn run_thread(&self) {
        loop {
            let requests = {
                let mut queue = self.queue.lock();
                while queue.requests.is_empty() && !queue.closed {
                    self.wake_thread.wait(&mut queue);
                }
                std::mem::take(&mut queue.requests)
            };
            if requests.is_empty() || !self.write_round(requests) {
                return;
            }
        }
    }

    async fn run_task(&self, runtime: &Runtime) {
        loop {
            let (requests, closed) = {
                let mut queue = self.queue.lock();
                (std::mem::take(&mut queue.requests), queue.closed)
            };
            if requests.is_empty() {
                if closed {
                    return;
                }
                self.wake_task.notified().await;
                continue;
            }
            let sync_time = runtime.sync_time();
            if !sync_time.is_zero() {
                runtime.sleep(sync_time).await;
            }
            if !self.write_round(requests) {
                return;
            }
        }
    }

    /// Makes one round durable; false when that failed and the writer has to end.
    fn write_round(&self, requests: Vec<Request>) -> bool {
        let count = requests.len() as u64;
        let mut completions = Vec::with_capacity(requests.len());
        let mut round: Option<WriteBatch> = None;
        for request in requests {
            completions.push(request.completion);
            match &mut round {
                None => round = Some(request.batch),
                Some(round) => round.append(request.batch),
            }
        }
        let round = round.unwrap_or_default();
        let bytes = round.size_bytes() as u64;
        let result = self.engine.write(&round, Durability::Synced);
        if let Err(error) = &result {
            let rest = {
                let mut queue = self.queue.lock();
                queue.closed = true;
                std::mem::take(&mut queue.requests)
            };
            completions.extend(rest.into_iter().map(|request| request.completion));
            // Before anyone hears of it, so that whoever does finds the reason.
            self.failure.report(&format!("could not write the raft log: {error}"));
        } else {
            let mut stats = self.stats.lock();
            stats.syncs += 1;
            stats.requests += count;
            stats.bytes += bytes;
        }
        for completion in completions {
            complete(completion, result.as_ref().err());
        }
        result.is_ok()
    }
}

fn complete(completion: Completion, error: Option<&ConsensusError>) {
    let result = error.map_or(Ok(()), |error| Err(io::Error::other(error.to_string())));
    match completion {
        Completion::Append { log, last_index, flushed } => {
            if result.is_ok() {
                log.durable_up_to(last_index);
            }
            flushed.io_completed(result);
        }
        Completion::Waiter(waiter) => {
            // The waiter may have been dropped; its write is durable all the same.
            let _gone = waiter.send(result);
        }
    }
}
