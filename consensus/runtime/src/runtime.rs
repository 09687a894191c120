//! [`Runtime`]: the handle through which the lower crates reach the world.

#![allow(clippy::disallowed_methods, reason = "this module is the one place that calls what others may not")]

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use rand::RngCore;

use crate::clock::{Elapsed, Instant, Sleep, SleepKind};
use crate::disk::{Disk, RealDisk};
use crate::simulation::{self, Entered, SimulatedCore};
use crate::skew::Skew;
use crate::task::{TaskHandle, TaskKind};

/// Time, randomness, tasks and files: of this machine, or of a simulation. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Kind);

#[derive(Clone)]
enum Kind {
    Real(tokio::runtime::Handle),
    /// With the clocks of a node, if they are not the world's.
    Simulated(Arc<SimulatedCore>, Option<Arc<Skew>>),
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Real(_) => "Runtime(real)",
            Kind::Simulated(..) => "Runtime(simulated)",
        })
    }
}

impl Runtime {
    /// The real world, with tasks spawned on `handle`.
    #[must_use]
    pub fn real(handle: tokio::runtime::Handle) -> Self {
        Self(Kind::Real(handle))
    }

    pub(crate) fn simulated(core: Arc<SimulatedCore>, skew: Option<Arc<Skew>>) -> Self {
        Self(Kind::Simulated(core, skew))
    }

    /// The same simulation, as a node with clocks of its own sees it.
    ///
    /// # Panics
    /// Outside of a simulation: the machine's clocks are what they are.
    #[must_use]
    pub fn skewed(&self, skew: &Arc<Skew>) -> Self {
        match &self.0 {
            Kind::Real(_) => panic!("only a simulation has clocks that can be set"),
            Kind::Simulated(core, _) => Self::simulated(Arc::clone(core), Some(Arc::clone(skew))),
        }
    }

    /// Makes this the thread's current runtime while the result lives, if it has clocks of its own.
    pub(crate) fn enter_if_skewed(&self) -> Option<Entered> {
        matches!(self.0, Kind::Simulated(_, Some(_))).then(|| Entered::new(self.clone()))
    }

    /// The runtime that this code runs in: the thread's simulation, or else the surrounding tokio runtime.
    ///
    /// It exists for libraries whose hooks are static functions; everything else is handed a `Runtime`.
    ///
    /// # Panics
    /// Outside of both.
    #[must_use]
    pub fn current() -> Self {
        simulation::current().unwrap_or_else(|| Self::real(tokio::runtime::Handle::current()))
    }

    /// Whether this is a simulation: there, threads may not be started and nothing may block.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Simulated(..))
    }

    /// The monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Kind::Real(_) => {
                Instant::from_nanos(u64::try_from(process_start().elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
            Kind::Simulated(core, skew) => core.now(skew.as_deref()),
        }
    }

    /// The wall clock, in microseconds since 1970-01-01 00:00 UTC. It may jump in either direction.
    #[must_use]
    pub fn wall_micros(&self) -> u64 {
        match &self.0 {
            Kind::Real(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            Kind::Simulated(core, skew) => core.wall_micros(skew.as_deref()),
        }
    }

    /// Lets other tasks run: for work that goes on without waiting for anything.
    pub async fn yield_now(&self) {
        tokio::task::yield_now().await;
    }

    /// Waits for `duration`.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until the monotonic clock shows `deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        match &self.0 {
            Kind::Real(handle) => {
                let deadline = process_start() + Duration::from_nanos(deadline.as_nanos());
                let _entered = handle.enter();
                Sleep(SleepKind::Real(Box::pin(tokio::time::sleep_until(deadline.into()))))
            }
            Kind::Simulated(core, skew) => {
                Sleep(SleepKind::Simulated(core.sleep_until(deadline, skew.as_deref())))
            }
        }
    }

    /// Runs `future`, giving up after `limit`.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit ran out first; the future is dropped then.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        // `select` polls the work first, so a result that is there wins over a limit that has run out.
        match select(std::pin::pin!(future), self.sleep(limit)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// A random number: from the system's generator, or from the simulation's seed.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        match &self.0 {
            Kind::Real(_) => rand::rng().next_u64(),
            Kind::Simulated(core, _) => core.next_u64(),
        }
    }

    /// Starts a task. `name` says in logs and in a stalled simulation what it is.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> TaskHandle<T> {
        match &self.0 {
            Kind::Real(handle) => TaskHandle(TaskKind::Real(handle.spawn(future))),
            Kind::Simulated(core, skew) => core.spawn(name, skew.clone(), future),
        }
    }

    /// Runs work that blocks (file access, long computation) off the threads that run tasks.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> TaskHandle<T> {
        match &self.0 {
            Kind::Real(handle) => TaskHandle(TaskKind::Real(handle.spawn_blocking(work))),
            Kind::Simulated(core, skew) => core.spawn(name, skew.clone(), async move { work() }),
        }
    }

    /// Starts a thread of its own for work that blocks again and again.
    ///
    /// # Errors
    /// When the system has no thread to give, and in a simulation, which has one thread only.
    pub fn spawn_thread(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        if self.is_simulated() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a simulation has one thread only"));
        }
        std::thread::Builder::new().name(name.to_owned()).spawn(work)
    }

    /// How long the next sync of the disk has to take, beyond what it takes by itself: a simulation whose disk is
    /// slow ([`crate::Simulation::slow_the_disk`]) says so here.
    #[must_use]
    pub fn sync_time(&self) -> Duration {
        match &self.0 {
            Kind::Real(_) => Duration::ZERO,
            Kind::Simulated(core, _) => core.sync_time(),
        }
    }

    /// The file system: the machine's, or one in the simulation's memory.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        match &self.0 {
            Kind::Real(_) => Arc::new(RealDisk),
            Kind::Simulated(core, _) => core.disk(),
        }
    }
}

/// The zero of the real monotonic clock: one for the process, so that all real runtimes agree.
fn process_start() -> std::time::Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    *START.get_or_init(std::time::Instant::now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Runtime;

    #[tokio::test]
    async fn the_real_runtime_sleeps_spawns_and_limits() {
        let runtime = Runtime::current();
        let start = runtime.now();
        runtime.sleep(Duration::from_millis(5)).await;
        assert!(runtime.now() - start >= Duration::from_millis(5));
        assert_eq!(runtime.spawn("seven", async { 7 }).await, Ok(7));
        assert_eq!(runtime.spawn_blocking("eight", || 8).await, Ok(8));
        assert!(runtime.timeout(Duration::from_millis(1), std::future::pending::<()>()).await.is_err());
        assert!(runtime.wall_micros() > 1_700_000_000_000_000);
    }
}
