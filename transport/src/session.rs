//! A session: the stream of one peer's requests of one kind, from the side that carries them out.
//!
//! Each request runs in a task of its own, and its answer goes out when it is there, in whatever order. What the
//! peer gives up is dropped; so is everything when the connection breaks, since no answer could arrive.
//!
//! A peer that has more under way than it may is told so at once, request by request: reading on is what lets its
//! other requests through, some of which the first may wait for.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Traffic};
use tokio::task::AbortHandle;
use tonic::codec::Streaming;

use crate::answers::Answers;
use crate::dial::status_text;
use crate::frame::{Batch, Frame, Frames};
use crate::shared::Shared;

type Running = Arc<Mutex<HashMap<u64, AbortHandle>>>;

pub(crate) struct Session {
    shared: Arc<Shared>,
    from: NodeId,
    traffic: Traffic,
    answers: Arc<Answers>,
    running: Running,
}

/// The sending half of a session. The session ends when it is dropped.
pub(crate) struct SessionAnswers(Arc<Answers>);

impl SessionAnswers {
    pub(crate) fn poll_batch(&self, cx: &Context<'_>) -> Poll<Option<Batch>> {
        self.0.poll_batch(cx)
    }
}

impl Drop for SessionAnswers {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, from: NodeId, traffic: Traffic) -> (Self, SessionAnswers) {
        let answers = Arc::new(Answers::new(shared.limits(traffic).clone()));
        let sending = SessionAnswers(Arc::clone(&answers));
        (Self { shared, from, traffic, answers, running: Running::default() }, sending)
    }

    /// Carries out requests until the connection ends, or the peer is no longer of the cluster.
    pub(crate) async fn run(self, requests: Streaming<Bytes>) {
        let mut expelled = self.shared.expelled.subscribe();
        let reason = tokio::select! {
            ended = self.serve(requests) => ended,
            _ = expelled.wait_for(|expelled| expelled.contains(&self.from)) => {
                "the peer was removed from the cluster".to_owned()
            }
        };
        tracing::debug!(peer = %self.from, traffic = %self.traffic, reason, "a stream of requests ended");
    }

    /// Takes requests; says why there are no more.
    async fn serve(&self, mut requests: Streaming<Bytes>) -> String {
        loop {
            if !self.answers.room().await {
                return "nobody takes the answers".to_owned();
            }
            match requests.message().await {
                Ok(Some(message)) => {
                    if let Err(reason) = self.take(message) {
                        return reason;
                    }
                }
                Ok(None) => return "the peer closed it".to_owned(),
                Err(status) => return status_text(&status),
            }
        }
    }

    fn take(&self, message: Bytes) -> Result<(), String> {
        for frame in Frames(message) {
            match frame.map_err(|malformed| malformed.to_string())? {
                Frame::Request { id, payload } => self.start(id, payload),
                Frame::Cancel { id } => {
                    let task = self.running.lock().remove(&id);
                    if let Some(task) = task {
                        task.abort();
                    }
                }
                Frame::Ping { id } => self.answers.push(Frame::Pong { id }),
                Frame::Answer { .. } | Frame::Failure { .. } | Frame::Pong { .. } => {
                    return Err("the peer answers on a stream that is for its requests".to_owned());
                }
            }
        }
        Ok(())
    }

    fn start(&self, id: u64, payload: Bytes) {
        let Some(handler) = self.shared.handler.read().clone() else {
            let message = format!("{} does not answer requests yet", self.shared.options.node);
            self.answers.push(Frame::Failure { id, kind: io::ErrorKind::ConnectionRefused, message });
            return;
        };
        let size = payload.len();
        if let Err(busy) = self.answers.admit(size) {
            self.answers.push(Frame::Failure { id, kind: io::ErrorKind::ResourceBusy, message: busy });
            return;
        }
        let reply = Reply {
            id,
            size,
            payload_bytes_max: self.shared.limits(self.traffic).payload_bytes_max,
            answers: Arc::clone(&self.answers),
            running: Arc::clone(&self.running),
        };
        let work = handler(self.from, payload);
        // Held until the task is in the table: it may end before that.
        let mut running = self.running.lock();
        let task = tokio::spawn(async move { reply.send(work.await) });
        running.insert(id, task.abort_handle());
    }
}

/// The answer that a request is owed. Dropped without one, it says that there will be none, unless the peer has given
/// the request up.
struct Reply {
    id: u64,
    size: usize,
    payload_bytes_max: usize,
    answers: Arc<Answers>,
    running: Running,
}

impl Reply {
    fn send(self, answer: io::Result<Bytes>) {
        let (id, size_max) = (self.id, self.payload_bytes_max);
        let frame = match answer {
            Ok(payload) if payload.len() > size_max => {
                let message = format!("the answer of {} bytes is larger than {size_max}", payload.len());
                Frame::Failure { id, kind: io::ErrorKind::InvalidData, message }
            }
            Ok(payload) => Frame::Answer { id, payload },
            Err(error) => Frame::Failure { id, kind: error.kind(), message: error.to_string() },
        };
        self.finish(frame);
    }

    fn finish(&self, frame: Frame) {
        let wanted = self.running.lock().remove(&self.id).is_some();
        if wanted {
            self.answers.push(frame);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let message = "the request ended without an answer".to_owned();
        self.finish(Frame::Failure { id: self.id, kind: io::ErrorKind::Other, message });
        self.answers.finish(self.size);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.answers.close();
        let running = std::mem::take(&mut *self.running.lock());
        running.into_values().for_each(|task| task.abort());
    }
}
