//! The answers to one peer over one connection, from the side that gives them.
//!
//! They are sent in batches, like requests: all that are there at one moment go together.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::frame::{Batch, Frame};
use crate::limits::TrafficLimits;

/// What waits to be sent back over one connection.
pub(crate) struct Answers {
    limits: TrafficLimits,
    state: Mutex<State>,
    drained: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Frame>,
    /// The size of what is queued.
    bytes: usize,
    /// Requests that are being worked on, and the size of their payloads.
    running: usize,
    running_bytes: usize,
    sender: Option<Waker>,
    closed: bool,
}

impl Answers {
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        Self { limits, state: Mutex::default(), drained: Notify::new() }
    }

    /// Counts a request in, unless the caller has more under way than it may; then says how much that is.
    pub(crate) fn admit(&self, size: usize) -> Result<(), String> {
        let mut state = self.state.lock();
        let bytes = state.bytes + state.running_bytes;
        if state.running >= self.limits.calls_max || bytes + size > self.limits.queue_bytes_max {
            return Err(format!("busy with {} requests and {bytes} bytes", state.running));
        }
        state.running += 1;
        state.running_bytes += size;
        Ok(())
    }

    /// Counts a request out that [`Self::admit`] counted in.
    pub(crate) fn finish(&self, size: usize) {
        let mut state = self.state.lock();
        state.running -= 1;
        state.running_bytes -= size;
    }

    /// Queues an answer.
    pub(crate) fn push(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.bytes += frame.size();
        state.queue.push_back(frame);
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// What the connection sends next. `None` at the end.
    pub(crate) fn poll_batch(&self, cx: &Context<'_>) -> Poll<Option<Batch>> {
        let mut state = self.state.lock();
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some(frame) = state.queue.pop_front() else { break };
            batch.push(frame);
        }
        if !batch.frames.is_empty() {
            state.bytes -= batch.size;
            drop(state);
            self.drained.notify_one();
            Poll::Ready(Some(batch))
        } else if state.closed {
            Poll::Ready(None)
        } else {
            state.sender = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// Waits until the peer has taken most of what is queued for it: what even refusals wait for, so that a peer
    /// that asks and never listens takes no memory without bound. False: it will take nothing more.
    pub(crate) async fn room(&self) -> bool {
        loop {
            {
                let state = self.state.lock();
                if state.closed {
                    return false;
                }
                if state.queue.len() <= self.limits.calls_max && state.bytes <= self.limits.queue_bytes_max {
                    return true;
                }
            }
            self.drained.notified().await;
        }
    }

    /// Drops what is queued; nothing more is taken.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        state.bytes = 0;
        let sender = state.sender.take();
        drop(state);
        self.drained.notify_one();
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use futures::FutureExt;
    use futures::task::noop_waker;

    use super::Answers;
    use crate::frame::Frame;
    use crate::limits::TrafficLimits;

    fn answers() -> Answers {
        Answers::new(TrafficLimits {
            payload_bytes_max: 100,
            queue_bytes_max: 150,
            calls_max: 2,
            deadline: Duration::from_secs(1),
        })
    }

    #[test]
    fn requests_are_admitted_up_to_a_number_and_a_size() {
        let answers = answers();
        answers.admit(100).unwrap();
        assert_eq!(answers.admit(51).unwrap_err(), "busy with 1 requests and 100 bytes");
        answers.admit(50).unwrap();
        assert!(answers.admit(0).is_err(), "two are under way");
        answers.finish(100);
        answers.admit(0).unwrap();
    }

    #[test]
    fn a_peer_that_does_not_listen_is_not_listened_to() {
        let answers = answers();
        assert_eq!(answers.room().now_or_never(), Some(true));
        answers.push(Frame::Answer { id: 1, payload: Bytes::from(vec![0; 200]) });
        assert_eq!(answers.room().now_or_never(), None);
        assert!(answers.admit(0).is_err());
        let Poll::Ready(Some(batch)) = answers.poll_batch(&Context::from_waker(&noop_waker())) else {
            panic!()
        };
        assert_eq!(batch.frames.len(), 1);
        assert_eq!(answers.room().now_or_never(), Some(true));
        answers.admit(0).unwrap();
        answers.close();
        assert_eq!(answers.room().now_or_never(), Some(false));
    }
}
