//! The calls to one peer over one connection, from the caller's side.
//!
//! ```text
//!   start() --> queued --poll_batch()--> on the wire --answered()--> the caller
//!                 |                          |
//!                 +---- the caller gives up -+--> a note to the peer, if the request has left
//! ```
//!
//! A connection that breaks takes its `Calls` with it: [`Calls::close`] fails all of them, and says of each whether
//! its request had left. The next connection begins with a new one, so nothing of the old can get into it.
//!
//! Invariants:
//! - A call is in `waiting` from `start` to the end of its [`PendingCall`], in whichever way that ends. What is in
//!   `queued` is in `waiting` too. So a caller that gives up leaves nothing behind.
//! - `queued_bytes` is the size of what is in `queued`, at most `queue_bytes_max`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Traffic};
use tokio::sync::oneshot;

use crate::error::CallError;
use crate::frame::{Batch, Frame};
use crate::limits::TrafficLimits;

/// The calls of one connection, or of one that is being made.
pub(crate) struct Calls {
    node: NodeId,
    traffic: Traffic,
    limits: TrafficLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    queued: BTreeMap<u64, Bytes>,
    queued_bytes: usize,
    waiting: HashMap<u64, oneshot::Sender<Result<Bytes, CallError>>>,
    /// Pings, and cancellations of requests that have left.
    notes: VecDeque<Frame>,
    /// The connection's task, if it waits for something to send.
    sender: Option<Waker>,
    closed: Option<String>,
}

impl Calls {
    pub(crate) fn new(node: NodeId, traffic: Traffic, limits: TrafficLimits) -> Arc<Self> {
        Arc::new(Self { node, traffic, limits, state: Mutex::default() })
    }

    /// Queues a request.
    pub(crate) fn start(self: &Arc<Self>, request: Bytes) -> Result<PendingCall, CallError> {
        let size = request.len();
        if size > self.limits.payload_bytes_max {
            let size_max = self.limits.payload_bytes_max;
            return Err(CallError::TooLarge { traffic: self.traffic, size, size_max });
        }
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(CallError::Down { node: self.node, reason: reason.clone() });
        }
        let (calls, bytes) = (state.waiting.len(), state.queued_bytes);
        if calls >= self.limits.calls_max || bytes + size > self.limits.queue_bytes_max {
            return Err(CallError::Full { node: self.node, traffic: self.traffic, calls, bytes });
        }
        state.last_id += 1;
        let id = state.last_id;
        let (answer, receiver) = oneshot::channel();
        state.waiting.insert(id, answer);
        state.queued.insert(id, request);
        state.queued_bytes += size;
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
        Ok(PendingCall { calls: Arc::clone(self), id, receiver })
    }

    /// Whether no call waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }

    /// How many calls wait for their answers, and the size of what has not been sent.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.len(), state.queued_bytes)
    }

    /// What the connection sends next: all that is queued, up to the size of a batch. `None` at the end.
    pub(crate) fn poll_batch(&self, cx: &Context<'_>) -> Poll<Option<Batch>> {
        let mut state = self.state.lock();
        let mut batch = Batch::default();
        while !batch.is_full() {
            if let Some(note) = state.notes.pop_front() {
                batch.push(note);
            } else if let Some((id, payload)) = state.queued.pop_first() {
                state.queued_bytes -= payload.len();
                batch.push(Frame::Request { id, payload });
            } else {
                break;
            }
        }
        if !batch.frames.is_empty() {
            Poll::Ready(Some(batch))
        } else if state.closed.is_some() {
            Poll::Ready(None)
        } else {
            state.sender = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// The peer answered a request. One that nobody waits for any more is passed over.
    pub(crate) fn answered(&self, id: u64, answer: Result<Bytes, CallError>) {
        let caller = self.state.lock().waiting.remove(&id);
        if let Some(caller) = caller {
            // The caller may be giving up at this moment.
            let _ = caller.send(answer);
        }
    }

    /// Asks the peer for a sign of life. Says when.
    pub(crate) fn ping(&self) -> Instant {
        // There is one at a time, so they need no numbers.
        self.note(Frame::Ping { id: 0 });
        Instant::now()
    }

    /// Fails all calls, and those that come from now on.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(reason.to_owned());
        let queued = std::mem::take(&mut state.queued);
        let waiting = std::mem::take(&mut state.waiting);
        state.queued_bytes = 0;
        state.notes.clear();
        let sender = state.sender.take();
        drop(state);
        for (id, caller) in waiting {
            let sent = !queued.contains_key(&id);
            let lost = CallError::Lost { node: self.node, reason: reason.to_owned(), sent };
            let down = CallError::Down { node: self.node, reason: reason.to_owned() };
            let _ = caller.send(Err(if sent { lost } else { down }));
        }
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    fn note(&self, note: Frame) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.notes.push_back(note);
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Takes a call out that its caller has given up. Says whether its request had left.
    fn forget(&self, id: u64) -> Option<bool> {
        let mut state = self.state.lock();
        state.waiting.remove(&id)?;
        match state.queued.remove(&id) {
            Some(payload) => {
                state.queued_bytes -= payload.len();
                Some(false)
            }
            None => {
                drop(state);
                self.note(Frame::Cancel { id });
                Some(true)
            }
        }
    }
}

/// A call that waits for its answer. Dropping it gives the call up.
pub(crate) struct PendingCall {
    calls: Arc<Calls>,
    id: u64,
    receiver: oneshot::Receiver<Result<Bytes, CallError>>,
}

impl PendingCall {
    /// Waits for the answer, for as long as the limits say.
    pub(crate) async fn answer(mut self) -> Result<Bytes, CallError> {
        let limit = self.calls.limits.deadline;
        let node = self.calls.node;
        match tokio::time::timeout(limit, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => {
                unreachable!("a call's sender leaves the table with an answer, or with the call")
            }
            Err(_elapsed) => match self.calls.forget(self.id) {
                Some(sent) => Err(CallError::Deadline { node, traffic: self.calls.traffic, limit, sent }),
                // The answer came between the limit's end and now.
                None => self.receiver.try_recv().unwrap_or_else(|_| {
                    Err(CallError::Deadline { node, traffic: self.calls.traffic, limit, sent: true })
                }),
            },
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.calls.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use futures::FutureExt;
    use futures::task::noop_waker;
    use shardforge_runtime::{NodeId, Traffic};

    use super::Calls;
    use crate::error::CallError;
    use crate::frame::Frame;
    use crate::limits::TrafficLimits;

    fn calls() -> Arc<Calls> {
        with_deadline(Duration::from_secs(5))
    }

    fn with_deadline(deadline: Duration) -> Arc<Calls> {
        let limits = TrafficLimits { payload_bytes_max: 100, queue_bytes_max: 150, calls_max: 3, deadline };
        Calls::new(NodeId(2), Traffic::Raft, limits)
    }

    fn sent(calls: &Calls) -> Vec<Frame> {
        match calls.poll_batch(&Context::from_waker(&noop_waker())) {
            Poll::Ready(Some(batch)) => batch.frames,
            Poll::Ready(None) | Poll::Pending => Vec::new(),
        }
    }

    fn payload(size: usize) -> Bytes {
        Bytes::from(vec![7; size])
    }

    #[tokio::test]
    async fn what_is_queued_at_one_moment_goes_in_one_batch() {
        let calls = calls();
        let one = calls.start(payload(1)).unwrap();
        let two = calls.start(payload(2)).unwrap();
        let batch = sent(&calls);
        assert_eq!(
            batch,
            [Frame::Request { id: 1, payload: payload(1) }, Frame::Request { id: 2, payload: payload(2) },]
        );
        assert!(sent(&calls).is_empty());
        // Answers come in any order.
        calls.answered(2, Ok(payload(20)));
        calls.answered(1, Ok(payload(10)));
        assert_eq!(two.answer().await.unwrap(), payload(20));
        assert_eq!(one.answer().await.unwrap(), payload(10));
        assert!(calls.is_idle());
    }

    #[tokio::test]
    async fn queues_are_bounded_by_size_and_number() {
        let calls = calls();
        assert!(matches!(
            calls.start(payload(101)),
            Err(CallError::TooLarge { size: 101, size_max: 100, .. })
        ));
        let first = calls.start(payload(100)).unwrap();
        assert!(matches!(calls.start(payload(51)), Err(CallError::Full { calls: 1, bytes: 100, .. })));
        // What was sent takes no room in the queue, but its call is one of those that wait.
        assert_eq!(sent(&calls).len(), 1);
        let _second = calls.start(payload(100)).unwrap();
        let _third = calls.start(payload(50)).unwrap();
        assert!(matches!(calls.start(payload(0)), Err(CallError::Full { calls: 3, bytes: 150, .. })));
        calls.answered(1, Ok(Bytes::new()));
        assert!(first.answer().await.is_ok());
        assert!(calls.start(payload(0)).is_ok());
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_nothing_behind() {
        let calls = calls();
        let unsent = calls.start(payload(100)).unwrap();
        drop(unsent);
        assert_eq!(calls.depth(), (0, 0));
        assert!(sent(&calls).is_empty(), "nothing is said of what was never sent");

        let under_way = calls.start(payload(100)).unwrap();
        assert_eq!(sent(&calls).len(), 1);
        drop(under_way);
        assert_eq!(calls.depth(), (0, 0));
        assert_eq!(sent(&calls), [Frame::Cancel { id: 2 }], "the peer learns that nobody waits");
        calls.answered(2, Ok(Bytes::new()));
    }

    #[tokio::test]
    async fn a_call_ends_at_its_deadline() {
        let calls = with_deadline(Duration::from_millis(1));
        let unsent = calls.start(payload(1)).unwrap().answer().await.unwrap_err();
        assert!(matches!(unsent, CallError::Deadline { sent: false, .. }) && !unsent.is_ambiguous());
        let call = calls.start(payload(1)).unwrap();
        sent(&calls);
        let error = call.answer().await.unwrap_err();
        assert!(matches!(error, CallError::Deadline { sent: true, .. }) && error.is_ambiguous());
        assert_eq!(error.to_string(), "n2 did not answer a raft request within 1ms");
        assert_eq!(sent(&calls), [Frame::Cancel { id: 2 }]);
        assert!(calls.is_idle());
    }

    #[tokio::test]
    async fn a_lost_connection_fails_its_calls_and_says_which_had_left() {
        let calls = calls();
        let left = calls.start(payload(1)).unwrap();
        sent(&calls);
        let queued = calls.start(payload(1)).unwrap();
        calls.close("gone");
        let left = left.answer().now_or_never().unwrap().unwrap_err();
        assert!(matches!(left, CallError::Lost { sent: true, .. }) && left.is_ambiguous(), "{left}");
        let queued = queued.answer().now_or_never().unwrap().unwrap_err();
        assert!(matches!(queued, CallError::Down { .. }) && !queued.is_ambiguous(), "{queued}");
        let late = calls.start(payload(1)).err().unwrap();
        assert_eq!(late.to_string(), "n2 is out of reach: gone");
        assert!(calls.poll_batch(&Context::from_waker(&noop_waker())).is_ready(), "the stream ends");
    }
}
