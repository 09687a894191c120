//! The only door to the outside world for `shardforge-consensus` and `shardforge-kv`.
//!
//! Clocks, randomness, task spawning, files and the network are reached through this crate alone, so that
//! the same code runs in two worlds:
//!
//! ```text
//!              consensus, engine/kv
//!                      |
//!                   Runtime            (cheap to clone, handed down from the top)
//!                  /       \
//!           real               simulated
//!   tokio, the system's        one thread, virtual time, one seed:
//!   clocks, files, sockets     every run of a seed is the same run
//! ```
//!
//! Invariants:
//! - In a simulation nothing happens but by the executor in [`Simulation`]: time moves only when no task can
//!   run, and the next task to run is drawn from the seed.
//! - Code that takes a [`Runtime`] never calls `std::time`, `tokio::spawn` or `rand` itself; clippy's
//!   `disallowed-methods` in those crates' `clippy.toml` holds it to that.

mod clock;
mod disk;
mod network;
mod runtime;
mod simulation;
mod skew;
mod task;

pub use clock::{Elapsed, Instant, Sleep};
pub use disk::{Disk, DiskLock, MemoryDisk, RealDisk};
pub use network::{LocalNetwork, Network, NodeId, RequestHandler, Traffic};
pub use runtime::Runtime;
pub use simulation::Simulation;
pub use skew::Skew;
pub use task::{TaskFailed, TaskHandle};
