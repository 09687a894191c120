//! A deterministic executor: one thread, virtual time, one seed.
//!
//! ```text
//!   block_on(main)
//!      loop:  ready tasks?  --yes--> draw one from the seed, poll it
//!                  | no
//!             timers?       --yes--> move the clock to the earliest, wake its sleeper
//!                  | no
//!             stalled: panic (nothing could ever wake a task again)
//! ```
//!
//! Because the next task is drawn at random rather than taken in order, other seeds give other interleavings
//! of the same program; and because nothing else is random, the same seed gives the same one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::clock::Instant;
use crate::disk::MemoryDisk;
use crate::runtime::Runtime;
use crate::task::{TaskHandle, TaskKind};

/// The wall clock of every simulation starts here: 2026-01-01 00:00:00 UTC, in microseconds since 1970.
const WALL_START_MICROS: u64 = 1_767_225_600_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// The runtime of the simulation that this thread is running, if it is running one.
pub(crate) fn current() -> Option<Runtime> {
    CURRENT.with(|current| current.borrow().clone())
}

/// A simulated world. Every run with the same seed and the same program is the same run.
///
/// ```
/// use std::time::Duration;
/// let simulation = shardforge_runtime::Simulation::new(7);
/// let runtime = simulation.runtime();
/// let slept = simulation.block_on(async move {
///     let start = runtime.now();
///     runtime.sleep(Duration::from_secs(3600)).await;
///     runtime.now() - start
/// });
/// assert_eq!(slept, Duration::from_secs(3600));
/// ```
#[derive(Debug)]
pub struct Simulation {
    core: Arc<SimulatedCore>,
    runtime: Runtime,
}

impl Simulation {
    /// A new world whose every choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let core = Arc::new(SimulatedCore {
            state: Mutex::new(State {
                now_nanos: 0,
                rng: ChaCha8Rng::seed_from_u64(seed),
                tasks: BTreeMap::new(),
                ready: Vec::new(),
                timers: BTreeMap::new(),
                next_id: 0,
            }),
            disk: Arc::new(MemoryDisk::default()),
        });
        let runtime = Runtime::simulated(Arc::clone(&core));
        Self { core, runtime }
    }

    /// The runtime to hand to the code under test.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime.clone()
    }

    /// Runs `main`, and the tasks it spawns, until `main` is done. Tasks still running then stay where they
    /// are and go on in the next `block_on`.
    ///
    /// # Panics
    /// When a task panics, and when no task can ever run again before `main` is done.
    pub fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let _entered = Entered::new(self.runtime.clone());
        let mut handle = self.core.spawn("main", main);
        let waker = Waker::noop();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut handle).poll(&mut Context::from_waker(waker)) {
                return result.unwrap_or_else(|_| panic!("the simulation's main task was aborted"));
            }
            self.core.step();
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks hold their wakers and so each other; breaking the map open ends that.
        let tasks = std::mem::take(&mut self.core.state.lock().tasks);
        for task in tasks.values() {
            task.abort();
        }
    }
}

/// Makes a runtime the thread's current one for as long as it lives.
struct Entered {
    before: Option<Runtime>,
}

impl Entered {
    fn new(runtime: Runtime) -> Self {
        Self { before: CURRENT.with(|current| current.borrow_mut().replace(runtime)) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

pub(crate) struct SimulatedCore {
    state: Mutex<State>,
    disk: Arc<MemoryDisk>,
}

impl std::fmt::Debug for SimulatedCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedCore")
    }
}

struct State {
    now_nanos: u64,
    rng: ChaCha8Rng,
    tasks: BTreeMap<u64, Arc<SimulatedTask>>,
    ready: Vec<u64>,
    timers: BTreeMap<(u64, u64), Waker>,
    next_id: u64,
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl SimulatedCore {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.state.lock().now_nanos)
    }

    pub(crate) fn wall_micros(&self) -> u64 {
        WALL_START_MICROS + self.state.lock().now_nanos / 1_000
    }

    pub(crate) fn next_u64(&self) -> u64 {
        self.state.lock().rng.next_u64()
    }

    pub(crate) fn disk(&self) -> Arc<MemoryDisk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn sleep_until(self: &Arc<Self>, deadline: Instant) -> SimulatedSleep {
        SimulatedSleep { core: Arc::clone(self), deadline: deadline.as_nanos(), timer: None }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> TaskHandle<T> {
        let (sender, result) = oneshot::channel();
        let wrapped = Box::pin(async move {
            // The handle may have been dropped: then nobody waits for the result.
            let _unwanted = sender.send(future.await);
        });
        let mut state = self.state.lock();
        let id = state.next_id();
        let task = Arc::new(SimulatedTask {
            id,
            name,
            core: Arc::downgrade(self),
            future: Mutex::new(Some(wrapped)),
            queued: AtomicBool::new(true),
            aborted: AtomicBool::new(false),
        });
        state.tasks.insert(id, Arc::clone(&task));
        state.ready.push(id);
        TaskHandle(TaskKind::Simulated { result, task })
    }

    /// Polls one task, or moves time on.
    fn step(&self) {
        let task = {
            let mut state = self.state.lock();
            if state.ready.is_empty() {
                let Some(((deadline, _), waker)) = state.timers.pop_first() else {
                    let waiting: Vec<_> = state.tasks.values().map(|task| task.name).collect();
                    drop(state);
                    panic!("the simulation stalled; tasks waiting: {waiting:?}");
                };
                state.now_nanos = state.now_nanos.max(deadline);
                drop(state);
                waker.wake();
                return;
            }
            let count = state.ready.len();
            let chosen = state.rng.random_range(0..count);
            let id = state.ready.swap_remove(chosen);
            state.tasks.get(&id).cloned()
        };
        // A task that ended may still have been woken.
        let Some(task) = task else { return };
        if task.poll() {
            self.state.lock().tasks.remove(&task.id);
        }
    }
}

/// A task of a simulation.
pub(crate) struct SimulatedTask {
    id: u64,
    name: &'static str,
    core: Weak<SimulatedCore>,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    queued: AtomicBool,
    aborted: AtomicBool,
}

impl SimulatedTask {
    /// Drops the future now, or, when the task aborts itself, at its next suspension point.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.aborted.store(true, Ordering::Relaxed);
        if let Some(mut future) = self.future.try_lock() {
            let dropped = future.take();
            drop(future);
            drop(dropped);
        }
        self.wake_by_ref();
    }

    /// Runs the task until it waits; true when it is done.
    fn poll(self: &Arc<Self>) -> bool {
        self.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(self));
        let mut slot = self.future.lock();
        let Some(future) = slot.as_mut() else { return true };
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if done || self.aborted.load(Ordering::Relaxed) {
            let finished = slot.take();
            drop(slot);
            drop(finished);
            return true;
        }
        false
    }
}

impl Wake for SimulatedTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed)
            && let Some(core) = self.core.upgrade()
        {
            core.state.lock().ready.push(self.id);
        }
    }
}

/// A sleep in virtual time.
pub(crate) struct SimulatedSleep {
    core: Arc<SimulatedCore>,
    deadline: u64,
    timer: Option<(u64, u64)>,
}

impl Future for SimulatedSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let core = Arc::clone(&self.core);
        let mut state = core.state.lock();
        if let Some(timer) = self.timer.take() {
            state.timers.remove(&timer);
        }
        if state.now_nanos >= self.deadline {
            return Poll::Ready(());
        }
        let timer = (self.deadline, state.next_id());
        state.timers.insert(timer, cx.waker().clone());
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for SimulatedSleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let removed = self.core.state.lock().timers.remove(&timer);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::Simulation;

    /// Ten tasks that write down when they run.
    fn trace(seed: u64) -> Vec<(usize, u64)> {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        simulation.block_on(async move {
            let tasks: Vec<_> = (0..10)
                .map(|number| {
                    let (runtime, log) = (runtime.clone(), Arc::clone(&log));
                    runtime.clone().spawn("writer", async move {
                        for _ in 0..5 {
                            log.lock().push((number, runtime.now().as_nanos()));
                            runtime.sleep(Duration::from_millis(runtime.next_u64() % 3)).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        Arc::try_unwrap(written).unwrap().into_inner()
    }

    #[test]
    fn a_seed_repeats_itself_and_another_one_differs() {
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }

    #[test]
    fn time_limits_run_out_in_virtual_time() {
        let simulation = Simulation::new(3);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let never = std::future::pending::<()>();
            assert!(runtime.timeout(Duration::from_secs(60), never).await.is_err());
            assert_eq!(runtime.now().as_nanos(), 60_000_000_000);
            assert_eq!(runtime.timeout(Duration::from_secs(60), async { 5 }).await, Ok(5));
        });
    }

    #[test]
    fn an_aborted_task_fails_its_handle() {
        let simulation = Simulation::new(3);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let task = runtime.spawn("endless", std::future::pending::<()>());
            task.abort();
            assert!(task.await.is_err());
        });
    }

    #[test]
    #[should_panic(expected = "the simulation stalled")]
    fn a_stalled_world_is_reported() {
        Simulation::new(1).block_on(std::future::pending::<()>());
    }
}
