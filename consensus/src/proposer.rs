//! Combines concurrent proposals into raft entries.
//!
//! ```text
//!   propose() --+
//!   propose() --+--> queue --> [take all, while fewer than two batches are in flight] --> one raft entry
//!   propose() --+      ^                                                                      |
//!                      +----------------- gathers while batches are in flight ----------------+
//! ```
//!
//! Raft's work is per entry: an entry of forty commands costs little more than one of a single command. No
//! timer is involved. A proposal that finds the shard idle goes at once; under load the batch is whatever
//! arrived while the ones before it were on their way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::channel::oneshot;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Runtime, TaskHandle};
use tokio::sync::{Notify, Semaphore, TryAcquireError};

use crate::command::{Applied, Command};
use crate::error::{ConsensusError, Result};
use crate::failure::Failure;
use crate::limits::{
    BATCH_COMMANDS_MAX, BATCH_SIZE_MAX_BYTES, BATCHES_IN_FLIGHT_MAX, COMMAND_SIZE_MAX_BYTES,
    PROPOSALS_QUEUED_MAX,
};
use crate::raft::batch::EncodedCommand;
use crate::raft::{Callback, CommandBatch, Raft, TypeConfig};
use crate::tenure::Tenure;
use crate::types::ShardId;

struct Proposal {
    command: EncodedCommand,
    expected_term: u64,
    reply: oneshot::Sender<Result<Applied>>,
}

struct Shared {
    shard: ShardId,
    raft: Raft,
    queue: Mutex<Vec<Proposal>>,
    /// Callers hold a permit from before they queue until they are answered.
    room: Semaphore,
    in_flight: AtomicUsize,
    wake: Notify,
    closed: AtomicBool,
    failure: Arc<Failure>,
}

/// One shard's way into raft.
pub(crate) struct Proposer {
    shared: Arc<Shared>,
    task: Mutex<Option<TaskHandle<()>>>,
}

impl Proposer {
    pub(crate) fn start(shard: ShardId, raft: Raft, runtime: &Runtime, failure: Arc<Failure>) -> Self {
        let shared = Arc::new(Shared {
            shard,
            raft,
            queue: Mutex::default(),
            room: Semaphore::new(PROPOSALS_QUEUED_MAX),
            in_flight: AtomicUsize::new(0),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            failure,
        });
        let running = Arc::clone(&shared);
        let task = runtime.spawn("proposer", async move { running.run().await });
        Self { shared, task: Mutex::new(Some(task)) }
    }

    /// Proposes a command to the shard as it is in a generation, and waits for what becomes of it. It is refused when its
    /// tenure, if it is of one, has ended.
    pub(crate) async fn propose(
        &self,
        command: &Command,
        generation: Option<u64>,
        tenure: Option<&Tenure>,
    ) -> Result<Applied> {
        let encoded = encode(command, generation)?;
        self.propose_encoded(encoded, command.expected_term, tenure).await
    }

    /// Proposes to split the shard, which is of a generation, and waits until it is.
    pub(crate) async fn propose_split(&self, at: &[u8], right: ShardId, generation: u64) -> Result<Applied> {
        self.propose_encoded(EncodedCommand::split(at, right, generation), None, None).await
    }

    async fn propose_encoded(
        &self,
        encoded: EncodedCommand,
        expected_term: Option<u64>,
        tenure: Option<&Tenure>,
    ) -> Result<Applied> {
        let shared = &self.shared;
        let stopped = || ConsensusError::Stopped { reason: shared.failure.reason() };
        let _room = shared.room.acquire().await.map_err(|_closed| stopped())?;
        let (reply, answer) = oneshot::channel();
        self.enqueue(encoded, expected_term, tenure, reply)?;
        // Dropped without an answer: raft stopped with the entry on its way.
        answer.await.unwrap_or_else(|_canceled| {
            Err(ConsensusError::Ambiguous { shard: shared.shard, reason: shared.failure.reason() })
        })
    }

    /// Queues a command at once, so that its place in the shard's order is fixed when this returns: behind
    /// everything that was queued before, ahead of what is queued later. `None` when there is no room.
    pub(crate) fn submit(
        &self,
        command: &Command,
        generation: Option<u64>,
        tenure: Option<&Tenure>,
    ) -> Result<Option<Submitted>> {
        let encoded = encode(command, generation)?;
        let stopped = || ConsensusError::Stopped { reason: self.shared.failure.reason() };
        match self.shared.room.try_acquire() {
            // Given back when `Submitted` goes.
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(stopped()),
        }
        let (reply, answer) = oneshot::channel();
        let submitted = Submitted { shared: Arc::clone(&self.shared), answer };
        self.enqueue(encoded, command.expected_term, tenure, reply)?;
        Ok(Some(submitted))
    }

    fn enqueue(
        &self,
        encoded: EncodedCommand,
        expected_term: Option<u64>,
        tenure: Option<&Tenure>,
        reply: oneshot::Sender<Result<Applied>>,
    ) -> Result<()> {
        {
            let mut queue = self.shared.queue.lock();
            // Under the lock: what is queued once a tenure has ended comes behind all of it.
            if tenure.is_some_and(Tenure::has_ended) {
                return Err(ConsensusError::NotLeader { shard: self.shared.shard, leader: None });
            }
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(ConsensusError::Stopped { reason: self.shared.failure.reason() });
            }
            queue.push(Proposal { command: encoded, expected_term: expected_term.unwrap_or(0), reply });
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Refuses further proposals and ends the task. Those that raft has taken are still answered.
    pub(crate) async fn stop(&self) {
        self.close();
        let task = self.task.lock().take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!("the proposer of shard {} ended early", self.shared.shard);
        }
    }

    fn close(&self) {
        let refused = {
            let mut queue = self.shared.queue.lock();
            self.shared.closed.store(true, Ordering::Release);
            std::mem::take(&mut *queue)
        };
        self.shared.room.close();
        for proposal in refused {
            proposal.answer(Err(ConsensusError::Stopped { reason: self.shared.failure.reason() }));
        }
        self.shared.wake.notify_one();
    }
}

fn encode(command: &Command, generation: Option<u64>) -> Result<EncodedCommand> {
    let encoded = EncodedCommand::new(command, generation);
    let (size_bytes, limit_bytes) = (encoded.size_bytes(), COMMAND_SIZE_MAX_BYTES);
    if size_bytes > limit_bytes {
        return Err(ConsensusError::TooLarge { size_bytes, limit_bytes });
    }
    Ok(encoded)
}

impl Drop for Proposer {
    fn drop(&mut self) {
        self.close();
    }
}

/// A command whose place in its shard's order is fixed: a future of what becomes of it. Dropping it does not
/// take the command back.
pub struct Submitted {
    shared: Arc<Shared>,
    answer: oneshot::Receiver<Result<Applied>>,
}

impl std::fmt::Debug for Submitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitted").field("shard", &self.shared.shard).finish_non_exhaustive()
    }
}

impl Future for Submitted {
    type Output = Result<Applied>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| {
            // Dropped without an answer: raft stopped with the entry on its way.
            answer.unwrap_or_else(|_canceled| {
                Err(ConsensusError::Ambiguous {
                    shard: self.shared.shard,
                    reason: self.shared.failure.reason(),
                })
            })
        })
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        self.shared.room.add_permits(1);
    }
}

impl Proposal {
    fn answer(self, result: Result<Applied>) {
        // The caller may have stopped waiting.
        let _gone = self.reply.send(result);
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            let batch = if self.in_flight.load(Ordering::Acquire) < BATCHES_IN_FLIGHT_MAX {
                self.take_batch()
            } else {
                Vec::new()
            };
            if batch.is_empty() {
                self.wake.notified().await;
            } else {
                self.submit(batch).await;
            }
        }
    }

    /// Takes from the queue what fits into one entry.
    fn take_batch(&self) -> Vec<Proposal> {
        let mut queue = self.queue.lock();
        let mut size_bytes = 0;
        let fitting = queue
            .iter()
            .take(BATCH_COMMANDS_MAX)
            .take_while(|proposal| {
                let first = size_bytes == 0;
                size_bytes += proposal.command.size_bytes();
                first || size_bytes <= BATCH_SIZE_MAX_BYTES
            })
            .count();
        if fitting == queue.len() {
            return std::mem::take(&mut *queue);
        }
        queue.drain(..fitting).collect()
    }

    async fn submit(self: &Arc<Self>, mut batch: Vec<Proposal>) {
        let commands =
            CommandBatch { commands: batch.iter().map(|proposal| proposal.command.clone()).collect() };
        batch.shrink_to_fit();
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let landing = Landing { shared: Arc::clone(self), batch };
        let callback = Callback::new(move |result| landing.land(result));
        if self.raft.client_write_ff(commands, Some(callback)).await.is_err() {
            // Raft has ended; the dropped callback tells the callers that it is unknown what it did.
            self.closed.store(true, Ordering::Release);
            self.room.close();
        }
    }
}

/// A batch on its way through raft.
struct Landing {
    shared: Arc<Shared>,
    batch: Vec<Proposal>,
}

impl Landing {
    fn land(mut self, result: ClientWriteResult<TypeConfig>) {
        let batch = std::mem::take(&mut self.batch);
        let shard = self.shared.shard;
        match result {
            Ok(response) => {
                let applied = Applied { index: response.log_id.index, term: response.log_id.leader_id.term };
                let mut rejected = response.data.rejected.iter().copied().peekable();
                let mut moved = response.data.moved.iter().copied().peekable();
                for (position, proposal) in (0..).zip(batch) {
                    let result = if rejected.next_if_eq(&position).is_some() {
                        let expected = proposal.expected_term;
                        Err(ConsensusError::Rejected { shard, expected, current: applied.term })
                    } else if moved.next_if_eq(&position).is_some() {
                        Err(ConsensusError::Moved { shard })
                    } else {
                        Ok(applied)
                    };
                    proposal.answer(result);
                }
            }
            Err(error) => {
                let error = match error {
                    ClientWriteError::ForwardToLeader(forward) => ConsensusError::NotLeader {
                        shard,
                        leader: forward.leader_node.map(|placement| NodeId(placement.node)),
                    },
                    other => ConsensusError::Ambiguous { shard, reason: other.to_string() },
                };
                for proposal in batch {
                    proposal.answer(Err(error.clone()));
                }
            }
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.shared.wake.notify_one();
    }
}
