//! Timestamps and the hybrid logical clock that gives them out.
//!
//! A timestamp is a 64-bit number: microseconds of the wall clock since 1970 in the upper 52 bits, a logical
//! counter in the lower 12. The clock never gives out the same one twice and never goes back, whatever the
//! wall clock does; that alone orders all commits and snapshots of one node:
//!
//! ```text
//!   now() = max(last + 1, wall clock << 12)          one compare-and-swap, no lock
//! ```
//!
//! Invariants:
//! - A timestamp taken later is greater. Snapshots (`pending.rs`) rest on it: a commit that registers its
//!   keys and *then* takes its timestamp lies above every snapshot taken before.
//! - After a restart the clock starts above every commit in the store ([`Clock::forward`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use shardforge_runtime::Runtime;

/// Bits of the logical counter.
const LOGICAL_BITS: u32 = 12;

/// A point in the order of commits and snapshots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Below every commit.
    pub const MIN: Self = Self(0);

    /// Above every commit.
    pub const MAX: Self = Self(u64::MAX);

    /// The first timestamp of a microsecond since 1970.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1 << LOGICAL_BITS))
    }

    /// The wall clock part, in microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The timestamp as stored.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The timestamp that was stored as `raw`.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The greatest timestamp below this one.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The least timestamp above this one.
    #[must_use]
    pub const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// `micros` microseconds earlier.
    #[must_use]
    pub const fn minus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_sub(micros.saturating_mul(1 << LOGICAL_BITS)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.micros(), self.0 & ((1 << LOGICAL_BITS) - 1))
    }
}

/// The node's hybrid logical clock.
#[derive(Debug)]
pub(crate) struct Clock {
    last: AtomicU64,
    runtime: Runtime,
}

impl Clock {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { last: AtomicU64::new(0), runtime }
    }

    /// A timestamp above all that were given out before.
    pub(crate) fn now(&self) -> Timestamp {
        self.reserve(1)
    }

    /// The first of `count` successive timestamps that nobody else gets.
    pub(crate) fn reserve(&self, count: u64) -> Timestamp {
        let wall = Timestamp::from_micros(self.runtime.wall_micros()).0;
        // Sequentially consistent on purpose: see the first invariant.
        let mut last = self.last.load(Ordering::SeqCst);
        loop {
            let first = wall.max(last + 1);
            match self.last.compare_exchange_weak(
                last,
                first + (count - 1),
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return Timestamp(first),
                Err(current) => last = current,
            }
        }
    }

    /// Makes every later timestamp greater than `floor`.
    pub(crate) fn forward(&self, floor: Timestamp) {
        self.last.fetch_max(floor.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use shardforge_runtime::Simulation;

    use super::{Clock, Timestamp};

    #[test]
    fn timestamps_rise_while_the_wall_clock_stands_still() {
        let simulation = Simulation::new(1);
        let clock = Clock::new(simulation.runtime());
        let first = clock.now();
        assert_eq!(clock.now(), first.after());
        let block = clock.reserve(10);
        assert_eq!(clock.now().as_u64(), block.as_u64() + 10);
    }

    #[test]
    fn a_wall_clock_that_went_back_does_not_take_the_clock_along() {
        let simulation = Simulation::new(1);
        let clock = Clock::new(simulation.runtime());
        let stored = Timestamp::from_micros(simulation.runtime().wall_micros() + 3_600_000_000);
        clock.forward(stored);
        assert!(clock.now() > stored);
    }

    #[test]
    fn micros_survive() {
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        assert_eq!(at.micros(), 1_767_225_600_000_000);
        assert_eq!(at.after().micros(), at.micros());
        assert_eq!(at.minus_micros(5).micros(), at.micros() - 5);
    }
}
