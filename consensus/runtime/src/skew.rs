//! Clocks of a simulated node that are not those of the world.
//!
//! ```text
//!   monotonic   world * (1 + rate)             a node's instants and sleeps
//!   wall        world's wall clock + ahead     may be set at any time, as by a time service or by hand
//! ```
//!
//! What a task starts, and what a library asks for by [`crate::Runtime::current`] in it, has the clocks of the task's own node.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const MILLION: u128 = 1_000_000;

/// A node's clocks in a simulation, compared with the world's. See [`crate::Runtime::skewed`].
#[derive(Debug)]
pub struct Skew {
    /// What the monotonic clock counts in a million nanoseconds of the world.
    per_million: u64,
    ahead_micros: AtomicI64,
}

impl Skew {
    /// A monotonic clock that is faster than the world's by so many millionth parts (slower, if negative), and a wall clock that
    /// shows the world's time.
    ///
    /// # Panics
    /// When the clock would stand still or run backwards.
    #[must_use]
    pub fn new(faster_by_millionths: i64) -> Arc<Self> {
        let per_million = 1_000_000_u64.checked_add_signed(faster_by_millionths).filter(|rate| *rate > 0);
        let per_million = per_million.expect("a monotonic clock goes forward");
        Arc::new(Self { per_million, ahead_micros: AtomicI64::new(0) })
    }

    /// Sets by how much the wall clock is ahead of the world's from now on; behind, if negative.
    pub fn set_ahead_micros(&self, micros: i64) {
        self.ahead_micros.store(micros, Ordering::Relaxed);
    }

    /// By how much the wall clock is ahead of the world's.
    #[must_use]
    pub fn ahead_micros(&self) -> i64 {
        self.ahead_micros.load(Ordering::Relaxed)
    }

    /// What the monotonic clock shows at a moment of the world's.
    pub(crate) fn nanos_here(&self, nanos: u64) -> u64 {
        saturating(u128::from(nanos) * u128::from(self.per_million) / MILLION)
    }

    /// The first moment of the world's at which the monotonic clock shows at least this.
    pub(crate) fn nanos_there(&self, nanos: u64) -> u64 {
        saturating((u128::from(nanos) * MILLION).div_ceil(u128::from(self.per_million)))
    }

    pub(crate) fn wall_micros(&self, micros: u64) -> u64 {
        micros.saturating_add_signed(self.ahead_micros())
    }
}

fn saturating(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Skew;
    use crate::{Runtime, Simulation};

    #[test]
    fn a_node_has_clocks_of_its_own_and_so_has_what_it_starts() {
        let simulation = Simulation::new(1);
        let world = simulation.runtime();
        let fast = Skew::new(10_000);
        let node = world.skewed(&fast);
        simulation.block_on(async move {
            let (there, here) = (world.now(), node.now());
            fast.set_ahead_micros(-500);
            assert_eq!(node.wall_micros(), world.wall_micros() - 500);
            let of_a_task = node.spawn("task", async {
                let start = Runtime::current().now();
                Runtime::current().sleep(Duration::from_secs(101)).await;
                Runtime::current().now() - start
            });
            assert_eq!(of_a_task.await, Ok(Duration::from_secs(101)));
            assert_eq!(node.now() - here, Duration::from_secs(101));
            assert_eq!(world.now() - there, Duration::from_secs(100));
            assert_eq!(Runtime::current().now(), world.now());
        });
    }

    #[test]
    fn a_moment_is_not_reached_before_its_time() {
        for rate in [-15_000, -1, 0, 7, 15_000] {
            let skew = Skew::new(rate);
            for nanos in [0, 1, 999_999, 1_000_000, 1_234_567_890_123] {
                let there = skew.nanos_there(nanos);
                assert!(skew.nanos_here(there) >= nanos);
                assert!(there == 0 || skew.nanos_here(there - 1) < nanos);
            }
        }
    }
}
