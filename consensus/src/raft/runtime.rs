//! openraft's view of [`shardforge_runtime`].
//!
//! openraft asks for time, tasks and randomness through static functions, so this goes through
//! [`Runtime::current`]: inside of a simulation that is the simulation, and tokio anywhere else. Channels are
//! tokio's, which work under any executor.

use std::convert::Infallible;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use shardforge_runtime::{Elapsed, Instant, Runtime, Sleep, TaskFailed, TaskHandle};

/// See the module's essay.
pub(crate) struct RaftRuntime(TokioRuntime);

impl std::fmt::Debug for RaftRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RaftRuntime")
    }
}

/// [`Instant`], with what openraft wants of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RaftInstant(Instant);

impl From<RaftInstant> for Instant {
    fn from(instant: RaftInstant) -> Self {
        instant.0
    }
}

impl openraft::Instant for RaftInstant {
    fn now() -> Self {
        Self(Runtime::current().now())
    }
}

impl Add<Duration> for RaftInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for RaftInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for RaftInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl SubAssign<Duration> for RaftInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for RaftInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

/// A generator for `rand`'s traits over [`Runtime::next_u64`].
pub(crate) struct RuntimeRng(Runtime);

impl rand_core::TryRng for RuntimeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        #[allow(clippy::cast_possible_truncation, reason = "the upper half of a random number is as random")]
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A future with a time limit.
pub(crate) struct Limited<F> {
    future: Pin<Box<F>>,
    limit: Sleep,
}

impl<F: Future> Future for Limited<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.limit).poll(cx).map(|()| Err(Elapsed))
    }
}

impl AsyncRuntime for RaftRuntime {
    type JoinError = TaskFailed;
    type JoinHandle<T: OptionalSend + 'static> = TaskHandle<T>;
    type Sleep = Sleep;
    type Instant = RaftInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Limited<T>;
    type ThreadLocalRng = RuntimeRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> TaskHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Runtime::current().spawn("raft", future)
    }

    fn sleep(duration: Duration) -> Sleep {
        Runtime::current().sleep(duration)
    }

    fn sleep_until(deadline: RaftInstant) -> Sleep {
        Runtime::current().sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Limited<F> {
        Limited { future: Box::pin(future), limit: Runtime::current().sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: RaftInstant, future: F) -> Limited<F> {
        Limited { future: Box::pin(future), limit: Runtime::current().sleep_until(deadline.0) }
    }

    fn is_panic(error: &TaskFailed) -> bool {
        error.panicked
    }

    fn thread_rng() -> RuntimeRng {
        RuntimeRng(Runtime::current())
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
