//! Locks: who holds what, who waits for whom.
//!
//! ```text
//!   table.rs      the lock table: grants, queues, hand-over
//!   mode.rs       which modes conflict: PostgreSQL's two tables
//!   deadlock.rs   circles in the graph of waits
//!   waits.rs      the waits as others see them
//! ```
//!
//! Rows, objects (tables, advisory keys) and the ends of spilled transactions share one table, so that a
//! deadlock is found whatever it runs through. Locks live in this process's memory and are tagged with the
//! term of their shard's leader: a commit that carries another term is refused.

mod deadlock;
mod mode;
mod table;
mod waits;

pub(crate) use deadlock::{find_cycles, victim};
pub(crate) use mode::LockMode;
pub(crate) use table::{HeldLock, LockName, LockTable, LockWait, Owner, Request, WaitEdge};
pub(crate) use waits::waits;
