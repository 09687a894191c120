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
//! of the same program; and because nothing else is random, the same seed gives the same one. Whether that is so,
//! [`Simulation::trace`] tells: it sums up every step that was taken.
//!
//! In which order tasks were woken must not matter: libraries wake those who wait for one thing in an order of their
//! own (tokio's `watch` spreads them over lists at random). Tasks that are ready are therefore kept in the order of
//! their ids, and the seed alone draws from them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::clock::Instant;
use crate::disk::MemoryDisk;
use crate::runtime::Runtime;
use crate::skew::Skew;
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
                trace: Trace::default(),
                sync_time_max: Duration::ZERO,
            }),
            disk: Arc::new(MemoryDisk::default()),
        });
        let runtime = Runtime::simulated(Arc::clone(&core), None);
        Self { core, runtime }
    }

    /// The runtime to hand to the code under test.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime.clone()
    }

    /// Makes every sync of the disk take a time up to `max` from now on; none at first.
    pub fn slow_the_disk(&self, max: Duration) {
        self.core.state.lock().sync_time_max = max;
    }

    /// A number that stands for every step so far: which task ran when, and what was drawn. Two runs with the same
    /// trace are, but for an accident of hashing, the same run.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.core.state.lock().trace.0
    }

    /// Runs `main`, and the tasks it spawns, until `main` is done. Tasks still running then stay where they
    /// are and go on in the next `block_on`.
    ///
    /// # Panics
    /// When a task panics, and when no task can ever run again before `main` is done.
    pub fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let _entered = Entered::new(self.runtime.clone());
        let mut handle = self.core.spawn("main", None, main);
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
        loop {
            let tasks = std::mem::take(&mut self.core.state.lock().tasks);
            if tasks.is_empty() {
                return;
            }
            // What is dropped may start tasks, to finish what it had begun.
            for task in tasks.values() {
                task.abort();
            }
        }
    }
}

/// Makes a runtime the thread's current one for as long as it lives.
pub(crate) struct Entered {
    before: Option<Runtime>,
}

impl Entered {
    pub(crate) fn new(runtime: Runtime) -> Self {
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

/// A running hash (FNV-1a, a word at a time) of what the executor does.
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}

struct State {
    now_nanos: u64,
    rng: ChaCha8Rng,
    tasks: BTreeMap<u64, Arc<SimulatedTask>>,
    /// Tasks that can run, in the order of their ids.
    ready: Vec<u64>,
    timers: BTreeMap<(u64, u64), Waker>,
    next_id: u64,
    trace: Trace,
    /// How long a sync of the disk takes at most.
    sync_time_max: Duration,
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn make_ready(&mut self, task: u64) {
        if let Err(place) = self.ready.binary_search(&task) {
            self.ready.insert(place, task);
        }
    }

    fn draw(&mut self) -> u64 {
        let drawn = self.rng.next_u64();
        self.trace.add(drawn);
        drawn
    }
}

impl SimulatedCore {
    pub(crate) fn now(&self, skew: Option<&Skew>) -> Instant {
        let nanos = self.state.lock().now_nanos;
        Instant::from_nanos(skew.map_or(nanos, |skew| skew.nanos_here(nanos)))
    }

    pub(crate) fn wall_micros(&self, skew: Option<&Skew>) -> u64 {
        let micros = WALL_START_MICROS + self.state.lock().now_nanos / 1_000;
        skew.map_or(micros, |skew| skew.wall_micros(micros))
    }

    pub(crate) fn next_u64(&self) -> u64 {
        self.state.lock().draw()
    }

    pub(crate) fn sync_time(&self) -> Duration {
        let mut state = self.state.lock();
        let max = u64::try_from(state.sync_time_max.as_nanos()).unwrap_or(u64::MAX);
        // Without a slow disk nothing is drawn: such runs stay what they were.
        if max == 0 { Duration::ZERO } else { Duration::from_nanos(state.draw() % max) }
    }

    pub(crate) fn disk(&self) -> Arc<MemoryDisk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn sleep_until(self: &Arc<Self>, deadline: Instant, skew: Option<&Skew>) -> SimulatedSleep {
        let deadline = skew.map_or(deadline.as_nanos(), |skew| skew.nanos_there(deadline.as_nanos()));
        SimulatedSleep { core: Arc::clone(self), deadline, timer: None }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        skew: Option<Arc<Skew>>,
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
            skew,
            core: Arc::downgrade(self),
            future: Mutex::new(Some(wrapped)),
            queued: AtomicBool::new(true),
            aborted: AtomicBool::new(false),
        });
        state.tasks.insert(id, Arc::clone(&task));
        state.make_ready(id);
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
                let now = state.now_nanos;
                state.trace.add(now);
                drop(state);
                waker.wake();
                return;
            }
            let count = state.ready.len();
            let chosen = state.rng.random_range(0..count);
            let id = state.ready.remove(chosen);
            state.trace.add(id);
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
    /// The clocks of the node that it belongs to, if they are not the world's.
    skew: Option<Arc<Skew>>,
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
        let of_a_node = self.skew.as_ref().and_then(|skew| Some((self.core.upgrade()?, Arc::clone(skew))));
        let _entered = of_a_node.map(|(core, skew)| Entered::new(Runtime::simulated(core, Some(skew))));
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
            core.state.lock().make_ready(self.id);
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

    /// Ten tasks that write down when they run, and the simulation's own trace.
    fn trace(seed: u64) -> (Vec<(usize, u64)>, u64) {
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
        let written = written.lock().clone();
        (written, simulation.trace())
    }

    #[test]
    fn a_seed_repeats_itself_and_another_one_differs() {
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1).0, trace(2).0);
        assert_ne!(trace(1).1, trace(2).1);
    }

    #[test]
    fn the_order_in_which_tasks_are_woken_does_not_matter() {
        let run = |backwards: bool| {
            let simulation = Simulation::new(5);
            let runtime = simulation.runtime();
            simulation.block_on(async move {
                let doors: Vec<_> = (0..8).map(|_| Arc::new(tokio::sync::Notify::new())).collect();
                let order = Arc::new(Mutex::new(Vec::new()));
                let tasks: Vec<_> = (0..8)
                    .map(|number| {
                        let (door, order) = (Arc::clone(&doors[number]), Arc::clone(&order));
                        runtime.spawn("waiter", async move {
                            door.notified().await;
                            order.lock().push(number);
                        })
                    })
                    .collect();
                runtime.sleep(Duration::from_millis(1)).await;
                if backwards {
                    doors.iter().rev().for_each(|door| door.notify_one());
                } else {
                    doors.iter().for_each(|door| door.notify_one());
                }
                for task in tasks {
                    task.await.unwrap();
                }
                order.lock().clone()
            })
        };
        assert_eq!(run(false), run(true));
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
    fn a_slow_disk_takes_its_time() {
        let simulation = Simulation::new(3);
        let runtime = simulation.runtime();
        assert_eq!(runtime.sync_time(), Duration::ZERO);
        simulation.slow_the_disk(Duration::from_millis(8));
        let times: Vec<_> = (0..20).map(|_| runtime.sync_time()).collect();
        assert!(times.iter().all(|time| *time < Duration::from_millis(8)));
        assert!(times.iter().any(|time| *time > Duration::from_millis(1)));
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
