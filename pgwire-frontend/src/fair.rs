//! [`Fair`]: a connection whose statements compute keeps nobody else waiting.
//!
//! ```text
//!   a poll that is over soon    runs on the worker thread, as any task does
//!   one that took long          -> the next one hands the worker's other tasks to another thread first
//! ```
//!
//! Few worker threads serve all connections. Statements that compute for seconds would keep as many of them, and with them the
//! port, the timers and whatever else runs there: nobody could so much as connect. PostgreSQL has a process for each
//! session, and the kernel divides the processors among them. So it is here for those who compute: as long as they do, each has
//! a thread of its own, and the others share the workers. What is asked of a statement is that it gives way now and then, so
//! that it is noticed in time.
//!
//! The number of such threads is bounded by that of connections.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::limits::COMPUTES_FROM;

/// See the module's essay.
pub(crate) struct Fair<F> {
    connection: Pin<Box<F>>,
    computes: bool,
}

impl<F> Fair<F> {
    pub(crate) fn new(connection: F) -> Fair<F> {
        Fair { connection: Box::pin(connection), computes: false }
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = Instant::now();
        let hands_over = self.computes && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        let outcome = if hands_over {
            block_in_place(|| self.connection.as_mut().poll(cx))
        } else {
            self.connection.as_mut().poll(cx)
        };
        self.computes = began.elapsed() >= COMPUTES_FROM;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use futures::future::poll_fn;

    use super::*;

    /// Far more than a thread takes to run a task.
    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn others_run_while_one_computes() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let mut polls = 0;
        let computing = poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                let began = Instant::now();
                while began.elapsed() < COMPUTES_FROM {
                    std::hint::spin_loop();
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let (said, heard) = channel();
            let other = tokio::spawn(async move { said.send(()) });
            // This is the only worker's thread: the other task has to run elsewhere.
            Poll::Ready((heard.recv_timeout(SOON), other))
        });
        runtime.block_on(async {
            let (heard, other) = runtime.spawn(Fair::new(computing)).await.unwrap();
            heard.unwrap();
            other.await.unwrap().unwrap();
        });
    }

    #[tokio::test]
    async fn on_one_thread_all_take_turns() {
        let mut polls = 0;
        Fair::new(poll_fn(move |cx| {
            polls += 1;
            std::thread::sleep(COMPUTES_FROM);
            cx.waker().wake_by_ref();
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        }))
        .await;
    }
}
